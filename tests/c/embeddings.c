/* Embeddings from a model that can generate, too: lengths, reading them, and what such a session does not do. */
#include "check.h"

static chord_session *embedder(const chord_model *model, chord_pooling pooling, bool unit_length)
{
    chord_session_options *options = NULL;
    chord_session *session = NULL;
    OK(chord_session_options_new(&options, &err));
    OK(chord_session_options_set_context_length(options, 64, &err));
    OK(chord_session_options_set_pooling(options, pooling, &err));
    OK(chord_session_options_set_unit_length(options, unit_length, &err));
    OK(chord_session_new(model, options, &session, &err));
    chord_session_options_free(options);
    return session;
}

/* The width of the model, by its table of embeddings. */
static size_t width_of(const chord_model *model)
{
    char name[256];
    chord_tensor_info info;
    size_t i, len;
    for (i = 0; i < chord_model_tensor_count(model); i++) {
        OK(chord_model_tensor_name(model, i, name, sizeof name, &len, &err));
        OK(chord_model_tensor_info(model, i, &info, sizeof info, &err));
        if (strcmp(name, "token_embd.weight") == 0) return (size_t)info.shape[0];
    }
    return 0;
}

static float product(const float *a, const float *b, size_t count)
{
    float sum = 0;
    size_t i;
    for (i = 0; i < count; i++) sum += a[i] * b[i];
    return sum;
}

int main(int argc, char **argv)
{
    chord_model *model = test_model(argc, argv);
    size_t width = width_of(model), count = 77, tokens;
    chord_session *mean = embedder(model, CHORD_POOLING_DEFAULT, true);
    chord_session *all = embedder(model, CHORD_POOLING_NONE, false);
    chord_session *last = embedder(model, CHORD_POOLING_LAST, false);
    chord_session *writer = greedy_session(model, 64, 8);
    chord_event event = CHORD_EVENT_TOKEN;
    float *first = calloc(width, sizeof *first);
    const float *vector, *vectors;
    float same, other;

    /* Nothing is there before it is evaluated, and again after a rewind. */
    CHECK(chord_session_embedding(mean, &count) == NULL && count == 0);
    OK(chord_session_append_text(mean, "What is 2+2?", 12, CHORD_TEXT_ADD_SPECIAL, &err));
    CHECK(chord_session_embedding(mean, &count) == NULL && count == 0);
    OK(chord_session_eval(mean, &err));
    vector = chord_session_embedding(mean, &count);
    CHECK(vector && count == width && chord_session_embedding(mean, NULL) == vector);
    memcpy(first, vector, width * sizeof *first);
    same = product(first, first, width);
    CHECK(same > 0.9999f && same < 1.0001f);
    OK(chord_session_rewind(mean, 0, &err));
    CHECK(chord_session_embedding(mean, &count) == NULL && count == 0);

    /* Another text is another vector; the same text the same bits. */
    OK(chord_session_append_text(mean, "Once upon a time", 16, CHORD_TEXT_ADD_SPECIAL, &err));
    OK(chord_session_eval(mean, &err));
    other = product(first, chord_session_embedding(mean, NULL), width);
    CHECK(other < 0.999f);
    OK(chord_session_rewind(mean, 0, &err));
    OK(chord_session_append_text(mean, "What is ", 8, CHORD_TEXT_ADD_SPECIAL, &err));
    OK(chord_session_eval(mean, &err));
    OK(chord_session_rewind(mean, 0, &err));
    OK(chord_session_append_text(mean, "What is 2+2?", 12, CHORD_TEXT_ADD_SPECIAL, &err));
    OK(chord_session_eval(mean, &err));
    CHECK(memcmp(first, chord_session_embedding(mean, NULL), width * sizeof *first) == 0);

    /* A vector for each token; the last of them is what "last" is. */
    OK(chord_session_append_text(all, "What is 2+2?", 12, CHORD_TEXT_ADD_SPECIAL, &err));
    OK(chord_session_eval(all, &err));
    vectors = chord_session_embedding(all, &count);
    tokens = chord_session_position(all);
    CHECK(vectors && tokens > 1 && count == tokens * width);
    OK(chord_session_append_text(last, "What is 2+2?", 12, CHORD_TEXT_ADD_SPECIAL, &err));
    OK(chord_session_eval(last, &err));
    vector = chord_session_embedding(last, &count);
    CHECK(count == width && memcmp(vector, vectors + (tokens - 1) * width, width * sizeof *vector) == 0);

    /* A session makes embeddings or answers. */
    FAILS(chord_session_step(mean, &event, &err), CHORD_STATUS_INVALID_STATE, "embeddings");
    CHECK(chord_session_logits(mean, &count) == NULL && count == 0);
    OK(chord_session_append_text(writer, "What", 4, CHORD_TEXT_ADD_SPECIAL, &err));
    OK(chord_session_eval(writer, &err));
    CHECK(chord_session_embedding(writer, &count) == NULL && count == 0);

    free(first);
    chord_session_free(mean);
    chord_session_free(all);
    chord_session_free(last);
    chord_session_free(writer);
    chord_model_free(model);
    return result();
}
