/* Guest manners: threads that sleep and end, nothing printed, a child after fork, and libraries that come and go. */
#define _GNU_SOURCE
#include "check.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void nap(long milliseconds)
{
    struct timespec time = {0, milliseconds * 1000000};
    nanosleep(&time, NULL);
}

static double cpu_seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int threads(void)
{
    DIR *folder = opendir("/proc/self/task");
    struct dirent *entry;
    int count = 0;
    if (!folder) return -1;
    while ((entry = readdir(folder)))
        if (entry->d_name[0] != '.') count++;
    closedir(folder);
    return count;
}

/* Private memory in KiB. */
static long private_memory(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long size = -1;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "RssAnon: %ld", &size) == 1) break;
    if (file) fclose(file);
    return size;
}

static chord_model *open_with(const char *path, uint32_t count)
{
    chord_model_options *options = NULL;
    chord_model *model = NULL;
    OK(chord_model_options_new(&options, &err));
    OK(chord_model_options_set_threads(options, count, &err));
    OK(chord_model_open(path, options, &model, &err));
    chord_model_options_free(options);
    return model;
}

static int32_t answer(chord_model *model)
{
    chord_session *session = greedy_session(model, 64, 8);
    chord_event event = CHORD_EVENT_TOKEN;
    int32_t token;
    OK(chord_session_append_text(session, "The days of the week are", 24, CHORD_TEXT_ADD_SPECIAL, &err));
    OK(chord_session_step(session, &event, &err));
    token = chord_session_token(session);
    chord_session_free(session);
    return token;
}

/* Threads sleep while there is nothing to do, and are gone when the last object is. */
static void idle(const char *path)
{
    int before = threads();
    chord_model *model = open_with(path, 4);
    double spent;

    CHECK(threads() == before + 3);
    answer(model);
    nap(10); /* the last spinning */
    spent = cpu_seconds();
    nap(300);
    spent = cpu_seconds() - spent;
    CHECK(spent < 0.003);
    chord_model_free(model);
    CHECK(threads() == before);
}

/* Nothing goes to standard output or error, whatever happens. */
static void silence(const char *path)
{
    FILE *file = tmpfile();
    int saved[2], fd;
    chord_model *model;
    long end;

    if (!file) exit(1);
    fflush(NULL);
    for (fd = 1; fd <= 2; fd++) {
        saved[fd - 1] = dup(fd);
        dup2(fileno(file), fd);
    }
    model = open_with(path, 2);
    answer(model);
    chord_model_open("no/such/file.gguf", NULL, &model, NULL);
    chord_model_open_memory("GGUF and nothing else", 21, NULL, &model, NULL);
    chord_model_free(model);
    fflush(NULL);
    for (fd = 1; fd <= 2; fd++) {
        dup2(saved[fd - 1], fd);
        close(saved[fd - 1]);
    }
    fseek(file, 0, SEEK_END);
    end = ftell(file);
    CHECK(end == 0);
    fclose(file);
}

/* A child may use what it inherits, with the one thread that it has, and free it. */
static void fork_after_open(const char *path)
{
    chord_model *model = open_with(path, 3);
    chord_session *session = greedy_session(model, 64, 8);
    int32_t expected = answer(model);
    int status = -1;
    pid_t child;

    OK(chord_session_append_text(session, "The days of the week are", 24, CHORD_TEXT_ADD_SPECIAL, &err));
    fflush(NULL);
    child = fork();
    if (child == 0) {
        chord_event event = CHORD_EVENT_TOKEN;
        alarm(60);
        failures = 0;
        CHECK(answer(model) == expected);
        OK(chord_session_step(session, &event, &err));
        CHECK(chord_session_token(session) == expected);
        chord_session_free(session);
        chord_model_free(model);
        model = open_with(path, 2);
        CHECK(answer(model) == expected);
        chord_model_free(model);
        _exit(result());
    }
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(answer(model) == expected);
    chord_session_free(session);
    chord_model_free(model);
}

static bool put(const char *folder, const char *name, const char *text)
{
    char path[256];
    FILE *file;
    bool done;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "r+"); /* what the system does not have is not made */;
    if (!file) return false;
    done = fputs(text, file) >= 0;
    return fclose(file) == 0 && done;
}

/* A control group, in one of the versions that there are. */
struct group {
    const char *folder, *names[2], *values[2], *members;
};

/* Runs something in a child that is in such a group. */
static void in_group(const struct group versions[2], void (*run)(const char *path), const char *path)
{
    size_t i, k;
    int tried = 0;

    for (i = 0; i < 2; i++) {
        const struct group *group = &versions[i];
        char folder[128];
        int status = -1;
        bool set = true;
        pid_t child;

        snprintf(folder, sizeof folder, "%s/chord-%ld", group->folder, (long)getpid());
        if (mkdir(folder, 0755) != 0) continue;
        for (k = 0; k < 2 && group->names[k]; k++) set = set && put(folder, group->names[k], group->values[k]);
        if (set) {
            fflush(NULL);
            child = fork();
            if (child == 0) {
                char text[32];
                snprintf(text, sizeof text, "%ld", (long)getpid());
                if (!put(folder, group->members, text)) _exit(77);
                alarm(60);
                failures = 0;
                run(path);
                _exit(result());
            }
            waitpid(child, &status, 0);
            if (!(WIFEXITED(status) && WEXITSTATUS(status) == 77)) {
                tried++;
                CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
            }
        }
        for (k = 0; k < 50 && rmdir(folder) != 0; k++) nap(20); /* the last member leaves it some time after its end */
    }
    if (!tried) fprintf(stderr, "skipped: no control group for %s can be made here\n", versions[0].names[0]);
}

