/* The first chat: hello MODEL.gguf "What is 2+2?" */
#include <chord.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    chord_error *err = NULL;
    chord_model *model = NULL;
    chord_chat *chat = NULL;
    chord_session *session = NULL;
    chord_event event = CHORD_EVENT_TOKEN;

    if (argc != 3) {
        fprintf(stderr, "usage: hello MODEL.gguf QUESTION\n");
        return 2;
    }
    if (chord_model_open(argv[1], NULL, &model, &err) == CHORD_OK &&
        chord_chat_new(model, 0, &chat, &err) == CHORD_OK &&
        chord_chat_add(chat, "user", argv[2], strlen(argv[2]), &err) == CHORD_OK &&
        chord_session_new(model, NULL, &session, &err) == CHORD_OK &&
        chord_session_append_chat(session, chat, CHORD_CHAT_GENERATION_PROMPT, &err) == CHORD_OK) {
        while (event == CHORD_EVENT_TOKEN && chord_session_step(session, &event, &err) == CHORD_OK) {
            fputs(chord_session_piece(session, NULL), stdout);
            fflush(stdout);
        }
    }
    if (err) fprintf(stderr, "hello: %s\n", chord_error_message(err));
    else putchar('\n');
    chord_session_free(session);
    chord_chat_free(chat);
    chord_model_free(model);
    return err ? 1 : 0; /* an error object is freed by chord_error_free(); here the process ends */
}
