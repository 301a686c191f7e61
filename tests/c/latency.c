/* How soon calls give the thread back: latency MODEL [LIBRARY] [ROUNDS [PROMPT [WORD]]]; with a word, what has it in its name. As a
 * test it only sees that everything answers; the times are for who runs it on a quiet machine. What others do is told apart:
 *
 *   - rounds in which no thread of the program had to wait for a processor have figures of their own (on Linux);
 *   - time of the processor is what all threads together still did: the least that they could be waited for (a tick too much now
 *     and then, where the system counts other threads in ticks);
 *   - "nothing but the clock" is what the machine itself does to a thread that only looks at the clock for 4 ms. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <dirent.h>
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

/* Runnable, but without a processor: all threads that there are now. */
static double waited(void)
{
    double sum = 0;
    struct dirent *task;
    DIR *tasks = opendir("/proc/self/task");
    while (tasks && (task = readdir(tasks))) {
        char path[300];
        unsigned long long time;
        FILE *file;
        sprintf(path, "/proc/self/task/%s/schedstat", task->d_name);
        file = fopen(path, "r");
        if (!file) continue;
        if (fscanf(file, "%*u %llu", &time) == 1) sum += 1e-6 * (double)time;
        fclose(file);
    }
    if (tasks) closedir(tasks);
    return sum;
}

/* What the clocks say, in milliseconds. */
struct moment {
    double time, processor, wait;
};

/* From there on something is measured: the time is read last. */
static struct moment beginning(void)
{
    struct moment now;
    now.wait = waited();
    now.processor = spent();
    now.time = milliseconds();
    return now;
}

/* Up to there: it is read first. */
static struct moment end(void)
{
    struct moment now;
    now.time = milliseconds();
    now.processor = spent();
    now.wait = waited();
    return now;
}

enum { ALL, UNDISTURBED, PROCESSOR, KINDS };
static double samples[KINDS][MAX_ROUNDS];
static int counts[KINDS];

/* From the moment `from` to the moment `to`, of which `free` milliseconds do not count. */
static void sample(struct moment from, struct moment to, double free)
{
    double time = to.time - from.time - free;
    if (counts[ALL] == MAX_ROUNDS) return;
    if (time < 0) time = 0;
    samples[ALL][counts[ALL]++] = time;
    samples[PROCESSOR][counts[PROCESSOR]++] = to.processor - from.processor;
    /* Reading the clocks keeps others waiting, too. */
    if (to.wait - from.wait < 0.2) samples[UNDISTURBED][counts[UNDISTURBED]++] = time;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *name)
{
    static const char *const of[KINDS] = {"", " undisturbed", " of the processor"};
    int kind;
    for (kind = 0; kind < KINDS; kind++) {
        double *sorted = samples[kind];
        int count = counts[kind];
        counts[kind] = 0;
        if (count == 0) continue;
        qsort(sorted, (size_t)count, sizeof *sorted, compare);
        printf("%-33s %5d  p50 %7.3f  p99 %7.3f  max %7.3f ms%s\n", name, count, sorted[count / 2], sorted[count * 99 / 100],
               sorted[count - 1], of[kind]);
    }
    fflush(stdout);
}

static chord_session *session_of(const chord_model *model, uint32_t count, bool prefault)
{
    chord_session *session = session_with(model, count + 1024, 256, prefault);
    int32_t *tokens = malloc(count * sizeof *tokens);
    uint32_t i;
    if (!tokens) exit(1);
    for (i = 0; i < count; i++) tokens[i] = (int32_t)(3 + i * 7 % 200);
    OK(chord_session_append(session, tokens, count, &err));
    free(tokens);
    return session;
}

/* When the call in the other thread ended. */
static struct moment ended;
static atomic_int begun, done;
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
    ended = end();
    done = 1;
    return NULL;
}

/* From chord_session_cancel() to the end of the call that it stops. */
static void cancel(const char *name, const chord_model *model, uint32_t prompt, bool steps, int rounds)
{
    int i;
    shared = session_of(model, prompt, false);
    if (steps) OK(chord_session_eval(shared, &err));
    for (i = 0; i < rounds; i++) {
        pthread_t thread;
        struct moment asked;
        begun = 0;
        done = 0;
        if (pthread_create(&thread, NULL, evaluate, steps ? &shared : NULL) != 0) exit(1);
        while (!begun) nap(0.01);
        nap(3 + 0.37 * (i % 101));
        if (done) { /* all is evaluated: from the beginning */
            pthread_join(thread, NULL);
            OK(chord_session_rewind(shared, prompt / 2, &err));
            continue;
        }
        asked = beginning();
        chord_session_cancel(shared);
        pthread_join(thread, NULL);
        sample(asked, ended, 0);
    }
    chord_session_free(shared);
    report(name);
}

