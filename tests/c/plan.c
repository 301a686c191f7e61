/* Memory plans and budgets: what fits is made, what does not is refused with the numbers. */
#include "check.h"

static chord_plan planned(const char *path, const chord_model_options *model_options, const chord_session_options *options)
{
    chord_plan plan;
    OK(chord_model_plan(path, model_options, options, &plan, sizeof plan, &err));
    return plan;
}

/* The parts make up the totals, and options move bytes from one to the other. */
static void plans(const char *path)
{
    chord_model_options *model_options = NULL;
    chord_session_options *options = NULL;
    chord_plan plan = planned(path, NULL, NULL), other;

    CHECK(plan.weights_mapped > 0 && plan.weights_private == 0 && plan.tokenizer > 0 && plan.model > 0);
    CHECK(plan.private_total == plan.tokenizer + plan.model + plan.kv_cache + plan.scratch);
    CHECK(plan.total == plan.private_total + plan.weights_mapped);
    CHECK(plan.context_length > 0 && plan.longest_context >= plan.context_length);

    OK(chord_model_options_new(&model_options, &err));
    OK(chord_session_options_new(&options, &err));
    OK(chord_session_options_set_kv_type(options, CHORD_KV_TYPE_F32, &err));
    OK(chord_session_options_set_context_length(options, 256, &err));
    other = planned(path, NULL, options);
    CHECK(other.context_length == 256);
    OK(chord_session_options_set_kv_type(options, CHORD_KV_TYPE_F16, &err));
    CHECK(planned(path, NULL, options).kv_cache < other.kv_cache);

    OK(chord_model_options_set_copy(model_options, true, &err));
    other = planned(path, model_options, NULL);
    CHECK(other.weights_mapped == 0 && other.weights_private >= plan.weights_mapped && other.kv_cache == plan.kv_cache);
    OK(chord_model_options_set_vocab_only(model_options, true, &err));
    OK(chord_model_options_set_copy(model_options, false, &err));
    other = planned(path, model_options, NULL);
    CHECK(other.kv_cache == 0 && other.scratch == 0 && other.context_length == 0 && other.tokenizer == plan.tokenizer);

    chord_session_options_free(options);
    chord_model_options_free(model_options);
}

static void budgets(const char *path)
{
    chord_model_options *model_options = NULL;
    chord_session_options *options = NULL;
    chord_model *model = NULL;
    chord_session *first = NULL, *second = NULL;
    chord_plan plan;
    size_t size = 0;
    unsigned char *bytes = read_file(path, &size);

    OK(chord_model_options_new(&model_options, &err));
    OK(chord_session_options_new(&options, &err));
    OK(chord_session_options_set_context_length(options, 128, &err));
    plan = planned(path, NULL, options);

    /* Room for the model and one session. */
    OK(chord_model_options_set_memory_budget(model_options, plan.private_total, &err));
    CHECK(planned(path, model_options, options).longest_context >= 128);
    OK(chord_model_open(path, model_options, &model, &err));
    OK(chord_session_new(model, options, &first, &err));
    FAILS(chord_session_new(model, options, &second, &err), CHORD_STATUS_OVER_BUDGET, "a session needs");
    CHECK(!second);
    chord_session_free(first);
    OK(chord_session_new(model, options, &second, &err));
    chord_session_free(second);
    chord_model_free(model);
    model = NULL;

    /* A copy of the file does not fit; nothing is wrong with a plan that says so. */
    OK(chord_model_options_set_copy(model_options, true, &err));
    OK(chord_model_options_set_memory_budget(model_options, size / 2, &err));
    FAILS(chord_model_open(path, model_options, &model, &err), CHORD_STATUS_OVER_BUDGET, "model needs");
    FAILS(chord_model_open_memory(bytes, size, model_options, &model, &err), CHORD_STATUS_OVER_BUDGET, "model needs");
    CHECK(!model && planned(path, model_options, options).longest_context == 0);

    chord_session_options_free(options);
    chord_model_options_free(model_options);
    free(bytes);
}

int main(int argc, char **argv)
{
    chord_model_free(test_model(argc, argv));
    plans(argv[1]);
    budgets(argv[1]);
    return result();
}
