/* A conversation on the terminal: chat MODEL. Ctrl-C ends an answer, not the conversation. */
#define _POSIX_C_SOURCE 200809L
#include "common.h"

#include <signal.h>
#include <unistd.h>

static const char help[] =
    "usage: chat [options] MODEL.gguf\n"
    "\n"
    "Reads a line, answers it, and remembers both. Ctrl-C ends an answer early.\n"
    "\n"
    "  --system TEXT     instructions for the model\n"
    "  --default-template  use the library's template (ChatML), not the model's\n" COMMON_OPTIONS
    "\n"
    "Commands: /reset forgets the conversation, /help, /quit (or Ctrl-D).\n";

static chord_session *session;
static volatile sig_atomic_t answering;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    /* Between answers there is nothing to cancel, and the next answer is not meant. */
    if (answering) chord_session_cancel(session);
}

/* The answer so far; it becomes a message of the conversation. */
struct text {
    char *bytes;
    size_t len, capacity;
};

static void add(struct text *text, const char *piece, size_t len)
{
    if (text->len + len > text->capacity) {
        text->capacity = 2 * (text->len + len);
        text->bytes = realloc(text->bytes, text->capacity);
        if (!text->bytes) {
            fprintf(stderr, "chat: out of memory\n");
            exit(EXIT_FAILURE);
        }
    }
    memcpy(text->bytes + text->len, piece, len);
    text->len += len;
}

/* Answers the conversation and adds the answer to it. Without success the conversation is what it was. */
static bool answer(chord_chat *chat, chord_error **err)
{
    struct text text = {NULL, 0, 0};
    chord_event event = CHORD_EVENT_TOKEN;
    bool ok = chord_session_append_chat(session, chat, CHORD_CHAT_GENERATION_PROMPT, err) == CHORD_OK;

    answering = 1;
    while (ok && event == CHORD_EVENT_TOKEN) {
        size_t len;
        const char *piece;
        ok = chord_session_step(session, &event, err) == CHORD_OK;
        piece = chord_session_piece(session, &len);
        fwrite(piece, 1, len, stdout);
        fflush(stdout);
        add(&text, piece, len);
    }
    answering = 0;
    if (ok && event == CHORD_EVENT_CANCELLED) fputs(" [interrupted]", stdout);
    if (ok && event == CHORD_EVENT_LENGTH) fputs(" [the context is full: /reset]", stdout);
    putchar('\n');
    if (ok) ok = chord_chat_add(chat, "assistant", text.bytes, text.len, err) == CHORD_OK;
    free(text.bytes);
    return ok;
}

int main(int argc, char **argv)
{
    struct common options = common_new(argv[0]);
    const char *path = NULL, *system = NULL, *value;
    uint32_t flags = 0;
    chord_error *err = NULL;
    chord_model *model = NULL;
    chord_chat *chat = NULL;
    struct sigaction action;
    bool terminal = isatty(STDIN_FILENO);
    char *line = NULL;
    size_t capacity = 0, first;
    int i;

    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            return 0;
        }
        if ((value = option("--system", argc, argv, &i))) {
            system = value;
        } else if (strcmp(argv[i], "--default-template") == 0) {
            flags = CHORD_CHAT_DEFAULT_TEMPLATE;
        } else if (common_option(options, argc, argv, &i)) {
            continue;
        } else if (argv[i][0] == '-') {
            usage_error(argv[0], "unknown option", argv[i]);
        } else if (!path) {
            path = argv[i];
        } else {
            usage_error(argv[0], "one too many:", argv[i]);
        }
    }
    if (!path) usage_error(argv[0], "missing:", "MODEL.gguf");

    if (chord_model_open(path, options.model, &model, &err) || chord_chat_new(model, flags, &chat, &err) ||
        (system && chord_chat_add(chat, "system", system, strlen(system), &err)) ||
        chord_session_new(model, options.session, &session, &err))
        fail(argv[0], err);
    common_free(options);
    first = chord_chat_count(chat);

    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt;
    action.sa_flags = SA_RESTART; /* at the prompt Ctrl-C changes nothing */
    sigaction(SIGINT, &action, NULL);
    if (terminal) puts("Ask something; /help for help.");

    for (;;) {
        ssize_t len;
        size_t before = chord_chat_count(chat);
        if (terminal) fputs("> ", stdout), fflush(stdout);
        len = getline(&line, &capacity, stdin);
        if (len < 0) break;
        if (len > 0 && line[len - 1] == '\n') line[--len] = 0;
        if (len == 0) continue;
        if (strcmp(line, "/quit") == 0) break;
        if (strcmp(line, "/help") == 0) {
            puts("/reset forgets the conversation, /quit ends, Ctrl-C ends an answer.");
        } else if (strcmp(line, "/reset") == 0) {
            chord_chat_truncate(chat, first, NULL);
            chord_session_rewind(session, 0, NULL);
        } else if (line[0] == '/') {
            printf("no command %s; /help for help\n", line);
        } else if (chord_chat_add(chat, "user", line, (size_t)len, &err) || !answer(chat, &err)) {
            fprintf(stderr, "chat: %s\n", chord_error_message(err));
            chord_error_free(err);
            err = NULL;
            chord_chat_truncate(chat, before, NULL);
        }
    }
    if (terminal) putchar('\n');

    free(line);
    chord_session_free(session);
    chord_chat_free(chat);
    chord_model_free(model);
    return 0;
}