/* When an opening is no longer wanted; its beginning, and what was spent when it last was wanted. */
struct patience {
    double end;
    struct moment last;
};

static bool stop_after(uint64_t bytes, uint64_t total, void *user_data)
{
    struct patience *patience = user_data;
    (void)bytes, (void)total;
    if (milliseconds() >= patience->end) return false;
    patience->last.processor = spent();
    return true;
}

/* From the moment when it is no longer wanted to the end of an opening, and how long one takes. */
static void load(const char *path, bool copy, int rounds)
{
    chord_model_options *options = NULL;
    chord_model *model = NULL;
    struct patience patience = {1e300, {0, 0, 0}};
    double began, took = 0;
    int i;
    OK(chord_model_options_new(&options, &err));
    OK(chord_model_options_set_copy(options, copy, &err));
    OK(chord_model_options_set_progress(options, stop_after, &patience, &err));
    for (i = -1; i < rounds; i++) {
        patience.last = beginning();
        began = patience.last.time;
        if (i >= 0) patience.end = began + took * (i % 50) / 50;
        if (chord_model_open(path, options, &model, NULL) == CHORD_STATUS_CANCELLED) {
            struct moment stopped = end();
            patience.last.time = patience.end;
            sample(patience.last, stopped, 0);
        } else if (i < 0) {
            took = milliseconds() - began;
        }
        chord_model_free(model);
        model = NULL;
    }
    printf("opened%s in %.1f ms\n", copy ? " as a copy" : "", took);
    report(copy ? "cancel of an opening that copies" : "cancel of an opening");
    chord_model_options_free(options);
}

/* By how much steps exceed a budget of 4 ms. */
static void budget(const char *name, const chord_model *model, uint32_t prompt, bool prefault, int rounds)
{
    chord_session *session = session_of(model, prompt, prefault);
    chord_event event = CHORD_EVENT_PENDING;
    int i;
    for (i = 0; i < rounds; i++) {
        struct moment began = beginning(), returned;
        double used;
        OK(chord_session_step_for(session, 4000, &event, &err));
        returned = end();
        /* A step without time does one unit of work in each thread: by that much a step with time is late. */
        used = spent();
        if (event == CHORD_EVENT_PENDING) OK(chord_session_step_for(session, 0, &event, &err));
        began.processor = returned.processor - (spent() - used);
        sample(began, returned, 4);
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
        struct moment began = beginning();
        OK(chord_model_plan(path, NULL, NULL, &plan, sizeof plan, &err));
        sample(began, end(), 0);
    }
    report("plan");
}

/* What no library can do anything about. */
static void machine(int rounds)
{
    int i;
    for (i = 0; i < rounds; i++) {
        struct moment began = beginning();
        while (milliseconds() < began.time + 4) continue;
        sample(began, end(), 4);
    }
    report("nothing but the clock");
}

int main(int argc, char **argv)
{
    int rounds = argc > 3 ? atoi(argv[3]) : 2;
    uint32_t prompt = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 300;
    const char *word = argc > 5 ? argv[5] : "";
    chord_model *model = test_model(argc, argv);

    if (rounds > MAX_ROUNDS) rounds = MAX_ROUNDS;
    if (strstr("clock", word)) machine(rounds);
    if (strstr("plan", word)) plans(argv[1], rounds);
    if (strstr("opening", word)) load(argv[1], false, rounds);
    if (strstr("copies", word)) load(argv[1], true, rounds);
    if (strstr("prompt", word)) cancel("cancel of a prompt", model, prompt, false, rounds);
    if (strstr("decoding", word)) cancel("cancel of a decoding", model, 64, true, rounds);
    if (strstr("budget", word)) {
        budget("beyond 4 ms: prompt", model, prompt, false, rounds);
        budget("beyond 4 ms: prompt, prefault", model, prompt, true, rounds);
        budget("beyond 4 ms: decoding", model, 16, false, rounds);
        budget("beyond 4 ms: decoding, prefault", model, 16, true, rounds);
    }
    chord_model_free(model);
    return result();
}
