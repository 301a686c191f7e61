/* Sessions: append, eval, step, rewind, limits, and the order of freeing. */
#include "check.h"

#include <math.h>

/* Steps until something else than a token happens, at most max times; gathers the text. */
static chord_event generate(chord_session *session, char *text, size_t capacity, int max)
{
    chord_event event = CHORD_EVENT_TOKEN;
    size_t used = 0, len;
    while (max-- > 0 && event == CHORD_EVENT_TOKEN) {
        size_t before = chord_session_position(session);
        const char *piece;
        OK(chord_session_step(session, &event, &err));
        piece = chord_session_piece(session, &len);
        CHECK(piece && strlen(piece) <= len && piece[len] == 0);
        if (event == CHORD_EVENT_TOKEN || event == CHORD_EVENT_STOP) {
            CHECK(chord_session_position(session) == before + 1 && chord_session_token(session) >= 0);
        }
        if (piece && used + len < capacity) {
            memcpy(text + used, piece, len);
            used += len;
        }
    }
    text[used] = 0;
    return event;
}

/* The same text again after a rewind, in parts, with other batches; logits to the bit. */
static void determinism(const chord_model *model)
{
    const char prompt[] = "The days of the week are Monday, Tuesday, Wednesday";
    chord_session *one = greedy_session(model, 200, 64), *two = greedy_session(model, 200, 7);
    char first[2048], second[2048];
    int32_t tokens[128];
    size_t vocab = chord_model_vocab_size(model), count = 0, len = 0, i;
    float *kept = malloc(vocab * sizeof *kept);
    const float *logits;

    if (!kept) exit(1);
    OK(chord_session_append_text(one, prompt, strlen(prompt), CHORD_TEXT_ADD_SPECIAL, &err));
    CHECK(chord_session_logits(one, &len) == NULL && len == 0);
    OK(chord_session_eval(one, &err));
    logits = chord_session_logits(one, &len);
    CHECK(logits && len == vocab);
    if (!logits) exit(1);
    for (i = 0; i < len; i++) CHECK(isfinite(logits[i]));
    memcpy(kept, logits, vocab * sizeof *kept);
    OK(chord_session_eval(one, &err)); /* nothing new: nothing changes */
    CHECK(memcmp(kept, chord_session_logits(one, NULL), vocab * sizeof *kept) == 0);
    count = chord_session_position(one);
    generate(one, first, sizeof first, 40);

    OK(chord_session_rewind(one, count, &err));
    CHECK(chord_session_position(one) == count && chord_session_token(one) == CHORD_NO_TOKEN);
    OK(chord_session_eval(one, &err));
    CHECK(memcmp(kept, chord_session_logits(one, NULL), vocab * sizeof *kept) == 0);
    generate(one, second, sizeof second, 40);
    CHECK(strcmp(first, second) == 0);

    OK(chord_model_tokenize(model, prompt, strlen(prompt), CHORD_TEXT_ADD_SPECIAL, tokens, 128, &len, &err));
    CHECK(len == count);
    for (i = 0; i < len; i++) {
        OK(chord_session_append(two, tokens + i, 1, &err));
        if (i % 3 == 0) OK(chord_session_eval(two, &err));
    }
    OK(chord_session_eval(two, &err));
    CHECK(memcmp(kept, chord_session_logits(two, NULL), vocab * sizeof *kept) == 0);
    generate(two, second, sizeof second, 40);
    CHECK(strcmp(first, second) == 0);
    free(kept);
    chord_session_free(one);
    chord_session_free(two);
}

static void seeds(const chord_model *model)
{
    char texts[3][1024];
    uint64_t seeds[3] = {7, 7, 8};
    int i;
    for (i = 0; i < 3; i++) {
        chord_session_options *options = NULL;
        chord_session *session = NULL;
        OK(chord_session_options_new(&options, &err));
        OK(chord_session_options_set_seed(options, seeds[i], &err));
        OK(chord_session_options_set_temperature(options, 5.0f, &err));
        OK(chord_session_options_set_top_k(options, 0, &err));
        OK(chord_session_options_set_top_p(options, 1.0f, &err));
        OK(chord_session_options_set_min_p(options, 0.0f, &err));
        OK(chord_session_options_set_repetition_penalty(options, 1.1f, &err));
        OK(chord_session_options_set_frequency_penalty(options, 0.1f, &err));
        OK(chord_session_options_set_presence_penalty(options, 0.1f, &err));
        OK(chord_session_options_set_penalty_window(options, 16, &err));
        OK(chord_session_options_set_kv_type(options, CHORD_KV_TYPE_F32, &err));
        OK(chord_session_options_set_max_tokens(options, 20, &err));
        OK(chord_session_new(model, options, &session, &err));
        chord_session_options_free(options);
        OK(chord_session_append_text(session, "One day", 7, CHORD_TEXT_ADD_SPECIAL, &err));
        generate(session, texts[i], sizeof texts[i], 20);
        chord_session_free(session);
    }
    CHECK(strcmp(texts[0], texts[1]) == 0);
    CHECK(strcmp(texts[0], texts[2]) != 0);
}

