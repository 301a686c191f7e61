/* How fast a model runs here: bench MODEL */
#define _POSIX_C_SOURCE 200809L
#include "common.h"

#include <sys/resource.h>
#include <time.h>

static const char help[] =
    "usage: bench [options] MODEL.gguf\n"
    "\n"
    "Measures tokens per second of prefill (prompts) and decode (one token at a time): the median of several runs.\n"
    "\n"
    "  --prompt N,...    lengths of prompts to prefill (default 512)\n"
    "  --decode N        tokens to decode (default 64; 0: none)\n"
    "  --depth N,...     tokens that are in the session before (default 0)\n"
    "  --repeat N        runs of each measurement (default 3)\n"
    "  --batch N         tokens evaluated at once (0: the library's default)\n"
    "  --resident        measure when all weights are in memory of the process\n"
    "  --mapped-limit N  keep at most N MiB of mapped weights in memory, and say what is read from storage\n"
    "  --threads N, --level NAME, --precision high|fast\n"
    "  --json            print one JSON object instead of a table\n"
    "  --quiet           no progress on standard error\n";

enum { MAX_LENGTHS = 16, MAX_REPEAT = 100 };

struct lengths {
    uint32_t values[MAX_LENGTHS];
    size_t count;
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Bytes that this process has had read from storage. */
static double read_bytes(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) ? 0 : 512.0 * (double)usage.ru_inblock;
}

static struct lengths parse_lengths(const char *program, const char *text)
{
    struct lengths lengths = {{0}, 0};
    char *copy = strdup(text), *part;
    for (part = copy ? strtok(copy, ",") : NULL; part; part = strtok(NULL, ",")) {
        if (lengths.count == MAX_LENGTHS) usage_error(program, "too many lengths:", text);
        lengths.values[lengths.count++] = count(program, part);
    }
    free(copy);
    return lengths;
}

static int ascending(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Appends tokens that no text repeats, and evaluates them. */
static void eval(const char *program, chord_session *session, const chord_model *model, uint32_t tokens)
{
    static uint32_t state = 1;
    uint32_t vocab = (uint32_t)chord_model_vocab_size(model), i;
    chord_error *err = NULL;
    for (i = 0; i < tokens; i++) {
        int32_t token;
        state = state * 1664525u + 1013904223u;
        token = (int32_t)((state >> 8) % vocab);
        if (chord_session_append(session, &token, 1, &err)) fail(program, err);
    }
    if (tokens && chord_session_eval(session, &err)) fail(program, err);
}

struct measurement {
    const char *name;
    uint32_t tokens, depth;
    double rates[MAX_REPEAT]; /* tokens per second, ascending */
    double read;              /* bytes read from storage per token of the last run */
    uint32_t repeat;
};

static void measure(const char *program, chord_session *session, const chord_model *model, struct measurement *m, bool quiet)
{
    uint32_t run, i;
    for (run = 0; run <= m->repeat; run++) { /* run 0 warms up */
        double start;
        chord_error *err = NULL;
        if (!quiet) fprintf(stderr, "\r%s %u at depth %u: run %u of %u ", m->name, m->tokens, m->depth, run, m->repeat);
        /* Depth is filled once; evaluating what is left of it brings back what a rewind may have dropped. */
        if (chord_session_rewind(session, run ? m->depth : 0, &err)) fail(program, err);
        if (!run) eval(program, session, model, m->depth);
        else if (m->depth && chord_session_eval(session, &err)) fail(program, err);
        m->read = read_bytes();
        start = now();
        if (strcmp(m->name, "prefill") == 0) eval(program, session, model, m->tokens);
        else for (i = 0; i < m->tokens; i++) eval(program, session, model, 1);
        if (run) m->rates[run - 1] = (double)m->tokens / (now() - start);
        m->read = (read_bytes() - m->read) / m->tokens;
    }
    if (!quiet) fputs("\r\033[K", stderr);
    qsort(m->rates, m->repeat, sizeof *m->rates, ascending);
}

/* Waits until no more weights become resident. */
static void settle(const chord_model *model)
{
    const struct timespec pause = {0, 200000000};
    size_t before;
    do {
        before = chord_model_resident_size(model);
        nanosleep(&pause, NULL);
    } while (chord_model_resident_size(model) != before);
}

static double median(const struct measurement *m)
{
    return (m->rates[(m->repeat - 1) / 2] + m->rates[m->repeat / 2]) / 2;
}

static void print_json_string(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') printf("\\%c", *text);
        else if ((unsigned char)*text < ' ') printf("\\u%04x", (unsigned char)*text);
        else putchar(*text);
    }
    putchar('"');
}

