/* A long life: requests and openings without number leave no memory behind. soak MODEL LIBRARY REQUESTS OPENINGS */
#include "check.h"

#include <malloc.h>
#include <time.h>

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

static chord_model *open_model(const char *path)
{
    chord_model_options *options = NULL;
    chord_model *model = NULL;
    OK(chord_model_options_new(&options, &err));
    OK(chord_model_options_set_threads(options, 2, &err));
    OK(chord_model_open(path, options, &model, &err));
    chord_model_options_free(options);
    return model;
}

/* A question and the beginning of its answer, in a session of its own; each somewhat different. */
static void request(const chord_model *model, long number)
{
    chord_session *session = greedy_session(model, 64, 16);
    chord_chat *chat = NULL;
    chord_answer *answer = NULL;
    chord_event event = CHORD_EVENT_TOKEN;
    char question[64];
    int steps;

    snprintf(question, sizeof question, "What is %ld+%ld?", number % 10, number / 10 % 10);
    OK(chord_chat_new(model, CHORD_CHAT_DEFAULT_TEMPLATE, &chat, &err));
    OK(chord_chat_add(chat, "user", question, strlen(question), &err));
    OK(chord_session_append_chat(session, chat, CHORD_CHAT_GENERATION_PROMPT, &err));
    OK(chord_answer_new(chat, "hermes", &answer, &err));
    for (steps = 0; steps < 3 && event == CHORD_EVENT_TOKEN; steps++) {
        size_t size = 0;
        const char *piece;
        OK(chord_session_step(session, &event, &err));
        piece = chord_session_piece(session, &size);
        OK(chord_answer_feed(answer, piece, size, false, &err));
    }
    if (number % 16 == 0) FAILS(chord_session_rewind(session, SIZE_MAX, &err), CHORD_STATUS_OUT_OF_RANGE, "position");
    chord_answer_free(answer);
    chord_session_free(session);
    chord_chat_free(chat);
}

/* Runs it so many times, and says what memory was there after a tenth of them and after all. */
static void soak(const char *what, long count, const char *path, chord_model *model)
{
    long before = 0, i, after;
    size_t used = 0;
    clock_t start = clock();

    for (i = 0; i < count; i++) {
        if (i == count / 10) {
            before = private_memory();
            used = mallinfo2().uordblks;
        }
        if (model) {
            request(model, i);
        } else {
            chord_model *opened = open_model(path);
            if (i % 10 == 0) request(opened, i);
            chord_model_free(opened);
        }
    }
    after = private_memory();
    printf("%ld %s: private memory %ld KiB, then %ld KiB; in use %zu bytes, then %zu; %.0f s of processor time\n", count, what, before,
           after, used, mallinfo2().uordblks, (double)(clock() - start) / CLOCKS_PER_SEC);
    fflush(stdout);
    CHECK(before > 0 && after - before <= 1024);
}

int main(int argc, char **argv)
{
    chord_model *model = test_model(argc, argv);
    chord_model_free(model);
    soak("openings", argc > 4 ? atol(argv[4]) : 100, argv[1], NULL);
    model = open_model(argv[1]);
    soak("requests", argc > 3 ? atol(argv[3]) : 1000, argv[1], model);
    chord_model_free(model);
    return result();
}
