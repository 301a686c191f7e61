/* What a host may ask of a guest: to tell how far it is, to stop, to work on the host's threads. */
#define _GNU_SOURCE
#include "check.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

struct watch {
    uint64_t calls, done, total, stop_at;
    bool grows;
    chord_session *session;
    chord_status inside;
};

/* Stops at the call number stop_at, counted from 1. */
static bool watch(uint64_t done, uint64_t total, void *user_data)
{
    struct watch *watch = user_data;
    watch->grows = (watch->calls == 0 || watch->grows) && done >= watch->done && done <= total;
    watch->done = done;
    watch->total = total;
    if (watch->session) watch->inside = chord_session_eval(watch->session, NULL);
    return ++watch->calls != watch->stop_at;
}

static chord_status open_watched(const char *path, bool copy, struct watch *state)
{
    chord_model_options *options = NULL;
    chord_model *model = NULL;
    chord_status status;
    OK(chord_model_options_new(&options, &err));
    OK(chord_model_options_set_progress(options, watch, state, &err));
    OK(chord_model_options_set_copy(options, copy, &err));
    status = chord_model_open(path, options, &model, NULL);
    CHECK((status == CHORD_OK) == (model != NULL));
    chord_model_free(model);
    chord_model_options_free(options);
    return status;
}

/* Opening tells how far it is, and stops wherever it is told to. */
static void opening(const char *path)
{
    int copy;
    for (copy = 0; copy <= 1; copy++) {
        struct watch whole = {0};
        uint64_t stop;
        CHECK(open_watched(path, copy, &whole) == CHORD_OK);
        CHECK(whole.calls >= 3 && whole.grows && whole.done == whole.total && whole.total > 0);
        for (stop = 1; stop < whole.calls; stop++) {
            struct watch part = {0};
            part.stop_at = stop;
            CHECK(open_watched(path, copy, &part) == CHORD_STATUS_CANCELLED && part.calls == stop);
        }
    }
}

/* A prompt tells how far it is; where it is stopped, it goes on. */
static void prompt(const chord_model *model)
{
    enum { COUNT = 200 };
    struct watch state = {0};
    chord_session_options *options = NULL;
    chord_session *session = NULL, *plain = greedy_session(model, 256, 64);
    chord_event event = CHORD_EVENT_TOKEN;
    int32_t tokens[COUNT];
    size_t size = 0, i;
    int stops = 0;

    for (i = 0; i < COUNT; i++) tokens[i] = (int32_t)(3 + i % 50);
    OK(chord_session_append(plain, tokens, COUNT, &err));
    OK(chord_session_eval(plain, &err));

    OK(chord_session_options_new(&options, &err));
    OK(chord_session_options_set_context_length(options, 256, &err));
    OK(chord_session_options_set_batch_size(options, 64, &err));
    OK(chord_session_options_set_temperature(options, 0, &err));
    OK(chord_session_options_set_progress(options, watch, &state, &err));
    OK(chord_session_new(model, options, &session, &err));
    OK(chord_session_append(session, tokens, COUNT, &err));
    state.session = session;
    do {
        state.calls = state.done = 0;
        state.stop_at = 7;
        OK(chord_session_step(session, &event, &err));
        CHECK(state.grows && state.inside == CHORD_STATUS_BUSY);
        stops += event == CHORD_EVENT_CANCELLED;
    } while (event == CHORD_EVENT_CANCELLED && stops < 10000);
    CHECK(stops > 4 && state.done == state.total);
    CHECK(memcmp(chord_session_logits(session, &size), chord_session_logits(plain, NULL), 4 * chord_model_vocab_size(model)) == 0);

    /* A single token is not worth a word. */
    state.calls = 0;
    if (event == CHORD_EVENT_TOKEN) OK(chord_session_step(session, &event, &err));
    CHECK(state.calls == 0);
    chord_session_options_free(options);
    chord_session_free(session);
    chord_session_free(plain);
}

/* The threads of this process; of those that the library started, how many have this priority. */
static int threads(int priority, int *ours)
{
    DIR *folder = opendir("/proc/self/task");
    struct dirent *entry;
    int count = 0;
    *ours = 0;
    while (folder && (entry = readdir(folder))) {
        char path[300], name[32] = "";
        FILE *file;
        if (entry->d_name[0] == '.') continue;
        count++;
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        file = fopen(path, "r");
        if (file && fgets(name, sizeof name, file) && strncmp(name, "chord-", 6) == 0)
            *ours += getpriority(PRIO_PROCESS, (id_t)atoi(entry->d_name)) == priority;
        if (file) fclose(file);
    }
    if (folder) closedir(folder);
    return count;
}

