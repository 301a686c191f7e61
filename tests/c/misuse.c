/* Every function with handles that are none, NULL where nothing may be NULL, and values out of range: a status and a
 * message, never a crash. Needs no model; with one, live objects take part too. */
#include "check.h"

#include <math.h>

static char stack_object[64];

enum type { NONE, ERROR, MODEL_OPTIONS, MODEL, CHAT, SESSION_OPTIONS, SESSION, ANSWER, QUANTIZE_OPTIONS };

/* Calls every function of the other types on a handle, which is a live one of type own, or of none. */
static void bad_handle(void *handle, enum type own)
{
    chord_error *bad_error = (chord_error *)handle;
    chord_model_options *model_options = (chord_model_options *)handle;
    chord_model *model = (chord_model *)handle;
    chord_session_options *options = (chord_session_options *)handle;
    chord_session *session = (chord_session *)handle;
    chord_chat *chat = (chord_chat *)handle;
    chord_answer *answer = (chord_answer *)handle;
    chord_quantize_options *quantize_options = (chord_quantize_options *)handle;
    char text[8] = "text";
    int32_t tokens[2] = {1, 2};
    size_t size = 99;
    chord_event event = CHORD_EVENT_TOKEN;
    chord_tensor_info info;
    chord_plan plan;
    chord_session *new_session = NULL;
    chord_chat *new_chat = NULL;
    chord_answer *new_answer = NULL;
    chord_model *new_model = NULL;
    chord_error *outer = err;

    err = NULL;
#define INVALID(call) FAILS(call, CHORD_STATUS_INVALID_HANDLE, "not a live handle")
    if (own != ERROR) {
        CHECK(chord_error_status(bad_error) == CHORD_STATUS_INVALID_HANDLE);
        CHECK(chord_error_message(bad_error) == NULL);
        CHECK(chord_error_offset(bad_error) == CHORD_NO_OFFSET);
        chord_error_free(bad_error);
    }
    if (own != MODEL_OPTIONS) {
        INVALID(chord_model_options_set_threads(model_options, 1, &err));
        INVALID(chord_model_options_set_cpu_level(model_options, "scalar", &err));
        INVALID(chord_model_options_set_precision(model_options, CHORD_PRECISION_HIGH, &err));
        INVALID(chord_model_options_set_vocab_only(model_options, true, &err));
        INVALID(chord_model_options_set_copy(model_options, true, &err));
        INVALID(chord_model_options_set_resident(model_options, true, &err));
        INVALID(chord_model_options_set_mapped_limit(model_options, 1, &err));
        INVALID(chord_model_options_set_default_pre_tokenizer(model_options, true, &err));
        INVALID(chord_model_options_set_memory_budget(model_options, 1, &err));
        INVALID(chord_model_options_set_log(model_options, NULL, NULL, &err));
        INVALID(chord_model_options_set_progress(model_options, NULL, NULL, &err));
        INVALID(chord_model_options_set_runner(model_options, NULL, NULL, &err));
        INVALID(chord_model_options_set_thread_priority(model_options, 1, &err));
        chord_model_options_free(model_options);
    }
    if (handle && own != MODEL_OPTIONS) {
        INVALID(chord_model_open("nothing.gguf", model_options, &new_model, &err));
        INVALID(chord_model_open_memory(text, 4, model_options, &new_model, &err));
        INVALID(chord_model_plan("nothing.gguf", model_options, NULL, &plan, sizeof plan, &err));
    }
    if (own != MODEL) {
        INVALID(chord_model_tokenize(model, "a", 1, 0, tokens, 2, &size, &err));
        INVALID(chord_model_detokenize(model, tokens, 2, 0, text, sizeof text, &size, &err));
        CHECK(chord_model_vocab_size(model) == 0);
        CHECK(chord_model_context_length(model) == 0);
        CHECK(chord_model_bos(model) == CHORD_NO_TOKEN);
        CHECK(chord_model_eos(model) == CHORD_NO_TOKEN);
        CHECK(!chord_model_ends_generation(model, 2));
        CHECK(chord_model_threads(model) == 0);
        CHECK(chord_model_resident_size(model) == 0);
        CHECK(chord_model_cpu_level(model) == NULL);
        CHECK(chord_model_metadata_count(model) == 0);
        INVALID(chord_model_metadata_key(model, 0, text, sizeof text, &size, &err));
        INVALID(chord_model_metadata_value(model, "general.name", text, sizeof text, &size, &err));
        CHECK(chord_model_tensor_count(model) == 0);
        INVALID(chord_model_tensor_name(model, 0, text, sizeof text, &size, &err));
        INVALID(chord_model_tensor_info(model, 0, &info, sizeof info, &err));
        chord_model_free(model);
    }
    if (own != QUANTIZE_OPTIONS) {
        INVALID(chord_quantize_options_set_threads(quantize_options, 1, &err));
        INVALID(chord_quantize_options_set_pure(quantize_options, true, &err));
        INVALID(chord_quantize_options_set_importance(quantize_options, "nothing.gguf", &err));
        INVALID(chord_quantize_options_set_callback(quantize_options, NULL, NULL, &err));
        if (handle) INVALID(chord_quantize("nothing.gguf", "out.gguf", "Q4_0", quantize_options, &err));
        chord_quantize_options_free(quantize_options);
    }
    if (own != CHAT) {
        if (own != MODEL) INVALID(chord_chat_new(model, 0, &new_chat, &err));
        INVALID(chord_chat_add(chat, "user", "a", 1, &err));
        INVALID(chord_chat_add_json(chat, "{}", 2, &err));
        INVALID(chord_chat_set_tools(chat, "[]", 2, &err));
        INVALID(chord_chat_set_variable(chat, "a", "1", 1, &err));
        INVALID(chord_answer_new(chat, NULL, &new_answer, &err));
        CHECK(chord_chat_count(chat) == 0);
        INVALID(chord_chat_truncate(chat, 0, &err));
        INVALID(chord_chat_set_time(chat, 0, &err));
        INVALID(chord_chat_render(chat, 0, text, sizeof text, &size, &err));
        chord_chat_free(chat);
    }
    if (own != SESSION_OPTIONS) {
        INVALID(chord_session_options_set_context_length(options, 8, &err));
        INVALID(chord_session_options_set_batch_size(options, 8, &err));
        INVALID(chord_session_options_set_kv_type(options, CHORD_KV_TYPE_F16, &err));
        INVALID(chord_session_options_set_max_tokens(options, 8, &err));
        INVALID(chord_session_options_add_stop(options, "a", 1, &err));
        INVALID(chord_session_options_set_special_text(options, true, &err));
        INVALID(chord_session_options_set_pooling(options, CHORD_POOLING_DEFAULT, &err));
        INVALID(chord_session_options_set_unit_length(options, true, &err));
        INVALID(chord_session_options_set_prefault(options, true, &err));
        INVALID(chord_session_options_set_progress(options, NULL, NULL, &err));
        INVALID(chord_session_options_set_seed(options, 1, &err));
        INVALID(chord_session_options_set_temperature(options, 1, &err));
        INVALID(chord_session_options_set_top_k(options, 1, &err));
        INVALID(chord_session_options_set_top_p(options, 1, &err));
        INVALID(chord_session_options_set_min_p(options, 0, &err));
        INVALID(chord_session_options_set_repetition_penalty(options, 1, &err));
        INVALID(chord_session_options_set_frequency_penalty(options, 0, &err));
        INVALID(chord_session_options_set_presence_penalty(options, 0, &err));
        INVALID(chord_session_options_set_penalty_window(options, 1, &err));
        chord_session_options_free(options);
    }
    if (own != SESSION) {
        if (own != MODEL) INVALID(chord_session_new(model, NULL, &new_session, &err));
        INVALID(chord_session_append(session, tokens, 2, &err));
        INVALID(chord_session_append_text(session, "a", 1, 0, &err));
        INVALID(chord_session_append_chat(session, chat, 0, &err));
        INVALID(chord_session_eval(session, &err));
        INVALID(chord_session_step(session, &event, &err));
        INVALID(chord_session_step_for(session, 10, &event, &err));
        size = 99;
        CHECK(chord_session_logits(session, &size) == NULL && size == 0);
        CHECK(chord_session_logits(session, NULL) == NULL);
        size = 99;
        CHECK(chord_session_embedding(session, &size) == NULL && size == 0);
        CHECK(chord_session_embedding(session, NULL) == NULL);
        CHECK(chord_session_token(session) == CHORD_NO_TOKEN);
        size = 99;
        CHECK(chord_session_piece(session, &size) == NULL && size == 0);
        CHECK(chord_session_piece(session, NULL) == NULL);
        CHECK(chord_session_position(session) == 0);
        CHECK(chord_session_context_length(session) == 0);
        INVALID(chord_session_rewind(session, 0, &err));
        chord_session_cancel(session);
        chord_session_free(session);
    }
    if (own != ANSWER) {
        INVALID(chord_answer_feed(answer, "a", 1, false, &err));
        size = 99;
        CHECK(chord_answer_text(answer, CHORD_ANSWER_PART_CONTENT, &size) == NULL && size == 0);
        size = 99;
        CHECK(chord_answer_call(answer, 0, CHORD_CALL_PART_NAME, &size) == NULL && size == 0);
        chord_answer_free(answer);
    }

    /* Nothing was written where nothing succeeded, and no error object is no crash either. */
    CHECK(!new_model && !new_session && !new_chat && !new_answer && event == CHORD_EVENT_TOKEN && strcmp(text, "text") == 0);
    if (own != SESSION) CHECK(chord_session_step(session, &event, NULL) == CHORD_STATUS_INVALID_HANDLE);
    err = outer;
}

