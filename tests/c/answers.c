/* Tool calls: messages and tools as JSON, answers taken apart. No model writes here: the answers are canned. */
#include "check.h"

#define FED(text) (text), strlen(text)

static const char tools[] =
    "[{\"type\": \"function\", \"function\": {\"name\": \"add\", \"parameters\": {\"type\": \"object\", \"properties\":"
    " {\"a\": {\"type\": \"number\"}, \"b\": {\"type\": \"number\"}}}}}]";

static const char canned[] =
    "<think>\nSums need a tool.\n</think>\n\nI add.\n"
    "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 2, \"b\": 3}}\n</tool_call>\n"
    "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 20, \"b\": 30}}\n</tool_call>";

static void same(const char *text, size_t len, const char *expected)
{
    CHECK(text && strcmp(text, expected) == 0 && len == strlen(expected));
    if (text && strcmp(text, expected) != 0) fprintf(stderr, "got: %s\nexpected: %s\n", text, expected);
}

/* Feeds the canned answer in steps of some bytes; the message it makes goes into the chat. */
static void read_canned(chord_chat *chat, size_t step, const char *first_id)
{
    chord_answer *answer = NULL;
    size_t at = 0, shown = 0, calls = 0, len = 0;
    const char *text;

    OK(chord_answer_new(chat, "hermes", &answer, &err));
    CHECK(chord_answer_text(answer, CHORD_ANSWER_PART_MESSAGE, NULL) == NULL);
    while (at < strlen(canned)) {
        size_t more = strlen(canned) - at < step ? strlen(canned) - at : step;
        OK(chord_answer_feed(answer, canned + at, more, at + more == strlen(canned), &err));
        at += more;
        text = chord_answer_text(answer, CHORD_ANSWER_PART_CONTENT, &len);
        CHECK(text && text[len] == 0 && len >= shown && strncmp(text, "I add.", len) == 0);
        shown = len;
        while (chord_answer_call(answer, calls, CHORD_CALL_PART_NAME, NULL)) calls++;
    }
    CHECK(calls == 2);
    text = chord_answer_text(answer, CHORD_ANSWER_PART_CONTENT, &len);
    same(text, len, "I add.");
    text = chord_answer_text(answer, CHORD_ANSWER_PART_REASONING, &len);
    same(text, len, "Sums need a tool.");
    text = chord_answer_text(answer, CHORD_ANSWER_PART_RAW, &len);
    same(text, len, canned);
    text = chord_answer_call(answer, 0, CHORD_CALL_PART_NAME, &len);
    same(text, len, "add");
    text = chord_answer_call(answer, 1, CHORD_CALL_PART_ARGUMENTS, &len);
    same(text, len, "{\"a\":20,\"b\":30}");
    text = chord_answer_call(answer, 0, CHORD_CALL_PART_ID, &len);
    same(text, len, first_id);
    len = 9;
    CHECK(!chord_answer_call(answer, 2, CHORD_CALL_PART_NAME, &len) && len == 0);
    FAILS(chord_answer_feed(answer, FED("more"), false, &err), CHORD_STATUS_INVALID_STATE, "finished");
    text = chord_answer_text(answer, CHORD_ANSWER_PART_MESSAGE, &len);
    OK(chord_chat_add_json(chat, text, len, &err));
    chord_answer_free(answer);
}

static void round_trip(const chord_model *model)
{
    chord_chat *chat = NULL;
    chord_answer *answer = NULL;
    char text[1024];
    size_t len = 0;

    OK(chord_chat_new(model, CHORD_CHAT_DEFAULT_TEMPLATE, &chat, &err));
    OK(chord_chat_set_tools(chat, FED(tools), &err));
    OK(chord_chat_add(chat, "user", FED("2+3? 20+30?"), &err));
    read_canned(chat, 1, "call00000");
    OK(chord_chat_add_json(chat, FED("{\"role\": \"tool\", \"tool_call_id\": \"call00000\", \"content\": \"5\"}"), &err));
    read_canned(chat, 7, "call00002");
    read_canned(chat, sizeof canned, "call00004");
    CHECK(chord_chat_count(chat) == 5);
    OK(chord_chat_render(chat, 0, text, sizeof text, &len, &err));
    CHECK(strstr(text, "<|im_start|>tool\n5<|im_end|>") && strstr(text, "<|im_start|>assistant\nI add.<|im_end|>"));

    /* The template writes no calls, so without a format there is nothing to find. */
    OK(chord_answer_new(chat, NULL, &answer, &err));
    OK(chord_answer_feed(answer, FED("<tool_call>{}</tool_call>"), true, &err));
    same(chord_answer_text(answer, CHORD_ANSWER_PART_CONTENT, &len), 25, "<tool_call>{}</tool_call>");
    CHECK(!chord_answer_call(answer, 0, CHORD_CALL_PART_NAME, NULL));
    chord_chat_free(chat); /* the answer needs no chat */
    CHECK(chord_answer_text(answer, CHORD_ANSWER_PART_RAW, &len) && len == 25);
    chord_answer_free(answer);
}

static void refusals(const chord_model *model)
{
    chord_chat *chat = NULL;
    chord_answer *answer = NULL;
    static char deep[4096];

#define INVALID(call, text) FAILS(call, CHORD_STATUS_INVALID_ARGUMENT, text)
    OK(chord_chat_new(model, CHORD_CHAT_DEFAULT_TEMPLATE, &chat, &err));
    INVALID(chord_chat_add_json(chat, FED("{"), &err), "message is not JSON");
    INVALID(chord_chat_add_json(chat, FED("[]"), &err), "a message must be an object");
    INVALID(chord_chat_add_json(chat, FED("{\"role\": \"assistant\", \"tool_calls\": [{}]}"), &err), "tool_calls[0].function");
    INVALID(chord_chat_set_tools(chat, FED("{}"), &err), "tools must be a list");
    INVALID(chord_chat_set_tools(chat, FED("[{\"name\": \"f\"}]"), &err), "tools[0].function.name");
    INVALID(chord_chat_set_variable(chat, "messages", FED("1"), &err), "messages");
    INVALID(chord_chat_set_variable(chat, "a b", FED("1"), &err), "a b");
    INVALID(chord_chat_set_variable(chat, "a", FED("yes"), &err), "value is not JSON");
    memset(deep, '[', sizeof deep - 1);
    INVALID(chord_chat_set_variable(chat, "a", FED(deep), &err), "nested deeper");
    OK(chord_chat_set_variable(chat, "enable_thinking", FED("false"), &err));
    OK(chord_chat_set_variable(chat, "enable_thinking", FED("null"), &err));
    OK(chord_chat_set_tools(chat, FED(tools), &err));
    OK(chord_chat_set_tools(chat, FED("null"), &err));
    CHECK(chord_chat_count(chat) == 0);
    INVALID(chord_answer_new(chat, "no such format", &answer, &err), "harmony");
    CHECK(!answer);
    chord_chat_free(chat);
}

int main(int argc, char **argv)
{
    chord_model *model = test_model(argc, argv);
    round_trip(model);
    refusals(model);
    chord_model_free(model);
    return result();
}
