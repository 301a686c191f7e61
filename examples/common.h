/* What the example programs share: errors and command lines. */
#ifndef COMMON_H
#define COMMON_H

#include <chord.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Exit codes: 0 done, 1 the library or the system failed, 2 the command line is wrong. */
enum { EXIT_USAGE = 2 };

/* Prints what went wrong and ends the program. */
static inline void fail(const char *program, const chord_error *err)
{
    fprintf(stderr, "%s: %s\n", program, chord_error_message(err));
    exit(EXIT_FAILURE);
}

static inline void usage_error(const char *program, const char *problem, const char *what)
{
    fprintf(stderr, "%s: %s %s (see %s --help)\n", program, problem, what, program);
    exit(EXIT_USAGE);
}

/* If argv[*i] is the option name, moves *i to its value and returns that; otherwise NULL. */
static inline const char *option(const char *name, int argc, char **argv, int *i)
{
    if (strcmp(argv[*i], name) != 0) return NULL;
    if (*i + 1 >= argc) usage_error(argv[0], "no value after", name);
    return argv[++*i];
}

static inline double number(const char *program, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end) usage_error(program, "not a number:", text);
    return value;
}

static inline uint32_t count(const char *program, const char *text)
{
    double value = number(program, text);
    if (!(value >= 0 && value <= UINT32_MAX) || value != (double)(uint32_t)value) usage_error(program, "not a count:", text);
    return (uint32_t)value;
}

/* Options of a model and of a session that several programs take. */
#define COMMON_OPTIONS                                                            \
    "  --threads N       threads to use (0: all the process may use)\n"           \
    "  --level NAME      force an instruction-set level, e.g. scalar\n"           \
    "  --precision P     high (default) or fast\n"                                \
    "  --context N       tokens that fit (0: as trained, at most 4096)\n"         \
    "  --temperature T   0 always takes the likeliest token\n"                    \
    "  --top-k N, --top-p P, --min-p P, --repetition-penalty R, --seed N\n"

struct common {
    chord_model_options *model;
    chord_session_options *session;
};

static inline struct common common_new(const char *program)
{
    struct common options = {NULL, NULL};
    chord_error *err = NULL;
    if (chord_model_options_new(&options.model, &err) || chord_session_options_new(&options.session, &err)) fail(program, err);
    return options;
}

static inline void common_free(struct common options)
{
    chord_model_options_free(options.model);
    chord_session_options_free(options.session);
}

/* Takes argv[*i] (and its value) if it is one of COMMON_OPTIONS. */
static inline bool common_option(struct common options, int argc, char **argv, int *i)
{
    chord_error *err = NULL;
    const char *value, *program = argv[0];

    if ((value = option("--threads", argc, argv, i))) {
        chord_model_options_set_threads(options.model, count(program, value), &err);
    } else if ((value = option("--level", argc, argv, i))) {
        chord_model_options_set_cpu_level(options.model, value, &err);
    } else if ((value = option("--precision", argc, argv, i))) {
        if (strcmp(value, "high") != 0 && strcmp(value, "fast") != 0) usage_error(program, "unknown precision", value);
        chord_model_options_set_precision(options.model, *value == 'f' ? CHORD_PRECISION_FAST : CHORD_PRECISION_HIGH, &err);
    } else if ((value = option("--context", argc, argv, i))) {
        chord_session_options_set_context_length(options.session, count(program, value), &err);
    } else if ((value = option("--temperature", argc, argv, i))) {
        chord_session_options_set_temperature(options.session, (float)number(program, value), &err);
    } else if ((value = option("--top-k", argc, argv, i))) {
        chord_session_options_set_top_k(options.session, count(program, value), &err);
    } else if ((value = option("--top-p", argc, argv, i))) {
        chord_session_options_set_top_p(options.session, (float)number(program, value), &err);
    } else if ((value = option("--min-p", argc, argv, i))) {
        chord_session_options_set_min_p(options.session, (float)number(program, value), &err);
    } else if ((value = option("--repetition-penalty", argc, argv, i))) {
        chord_session_options_set_repetition_penalty(options.session, (float)number(program, value), &err);
    } else if ((value = option("--seed", argc, argv, i))) {
        chord_session_options_set_seed(options.session, count(program, value), &err);
    } else {
        return false;
    }
    if (err) {
        fprintf(stderr, "%s: %s\n", program, chord_error_message(err));
        exit(EXIT_USAGE);
    }
    return true;
}

/* Reads a stream to its end; the caller frees the text, which has a NUL behind it. */
static inline char *read_all(FILE *file, size_t *len)
{
    size_t capacity = 4096;
    char *text = malloc(capacity);
    *len = 0;
    while (text) {
        *len += fread(text + *len, 1, capacity - 1 - *len, file);
        if (*len < capacity - 1) break;
        capacity *= 2;
        char *larger = realloc(text, capacity);
        if (!larger) free(text);
        text = larger;
    }
    if (!text || ferror(file)) {
        fprintf(stderr, "cannot read the input: %s\n", strerror(errno));
        exit(EXIT_FAILURE);
    }
    text[*len] = 0;
    return text;
}

#endif
