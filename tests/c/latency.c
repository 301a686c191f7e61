/* How soon calls give the thread back: latency MODEL [LIBRARY] [ROUNDS [PROMPT]]. As a test it only sees that everything answers;
 * the times are for who runs it on a quiet machine. On one that is not, time of the processor tells more: what all threads of
 * the program together still did, which is the least that they could be waited for. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { MAX_ROUNDS = 10000 };

static double read_clock(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return 1e3 * (double)time.tv_sec + 1e-6 * (double)time.tv_nsec;
}

static double milliseconds(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

/* Of the processor, by all threads. */
static double spent(void)
{
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

static void nap(double duration)
{
    struct timespec time = {(time_t)(duration / 1e3), (long)(duration * 1e6) % 1000000000};
    nanosleep(&time, NULL);
}

static double samples[2][MAX_ROUNDS];
static int sample_count;

static void sample(double time, double processor)
{
    if (sample_count == MAX_ROUNDS) return;
    samples[0][sample_count] = time;
    samples[1][sample_count++] = processor;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *name)
{
    int kind;
    for (kind = 0; kind < 2 && sample_count > 0; kind++) {
        double *sorted = samples[kind];
        qsort(sorted, (size_t)sample_count, sizeof *sorted, compare);
        printf("%-40s %5d  p50 %7.3f  p99 %7.3f  max %7.3f ms%s\n", name, sample_count, sorted[sample_count / 2],
               sorted[sample_count * 99 / 100], sorted[sample_count - 1], kind ? " of the processor" : "");
    }
    sample_count = 0;
}

static chord_session *session_of(const chord_model *model, uint32_t count)
{
    chord_session *session = greedy_session(model, count + 1024, 256);
    int32_t *tokens = malloc(count * sizeof *tokens);
    uint32_t i;
    if (!tokens) exit(1);
    for (i = 0; i < count; i++) tokens[i] = (int32_t)(3 + i * 7 % 200);
    OK(chord_session_append(session, tokens, count, &err));
    free(tokens);
    return session;
}

/* When the call in the other thread ended, by both clocks; 0 while it runs. */
static _Atomic double ended, ended_spent;
static atomic_int begun;
static chord_session *shared;

static void *evaluate(void *steps)
{
    chord_event event = CHORD_EVENT_TOKEN;
    chord_status status = CHORD_OK;
    begun = 1;
    if (steps) {
        while (status == CHORD_OK && event != CHORD_EVENT_CANCELLED) {
            status = chord_session_step(shared, &event, NULL);
            /* For as long as it takes: the text does not matter. */
            if (event == CHORD_EVENT_END || event == CHORD_EVENT_LENGTH) {
                chord_session_rewind(shared, 32, NULL);
                event = CHORD_EVENT_TOKEN;
            }
        }
    } else {
        chord_session_eval(shared, NULL);
    }
    ended_spent = spent();
    ended = milliseconds();
    return NULL;
}

/* From chord_session_cancel() to the end of the call that it stops. */
static void cancel(const char *name, const chord_model *model, uint32_t prompt, bool steps, int rounds)
{
    int i;
    shared = session_of(model, prompt);
    if (steps) OK(chord_session_eval(shared, &err));
    for (i = 0; i < rounds; i++) {
        pthread_t thread;
        double asked, asked_spent;
        begun = 0;
        ended = 0;
        if (pthread_create(&thread, NULL, evaluate, steps ? &shared : NULL) != 0) exit(1);
        while (!begun) nap(0.01);
        nap(3 + 0.37 * (i % 101));
        if (ended > 0) { /* all is evaluated: from the beginning */
            pthread_join(thread, NULL);
            OK(chord_session_rewind(shared, prompt / 2, &err));
            continue;
        }
        asked = milliseconds();
        asked_spent = spent();
        chord_session_cancel(shared);
        pthread_join(thread, NULL);
        sample(ended - asked, ended_spent - asked_spent);
    }
    chord_session_free(shared);
    report(name);
}

static bool stop_after(uint64_t done, uint64_t total, void *user_data)
{
    double *times = user_data; /* when to stop; what was spent at the last call that did not */
    (void)done, (void)total;
    if (milliseconds() >= times[0]) return false;
    times[1] = spent();
    return true;
}

/* From the moment when it is no longer wanted to the end of an opening, and how long one takes. */
static void load(const char *path, bool copy, int rounds)
{
    chord_model_options *options = NULL;
    chord_model *model = NULL;
    double times[2] = {1e300, 0}, began, took = 0;
    int i;
    OK(chord_model_options_new(&options, &err));
    OK(chord_model_options_set_copy(options, copy, &err));
    OK(chord_model_options_set_progress(options, stop_after, times, &err));
    for (i = -1; i < rounds; i++) {
        began = milliseconds();
        times[1] = spent();
        if (i >= 0) times[0] = began + took * (i % 50) / 50;
        /* Of the processor: since the last time when it was still wanted, which is before the moment in question. */
        if (chord_model_open(path, options, &model, NULL) == CHORD_STATUS_CANCELLED)
            sample(milliseconds() - times[0], spent() - times[1]);
        else if (i < 0) took = milliseconds() - began;
        chord_model_free(model);
        model = NULL;
    }
    printf("opened%s in %.1f ms\n", copy ? " as a copy" : "", took);
    report(copy ? "cancel of an opening that copies" : "cancel of an opening");
    chord_model_options_free(options);
}

/* By how much steps exceed a budget of 4 ms. */
static void budget(const char *name, const chord_model *model, uint32_t prompt, int rounds)
{
    chord_session *session = session_of(model, prompt);
    chord_event event = CHORD_EVENT_PENDING;
    int i;
    for (i = 0; i < rounds; i++) {
        double began = milliseconds(), took, used;
        OK(chord_session_step_for(session, 4000, &event, &err));
        took = milliseconds() - began;
        /* A step without time does one unit of work in each thread: by that much a step with time is late. */
        used = spent();
        if (event == CHORD_EVENT_PENDING) OK(chord_session_step_for(session, 0, &event, &err));
        sample(took > 4 ? took - 4 : 0, spent() - used);
        if (event == CHORD_EVENT_END || event == CHORD_EVENT_LENGTH) OK(chord_session_rewind(session, prompt / 2 + 1, &err));
    }
    chord_session_free(session);
    report(name);
}

static void plans(const char *path, int rounds)
{
    chord_plan plan;
    int i;
    for (i = 0; i < rounds; i++) {
        double began = milliseconds(), used = spent();
        OK(chord_model_plan(path, NULL, NULL, &plan, sizeof plan, &err));
        sample(milliseconds() - began, spent() - used);
    }
    report("plan");
}

int main(int argc, char **argv)
{
    int rounds = argc > 3 ? atoi(argv[3]) : 2;
    uint32_t prompt = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 300;
    chord_model *model = test_model(argc, argv);

    if (rounds > MAX_ROUNDS) rounds = MAX_ROUNDS;
    plans(argv[1], rounds);
    load(argv[1], false, rounds);
    load(argv[1], true, rounds);
    cancel("cancel of a prompt", model, prompt, false, rounds);
    cancel("cancel of a decoding", model, 64, true, rounds);
    budget("beyond a budget of 4 ms: prompt", model, prompt, rounds);
    budget("beyond a budget of 4 ms: decoding", model, 16, rounds);
    chord_model_free(model);
    return result();
}
