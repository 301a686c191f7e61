/* What the C tests share: checks that say where they failed, and files. */
#ifndef CHECK_H
#define CHECK_H

#include <chord.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

#define CHECK(condition)                                                                     \
    do {                                                                                     \
        if (!(condition)) {                                                                  \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);          \
            failures++;                                                                      \
        }                                                                                    \
    } while (0)

/* A call that must succeed. */
#define OK(call) check_status(__FILE__, __LINE__, #call, (call), CHORD_OK, NULL)

/* A call that must fail with a status, and with a message that holds a text; err is the error that the call wrote to. */
#define FAILS(call, status, text) check_status(__FILE__, __LINE__, #call, (call), (status), (text))

static chord_error *err;

static inline void check_status(const char *file, int line, const char *call, chord_status got, chord_status expected,
                                const char *text)
{
    const char *message = chord_error_message(err);
    if (got != expected || (got != CHORD_OK && chord_error_status(err) != got)) {
        fprintf(stderr, "%s:%d: %s: status %d, expected %d, message: %s\n", file, line, call, (int)got, (int)expected,
                message ? message : "none");
        failures++;
    } else if (text && !(message && strstr(message, text))) {
        fprintf(stderr, "%s:%d: %s: the message does not speak of %s: %s\n", file, line, call, text,
                message ? message : "none");
        failures++;
    }
    chord_error_free(err);
    err = NULL;
}

/* Exit status of a test program; at its end, all that it made must be freed. */
static inline int result(void)
{
    static const char *kinds[] = {"error", "model options", "model", "session options", "session", "chat", "answer", "quantize options"};
    int kind;
    for (kind = 1; kind <= 8; kind++) {
        size_t count = chord_handle_count((chord_handle_kind)kind);
        if (count == 0) continue;
        fprintf(stderr, "%zu handles are not freed: %s\n", count, kinds[kind - 1]);
        failures++;
    }
    CHECK(chord_handle_count(CHORD_HANDLE_KIND_ANY) == 0);
    if (failures) fprintf(stderr, "%d checks failed\n", failures);
    return failures ? 1 : 0;
}

/* The bytes of a file, or NULL. */
static inline unsigned char *read_file(const char *path, size_t *size)
{
    unsigned char *bytes = NULL;
    FILE *file = fopen(path, "rb");
    long end = -1;
    if (file && fseek(file, 0, SEEK_END) == 0) end = ftell(file);
    if (end > 0 && fseek(file, 0, SEEK_SET) == 0) bytes = malloc((size_t)end);
    if (bytes && fread(bytes, 1, (size_t)end, file) != (size_t)end) {
        free(bytes);
        bytes = NULL;
    }
    if (file) fclose(file);
    *size = bytes ? (size_t)end : 0;
    return bytes;
}

/* Opens the test model; ends the test as "skipped" if there is none. */
static inline chord_model *test_model(int argc, char **argv)
{
    chord_model *model = NULL;
    size_t size = 0;
    unsigned char *bytes = argc > 1 ? read_file(argv[1], &size) : NULL;
    if (!bytes) {
        fprintf(stderr, "skipped: no model file %s\n", argc > 1 ? argv[1] : "given");
        exit(77);
    }
    free(bytes);
    OK(chord_model_open(argv[1], NULL, &model, &err));
    if (!model) exit(1);
    return model;
}

/* A session that always takes the likeliest token. */
static inline chord_session *session_with(const chord_model *model, uint32_t context, uint32_t batch, bool prefault)
{
    chord_session *session = NULL;
    chord_session_options *options = NULL;
    OK(chord_session_options_new(&options, &err));
    OK(chord_session_options_set_temperature(options, 0, &err));
    OK(chord_session_options_set_context_length(options, context, &err));
    OK(chord_session_options_set_batch_size(options, batch, &err));
    OK(chord_session_options_set_prefault(options, prefault, &err));
    OK(chord_session_new(model, options, &session, &err));
    chord_session_options_free(options);
    return session;
}

static inline chord_session *greedy_session(const chord_model *model, uint32_t context, uint32_t batch)
{
    return session_with(model, context, batch, false);
}

#endif