/* With half a core, the default number of threads is 1. */
static void with_half_a_core(const char *path)
{
    chord_model *model = NULL;
    OK(chord_model_open(path, NULL, &model, &err));
    CHECK(chord_model_threads(model) == 1);
    answer(model);
    chord_model_free(model);
}

/* Where the system would end who takes too much, a budget refuses it. */
static void with_little_memory(const char *path)
{
    chord_model_options *options = NULL;
    chord_session_options *session_options = NULL;
    chord_model *model = NULL;
    chord_session *session = NULL;

    OK(chord_model_options_new(&options, &err));
    OK(chord_model_options_set_memory_budget(options, 6 << 20, &err));
    OK(chord_model_open(path, options, &model, &err));
    answer(model);
    OK(chord_session_options_new(&session_options, &err));
    OK(chord_session_options_set_context_length(session_options, 1 << 20, &err));
    FAILS(chord_session_new(model, session_options, &session, &err), CHORD_STATUS_OVER_BUDGET, NULL);
    answer(model);
    chord_session_options_free(session_options);
    chord_model_free(model);
    chord_model_options_free(options);
}

static void groups(const char *path)
{
    static const struct group cores[2] = {
        {"/sys/fs/cgroup", {"cpu.max", NULL}, {"50000 100000", NULL}, "cgroup.procs"},
        {"/sys/fs/cgroup/cpu", {"cpu.cfs_period_us", "cpu.cfs_quota_us"}, {"100000", "50000"}, "tasks"},
    };
    static const struct group memory[2] = {
        {"/sys/fs/cgroup", {"memory.max", NULL}, {"12582912", NULL}, "cgroup.procs"},
        {"/sys/fs/cgroup/memory", {"memory.limit_in_bytes", NULL}, {"12582912", NULL}, "tasks"},
    };
    in_group(cores, with_half_a_core, path);
    in_group(memory, with_little_memory, path);
}

/* Opening and freeing, and short sessions, leave nothing behind. */
static void long_life(const char *path)
{
    long before = 0;
    int i, j;
    for (i = 0; i < 150; i++) {
        chord_model *model = open_with(path, 2);
        for (j = 0; j < 5; j++) answer(model);
        chord_model_free(model);
        if (i == 50) before = private_memory();
    }
    CHECK(before > 0 && private_memory() - before <= 1024);
}

typedef chord_status open_function(const char *, const chord_model_options *, chord_model **, chord_error **);
typedef void free_function(chord_model *);
typedef size_t size_function(const chord_model *);

/* A symbol as a function; ISO C has no cast for that. */
static void find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    CHECK(symbol);
    memcpy(function, &symbol, sizeof symbol);
}

static void copy_file(const char *from, const char *to)
{
    size_t size = 0;
    unsigned char *bytes = read_file(from, &size);
    FILE *file = fopen(to, "wb");
    CHECK(bytes && file && fwrite(bytes, 1, size, file) == size);
    if (file) fclose(file);
    free(bytes);
}

/* Loads the library again and again, and two copies of it at once: each knows only its own handles. */
static void libraries(const char *path, const char *library)
{
    enum { ROUNDS = 1000 };
    char copy[64];
    void *one, *two;
    open_function *open_one = NULL, *open_two = NULL;
    free_function *free_one = NULL, *free_two = NULL;
    size_function *size_one = NULL, *size_two = NULL;
    chord_model *first = NULL, *second = NULL;
    long before = 0;
    int i;

    snprintf(copy, sizeof copy, "./guest-%ld.so", (long)getpid());
    copy_file(library, copy);
    for (i = 0; i < ROUNDS; i++) {
        one = dlopen(copy, RTLD_NOW | RTLD_LOCAL);
        if (!one) {
            fprintf(stderr, "%s\n", dlerror());
            exit(1);
        }
        if (i % 50 == 0) {
            find(one, "chord_model_open", &open_one);
            find(one, "chord_model_free", &free_one);
            CHECK(open_one(path, NULL, &first, NULL) == CHORD_OK);
            free_one(first);
        }
        CHECK(dlclose(one) == 0);
        if (i == 200) before = private_memory();
    }
    CHECK(private_memory() - before <= 1024);

    one = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    two = dlopen(copy, RTLD_NOW | RTLD_LOCAL);
    CHECK(one && two && one != two);
    if (!one || !two) exit(1);
    find(one, "chord_model_open", &open_one);
    find(two, "chord_model_open", &open_two);
    find(one, "chord_model_free", &free_one);
    find(two, "chord_model_free", &free_two);
    find(one, "chord_model_vocab_size", &size_one);
    find(two, "chord_model_vocab_size", &size_two);
    CHECK(open_one != open_two);
    CHECK(open_one(path, NULL, &first, NULL) == CHORD_OK && open_two(path, NULL, &second, NULL) == CHORD_OK);
    CHECK(size_one(first) == size_two(second) && size_one(first) > 0);
    CHECK(size_one(second) == 0 && size_two(first) == 0);
    free_one(second);
    CHECK(size_two(second) > 0);
    free_one(first);
    free_two(second);
    dlclose(two);
    dlclose(one);
    remove(copy);
}

int main(int argc, char **argv)
{
    chord_model_free(test_model(argc, argv));
    idle(argv[1]);
    silence(argv[1]);
    fork_after_open(argv[1]);
    groups(argv[1]);
    long_life(argv[1]);
    if (argc > 2) libraries(argv[1], argv[2]);
    return result();
}
