/* Memory: a step asks for none, and when there is none left, calls fail and the library lives on. The allocator of this
 * program, which the library uses too, counts requests and refuses some; then the system refuses address space. */
#define _XOPEN_SOURCE 700
#include "check.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* A model, a chat, a session, two steps, an answer: every call either succeeds or says that there is no memory. The token that was
 * sampled last, or -1. */
static int32_t life(const char *path, uint32_t threads)
{
    chord_model_options *model_options = NULL;
    chord_session_options *options = NULL;
    chord_model *model = NULL;
    chord_session *session = NULL;
    chord_chat *chat = NULL;
    chord_answer *answer = NULL;
    chord_event event = CHORD_EVENT_TOKEN;
    int32_t token = -1, tokens[16];
    char text[64];
    size_t count = 0;
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
    TRY(chord_model_options_set_threads(model_options, threads, &err))
    TRY(chord_model_open(path, model_options, &model, &err))
    TRY(chord_model_tokenize(model, "2+2", 3, 0, tokens, 16, &count, &err))
    TRY(chord_model_detokenize(model, tokens, count, 0, text, sizeof text, &count, &err))
    TRY(chord_chat_new(model, CHORD_CHAT_DEFAULT_TEMPLATE, &chat, &err))
    TRY(chord_chat_add(chat, "user", "What is 2+2?", 12, &err))
    TRY(chord_session_options_new(&options, &err))
    TRY(chord_session_options_set_temperature(options, 0, &err))
    TRY(chord_session_options_set_context_length(options, 128, &err))
    TRY(chord_session_options_set_batch_size(options, 32, &err))
    TRY(chord_session_options_add_stop(options, "stop", 4, &err))
    TRY(chord_session_new(model, options, &session, &err))
    TRY(chord_session_append_chat(session, chat, CHORD_CHAT_GENERATION_PROMPT, &err))
    TRY(chord_session_step(session, &event, &err))
    TRY(chord_session_step(session, &event, &err))
    if (!failed) token = chord_session_token(session);
    TRY(chord_answer_new(chat, "hermes", &answer, &err))
    TRY(chord_answer_feed(answer, "<tool_call>{\"name\": \"f\"}</tool_call>", 36, true, &err))
    chord_error_free(err);
    err = NULL;
    chord_answer_free(answer);
    chord_session_free(session);
    chord_session_options_free(options);
    chord_chat_free(chat);
    chord_model_free(model);
    chord_model_options_free(model_options);
    return failed ? -1 : token;
}

/* Every request fails once alone, and once with all that follow; threads are made meanwhile. */
static void exhaustion(const char *path, uint32_t threads)
{
    int32_t expected = life(path, threads), token;
    long before = requests, total, request, step, injected = 0;

    CHECK(life(path, threads) == expected && expected >= 0);
    total = requests - before;
    for (request = 0; request < total; request += step) {
        int all;
        step = 1 + request / 300;
        for (all = 0; all <= 1; all++) {
            first_failure = requests + request;
            last_failure = all ? 0x7fffffff : first_failure;
            token = life(path, threads);
            first_failure = last_failure = -1;
            CHECK(token == expected || token == -1);
            injected++;
        }
        if (injected % 16 == 0) CHECK(life(path, threads) == expected);
    }
    CHECK(life(path, threads) == expected);
    printf("%u threads: %ld requests in a life, %ld failures injected\n", (unsigned)threads, total, injected);
}

/* Address space of this process in KiB. */
static long address_space(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long size = -1;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmSize: %ld", &size) == 1) break;
    if (file) fclose(file);
    return size;
}

/* Stack that a limit of the address space would keep from growing. */
static void touch_stack(void)
{
    volatile char stack[256 << 10];
    size_t i;
    for (i = 0; i < sizeof stack; i += 1024) stack[i] = 1;
}

/* Children that may have so many KiB more than they have when they begin, from nothing to plenty. */
static void limits(const char *path)
{
    int32_t expected = life(path, 2);
    long more, lives = 0, refusals = 0;

    fflush(NULL);
    for (more = 0; more <= 32 << 10; more += 1 + more / 8) {
        int status = -1;
        pid_t child = fork();
        if (child == 0) {
            struct rlimit limit;
            int32_t token;

            failures = 0;
            touch_stack();
            limit.rlim_cur = limit.rlim_max = (rlim_t)(address_space() + more) << 10;
            if (setrlimit(RLIMIT_AS, &limit)) _exit(3);
            token = life(path, 2);
            CHECK(token == expected || token == -1);
            _exit(failures ? 1 : token == -1 ? 2 : 0);
        }
        waitpid(child, &status, 0);
        if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 2)) {
            fprintf(stderr, "with %ld KiB more: wait status %#x\n", more, (unsigned)status);
            failures++;
        } else if (WEXITSTATUS(status) == 0) {
            lives++;
        } else {
            refusals++;
        }
    }
    CHECK(lives > 0 && refusals > 0);
    printf("limited address space: %ld lives, %ld refusals\n", lives, refusals);
}

int main(int argc, char **argv)
{
    chord_model_free(test_model(argc, argv));
    steps(argv[1]);
    exhaustion(argv[1], 1);
    exhaustion(argv[1], 3);
    limits(argv[1]);
    return result();
}