/* Slices of time: a step that is cut into many gives the token of one that is not. */
static void slices(const chord_model *model)
{
    enum { PROMPT = 150 };
    chord_session *whole = greedy_session(model, 200, 64), *cut = greedy_session(model, 200, 64);
    int32_t tokens[PROMPT];
    chord_event event = CHORD_EVENT_PENDING;
    int i, pending = 0;

    for (i = 0; i < PROMPT; i++) tokens[i] = 3 + i % 50;
    OK(chord_session_append(whole, tokens, PROMPT, &err));
    OK(chord_session_step(whole, &event, &err));
    OK(chord_session_append(cut, tokens, PROMPT, &err));
    do {
        OK(chord_session_step_for(cut, 0, &event, &err));
        if (event != CHORD_EVENT_PENDING) break;
        CHECK(chord_session_position(cut) == PROMPT && chord_session_logits(cut, NULL) == NULL);
        if (pending++ == 10) {
            chord_session_cancel(cut);
            OK(chord_session_step_for(cut, 1000000, &event, &err));
            CHECK(event == CHORD_EVENT_CANCELLED);
        }
    } while (pending < 1000000);
    CHECK(pending > 10);
    CHECK(chord_session_token(cut) == chord_session_token(whole));
    OK(chord_session_step_for(cut, UINT64_MAX, &event, &err));
    CHECK(event != CHORD_EVENT_PENDING);
    OK(chord_session_step(whole, &event, &err));
    CHECK(chord_session_token(cut) == chord_session_token(whole));
    chord_session_free(whole);
    chord_session_free(cut);
}

static void limits(const chord_model *model)
{
    chord_session *session = greedy_session(model, 16, 8);
    chord_session_options *options = NULL;
    int32_t tokens[17] = {0};
    chord_event event = CHORD_EVENT_TOKEN;
    char text[1024], part[5] = {0};
    size_t position, i;

    for (i = 0; i < 17; i++) tokens[i] = (int32_t)(i + 3);
    CHECK(chord_session_context_length(session) == 16);
    FAILS(chord_session_append(session, tokens, 17, &err), CHORD_STATUS_CONTEXT_FULL, "17 tokens");
    CHECK(chord_session_position(session) == 0);
    OK(chord_session_append(session, tokens, 10, &err));
    FAILS(chord_session_append(session, tokens, 7, &err), CHORD_STATUS_CONTEXT_FULL, "17 tokens");
    CHECK(chord_session_position(session) == 10);
    OK(chord_session_append(session, tokens, 6, &err));
    OK(chord_session_eval(session, &err));
    CHECK(chord_session_logits(session, NULL) != NULL); /* the last position has logits, but no token follows it */
    OK(chord_session_step(session, &event, &err));
    CHECK(event == CHORD_EVENT_LENGTH && chord_session_position(session) == 16);
    OK(chord_session_rewind(session, 0, &err));
    FAILS(chord_session_eval(session, &err), CHORD_STATUS_INVALID_STATE, "empty");
    OK(chord_session_append(session, tokens, 3, &err));
    OK(chord_session_step(session, &event, &err));
    chord_session_free(session);

    /* A stop string made of what the model says anyway; a limit on tokens. */
    session = greedy_session(model, 100, 8);
    OK(chord_session_append_text(session, "The days of the week are Monday,", 32, CHORD_TEXT_ADD_SPECIAL, &err));
    position = chord_session_position(session);
    generate(session, text, sizeof text, 12);
    CHECK(chord_session_position(session) > position);
    chord_session_free(session);
    session = NULL;
    OK(chord_session_options_new(&options, &err));
    OK(chord_session_options_set_temperature(options, 0, &err));
    OK(chord_session_options_set_max_tokens(options, 3, &err));
    OK(chord_session_new(model, options, &session, &err));
    OK(chord_session_append_text(session, "The days of the week are Monday,", 32, CHORD_TEXT_ADD_SPECIAL, &err));
    event = generate(session, text + 512, 512, 50);
    CHECK(event == CHORD_EVENT_LENGTH || event == CHORD_EVENT_END);
    CHECK(chord_session_position(session) <= position + 3);
    chord_session_free(session);
    if (strlen(text) >= 8) {
        session = NULL;
        memcpy(part, text + 3, 4);
        OK(chord_session_options_set_max_tokens(options, 0, &err));
        if (chord_session_options_add_stop(options, part, 4, NULL) == CHORD_OK) {
            OK(chord_session_new(model, options, &session, &err));
            OK(chord_session_append_text(session, "The days of the week are Monday,", 32, CHORD_TEXT_ADD_SPECIAL, &err));
            event = generate(session, text + 512, 512, 50);
            CHECK(event == CHORD_EVENT_STOP && !strstr(text + 512, part) && strncmp(text, text + 512, strlen(text + 512)) == 0);
            chord_session_free(session);
        }
    }
    chord_session_options_free(options);
}

static void life(chord_model *model, const char *path)
{
    chord_session *session = greedy_session(model, 64, 8);
    chord_model *other = NULL;
    chord_event event = CHORD_EVENT_TOKEN;
    int i;

    /* The model goes first; the session keeps what it needs. */
    chord_model_free(model);
    CHECK(chord_model_vocab_size(model) == 0);
    chord_model_free(model);
    OK(chord_session_append_text(session, "hello", 5, 0, &err));
    OK(chord_session_step(session, &event, &err));
    chord_session_free(session);
    chord_session_free(session);
    FAILS(chord_session_step(session, &event, &err), CHORD_STATUS_INVALID_HANDLE, "session");

    /* A new object in an old slot does not revive an old handle. */
    for (i = 0; i < 20; i++) {
        chord_session *again;
        OK(chord_model_open(path, NULL, &other, &err));
        CHECK(other != model && chord_model_vocab_size(model) == 0);
        again = greedy_session(other, 32, 8);
        CHECK(again != session && chord_session_context_length(session) == 0 && chord_session_context_length(again) == 32);
        chord_session_free(again);
        chord_model_free(other);
    }
}

int main(int argc, char **argv)
{
    chord_model *model = test_model(argc, argv);
    determinism(model);
    seeds(model);
    slices(model);
    limits(model);
    life(model, argv[1]);
    return result();
}
