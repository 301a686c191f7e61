/* Bad model files: a status and a message that names the cause; good ones by every way of opening, and one that is cut while
 * it is open. */
#define _XOPEN_SOURCE 700
#include "check.h"

#include <unistd.h>

static unsigned char *good;
static size_t good_size;

/* Opens bytes; the copy has exactly their size, so that a sanitizer sees a read behind them. */
static void expect(const unsigned char *bytes, size_t size, const char *what, const char *text)
{
    unsigned char *copy = malloc(size ? size : 1);
    chord_model *model = NULL;
    chord_status status;
    const char *message;

    if (!copy) exit(1);
    if (size) memcpy(copy, bytes, size);
    status = chord_model_open_memory(copy, size, NULL, &model, &err);
    message = chord_error_message(err);
    if (status > CHORD_STATUS_MALFORMED || status < CHORD_STATUS_TEMPLATE || model || !message ||
        (text && !strstr(message, text))) {
        fprintf(stderr, "%s: status %d, message: %s (expected one with \"%s\")\n", what, (int)status,
                message ? message : "none", text ? text : "");
        failures++;
    }
    chord_error_free(err);
    err = NULL;
    chord_model_free(model);
    free(copy);
}

/* Where a byte sequence is in the good file, 0 if nowhere. */
static size_t find(const char *needle)
{
    size_t i, len = strlen(needle);
    for (i = 0; i + len < good_size; i++)
        if (memcmp(good + i, needle, len) == 0) return i;
    return 0;
}

/* The good file with the bytes at an offset replaced by a little-endian number. */
static void expect_patched(size_t offset, uint64_t number, size_t width, const char *what, const char *text)
{
    unsigned char saved[8];
    size_t i;

    memcpy(saved, good + offset, width);
    for (i = 0; i < width; i++) good[offset + i] = (unsigned char)(number >> (8 * i));
    expect(good, good_size, what, text);
    memcpy(good + offset, saved, width);
}

static void bad_files(void)
{
    static const char tensor[] = "token_embd.weight";
    const char text[] = "This is not a model.\nIt is a text of a few lines,\nlonger than the header of one.\n";
    size_t i, dims, name = find(tensor);
    unsigned char swapped[8];

    expect(good, 0, "empty", NULL);
    expect((const unsigned char *)text, sizeof text, "text", "GGUF");
    for (i = 0; i < 200; i++) expect(good, good_size / 200 * i, "cut", NULL);
    for (i = 1; i < 200; i++) expect(good, i, "cut in the header", NULL);
    expect_patched(0, 'X', 1, "magic", "GGUF");
    expect_patched(4, 1, 4, "version 1", "version 1");
    expect_patched(4, 99, 4, "version 99", "version 99");
    memcpy(swapped, good, 8);
    swapped[4] = swapped[5] = swapped[6] = 0;
    swapped[7] = 3;
    expect(swapped, 8, "big-endian", "big-endian");
    expect_patched(8, UINT64_C(1) << 60, 8, "tensor count", "tensor");
    expect_patched(8, UINT64_MAX, 8, "tensor count", "tensor");
    expect_patched(16, UINT64_C(1) << 60, 8, "metadata count", NULL);
    expect_patched(24, UINT64_MAX, 8, "key length", NULL);
    expect_patched(24, UINT64_C(1) << 40, 8, "key length", NULL);

    CHECK(name != 0);
    if (!name) return;
    dims = name + strlen(tensor) + 4;
    expect_patched(name + 9, 'X', 1, "missing tensor", tensor);
    expect_patched(dims - 4, 0, 4, "no dimensions", tensor);
    expect_patched(dims - 4, 5, 4, "five dimensions", tensor);
    expect_patched(dims, 0, 8, "empty dimension", NULL);
    expect_patched(dims, UINT64_MAX, 8, "huge dimension", tensor);
    expect_patched(dims, 512, 8, "wrong shape", tensor);
    expect_patched(dims + 16, 9999, 4, "unknown type", tensor);
    expect_patched(dims + 20, UINT64_C(1) << 40, 8, "outside the file", tensor);
    expect_patched(dims + 20, UINT64_MAX, 8, "outside the file", tensor);
    expect_patched(dims + 20, 1, 8, "not aligned", tensor);
}

static void write_file(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite(bytes, 1, size, file) == size);
    if (file) fclose(file);
}

static void on_disk(const char *path)
{
    chord_model *model = NULL;
    chord_model_options *options = NULL;

    write_file("empty.gguf", "", 0);
    write_file("cut.gguf", good, good_size / 2);
    FAILS(chord_model_open("empty.gguf", NULL, &model, &err), CHORD_STATUS_MALFORMED, "empty.gguf");
    FAILS(chord_model_open("cut.gguf", NULL, &model, &err), CHORD_STATUS_MALFORMED, "cut.gguf");
    FAILS(chord_model_open(".", NULL, &model, &err), CHORD_STATUS_IO, NULL);
    FAILS(chord_model_open("", NULL, &model, &err), CHORD_STATUS_IO, NULL);
    OK(chord_model_options_new(&options, &err));
    OK(chord_model_options_set_copy(options, true, &err));
    OK(chord_model_options_set_default_pre_tokenizer(options, true, &err));
    FAILS(chord_model_open("cut.gguf", options, &model, &err), CHORD_STATUS_MALFORMED, "cut.gguf");
    OK(chord_model_open(path, options, &model, &err));
    CHECK(chord_model_vocab_size(model) > 0 && chord_model_threads(model) > 0);
    chord_model_free(model);
    chord_model_options_free(options);
    remove("empty.gguf");
    remove("cut.gguf");
}

