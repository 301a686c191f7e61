/* Tokenize, detokenize, what a model says about itself, and the rules of buffers. */
#include "check.h"

static void round_trip(const chord_model *model, const char *text, size_t len)
{
    int32_t tokens[256];
    char back[1024];
    size_t count = 999, exact = 0, back_len = 0;

    OK(chord_model_tokenize(model, text, len, 0, tokens, 256, &count, &err));
    CHECK(count <= 256 && (count > 0 || len == 0));
    OK(chord_model_detokenize(model, tokens, count, 0, back, sizeof back, &back_len, &err));
    /* Some vocabularies put a space in front of every text. */
    CHECK(back_len == len || (back_len == len + 1 && back[0] == ' '));
    CHECK(memcmp(back + back_len - len, text, len) == 0 && back[back_len] == 0);

    /* Too small says how much; exactly enough is enough. */
    if (len == 0) return;
    FAILS(chord_model_tokenize(model, text, len, 0, NULL, 0, &exact, &err), CHORD_STATUS_BUFFER_TOO_SMALL, "capacity is 0");
    CHECK(exact == count);
    tokens[0] = -7;
    FAILS(chord_model_tokenize(model, text, len, 0, tokens, count - 1, &exact, &err), CHORD_STATUS_BUFFER_TOO_SMALL, NULL);
    CHECK(exact == count && tokens[0] == -7);
    OK(chord_model_tokenize(model, text, len, 0, tokens, count, &exact, &err));
    FAILS(chord_model_detokenize(model, tokens, count, 0, back, back_len - 1, &exact, &err), CHORD_STATUS_BUFFER_TOO_SMALL, NULL);
    CHECK(exact == back_len);
    OK(chord_model_detokenize(model, tokens, count, 0, back, back_len, &exact, &err));
}

static void special_tokens(const chord_model *model)
{
    int32_t tokens[64], bos = chord_model_bos(model), eos = chord_model_eos(model);
    char text[256];
    size_t plain = 0, special = 0, len = 0;

    OK(chord_model_tokenize(model, "hello", 5, 0, tokens, 64, &plain, &err));
    OK(chord_model_tokenize(model, "hello", 5, CHORD_TEXT_ADD_SPECIAL, tokens, 64, &special, &err));
    CHECK(special == plain || (special == plain + 1 && (tokens[0] == bos || tokens[plain] == eos)));
    if (eos == CHORD_NO_TOKEN) return;
    CHECK(chord_model_ends_generation(model, eos) && !chord_model_ends_generation(model, tokens[special - 1] == eos ? 0 : tokens[special - 1]));
    OK(chord_model_detokenize(model, &eos, 1, 0, text, sizeof text, &len, &err));
    CHECK(len == 0); /* control tokens have no text of their own */
    OK(chord_model_detokenize(model, &eos, 1, CHORD_TEXT_PARSE_SPECIAL, text, sizeof text, &len, &err));
    CHECK(len > 0);
    OK(chord_model_tokenize(model, text, len, CHORD_TEXT_PARSE_SPECIAL, tokens, 64, &special, &err));
    CHECK(special == 1 && tokens[0] == eos);
    OK(chord_model_tokenize(model, text, len, 0, tokens, 64, &special, &err));
    CHECK(special != 1 || tokens[0] != eos); /* without the flag it is only text */
}

static void information(const chord_model *model)
{
    char key[256], value[256], name[256];
    size_t i, needed = 0, embeddings = 0;
    chord_tensor_info info;

    OK(chord_model_metadata_value(model, "general.architecture", value, sizeof value, &needed, &err));
    CHECK(strcmp(value, "llama") == 0 && needed == 5);
    CHECK(chord_model_metadata_count(model) > 5);
    for (i = 0; i < chord_model_metadata_count(model); i++) {
        chord_status status;
        OK(chord_model_metadata_key(model, i, key, sizeof key, &needed, &err));
        CHECK(needed == strlen(key) && needed > 0);
        status = chord_model_metadata_value(model, key, value, sizeof value, &needed, NULL);
        CHECK(status == CHORD_OK || (status == CHORD_STATUS_BUFFER_TOO_SMALL && needed > sizeof value));
    }
    for (i = 0; i < chord_model_tensor_count(model); i++) {
        OK(chord_model_tensor_name(model, i, name, sizeof name, &needed, &err));
        memset(&info, 0xff, sizeof info);
        OK(chord_model_tensor_info(model, i, &info, sizeof info, &err));
        CHECK(info.size > 0 && info.dimensions >= 1 && info.dimensions <= 4 && info.type_name[0]);
        CHECK(info.shape[0] > 0 && info.shape[3] == 1);
        if (strcmp(name, "token_embd.weight") == 0) {
            embeddings++;
            CHECK(info.dimensions == 2 && info.shape[1] == chord_model_vocab_size(model) && info.shape[2] == 1);
        }
    }
    CHECK(embeddings == 1);
    CHECK(chord_model_context_length(model) > 0 && chord_model_threads(model) > 0);
    CHECK(strcmp(chord_model_cpu_level(model), chord_cpu_level()) == 0);

    /* A program built with a later, longer record: what this library does not know becomes 0. */
    {
        struct {
            chord_tensor_info info;
            uint64_t later;
        } longer;
        longer.later = 77;
        OK(chord_model_tensor_info(model, 0, &longer.info, sizeof longer, &err));
        CHECK(longer.later == 0 && longer.info.size > 0);
    }
}

int main(int argc, char **argv)
{
    const char text[] = "Gr\xc3\xbc\xc3\x9f""e \xe6\xbc\xa2\xe5\xad\x97 \xf0\x9f\x99\x82\n\ttab";
    chord_model *model = test_model(argc, argv);
    round_trip(model, "What is 2+2?", 12);
    round_trip(model, "", 0);
    round_trip(model, "NUL \0 inside", 12);
    round_trip(model, text, sizeof text - 1);
    special_tokens(model);
    information(model);
    chord_model_free(model);
    return result();
}
