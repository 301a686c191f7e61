/* A thread with a stack of 64 KiB makes every call that works deep: opening, templates, tokens, steps, answers, quantizing. */
#define _XOPEN_SOURCE 700
#include "check.h"

#include <pthread.h>
#include <unistd.h>

enum { STACK = 64 << 10 };

static void *life(void *argument)
{
    const char *path = argument;
    chord_model_options *model_options = NULL;
    chord_quantize_options *quantize_options = NULL;
    chord_model *model = NULL, *coarse = NULL;
    chord_session *session;
    chord_chat *chat = NULL;
    chord_answer *answer = NULL;
    chord_event event = CHORD_EVENT_TOKEN;
    int32_t tokens[16];
    char text[1024], name[64];
    size_t count = 0;
    int steps = 0;

    OK(chord_model_options_new(&model_options, &err));
    OK(chord_model_options_set_threads(model_options, 2, &err));
    OK(chord_model_open(path, model_options, &model, &err));
    OK(chord_model_tokenize(model, "What is 2+2?", 12, 0, tokens, 16, &count, &err));
    OK(chord_model_detokenize(model, tokens, count, 0, text, sizeof text, &count, &err));
    OK(chord_model_metadata_value(model, "general.architecture", text, sizeof text, &count, &err));
    OK(chord_chat_new(model, CHORD_CHAT_DEFAULT_TEMPLATE, &chat, &err));
    OK(chord_chat_add_json(chat, "{\"role\": \"user\", \"content\": \"What is 2+2?\"}", 43, &err));
    OK(chord_chat_render(chat, CHORD_CHAT_GENERATION_PROMPT, text, sizeof text, &count, &err));
    session = greedy_session(model, 128, 32);
    OK(chord_session_append_chat(session, chat, CHORD_CHAT_GENERATION_PROMPT, &err));
    OK(chord_answer_new(chat, "hermes", &answer, &err));
    while (event == CHORD_EVENT_TOKEN && steps++ < 8) {
        const char *piece;
        OK(chord_session_step(session, &event, &err));
        piece = chord_session_piece(session, &count);
        OK(chord_answer_feed(answer, piece, count, false, &err));
    }
    OK(chord_answer_feed(answer, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": [1, {}]}}</tool_call>", 65, true, &err));
    CHECK(chord_answer_call(answer, 0, CHORD_CALL_PART_NAME, NULL));
    chord_answer_free(answer);
    chord_session_free(session);
    chord_chat_free(chat);
    chord_model_free(model);

    snprintf(name, sizeof name, "stack-%ld.gguf", (long)getpid());
    OK(chord_quantize_options_new(&quantize_options, &err));
    OK(chord_quantize_options_set_threads(quantize_options, 2, &err));
    OK(chord_quantize(path, name, "Q8_0", quantize_options, &err));
    OK(chord_model_open(name, model_options, &coarse, &err));
    chord_model_free(coarse);
    remove(name);
    FAILS(chord_model_open("no/such.gguf", NULL, &model, &err), CHORD_STATUS_IO, "no/such.gguf");
    chord_quantize_options_free(quantize_options);
    chord_model_options_free(model_options);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_attr_t attributes;
    pthread_t thread;

    chord_model_free(test_model(argc, argv));
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, STACK) == 0);
    if (pthread_create(&thread, &attributes, life, argv[1])) return 1;
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
    return result();
}
