/* A program of the time of the first interface: it opens a model, asks it a question, reads records, and fails in some ways. It
 * was built once against the declarations of that time and runs with every library since:
 *
 *   cc -fpreprocessed -dD -E -P include/chord.h > tests/abi/first.h
 *   cc -std=c11 -Os -s -Wl,-z,noseparate-code -o tests/abi/first-x86_64-linux-gnu tests/abi/first.c -Ltarget/release -lchord
 */
#include "first.h"

#include <stdio.h>
#include <string.h>

#define CHECK(condition)                                             \
    if (!(condition)) {                                              \
        printf("line %d: %s\n", __LINE__, chord_error_message(err)); \
        return 1;                                                    \
    }

static bool go_on(uint64_t done, uint64_t total, void *user_data)
{
    *(uint64_t *)user_data = done + total;
    return true;
}

static void hear(chord_log_level level, const char *message, void *user_data)
{
    (void)message;
    *(int *)user_data += (int)level;
}

int main(int argc, char **argv)
{
    static const char question[] = "What is 2+2?";
    chord_error *err = NULL;
    chord_model_options *model_options = NULL;
    chord_session_options *options = NULL;
    chord_model *model = NULL;
    chord_session *session = NULL;
    chord_chat *chat = NULL;
    chord_event event = CHORD_EVENT_TOKEN;
    chord_tensor_info info;
    chord_plan plan;
    char text[256];
    int32_t tokens[64];
    uint64_t progress = 0;
    size_t count = 0, size = 0;
    int heard = 0;

    CHECK(argc == 2 && chord_abi_version() == 0 && chord_version() && chord_cpu_level());
    CHECK(chord_model_options_new(&model_options, &err) == CHORD_OK);
    CHECK(chord_model_options_set_threads(model_options, 2, &err) == CHORD_OK);
    CHECK(chord_model_options_set_precision(model_options, CHORD_PRECISION_HIGH, &err) == CHORD_OK);
    CHECK(chord_model_options_set_progress(model_options, go_on, &progress, &err) == CHORD_OK);
    CHECK(chord_model_options_set_log(model_options, hear, &heard, &err) == CHORD_OK);
    CHECK(chord_session_options_new(&options, &err) == CHORD_OK);
    CHECK(chord_session_options_set_temperature(options, 0, &err) == CHORD_OK);
    CHECK(chord_session_options_set_context_length(options, 256, &err) == CHORD_OK);
    CHECK(chord_session_options_set_kv_type(options, CHORD_KV_TYPE_F32, &err) == CHORD_OK);
    CHECK(chord_session_options_add_stop(options, "never", 5, &err) == CHORD_OK);

    memset(&plan, 0, sizeof plan);
    CHECK(chord_model_plan(argv[1], model_options, options, &plan, sizeof plan, &err) == CHORD_OK);
    CHECK(plan.total > plan.private_total && plan.kv_cache > 0 && plan.context_length == 256);
    CHECK(chord_model_options_set_memory_budget(model_options, plan.private_total, &err) == CHORD_OK);
    CHECK(chord_model_open(argv[1], model_options, &model, &err) == CHORD_OK && progress > 0 && heard > 0);
    CHECK(chord_model_vocab_size(model) > 300 && chord_model_threads(model) == 2 && chord_model_cpu_level(model));
    memset(&info, 0, sizeof info);
    CHECK(chord_model_tensor_info(model, 0, &info, sizeof info, &err) == CHORD_OK);
    CHECK(info.shape[0] > 1 && info.dimensions >= 1 && info.size > 0 && info.type_name[0]);
    CHECK(chord_model_metadata_value(model, "general.architecture", text, sizeof text, &size, &err) == CHORD_OK);
    CHECK(strcmp(text, "llama") == 0 && size == 5);
    CHECK(chord_model_tokenize(model, question, strlen(question), CHORD_TEXT_ADD_SPECIAL, tokens, 64, &count, &err) == CHORD_OK);
    CHECK(chord_model_detokenize(model, tokens, count, 0, text, sizeof text, &size, &err) == CHORD_OK);
    CHECK(strstr(text, question));

    CHECK(chord_session_new(model, options, &session, &err) == CHORD_OK);
    CHECK(chord_chat_new(model, 0, &chat, &err) == CHORD_OK);
    CHECK(chord_chat_add(chat, "user", question, strlen(question), &err) == CHORD_OK);
    chord_model_free(model);
    CHECK(chord_session_append_chat(session, chat, CHORD_CHAT_GENERATION_PROMPT, &err) == CHORD_OK);
    CHECK(chord_session_eval(session, &err) == CHORD_OK && chord_session_logits(session, &count) && count > 300);
    while (event == CHORD_EVENT_TOKEN || event == CHORD_EVENT_PENDING) {
        CHECK(chord_session_step_for(session, 100000, &event, &err) == CHORD_OK);
        fputs(chord_session_piece(session, &size), stdout);
    }
    CHECK(event == CHORD_EVENT_END && chord_session_token(session) >= 0 && chord_session_position(session) > 0);
    putchar('\n');

    tokens[0] = -7;
    CHECK(chord_session_append(session, tokens, 1, &err) == CHORD_STATUS_OUT_OF_RANGE && err);
    chord_error_free(err);
    err = NULL;
    CHECK(chord_session_rewind(session, 1000, &err) == CHORD_STATUS_OUT_OF_RANGE && chord_error_message(err));
    CHECK(chord_error_status(err) == CHORD_STATUS_OUT_OF_RANGE && chord_error_offset(err) == CHORD_NO_OFFSET);
    chord_error_free(err);
    err = NULL;
    chord_session_cancel(session);
    CHECK(chord_session_step(session, &event, &err) == CHORD_OK && event == CHORD_EVENT_CANCELLED);
    chord_session_free(session);
    chord_session_free(session);
    chord_chat_free(chat);
    chord_session_options_free(options);
    chord_model_options_free(model_options);
    return chord_handle_count(CHORD_HANDLE_KIND_ANY) == 0 ? 0 : 1;
}