#define ARGUMENT(call, name) FAILS(call, CHORD_STATUS_INVALID_ARGUMENT, name)

/* Options: their values, and NULL for their pointers. */
static void options(void)
{
    chord_model_options *model_options = NULL;
    chord_session_options *session_options = NULL;
    chord_quantize_options *quantize_options = NULL;
    const float bad[] = {-1.0f, (float)NAN, (float)INFINITY};
    size_t i;

    ARGUMENT(chord_model_options_new(NULL, &err), "options is NULL");
    ARGUMENT(chord_session_options_new(NULL, &err), "options is NULL");
    OK(chord_model_options_new(&model_options, &err));
    OK(chord_session_options_new(&session_options, &err));
    bad_handle(model_options, MODEL_OPTIONS);
    bad_handle(session_options, SESSION_OPTIONS);
    ARGUMENT(chord_quantize_options_new(NULL, &err), "options is NULL");
    OK(chord_quantize_options_new(&quantize_options, &err));
    bad_handle(quantize_options, QUANTIZE_OPTIONS);

    ARGUMENT(chord_quantize_options_set_threads(quantize_options, 1025, &err), "1025");
    ARGUMENT(chord_quantize_options_set_importance(quantize_options, NULL, &err), "path is NULL");
    FAILS(chord_quantize_options_set_importance(quantize_options, "no/such.gguf", &err), CHORD_STATUS_IO, "no/such.gguf");
    ARGUMENT(chord_quantize(NULL, "out.gguf", "Q4_0", NULL, &err), "input is NULL");
    ARGUMENT(chord_quantize("in.gguf", NULL, "Q4_0", NULL, &err), "output is NULL");
    ARGUMENT(chord_quantize("in.gguf", "out.gguf", NULL, NULL, &err), "file_type is NULL");
    ARGUMENT(chord_quantize("in.gguf", "out.gguf", "Q9", NULL, &err), "unknown file type \"Q9\"");
    FAILS(chord_quantize("no/such.gguf", "out.gguf", "Q4_0", quantize_options, &err), CHORD_STATUS_IO, "no/such.gguf");

    OK(chord_model_options_set_threads(model_options, 0, &err));
    ARGUMENT(chord_model_options_set_threads(model_options, UINT32_MAX, &err), "4294967295");
    ARGUMENT(chord_model_options_set_thread_priority(model_options, 20, &err), "20");
    ARGUMENT(chord_model_options_set_thread_priority(model_options, INT32_MIN, &err), "2147483648");
    ARGUMENT(chord_model_options_set_cpu_level(model_options, NULL, &err), "level is NULL");
    ARGUMENT(chord_model_options_set_cpu_level(model_options, "warp", &err), "warp");
    FAILS(chord_model_options_set_cpu_level(model_options, "\xff", &err), CHORD_STATUS_INVALID_UTF8, "level");
    OK(chord_model_options_set_cpu_level(model_options, "scalar", &err));
    ARGUMENT(chord_model_options_set_precision(model_options, (chord_precision)77, &err), "77");

    ARGUMENT(chord_session_options_set_context_length(session_options, UINT32_MAX, &err), "4294967295");
    ARGUMENT(chord_session_options_set_batch_size(session_options, UINT32_MAX, &err), "4294967295");
    ARGUMENT(chord_session_options_set_kv_type(session_options, (chord_kv_type)-5, &err), "-5");
    ARGUMENT(chord_session_options_set_pooling(session_options, (chord_pooling)99, &err), "unknown pooling 99");
    ARGUMENT(chord_session_options_add_stop(session_options, NULL, 3, &err), "text is NULL");
    ARGUMENT(chord_session_options_add_stop(session_options, NULL, 0, &err), "stop");
    FAILS(chord_session_options_add_stop(session_options, "ab\xc3", 3, &err), CHORD_STATUS_INVALID_UTF8, "byte 2");
    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        ARGUMENT(chord_session_options_set_temperature(session_options, bad[i], &err), "temperature");
        ARGUMENT(chord_session_options_set_top_p(session_options, bad[i], &err), "top_p");
        ARGUMENT(chord_session_options_set_min_p(session_options, bad[i], &err), "min_p");
        ARGUMENT(chord_session_options_set_repetition_penalty(session_options, bad[i], &err), "penalty");
        if (i == 0) continue; /* these two may be negative */
        ARGUMENT(chord_session_options_set_frequency_penalty(session_options, bad[i], &err), "penalty");
        ARGUMENT(chord_session_options_set_presence_penalty(session_options, bad[i], &err), "penalty");
    }
    chord_model_options_free(model_options);
    chord_session_options_free(session_options);
    bad_handle(model_options, NONE);
    bad_handle(session_options, NONE);
    chord_quantize_options_free(quantize_options);
    bad_handle(quantize_options, NONE);
}

