/* Conversations: the default template to the letter, the model's own, and turns in a session. */
#include "check.h"

static void default_template(const chord_model *model)
{
    const char expected[] = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n";
    const char prompt[] = "<|im_start|>assistant\n";
    chord_chat *chat = NULL;
    char text[512];
    size_t len = 0, exact = 0;

    OK(chord_chat_new(model, CHORD_CHAT_DEFAULT_TEMPLATE, &chat, &err));
    OK(chord_chat_add(chat, "system", "Be brief.", 9, &err));
    OK(chord_chat_add(chat, "user", "Hi", 2, &err));
    CHECK(chord_chat_count(chat) == 2);
    OK(chord_chat_render(chat, 0, text, sizeof text, &len, &err));
    CHECK(strcmp(text, expected) == 0 && len == strlen(expected));
    OK(chord_chat_render(chat, CHORD_CHAT_GENERATION_PROMPT, text, sizeof text, &len, &err));
    CHECK(strncmp(text, expected, strlen(expected)) == 0 && strcmp(text + strlen(expected), prompt) == 0);
    FAILS(chord_chat_render(chat, 0, NULL, 0, &exact, &err), CHORD_STATUS_BUFFER_TOO_SMALL, NULL);
    CHECK(exact == strlen(expected));
    OK(chord_chat_set_time(chat, 86400, &err));
    OK(chord_chat_truncate(chat, 1, &err));
    OK(chord_chat_render(chat, 0, text, sizeof text, &len, &err));
    CHECK(strcmp(text, "<|im_start|>system\nBe brief.<|im_end|>\n") == 0);
    OK(chord_chat_truncate(chat, 0, &err));
    CHECK(chord_chat_count(chat) == 0);
    chord_chat_free(chat);
}

/* Two turns; the second costs only what is new, and gives what a fresh session gives. */
static void turns(chord_model *model)
{
    chord_chat *chat = NULL;
    chord_session *session = greedy_session(model, 512, 64), *fresh = greedy_session(model, 512, 64);
    chord_event event = CHORD_EVENT_TOKEN;
    char answer[1024];
    size_t used = 0, first, len;
    int i;

    OK(chord_chat_new(model, 0, &chat, &err));
    OK(chord_chat_add(chat, "user", "What is 2+2?", 12, &err));
    OK(chord_session_append_chat(session, chat, CHORD_CHAT_GENERATION_PROMPT, &err));
    first = chord_session_position(session);
    CHECK(first > 5);
    OK(chord_session_append_chat(session, chat, CHORD_CHAT_GENERATION_PROMPT, &err));
    CHECK(chord_session_position(session) == first); /* the same conversation, not a second one */
    for (i = 0; i < 32 && event == CHORD_EVENT_TOKEN; i++) {
        const char *piece;
        OK(chord_session_step(session, &event, &err));
        piece = chord_session_piece(session, &len);
        if (used + len < sizeof answer) memcpy(answer + used, piece, len), used += len;
    }
    OK(chord_chat_add(chat, "assistant", answer, used, &err));
    OK(chord_chat_add(chat, "user", "And 3+3?", 8, &err));
    OK(chord_session_append_chat(session, chat, CHORD_CHAT_GENERATION_PROMPT, &err));
    OK(chord_session_eval(session, &err));
    OK(chord_session_append_chat(fresh, chat, CHORD_CHAT_GENERATION_PROMPT, &err));
    OK(chord_session_eval(fresh, &err));
    CHECK(chord_session_position(session) == chord_session_position(fresh) && chord_session_position(fresh) > first);
    CHECK(memcmp(chord_session_logits(session, NULL), chord_session_logits(fresh, NULL),
                 chord_model_vocab_size(model) * sizeof(float)) == 0);
    chord_session_free(fresh);

    /* Too long a conversation leaves the session as it is. */
    fresh = greedy_session(model, 16, 8);
    FAILS(chord_session_append_chat(fresh, chat, 0, &err), CHORD_STATUS_CONTEXT_FULL, "context of 16");
    CHECK(chord_session_position(fresh) == 0);
    chord_session_free(fresh);
    chord_model_free(model); /* chat and session keep it */
    OK(chord_session_append_chat(session, chat, 0, &err));
    chord_chat_free(chat);
    chord_session_free(session);
}

int main(int argc, char **argv)
{
    chord_model *model = test_model(argc, argv);
    default_template(model);
    turns(model);
    return result();
}
