/* Several threads: sessions side by side on one model, cancelling, objects in use, freeing under a running call. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <pthread.h>
#include <time.h>

enum { THREADS = 4, STEPS = 24 };

static chord_model *model;

static void nap(long milliseconds)
{
    struct timespec time = {0, milliseconds * 1000000};
    nanosleep(&time, NULL);
}

struct story {
    int32_t tokens[STEPS];
    chord_status status;
};

/* Tells a story in a session of its own. Errors are counted by the main thread, which alone writes to err. */
static void *tell(void *argument)
{
    struct story *story = argument;
    chord_session_options *options = NULL;
    chord_session *session = NULL;
    chord_event event = CHORD_EVENT_TOKEN;
    int i;

    story->status = chord_session_options_new(&options, NULL);
    story->status |= chord_session_options_set_temperature(options, 0.9f, NULL);
    story->status |= chord_session_options_set_seed(options, 5, NULL);
    story->status |= chord_session_options_set_context_length(options, 128, NULL);
    story->status |= chord_session_new(model, options, &session, NULL);
    chord_session_options_free(options);
    story->status |= chord_session_append_text(session, "One day a", 9, CHORD_TEXT_ADD_SPECIAL, NULL);
    for (i = 0; i < STEPS; i++) {
        if (event == CHORD_EVENT_TOKEN) story->status |= chord_session_step(session, &event, NULL);
        story->tokens[i] = chord_session_token(session);
    }
    chord_session_free(session);
    return NULL;
}

static void side_by_side(void)
{
    pthread_t threads[THREADS];
    struct story stories[THREADS + 1];
    int i;

    memset(stories, 0, sizeof stories);
    tell(&stories[THREADS]);
    for (i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, tell, &stories[i]) == 0);
    for (i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (i = 0; i < THREADS; i++) CHECK(memcmp(&stories[i], &stories[THREADS], sizeof *stories) == 0);
    CHECK(stories[THREADS].status == CHORD_OK);
}

/* A long prompt, so that there is time to interfere. */
static chord_session *long_session(size_t *count)
{
    uint32_t context = 8192;
    chord_session *session = greedy_session(model, context, 32);
    int32_t *tokens = malloc(context * sizeof *tokens);
    uint32_t i;

    if (!tokens) exit(1);
    for (i = 0; i < context - 1; i++) tokens[i] = (int32_t)(3 + i % 50);
    OK(chord_session_append(session, tokens, context - 1, &err));
    free(tokens);
    *count = context - 1;
    return session;
}

struct run {
    chord_session *session;
    chord_status status;
    chord_event event;
    volatile int done;
};

static void *evaluate(void *argument)
{
    struct run *run = argument;
    run->status = chord_session_eval(run->session, NULL);
    run->done = 1;
    return NULL;
}

static void *step(void *argument)
{
    struct run *run = argument;
    run->status = chord_session_step(run->session, &run->event, NULL);
    run->done = 1;
    return NULL;
}

static void cancel(void)
{
    struct run run = {NULL, CHORD_OK, CHORD_EVENT_TOKEN, 0};
    pthread_t thread;
    size_t count = 0;
    int busy = 0, early;

    run.session = long_session(&count);
    pthread_create(&thread, NULL, evaluate, &run);
    nap(20);
    early = run.done;
    while (!run.done && !busy) { /* until the thread is inside: then nobody else is let in */
        chord_status status = chord_session_rewind(run.session, count, NULL);
        busy = status == CHORD_STATUS_BUSY;
        if (busy) CHECK(chord_session_position(run.session) == 0 && chord_session_piece(run.session, NULL) == NULL);
    }
    chord_session_cancel(run.session);
    pthread_join(thread, NULL);
    if (early) {
        fprintf(stderr, "the prompt was evaluated before it could be cancelled\n");
    } else {
        CHECK(busy && run.status == CHORD_STATUS_CANCELLED);
    }
    CHECK(chord_session_position(run.session) == count);

    run.done = 0;
    pthread_create(&thread, NULL, step, &run);
    nap(20);
    chord_session_cancel(run.session);
    pthread_join(thread, NULL);
    CHECK(run.status == CHORD_OK && run.event == CHORD_EVENT_CANCELLED);
    CHECK(chord_session_position(run.session) == count);

    /* Cancelled before it begins; then it works again, on a prompt of reasonable length. */
    OK(chord_session_rewind(run.session, 20, &err));
    chord_session_cancel(run.session);
    OK(chord_session_step(run.session, &run.event, &err));
    CHECK(run.event == CHORD_EVENT_CANCELLED);
    OK(chord_session_step(run.session, &run.event, &err));
    CHECK(run.event == CHORD_EVENT_TOKEN || run.event == CHORD_EVENT_END);
    chord_session_free(run.session);
}

static void free_under_a_call(void)
{
    int i;
    for (i = 0; i < 8; i++) {
        struct run run = {NULL, CHORD_OK, CHORD_EVENT_TOKEN, 0};
        pthread_t thread;
        size_t count = 0;

        run.session = long_session(&count);
        pthread_create(&thread, NULL, evaluate, &run);
        nap(i * 3);
        chord_session_free(run.session);
        pthread_join(thread, NULL);
        CHECK(run.status == CHORD_STATUS_CANCELLED || run.status == CHORD_STATUS_INVALID_HANDLE);
        CHECK(chord_session_position(run.session) == 0);
    }
}

int main(int argc, char **argv)
{
    model = test_model(argc, argv);
    side_by_side();
    cancel();
    free_under_a_call();
    chord_model_free(model);
    return result();
}
