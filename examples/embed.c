/* Finds what is like a text: embed MODEL "a text" < lines */
#include "common.h"

static const char help[] =
    "usage: embed [options] MODEL.gguf TEXT\n"
    "\n"
    "Reads lines from standard input and prints them, those most like TEXT first, each with the cosine of the angle between its\n"
    "embedding and that of TEXT: 1 for the same direction, 0 for nothing in common.\n"
    "\n"
    "  --pooling P       mean, cls or last; without it, as the model file says\n"
    "  --vectors         prints the embedding of TEXT and does not read lines\n" COMMON_OPTIONS;

struct line {
    const char *text;
    size_t len;
    float likeness;
};

static int by_likeness(const void *a, const void *b)
{
    float x = ((const struct line *)a)->likeness, y = ((const struct line *)b)->likeness;
    return (x < y) - (x > y);
}

/* The embedding of a text, borrowed until the next one. */
static const float *embed(const char *program, chord_session *session, const char *text, size_t len, size_t *count)
{
    chord_error *err = NULL;
    if (chord_session_rewind(session, 0, &err) ||
        chord_session_append_text(session, text, len, CHORD_TEXT_ADD_SPECIAL, &err) || chord_session_eval(session, &err))
        fail(program, err);
    return chord_session_embedding(session, count);
}

static chord_pooling pooling_by_name(const char *program, const char *name)
{
    if (strcmp(name, "mean") == 0) return CHORD_POOLING_MEAN;
    if (strcmp(name, "cls") == 0) return CHORD_POOLING_CLS;
    if (strcmp(name, "last") == 0) return CHORD_POOLING_LAST;
    usage_error(program, "unknown pooling", name);
    return CHORD_POOLING_DEFAULT;
}

int main(int argc, char **argv)
{
    struct common options = common_new(argv[0]);
    const char *path = NULL, *text = NULL, *value;
    chord_pooling pooling = CHORD_POOLING_DEFAULT;
    bool vectors = false;
    chord_error *err = NULL;
    chord_model *model = NULL;
    chord_session *session = NULL;
    struct line *lines = NULL;
    size_t count, lines_len = 0, input_len, n;
    const float *embedding;
    float *wanted;
    char *input = NULL, *start;
    int i;

    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            return 0;
        }
        if ((value = option("--pooling", argc, argv, &i))) {
            pooling = pooling_by_name(argv[0], value);
        } else if (strcmp(argv[i], "--vectors") == 0) {
            vectors = true;
        } else if (common_option(options, argc, argv, &i)) {
            continue;
        } else if (argv[i][0] == '-') {
            usage_error(argv[0], "unknown option", argv[i]);
        } else if (!path) {
            path = argv[i];
        } else if (!text) {
            text = argv[i];
        } else {
            usage_error(argv[0], "one too many:", argv[i]);
        }
    }
    if (!path) usage_error(argv[0], "missing:", "MODEL.gguf");
    if (!text) usage_error(argv[0], "missing:", "TEXT");

    if (chord_session_options_set_pooling(options.session, pooling, &err) ||
        chord_model_open(path, options.model, &model, &err) || chord_session_new(model, options.session, &session, &err))
        fail(argv[0], err);
    embedding = embed(argv[0], session, text, strlen(text), &count);
    wanted = calloc(count, sizeof *wanted);
    if (!wanted) fail(argv[0], err);
    memcpy(wanted, embedding, count * sizeof *wanted);

    if (vectors) {
        for (n = 0; n < count; n++) printf("%s%.7g", n ? " " : "", (double)wanted[n]);
        putchar('\n');
    } else {
        input = read_all(stdin, &input_len);
        lines = calloc(input_len + 1, sizeof *lines);
        if (!lines) fail(argv[0], err);
        for (start = strtok(input, "\n"); start; start = strtok(NULL, "\n")) {
            struct line *line = lines + lines_len++;
            line->text = start;
            line->len = strlen(start);
            embedding = embed(argv[0], session, start, line->len, &count);
            for (n = 0; n < count; n++) line->likeness += embedding[n] * wanted[n];
        }
        qsort(lines, lines_len, sizeof *lines, by_likeness);
        for (n = 0; n < lines_len; n++) printf("%7.4f  %s\n", (double)lines[n].likeness, lines[n].text);
    }

    free(lines);
    free(input);
    free(wanted);
    chord_session_free(session);
    chord_model_free(model);
    common_free(options);
    return ferror(stdout) ? EXIT_FAILURE : 0;
}