/* Some logits of a session. */
static float *answer(const chord_model *model)
{
    chord_session *session = greedy_session(model, 128, 32);
    chord_event event;
    size_t count = 0, i;
    const float *logits;
    float *copy;
    for (i = 0; i < 40; i++) {
        int32_t token = (int32_t)(3 + i * 7 % 90);
        OK(chord_session_append(session, &token, 1, &err));
    }
    for (i = 0; i < 5; i++) OK(chord_session_step(session, &event, &err));
    logits = chord_session_logits(session, &count);
    copy = malloc(count * sizeof *copy);
    if (!copy || !logits) exit(1);
    memcpy(copy, logits, count * sizeof *copy);
    chord_session_free(session);
    return copy;
}

enum host { IN_TURN, AT_ONCE, NOT_AT_ALL, TOO_OFTEN };

struct job {
    chord_task_function function;
    void *task;
};

static atomic_long runs;

static void *work(void *user_data)
{
    struct job *job = user_data;
    job->function(job->task);
    return NULL;
}

static void run(chord_task_function function, void *task, size_t count, void *user_data)
{
    enum host host = *(enum host *)user_data;
    struct job job = {function, task};
    pthread_t helpers[16];
    size_t i;
    runs++;
    CHECK(count > 1 && count <= 3);
    if (host == TOO_OFTEN) count = 7;
    if (host == IN_TURN)
        for (i = 0; i < count; i++) function(task);
    if (host != AT_ONCE && host != TOO_OFTEN) return;
    for (i = 1; i < count; i++)
        if (pthread_create(&helpers[i], NULL, work, &job) != 0) exit(1);
    function(task);
    for (i = 1; i < count; i++) pthread_join(helpers[i], NULL);
}

/* The threads of the host give the same bits, however it runs the work; none of the library's own are started. */
static void runner(const char *path, const chord_model *plain)
{
    float *expected = answer(plain), *got;
    size_t size = chord_model_vocab_size(plain) * sizeof *expected;
    enum host host;
    int ours, own = (int)chord_model_threads(plain) - 1, before = threads(0, &ours), waited;

    for (host = IN_TURN; host <= TOO_OFTEN; host++) {
        chord_model_options *options = NULL;
        chord_model *model = NULL;
        OK(chord_model_options_new(&options, &err));
        OK(chord_model_options_set_threads(options, 3, &err));
        OK(chord_model_options_set_resident(options, true, &err));
        OK(chord_model_options_set_runner(options, run, &host, &err));
        OK(chord_model_open(path, options, &model, &err));
        CHECK(chord_model_threads(model) == 3 && chord_model_resident_size(model) > 0);
        /* The system may list threads for a moment that were joined before: by now, or when they were counted first. */
        for (waited = 0; waited < 5000 && (threads(0, &ours) > before || ours != own); waited++) usleep(1000);
        CHECK(waited < 5000);
        runs = 0;
        got = answer(model);
        CHECK(runs > 10 && memcmp(expected, got, size) == 0);
        free(got);
        chord_model_free(model);
        chord_model_options_free(options);
    }
    free(expected);
}

/* Threads have a name and the priority that is asked for. */
static void priority(const char *path)
{
    chord_model_options *options = NULL;
    chord_model *model = NULL;
    int before, ours = 0;

    before = threads(7, &ours);
    CHECK(ours == 0);
    OK(chord_model_options_new(&options, &err));
    OK(chord_model_options_set_threads(options, 4, &err));
    OK(chord_model_options_set_thread_priority(options, 7, &err));
    OK(chord_model_open(path, options, &model, &err));
    CHECK(threads(7, &ours) == before + 3 && ours == 3);
    CHECK(getpriority(PRIO_PROCESS, 0) != 7);
    chord_model_free(model);
    chord_model_options_free(options);
}

int main(int argc, char **argv)
{
    chord_model *model = test_model(argc, argv);
    opening(argv[1]);
    prompt(model);
    runner(argv[1], model);
    chord_model_free(model);
    priority(argv[1]);
    model = NULL;
    chord_model_free(model);
    return result();
}