static void print_json(const char *path, const chord_model *model, const char *precision, double open_seconds,
                       const struct measurement *list, size_t measurements)
{
    size_t i;
    uint32_t run;
    printf("{\"version\": \"%s\", \"model\": ", chord_version());
    print_json_string(path);
    printf(", \"cpu_level\": \"%s\", \"threads\": %zu, \"precision\": \"%s\", \"open_seconds\": %.6f, \"results\": [",
           chord_model_cpu_level(model), chord_model_threads(model), precision, open_seconds);
    for (i = 0; i < measurements; i++) {
        printf("%s\n  {\"test\": \"%s\", \"tokens\": %u, \"depth\": %u, \"tokens_per_second\": %.3f, \"read_bytes_per_token\": %.0f, \"runs\": [",
               i ? "," : "", list[i].name, list[i].tokens, list[i].depth, median(&list[i]), list[i].read);
        for (run = 0; run < list[i].repeat; run++) printf("%s%.3f", run ? ", " : "", list[i].rates[run]);
        fputs("]}", stdout);
    }
    puts("\n]}");
}

int main(int argc, char **argv)
{
    struct common options = common_new(argv[0]);
    struct lengths prompts = {{512}, 1}, depths = {{0}, 1};
    static struct measurement list[MAX_LENGTHS * (MAX_LENGTHS + 1)];
    const char *path = NULL, *precision = "high", *value;
    uint32_t decode = 64, repeat = 3, batch = 0, longest = 0, limit = 0;
    bool json = false, quiet = false, resident = false;
    size_t measurements = 0, j, k;
    double start, open_seconds;
    chord_error *err = NULL;
    chord_model *model = NULL;
    chord_session *session = NULL;
    int i;

    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            return 0;
        }
        if (strcmp(argv[i], "--precision") == 0 && i + 1 < argc) precision = argv[i + 1];
        if ((value = option("--prompt", argc, argv, &i))) prompts = parse_lengths(argv[0], value);
        else if ((value = option("--depth", argc, argv, &i))) depths = parse_lengths(argv[0], value);
        else if ((value = option("--decode", argc, argv, &i))) decode = count(argv[0], value);
        else if ((value = option("--repeat", argc, argv, &i))) repeat = count(argv[0], value);
        else if ((value = option("--batch", argc, argv, &i))) batch = count(argv[0], value);
        else if ((value = option("--mapped-limit", argc, argv, &i))) limit = count(argv[0], value);
        else if (strcmp(argv[i], "--resident") == 0) resident = true;
        else if (strcmp(argv[i], "--json") == 0) json = true;
        else if (strcmp(argv[i], "--quiet") == 0) quiet = true;
        else if (common_option(options, argc, argv, &i)) continue;
        else if (argv[i][0] == '-') usage_error(argv[0], "unknown option", argv[i]);
        else if (path) usage_error(argv[0], "one too many:", argv[i]);
        else path = argv[i];
    }
    if (!path) usage_error(argv[0], "missing:", "MODEL.gguf");
    if (repeat < 1 || repeat > MAX_REPEAT) usage_error(argv[0], "1 to 100 runs, not", "--repeat");

    for (j = 0; j < depths.count; j++) {
        for (k = 0; k < prompts.count; k++) {
            if (prompts.values[k] == 0) continue;
            list[measurements++] = (struct measurement){
                .name = "prefill", .tokens = prompts.values[k], .depth = depths.values[j], .repeat = repeat};
            if (depths.values[j] + prompts.values[k] > longest) longest = depths.values[j] + prompts.values[k];
        }
        if (decode == 0) continue;
        list[measurements++] =
            (struct measurement){.name = "decode", .tokens = decode, .depth = depths.values[j], .repeat = repeat};
        if (depths.values[j] + decode > longest) longest = depths.values[j] + decode;
    }

    if (resident && chord_model_options_set_resident(options.model, true, &err)) fail(argv[0], err);
    if (chord_model_options_set_mapped_limit(options.model, (uint64_t)limit << 20, &err)) fail(argv[0], err);
    start = now();
    if (chord_model_open(path, options.model, &model, &err)) fail(argv[0], err);
    open_seconds = now() - start;
    if (chord_session_options_set_context_length(options.session, longest, &err) ||
        chord_session_options_set_batch_size(options.session, batch, &err) ||
        chord_session_new(model, options.session, &session, &err))
        fail(argv[0], err);
    if (resident) settle(model);
    for (j = 0; j < measurements; j++) measure(argv[0], session, model, &list[j], quiet);

    if (json) {
        print_json(path, model, precision, open_seconds, list, measurements);
    } else {
        printf("libchord %s, %s, %zu threads, precision %s, opened in %.1f ms\n", chord_version(), chord_model_cpu_level(model),
               chord_model_threads(model), precision, 1e3 * open_seconds);
        printf("%-8s %8s %8s %12s %12s\n", "test", "tokens", "depth", "tokens/s", "spread");
        for (j = 0; j < measurements; j++) {
            const struct measurement *m = &list[j];
            printf("%-8s %8u %8u %12.2f %11.1f%%", m->name, m->tokens, m->depth, median(m),
                   100 * (m->rates[repeat - 1] - m->rates[0]) / median(m));
            if (limit) printf("  %.1f MB read from storage per token", m->read / 1e6);
            putchar('\n');
        }
    }
    chord_session_free(session);
    chord_model_free(model);
    common_free(options);
    return ferror(stdout) ? EXIT_FAILURE : 0;
}