/* Live objects, and NULL for every other pointer. */
static void with_model(const char *path, chord_model *model)
{
    chord_chat *chat = NULL;
    chord_answer *answer = NULL;
    chord_session *session = greedy_session(model, 64, 8);
    chord_session *again = NULL;
    chord_tensor_info info;
    chord_plan plan;
    char text[4096];
    int32_t tokens[64];
    int32_t outside = (int32_t)chord_model_vocab_size(model);
    size_t size = 0;
    chord_event event = CHORD_EVENT_TOKEN;

    ARGUMENT(chord_model_open(NULL, NULL, &model, &err), "path is NULL");
    ARGUMENT(chord_model_plan(NULL, NULL, NULL, &plan, sizeof plan, &err), "path is NULL");
    ARGUMENT(chord_model_plan(path, NULL, NULL, NULL, sizeof plan, &err), "plan is NULL");
    ARGUMENT(chord_model_plan(path, NULL, NULL, &plan, 8, &err), "size 8");
    FAILS(chord_model_plan(path, NULL, (chord_session_options *)model, &plan, sizeof plan, &err), CHORD_STATUS_INVALID_HANDLE,
          "options");
    ARGUMENT(chord_model_open(path, NULL, NULL, &err), "model is NULL");
    ARGUMENT(chord_model_open_memory(NULL, 5, NULL, &model, &err), "data is NULL");
    ARGUMENT(chord_model_open_memory(text, SIZE_MAX, NULL, &model, &err), "length of data");
    ARGUMENT(chord_model_open_memory(text, 5, NULL, NULL, &err), "model is NULL");

    ARGUMENT(chord_model_tokenize(model, NULL, 1, 0, tokens, 64, &size, &err), "text is NULL");
    ARGUMENT(chord_model_tokenize(model, "a", 1, 0, NULL, 64, &size, &err), "tokens is NULL");
    ARGUMENT(chord_model_tokenize(model, "a", 1, 0, tokens, 64, NULL, &err), "count is NULL");
    ARGUMENT(chord_model_tokenize(model, "a", 1, 0x80, tokens, 64, &size, &err), "0x80");
    ARGUMENT(chord_model_tokenize(model, "a", 1, 0, (int32_t *)(void *)(text + 1), 64, &size, &err), "not aligned");
    FAILS(chord_model_tokenize(model, "a\xff", 2, 0, tokens, 64, &size, &err), CHORD_STATUS_INVALID_UTF8, "byte 1");
    ARGUMENT(chord_model_detokenize(model, NULL, 1, 0, text, sizeof text, &size, &err), "tokens is NULL");
    ARGUMENT(chord_model_detokenize(model, tokens, SIZE_MAX / 2, 0, text, sizeof text, &size, &err), "length of tokens");
    ARGUMENT(chord_model_detokenize(model, tokens, 0, 0, NULL, sizeof text, &size, &err), "text is NULL");
    ARGUMENT(chord_model_detokenize(model, tokens, 0, 0, text, sizeof text, NULL, &err), "text_len is NULL");
    ARGUMENT(chord_model_detokenize(model, tokens, 0, 0x80, text, sizeof text, &size, &err), "0x80");
    FAILS(chord_model_detokenize(model, &outside, 1, 0, text, sizeof text, &size, &err), CHORD_STATUS_OUT_OF_RANGE, "token");

    ARGUMENT(chord_model_metadata_key(model, 0, NULL, 1, &size, &err), "key is NULL");
    ARGUMENT(chord_model_metadata_key(model, 0, text, sizeof text, NULL, &err), "key_len is NULL");
    FAILS(chord_model_metadata_key(model, SIZE_MAX, text, sizeof text, &size, &err), CHORD_STATUS_OUT_OF_RANGE, "metadata");
    ARGUMENT(chord_model_metadata_value(model, NULL, text, sizeof text, &size, &err), "key is NULL");
    ARGUMENT(chord_model_metadata_value(model, "a", NULL, 1, &size, &err), "value is NULL");
    ARGUMENT(chord_model_metadata_value(model, "a", text, sizeof text, NULL, &err), "value_len is NULL");
    FAILS(chord_model_metadata_value(model, "no.such", text, 8, &size, &err), CHORD_STATUS_NOT_FOUND, "no.such");
    ARGUMENT(chord_model_tensor_name(model, 0, NULL, 1, &size, &err), "name is NULL");
    ARGUMENT(chord_model_tensor_name(model, 0, text, sizeof text, NULL, &err), "name_len is NULL");
    FAILS(chord_model_tensor_name(model, SIZE_MAX, text, 8, &size, &err), CHORD_STATUS_OUT_OF_RANGE, "tensor");
    ARGUMENT(chord_model_tensor_info(model, 0, NULL, sizeof info, &err), "info is NULL");
    ARGUMENT(chord_model_tensor_info(model, 0, &info, 8, &err), "size 8");
    FAILS(chord_model_tensor_info(model, SIZE_MAX, &info, sizeof info, &err), CHORD_STATUS_OUT_OF_RANGE, "tensor");

    ARGUMENT(chord_chat_new(model, CHORD_CHAT_DEFAULT_TEMPLATE, NULL, &err), "chat is NULL");
    ARGUMENT(chord_chat_new(model, 0x80, &chat, &err), "0x80");
    OK(chord_chat_new(model, CHORD_CHAT_DEFAULT_TEMPLATE, &chat, &err));
    ARGUMENT(chord_chat_add(chat, NULL, "a", 1, &err), "role is NULL");
    ARGUMENT(chord_chat_add(chat, "user", NULL, 1, &err), "content is NULL");
    FAILS(chord_chat_add(chat, "user", "\xe2\x82", 2, &err), CHORD_STATUS_INVALID_UTF8, "content");
    FAILS(chord_chat_truncate(chat, 1, &err), CHORD_STATUS_OUT_OF_RANGE, "0 messages");
    ARGUMENT(chord_chat_render(chat, 0x80, text, sizeof text, &size, &err), "0x80");
    ARGUMENT(chord_chat_render(chat, 0, NULL, 1, &size, &err), "text is NULL");
    ARGUMENT(chord_chat_render(chat, 0, text, sizeof text, NULL, &err), "text_len is NULL");

    ARGUMENT(chord_chat_add_json(chat, NULL, 1, &err), "message is NULL");
    ARGUMENT(chord_chat_add_json(chat, NULL, 0, &err), "message is not JSON");
    FAILS(chord_chat_add_json(chat, "\xff", 1, &err), CHORD_STATUS_INVALID_UTF8, "message");
    ARGUMENT(chord_chat_set_tools(chat, NULL, 1, &err), "tools is NULL");
    ARGUMENT(chord_chat_set_variable(chat, NULL, "1", 1, &err), "name is NULL");
    ARGUMENT(chord_chat_set_variable(chat, "a", NULL, 1, &err), "value is NULL");
    ARGUMENT(chord_answer_new(chat, NULL, NULL, &err), "answer is NULL");
    ARGUMENT(chord_answer_new(chat, "", &answer, &err), "unknown answer format");
    OK(chord_answer_new(chat, NULL, &answer, &err));
    ARGUMENT(chord_answer_feed(answer, NULL, 1, false, &err), "text is NULL");
    FAILS(chord_answer_feed(answer, "\xe2\x82", 2, false, &err), CHORD_STATUS_INVALID_UTF8, "text");
    CHECK(!chord_answer_text(answer, (chord_answer_part)99, &size) && size == 0);
    CHECK(!chord_answer_call(answer, SIZE_MAX, (chord_call_part)-1, NULL));
    CHECK(*chord_answer_text(answer, CHORD_ANSWER_PART_RAW, NULL) == 0);

    ARGUMENT(chord_session_new(model, NULL, NULL, &err), "session is NULL");
    FAILS(chord_session_new(model, (chord_session_options *)chat, &again, &err), CHORD_STATUS_INVALID_HANDLE, "options");
    FAILS(chord_session_eval((chord_session *)model, &err), CHORD_STATUS_INVALID_HANDLE, "session");
    ARGUMENT(chord_session_append(session, NULL, 1, &err), "tokens is NULL");
    FAILS(chord_session_append(session, &outside, 1, &err), CHORD_STATUS_OUT_OF_RANGE, "token");
    ARGUMENT(chord_session_append_text(session, NULL, 1, 0, &err), "text is NULL");
    ARGUMENT(chord_session_append_text(session, "a", 1, 0x80, &err), "0x80");
    FAILS(chord_session_append_text(session, "\xc0\x80", 2, 0, &err), CHORD_STATUS_INVALID_UTF8, "byte 0");
    FAILS(chord_session_append_chat(session, NULL, 0, &err), CHORD_STATUS_INVALID_HANDLE, "chat");
    ARGUMENT(chord_session_append_chat(session, chat, 0x80, &err), "0x80");
    ARGUMENT(chord_session_step(session, NULL, &err), "event is NULL");
    ARGUMENT(chord_session_step_for(session, 10, NULL, &err), "event is NULL");
    FAILS(chord_session_step(session, &event, &err), CHORD_STATUS_INVALID_STATE, "empty");
    FAILS(chord_session_step_for(session, 10, &event, &err), CHORD_STATUS_INVALID_STATE, "empty");
    FAILS(chord_session_eval(session, &err), CHORD_STATUS_INVALID_STATE, "empty");
    FAILS(chord_session_rewind(session, 1, &err), CHORD_STATUS_OUT_OF_RANGE, "position 1");
    CHECK(chord_session_position(session) == 0 && chord_session_logits(session, NULL) == NULL);
    CHECK(chord_session_embedding(session, &size) == NULL && size == 0);
    CHECK(chord_session_token(session) == CHORD_NO_TOKEN && *chord_session_piece(session, NULL) == 0);

    /* Each handle as every other type, and then, freed, as its own too. */
    bad_handle(session, SESSION);
    bad_handle(chat, CHAT);
    bad_handle(answer, ANSWER);
    bad_handle(model, MODEL);
    chord_session_free(session);
    chord_chat_free(chat);
    chord_answer_free(answer);
    chord_model_free(model);
    bad_handle(session, NONE);
    bad_handle(chat, NONE);
    bad_handle(answer, NONE);
    bad_handle(model, NONE);
}

