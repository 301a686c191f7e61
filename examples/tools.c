/* A calculator that the model may use: tools MODEL "What is 12.5 * 8?" */
#include "common.h"

static const char help[] =
    "usage: tools [options] MODEL.gguf QUESTION\n"
    "\n"
    "Answers a question with a calculator at hand. The model must have learned to call tools.\n"
    "\n"
    "  --answer TEXT     do not ask the model first, take this as its first answer\n"
    "  --format NAME     how it writes calls, e.g. hermes (default: as its template does)\n"
    "  --default-template  use the library's template (ChatML), not the model's\n" COMMON_OPTIONS;

static const char tools[] =
    "[{\"type\": \"function\", \"function\": {\"name\": \"calculate\", \"description\": \"Computes with two numbers.\","
    " \"parameters\": {\"type\": \"object\", \"required\": [\"expression\"], \"properties\": {\"expression\":"
    " {\"type\": \"string\", \"description\": \"A number, one of + - * /, a number\"}}}}}]";

/* The most rounds of calls and results. */
enum { MAX_ROUNDS = 4 };

/* Does what a call asks for. The library writes arguments without white space, so a program this small needs no JSON parser. */
static void calculate(const char *arguments, char *out, size_t size)
{
    double a, b;
    char operator;
    const char *expression = strstr(arguments, "\"expression\":\"");
    if (!expression || sscanf(expression + 14, "%lf %c %lf", &a, &operator, &b) != 3) {
        snprintf(out, size, "not understood");
        return;
    }
    switch (operator) {
    case '+': a += b; break;
    case '-': a -= b; break;
    case '*': a *= b; break;
    default: a /= b;
    }
    snprintf(out, size, "%.12g", a);
}

/* Lets the model answer, and shows what it says to the user as it comes. */
static bool generate(chord_session *session, const chord_chat *chat, chord_answer *answer, chord_error **err)
{
    chord_event event = CHORD_EVENT_TOKEN;
    size_t shown = 0;

    if (chord_session_append_chat(session, chat, CHORD_CHAT_GENERATION_PROMPT, err)) return false;
    while (event == CHORD_EVENT_TOKEN) {
        size_t len;
        const char *text;
        if (chord_session_step(session, &event, err)) return false;
        text = chord_session_piece(session, &len);
        if (chord_answer_feed(answer, text, len, event != CHORD_EVENT_TOKEN, err)) return false;
        text = chord_answer_text(answer, CHORD_ANSWER_PART_CONTENT, &len);
        fwrite(text + shown, 1, len - shown, stdout);
        fflush(stdout);
        shown = len;
    }
    putchar('\n');
    return true;
}

/* Answers each call of an answer with a message. */
static bool run_calls(chord_chat *chat, const chord_answer *answer, size_t *count, chord_error **err)
{
    char result[64], message[512];
    const char *id;

    for (*count = 0; (id = chord_answer_call(answer, *count, CHORD_CALL_PART_ID, NULL)); ++*count) {
        const char *arguments = chord_answer_call(answer, *count, CHORD_CALL_PART_ARGUMENTS, NULL);
        int len;
        calculate(arguments, result, sizeof result);
        printf("[%s %s: %s]\n", chord_answer_call(answer, *count, CHORD_CALL_PART_NAME, NULL), arguments, result);
        len = snprintf(message, sizeof message, "{\"role\": \"tool\", \"tool_call_id\": \"%.99s\", \"content\": \"%s\"}", id, result);
        if (chord_chat_add_json(chat, message, (size_t)len, err)) return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct common options = common_new(argv[0]);
    const char *path = NULL, *question = NULL, *canned = NULL, *format = NULL, *value;
    uint32_t flags = 0;
    chord_error *err = NULL;
    chord_model *model = NULL;
    chord_chat *chat = NULL;
    chord_session *session = NULL;
    size_t calls = 1;
    int i, round;

    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            return 0;
        }
        if ((value = option("--answer", argc, argv, &i))) {
            canned = value;
        } else if ((value = option("--format", argc, argv, &i))) {
            format = value;
        } else if (strcmp(argv[i], "--default-template") == 0) {
            flags = CHORD_CHAT_DEFAULT_TEMPLATE;
        } else if (common_option(options, argc, argv, &i)) {
            continue;
        } else if (argv[i][0] == '-') {
            usage_error(argv[0], "unknown option", argv[i]);
        } else if (!path) {
            path = argv[i];
        } else if (!question) {
            question = argv[i];
        } else {
            usage_error(argv[0], "one too many:", argv[i]);
        }
    }
    if (!path) usage_error(argv[0], "missing:", "MODEL.gguf");
    if (!question) question = "What is 12.5 * 8?";

    if (chord_session_options_set_special_text(options.session, true, &err) ||
        chord_model_open(path, options.model, &model, &err) || chord_chat_new(model, flags, &chat, &err) ||
        chord_chat_set_tools(chat, tools, strlen(tools), &err) ||
        chord_chat_add(chat, "user", question, strlen(question), &err) ||
        chord_session_new(model, options.session, &session, &err))
        fail(argv[0], err);
    common_free(options);

    for (round = 0; calls > 0 && round < MAX_ROUNDS; round++) {
        chord_answer *answer = NULL;
        const char *message;
        size_t len;
        bool ok = chord_answer_new(chat, format, &answer, &err) == CHORD_OK;
        if (ok && round == 0 && canned)
            ok = chord_answer_feed(answer, canned, strlen(canned), true, &err) == CHORD_OK;
        else if (ok)
            ok = generate(session, chat, answer, &err);
        if (!ok) fail(argv[0], err);
        message = chord_answer_text(answer, CHORD_ANSWER_PART_MESSAGE, &len);
        if (chord_chat_add_json(chat, message, len, &err) || !run_calls(chat, answer, &calls, &err)) fail(argv[0], err);
        chord_answer_free(answer);
    }
    chord_session_free(session);
    chord_chat_free(chat);
    chord_model_free(model);
    return 0;
}
