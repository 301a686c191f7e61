/* Memory: a step asks for none, and when there is none left, calls fail and the library lives on. The allocator of this
 * program, which the library uses too, counts requests and refuses some. */
#include "check.h"

#include <errno.h>
#include <stdatomic.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static atomic_long requests;
/* The requests that fail: from first to last. */
static atomic_long first_failure = -1, last_failure = -1;

static bool refused(void)
{
    long request = atomic_fetch_add(&requests, 1);
    if (request < first_failure || request > last_failure) return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return refused() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return refused() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    return refused() ? NULL : __libc_realloc(block, size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    if (refused()) return ENOMEM;
    *block = __libc_memalign(alignment, size);
    return *block ? 0 : ENOMEM;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return refused() ? NULL : __libc_memalign(alignment, size);
}

/* After the first step a session allocates nothing, with everything that a sampler can do and stop strings that never come. */
static void steps(const char *path)
{
    chord_model *model = NULL;
    chord_session_options *options = NULL;
    chord_session *session = NULL;
    chord_event event = CHORD_EVENT_TOKEN;
    int count = 0;
    long before;

    OK(chord_model_open(path, NULL, &model, &err));
    OK(chord_session_options_new(&options, &err));
    OK(chord_session_options_set_temperature(options, 0.9f, &err));
    OK(chord_session_options_set_repetition_penalty(options, 1.1f, &err));
    OK(chord_session_options_set_frequency_penalty(options, 0.1f, &err));
    OK(chord_session_options_add_stop(options, "@@@", 3, &err));
    OK(chord_session_new(model, options, &session, &err));
    OK(chord_session_append_text(session, "Monday, Tuesday", 15, CHORD_TEXT_ADD_SPECIAL, &err));
    OK(chord_session_step(session, &event, &err));
    before = requests;
    while (event == CHORD_EVENT_TOKEN && count < 100) {
        OK(chord_session_step(session, &event, &err));
        CHECK(chord_session_piece(session, NULL));
        count++;
    }
    CHECK(count > 0 && requests == before);
    chord_session_free(session);
    chord_session_options_free(options);
    chord_model_free(model);
}

/* A model, a session, two steps: every call either succeeds or says that there is no memory. The token that was sampled last, or -1. */
static int32_t life(const char *path)
{
    chord_model_options *model_options = NULL;
    chord_session_options *options = NULL;
    chord_model *model = NULL;
    chord_session *session = NULL;
    chord_event event = CHORD_EVENT_TOKEN;
    int32_t token = -1;
    chord_status status;
    bool failed = false;

#define TRY(call)                                                                                      \
    if (!failed) {                                                                                     \
        status = (call);                                                                               \
        failed = status != CHORD_OK;                                                                   \
        if (failed && status != CHORD_STATUS_OUT_OF_MEMORY) {                                          \
            fprintf(stderr, "%s: status %d: %s\n", #call, (int)status, chord_error_message(err));      \
            failures++;                                                                                \
        }                                                                                              \
        if (failed && chord_error_status(err) != status) failures++;                                   \
    }
    TRY(chord_model_options_new(&model_options, &err))
    TRY(chord_model_options_set_threads(model_options, 1, &err))
    TRY(chord_model_open(path, model_options, &model, &err))
    TRY(chord_session_options_new(&options, &err))
    TRY(chord_session_options_set_temperature(options, 0, &err))
    TRY(chord_session_options_set_context_length(options, 128, &err))
    TRY(chord_session_options_set_batch_size(options, 32, &err))
    TRY(chord_session_options_add_stop(options, "stop", 4, &err))
    TRY(chord_session_new(model, options, &session, &err))
    TRY(chord_session_append_text(session, "What is 2+2?", 12, CHORD_TEXT_ADD_SPECIAL, &err))
    TRY(chord_session_step(session, &event, &err))
    TRY(chord_session_step(session, &event, &err))
    if (!failed) token = chord_session_token(session);
    chord_error_free(err);
    err = NULL;
    chord_session_free(session);
    chord_session_options_free(options);
    chord_model_free(model);
    chord_model_options_free(model_options);
    return token;
}

/* Every request fails once alone, and once with all that follow. */
static void exhaustion(const char *path)
{
    int32_t expected = life(path), token;
    long before = requests, total, request, step, failed = 0;

    CHECK(life(path) == expected);
    total = requests - before;
    for (request = 0; request < total; request += step) {
        int all;
        step = 1 + request / 300;
        for (all = 0; all <= 1; all++) {
            first_failure = requests + request;
            last_failure = all ? 0x7fffffff : first_failure;
            token = life(path);
            first_failure = last_failure = -1;
            CHECK(token == expected || token == -1);
            failed++;
        }
        if (failed % 16 == 0) CHECK(life(path) == expected);
    }
    CHECK(life(path) == expected);
    printf("%ld requests in a life, %ld failures injected\n", total, failed);
}

int main(int argc, char **argv)
{
    chord_model_free(test_model(argc, argv));
    steps(argv[1]);
    exhaustion(argv[1]);
    return result();
}
