/* Every function of the header, from a table that is made of it (calls.inc), with everything that is wrong: no other
 * argument than a stale, foreign, invented or misplaced handle, NULL, a pointer that is not aligned, a number out of range; from
 * many threads that free what others use; and from inside callbacks. No call ends the process, hangs or says that the library has
 * a defect. */
#define _XOPEN_SOURCE 700
#include "check.h"

#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { PARAMETERS = 10, REGION = 64 << 10, THREADS = 4, CALLS_PER_THREAD = 20000 };

union value {
    void *pointer;
    int64_t number;
    float real;
    void (*function)(void);
};

struct function {
    const char *name;
    int64_t (*call)(const union value *);
    bool has_status;
    int count;
    const char *types[PARAMETERS];
};

#include "calls.inc" /* static const struct function functions[] */

enum { FUNCTIONS = sizeof functions / sizeof *functions, OBJECTS = 16 };

/* The types of objects: those that can be freed. */
static struct {
    char name[48];
    const struct function *free;
    void *live, *stale, *foreign;
} objects[OBJECTS];
static int object_count;

static const char *path, *library;
static atomic_long calls;

static uint64_t random_bits(uint64_t *state)
{
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return *state;
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* The number of the type that this is a handle of ("const chord_model *"), or, with two stars, a place for one; -1. */
static int object_of(const char *type, const char *stars)
{
    int i;
    if (starts_with(type, "const ")) type += 6;
    for (i = 0; i < object_count; i++) {
        size_t length = strlen(objects[i].name);
        if (strncmp(type, objects[i].name, length) == 0 && type[length] == ' ' && strcmp(type + length + 1, stars) == 0) return i;
    }
    return -1;
}

static bool is_pointer(const char *type)
{
    return strchr(type, '*') != NULL;
}

/* A pointer to a record that comes with a size. */
static bool is_record(const char *type)
{
    return is_pointer(type) && starts_with(type, "chord_") && strcmp(type, "chord_event *") != 0 && object_of(type, "*") < 0 &&
           object_of(type, "**") < 0;
}

static void everything(void);

static void hear_log(chord_log_level level, const char *message, void *user_data)
{
    (void)level, (void)user_data;
    CHECK(message && *message);
    everything();
}

static bool hear_progress(size_t index, size_t count, const char *name, const char *from, const char *to, double error, void *user_data)
{
    (void)name, (void)from, (void)to, (void)error, (void)user_data;
    CHECK(index < count);
    everything();
    return false;
}

static bool hear_work(uint64_t done, uint64_t total, void *user_data)
{
    (void)user_data;
    CHECK(done <= total);
    everything();
    return true;
}

static void run(chord_task_function function, void *task, size_t count, void *user_data)
{
    (void)user_data;
    everything();
    while (count--) function(task);
}

static const struct {
    const char *type;
    void (*function)(void);
} callbacks[] = {
    {"chord_log_callback", (void (*)(void))hear_log},
    {"chord_quantize_callback", (void (*)(void))hear_progress},
    {"chord_progress_callback", (void (*)(void))hear_work},
    {"chord_runner_callback", (void (*)(void))run},
};

/* Makes one object of a type that this test knows, or nothing: of others it has invented handles alone. Other threads may free
 * what it is made of meanwhile. */
static void *make(const char *type, chord_model *model, chord_chat *chat)
{
    void *object = NULL;
    if (strcmp(type, "chord_error") == 0) chord_model_open("no/such.gguf", NULL, &model, (chord_error **)&object);
    if (strcmp(type, "chord_model_options") == 0) chord_model_options_new((chord_model_options **)&object, NULL);
    if (strcmp(type, "chord_session_options") == 0) chord_session_options_new((chord_session_options **)&object, NULL);
    if (strcmp(type, "chord_quantize_options") == 0) chord_quantize_options_new((chord_quantize_options **)&object, NULL);
    if (strcmp(type, "chord_chat") == 0) chord_chat_new(model, CHORD_CHAT_DEFAULT_TEMPLATE, (chord_chat **)&object, NULL);
    if (strcmp(type, "chord_answer") == 0) chord_answer_new(chat, "hermes", (chord_answer **)&object, NULL);
    if (strcmp(type, "chord_session") == 0) {
        chord_session_options *options = NULL;
        chord_session_options_new(&options, NULL);
        chord_session_options_set_context_length(options, 32, NULL);
        chord_session_options_set_batch_size(options, 4, NULL);
        chord_session_new(model, options, (chord_session **)&object, NULL);
        chord_session_append_text((chord_session *)object, "a b c", 5, 0, NULL);
        chord_session_options_free(options);
    }
    if (strcmp(type, "chord_model") == 0) {
        chord_model_options *options = NULL;
        chord_model_options_new(&options, NULL);
        chord_model_options_set_threads(options, 2, NULL);
        chord_model_open(path, options, (chord_model **)&object, NULL);
        chord_model_options_free(options);
    }
    return object;
}

static int find_object(const char *name)
{
    int i;
    for (i = 0; i < object_count; i++)
        if (strcmp(objects[i].name, name) == 0) return i;
    fprintf(stderr, "no type %s\n", name);
    exit(1);
}

static void free_object(int type, void *handle)
{
    union value argument;
    argument.pointer = handle;
    objects[type].free->call(&argument);
}

/* Live objects of all types. What is there already stays. */
static void revive(void)
{
    int model = find_object("chord_model"), chat = find_object("chord_chat"), i;
    if (!objects[model].live) objects[model].live = make("chord_model", NULL, NULL);
    if (!objects[chat].live) objects[chat].live = make("chord_chat", (chord_model *)objects[model].live, NULL);
    for (i = 0; i < object_count; i++)
        if (!objects[i].live)
            objects[i].live = make(objects[i].name, (chord_model *)objects[model].live, (chord_chat *)objects[chat].live);
}

static void end(void)
{
    int i;
    for (i = 0; i < object_count; i++) {
        free_object(i, objects[i].live);
        objects[i].stale = objects[i].live;
        objects[i].live = NULL;
    }
}

/* One thread's memory for arguments: a region for each, so that none overlaps. */
struct memory {
    _Alignas(16) char regions[PARAMETERS][REGION];
};

enum { GOOD = 0, NULL_POINTER, MISALIGNED, STALE, FOREIGN, INVENTED, SMALL, OTHER_TYPE, CHOICES = OTHER_TYPE + OBJECTS };

/* Sets argument i of a function to one of the choices; false when its type has no such choice. */
static bool choose(const struct function *function, int i, int choice, struct memory *memory, uint64_t *state, union value *value)
{
    static const int64_t numbers[] = {0, 1, -1, INT32_MIN, INT32_MAX, UINT32_MAX, 99};
    static const float reals[] = {0.5f, 0, -1, NAN, INFINITY, 1e30f, -0.0f};
    static const size_t sizes[] = {4, 0, 1, SIZE_MAX, SIZE_MAX / 2 + 1, 2, 64};
    const char *type = function->types[i];
    int object = object_of(type, "*"), k;

    memset(value, 0, sizeof *value);
    if (object >= 0) {
        switch (choice) {
        case GOOD: value->pointer = objects[object].live; return true;
        case NULL_POINTER: return true;
        case MISALIGNED: value->pointer = memory->regions[i] + 1; return true;
        case STALE: value->pointer = objects[object].stale; return true;
        case FOREIGN: value->pointer = objects[object].foreign; return true;
        case INVENTED: value->pointer = (void *)(uintptr_t)random_bits(state); return true;
        case SMALL: value->pointer = (void *)(uintptr_t)(random_bits(state) % 4096); return true;
        default:
            if (choice - OTHER_TYPE >= object_count) return false;
            value->pointer = objects[choice - OTHER_TYPE].live;
            return true;
        }
    }
    if (is_pointer(type)) {
        value->pointer = choice == NULL_POINTER ? NULL : memory->regions[i] + (choice == MISALIGNED);
        return choice <= MISALIGNED;
    }
    if (choice > SMALL) return false;
    if (strcmp(type, "float") == 0) {
        value->real = reals[choice];
    } else if (strcmp(type, "bool") == 0) {
        value->number = choice & 1;
    } else if (strstr(type, "_callback")) {
        for (k = 0; k < (int)(sizeof callbacks / sizeof *callbacks); k++)
            if (choice == GOOD && strcmp(type, callbacks[k].type) == 0) value->function = callbacks[k].function;
        return choice <= NULL_POINTER;
    } else if (strcmp(type, "size_t") == 0) {
        value->number = (int64_t)sizes[choice];
        /* The size of a record is the caller's word. */
        for (k = 0; k < function->count; k++)
            if (is_record(function->types[k]) && sizes[choice] > REGION) return false;
    } else {
        value->number = numbers[choice];
    }
    return true;
}

/* Makes a call and looks at its result; gives back what it made. */
static void try_call(const struct function *function, union value *arguments, struct memory *memory)
{
    chord_error *error = NULL;
    int64_t result;
    int i;

    for (i = 0; i < function->count; i++) {
        if (is_pointer(function->types[i]) && arguments[i].pointer == memory->regions[i]) {
            memset(memory->regions[i], 0, 512);
            if (strstr(function->types[i], "char")) memcpy(memory->regions[i], "text", 5);
        }
    }
    result = function->call(arguments);
    atomic_fetch_add(&calls, 1);
    for (i = 0; i < function->count; i++) {
        int made = object_of(function->types[i], "**");
        void *handle;
        if (made < 0 || arguments[i].pointer != memory->regions[i]) continue;
        memcpy(&handle, memory->regions[i], sizeof handle);
        if (strcmp(function->types[i], "chord_error **") == 0) {
            error = (chord_error *)handle;
            if (function->has_status && (result == CHORD_OK) != (error == NULL)) {
                fprintf(stderr, "%s: status %d and error %p\n", function->name, (int)result, handle);
                failures++;
            }
            if (error && (chord_error_status(error) != result || !*chord_error_message(error))) failures++;
        }
        if (handle) free_object(made, handle);
    }
    if (function->has_status && (result == CHORD_STATUS_INTERNAL || result == CHORD_STATUS_POISONED || result > 0)) {
        fprintf(stderr, "%s: status %d\n", function->name, (int)result);
        failures++;
    }
}

/* Good arguments but one, which is everything it can be; then any. */
static void table(void)
{
    static struct memory memory;
    uint64_t state = 0x9e3779b97f4a7c15u;
    union value arguments[PARAMETERS];
    int f, i, k, choice, rounds;

    for (f = 0; f < FUNCTIONS; f++) {
        const struct function *function = &functions[f];
        for (i = 0; i < function->count; i++) {
            for (choice = 0; choice < CHOICES; choice++) {
                bool possible = true;
                revive();
                for (k = 0; k < function->count; k++)
                    possible = choose(function, k, k == i ? choice : GOOD, &memory, &state, &arguments[k]) && possible;
                if (!possible) continue;
                try_call(function, arguments, &memory);
                /* A function that frees has freed. */
                if (strstr(function->name, "_free")) end();
            }
        }
        for (rounds = 0; rounds < 200; rounds++) {
            bool possible = true;
            revive();
            for (k = 0; k < function->count; k++)
                possible = choose(function, k, (int)(random_bits(&state) % CHOICES), &memory, &state, &arguments[k]) && possible;
            if (possible) try_call(function, arguments, &memory);
            if (strstr(function->name, "_free")) end();
        }
        end();
    }
}

/* Handles that the threads share; each may be freed by any of them at any time. */
static _Atomic(void *) shared[OBJECTS];

static void *storm(void *argument)
{
    struct memory *memory = malloc(sizeof *memory);
    uint64_t state = 1 + (uint64_t)(uintptr_t)argument * 77777;
    union value arguments[PARAMETERS];
    int n, i;

    if (!memory) exit(1);
    for (n = 0; n < CALLS_PER_THREAD; n++) {
        const struct function *function = &functions[random_bits(&state) % FUNCTIONS];
        /* Freeing is rare, and what is freed is made again. */
        if (strstr(function->name, "_free") && random_bits(&state) % 16) continue;
        for (i = 0; i < function->count; i++) {
            int object = object_of(function->types[i], "*");
            if (!choose(function, i, GOOD, memory, &state, &arguments[i])) exit(1);
            if (object >= 0) arguments[i].pointer = atomic_load(&shared[object]);
            /* Great numbers make great sessions, which is another test's subject. */
            if (strstr(function->types[i], "int") && !is_pointer(function->types[i])) arguments[i].number = (int64_t)(random_bits(&state) % 5);
        }
        try_call(function, arguments, memory);
        if (strstr(function->name, "_free")) {
            int object = object_of(function->types[0], "*");
            void *handle = make(objects[object].name, (chord_model *)atomic_load(&shared[find_object("chord_model")]),
                                (chord_chat *)atomic_load(&shared[find_object("chord_chat")]));
            free_object(object, atomic_exchange(&shared[object], handle));
        }
    }
    free(memory);
    return NULL;
}

static void from_many_threads(void)
{
    pthread_t threads[THREADS];
    int i;

    revive();
    for (i = 0; i < object_count; i++) atomic_store(&shared[i], objects[i].live);
    for (i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, storm, (void *)(uintptr_t)(i + 1)) == 0);
    for (i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (i = 0; i < object_count; i++) objects[i].live = atomic_load(&shared[i]);
    end();
}

/* From inside a call: every function that does not free, on live objects; what the running call holds is in use. */
static void everything(void)
{
    static struct memory memory;
    static atomic_bool inside;
    uint64_t state = 1;
    union value arguments[PARAMETERS];
    int f, k;

    if (atomic_exchange(&inside, true)) return;
    for (f = 0; f < FUNCTIONS; f++) {
        const struct function *function = &functions[f];
        if (strstr(function->name, "_free")) continue;
        for (k = 0; k < function->count; k++) CHECK(choose(function, k, GOOD, &memory, &state, &arguments[k]));
        try_call(function, arguments, &memory);
    }
    atomic_store(&inside, false);
}

static void inside_callbacks(void)
{
    chord_model_options *options = NULL;
    chord_session_options *session_options = NULL;
    chord_quantize_options *quantize_options = NULL;
    chord_model *model = NULL;
    chord_session *session = NULL;
    long before = calls;

    revive();
    OK(chord_model_options_new(&options, &err));
    OK(chord_model_options_set_log(options, hear_log, NULL, &err));
    OK(chord_model_options_set_progress(options, hear_work, NULL, &err));
    OK(chord_model_options_set_runner(options, run, NULL, &err));
    OK(chord_model_options_set_threads(options, 2, &err));
    OK(chord_model_open(path, options, &model, &err));
    OK(chord_session_options_new(&session_options, &err));
    OK(chord_session_options_set_progress(session_options, hear_work, NULL, &err));
    OK(chord_session_options_set_context_length(session_options, (uint32_t)chord_model_context_length(model) + 1, &err));
    OK(chord_session_new(model, session_options, &session, &err)); /* a warning: longer than the training */
    CHECK(calls > before);
    before = calls;
    OK(chord_session_append_text(session, "a b c d e f g h", 15, 0, &err));
    OK(chord_session_eval(session, &err));
    CHECK(calls > before);
    before = calls;
    OK(chord_quantize_options_new(&quantize_options, &err));
    OK(chord_quantize_options_set_callback(quantize_options, hear_progress, NULL, &err));
    FAILS(chord_quantize(path, "never.gguf", "Q4_0", quantize_options, &err), CHORD_STATUS_CANCELLED, NULL);
    CHECK(calls - before >= FUNCTIONS - object_count);
    chord_session_free(session);
    chord_model_free(model);
    chord_quantize_options_free(quantize_options);
    chord_session_options_free(session_options);
    chord_model_options_free(options);
    end();
}

/* A function of another copy of the library; ISO C has no cast for that. */
static void find(void *copy, const char *name, void *function)
{
    void *symbol = dlsym(copy, name);
    CHECK(symbol);
    memcpy(function, &symbol, sizeof symbol);
}

/* Objects of another copy of the library, as many types as are made without more than the others. */
static void *foreigners(const char *name)
{
    chord_status (*new_options[3])(void *, chord_error **);
    chord_status (*open)(const char *, const chord_model_options *, void *, chord_error **);
    chord_status (*new_chat)(void *, uint32_t, void *, chord_error **);
    chord_status (*new_session)(void *, void *, void *, chord_error **);
    static const char *options[3] = {"chord_model_options", "chord_session_options", "chord_quantize_options"};
    size_t size = 0;
    unsigned char *bytes = read_file(library, &size);
    FILE *file = fopen(name, "wb");
    void *copy, *model = NULL;
    char symbol[64];
    int i;

    CHECK(bytes && file && fwrite(bytes, 1, size, file) == size);
    if (file) fclose(file);
    free(bytes);
    copy = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    CHECK(copy);
    if (!copy) return NULL;
    for (i = 0; i < 3; i++) {
        snprintf(symbol, sizeof symbol, "%s_new", options[i]);
        find(copy, symbol, &new_options[i]);
        CHECK(new_options[i](&objects[find_object(options[i])].foreign, NULL) == CHORD_OK);
    }
    find(copy, "chord_model_open", &open);
    find(copy, "chord_chat_new", &new_chat);
    find(copy, "chord_session_new", &new_session);
    CHECK(open("no/such.gguf", NULL, &model, (chord_error **)&objects[find_object("chord_error")].foreign) == CHORD_STATUS_IO);
    CHECK(open(path, NULL, &model, NULL) == CHORD_OK);
    objects[find_object("chord_model")].foreign = model;
    CHECK(new_chat(model, CHORD_CHAT_DEFAULT_TEMPLATE, &objects[find_object("chord_chat")].foreign, NULL) == CHORD_OK);
    CHECK(new_session(model, NULL, &objects[find_object("chord_session")].foreign, NULL) == CHORD_OK);
    return copy;
}

/* The other copy's objects, untouched by all that this one was asked to do with them. */
static void free_foreigners(void *copy)
{
    int i;
    for (i = 0; i < object_count; i++) {
        void (*free_foreign)(void *);
        if (!objects[i].foreign) continue;
        find(copy, objects[i].free->name, &free_foreign);
        if (strcmp(objects[i].name, "chord_model") == 0) {
            size_t (*vocab_size)(void *);
            find(copy, "chord_model_vocab_size", &vocab_size);
            CHECK(vocab_size(objects[i].foreign) > 0);
        }
        free_foreign(objects[i].foreign);
        objects[i].foreign = NULL;
    }
    dlclose(copy);
}

int main(int argc, char **argv)
{
    char name[64];
    void *copy = NULL;
    int f;

    chord_model_free(test_model(argc, argv));
    path = argv[1];
    library = argc > 2 ? argv[2] : NULL;
    for (f = 0; f < FUNCTIONS; f++) {
        const char *end = strstr(functions[f].name, "_free");
        if (!end || end[5] || object_count == OBJECTS) continue;
        snprintf(objects[object_count].name, sizeof objects->name, "%.*s", (int)(end - functions[f].name), functions[f].name);
        objects[object_count++].free = &functions[f];
    }
    snprintf(name, sizeof name, "./calls-%ld.so", (long)getpid());
    if (library) copy = foreigners(name);
    table();
    if (copy) free_foreigners(copy);
    remove(name);
    inside_callbacks();
    printf("%ld calls tried, ", (long)calls);
    from_many_threads();
    printf("and with those from %d threads %ld, of %d functions\n", (int)THREADS, (long)calls, (int)FUNCTIONS);
    return result();
}