int main(int argc, char **argv)
{
    uint64_t bits = 0x9e3779b97f4a7c15u;
    size_t size = 0;
    unsigned char *bytes = argc > 1 ? read_file(argv[1], &size) : NULL;
    chord_model *model = NULL;
    chord_error *stale;
    int i;

    bad_handle(NULL, NONE);
    bad_handle(stack_object, NONE);
    bad_handle((void *)(uintptr_t)1, NONE);
    bad_handle((void *)UINTPTR_MAX, NONE);
    for (i = 0; i < 200; i++) {
        bits ^= bits << 13, bits ^= bits >> 7, bits ^= bits << 17;
        bad_handle((void *)(uintptr_t)bits, NONE);
    }
    options();
    CHECK(chord_handle_count((chord_handle_kind)9) == 0 && chord_handle_count((chord_handle_kind)INT32_MIN) == 0);
    CHECK(strlen(chord_version()) >= 5 && chord_abi_version() == CHORD_ABI_VERSION && *chord_cpu_level());
    CHECK(chord_model_open("no/such/file.gguf", NULL, &model, NULL) == CHORD_STATUS_IO && !model);
    CHECK(chord_model_open("no/such/file.gguf", NULL, &model, &err) == CHORD_STATUS_IO && err);
    bad_handle(err, ERROR);
    CHECK(strstr(chord_error_message(err), "no/such/file.gguf"));
    stale = err;
    chord_error_free(err);
    err = NULL;
    bad_handle(stale, NONE);
    if (bytes) {
        OK(chord_model_open(argv[1], NULL, &model, &err));
        with_model(argv[1], model);
    }
    free(bytes);
    return result();
}