static void logger(chord_log_level level, const char *message, void *user_data)
{
    CHECK(level >= CHORD_LOG_LEVEL_ERROR && level <= CHORD_LOG_LEVEL_INFO && *message);
    ++*(int *)user_data;
}

static void in_memory(void)
{
    unsigned char *copy = malloc(good_size + 1);
    chord_model *model = NULL;
    chord_model_options *options = NULL;
    chord_session *session = NULL;
    int32_t tokens[8];
    size_t count = 0;
    int messages = 0;

    if (!copy) exit(1);
    memcpy(copy + 1, good, good_size);
    OK(chord_model_options_new(&options, &err));
    OK(chord_model_options_set_copy(options, true, &err));
    OK(chord_model_options_set_log(options, logger, &messages, &err));
    OK(chord_model_open_memory(copy + 1, good_size, options, &model, &err));
    memset(copy, 0xff, good_size + 1); /* the model has its own */
    CHECK(messages > 0);
    OK(chord_session_new(model, NULL, &session, &err));
    OK(chord_session_append_text(session, "a b c", 5, 0, &err));
    OK(chord_session_eval(session, &err));
    chord_session_free(session);
    chord_model_free(model);
    free(copy);

    session = NULL;
    OK(chord_model_options_set_vocab_only(options, true, &err));
    OK(chord_model_open_memory(good, good_size, options, &model, &err));
    OK(chord_model_tokenize(model, "a b c", 5, 0, tokens, 8, &count, &err));
    CHECK(count > 0);
    CHECK(chord_model_vocab_size(model) > 0 && chord_model_threads(model) == 0 && chord_model_context_length(model) == 0);
    FAILS(chord_session_new(model, NULL, &session, &err), CHORD_STATUS_INVALID_STATE, "vocabulary");
    chord_model_free(model);
    chord_model_options_free(options);
}

/* A mapped file that loses its end: errors from then on. A copy has all of it. */
static void cut_while_open(bool copy)
{
    static const char path[] = "cut-while-open.gguf";
    chord_model_options *options = NULL;
    chord_model *model = NULL, *other = NULL;
    chord_session *session, *late = NULL;
    chord_chat *chat = NULL;
    chord_event event = CHORD_EVENT_TOKEN;
    char text[256];
    size_t size = 0;
    long cuts[] = {(long)(good_size / 2), 100, 0};
    int i;

    write_file(path, good, good_size);
    OK(chord_model_options_new(&options, &err));
    OK(chord_model_options_set_copy(options, copy, &err));
    OK(chord_model_open(path, options, &model, &err));
    session = greedy_session(model, 64, 8);
    OK(chord_session_append_text(session, "a b c", 5, 0, &err));
    OK(chord_session_step(session, &event, &err));
    for (i = 0; i < 3; i++) {
        CHECK(truncate(path, cuts[i]) == 0);
        if (copy) {
            OK(chord_session_step(session, &event, &err));
            OK(chord_model_metadata_value(model, "general.architecture", text, sizeof text, &size, &err));
            continue;
        }
        FAILS(chord_session_step(session, &event, &err), CHORD_STATUS_IO, "was cut");
        FAILS(chord_session_eval(session, &err), CHORD_STATUS_IO, path);
        FAILS(chord_session_new(model, NULL, &late, &err), CHORD_STATUS_IO, "was cut");
        FAILS(chord_model_metadata_value(model, "general.architecture", text, sizeof text, &size, &err), CHORD_STATUS_IO, "was cut");
        if (i == 0) FAILS(chord_chat_new(model, 0, &chat, &err), CHORD_STATUS_IO, "was cut");
        CHECK(chord_model_tokenize(model, "a b c", 5, 0, NULL, 0, &size, NULL) == CHORD_STATUS_BUFFER_TOO_SMALL && size > 0);
        FAILS(chord_model_open(path, options, &other, &err), CHORD_STATUS_MALFORMED, path);
    }
    if (!copy) { /* whole again, the session goes on where it was */
        write_file(path, good, good_size);
        OK(chord_session_step(session, &event, &err));
    }
    chord_session_free(session);
    chord_model_free(model);
    chord_model_options_free(options);
    remove(path);
}

int main(int argc, char **argv)
{
    chord_model_free(test_model(argc, argv));
    good = read_file(argv[1], &good_size);
    if (!good) return 1;
    bad_files();
    on_disk(argv[1]);
    in_memory();
    cut_while_open(false);
    cut_while_open(true);
    free(good);
    return result();
}
