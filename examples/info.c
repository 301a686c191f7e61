/* What a model file holds: info MODEL */
#include "common.h"

#include <inttypes.h>

static const char help[] =
    "usage: info [--metadata | --tensors] MODEL.gguf\n"
    "\n"
    "Prints the metadata and the tensors of a model file, one per line, and sums by element type.\n"
    "Also works for models that this release cannot run.\n";

/* The beginning of a text, on one line, cut between characters. */
static void print_short(const char *text)
{
    enum { WIDTH = 78 };
    size_t len = strlen(text), end = len, i;
    if (len > WIDTH)
        for (end = WIDTH - 3; end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80;) end--;
    for (i = 0; i < end; i++) putchar((unsigned char)text[i] < ' ' ? ' ' : text[i]);
    puts(end < len ? "..." : "");
}

static void metadata(const char *program, const chord_model *model)
{
    size_t i, entries = chord_model_metadata_count(model);
    printf("%zu metadata entries\n", entries);
    for (i = 0; i < entries; i++) {
        char key[256], *value;
        size_t len = 0;
        chord_error *err = NULL;
        if (chord_model_metadata_key(model, i, key, sizeof key, &len, &err)) fail(program, err);
        chord_model_metadata_value(model, key, NULL, 0, &len, NULL);
        value = malloc(len + 1);
        if (!value || chord_model_metadata_value(model, key, value, len + 1, &len, &err)) fail(program, err);
        printf("  %-40s ", key);
        print_short(value);
        free(value);
    }
}

struct sum {
    char type_name[12];
    size_t tensors;
    uint64_t size, elements;
};

static void tensors(const char *program, const chord_model *model)
{
    struct sum sums[64] = {{"", 0, 0, 0}}, all = {"total", 0, 0, 0};
    size_t i, kinds = 0, listed = chord_model_tensor_count(model);
    chord_error *err = NULL;

    printf("%zu tensors\n", listed);
    for (i = 0; i < listed; i++) {
        chord_tensor_info info;
        char name[128], shape[100];
        size_t len = 0, kind = 0, d, used = 0;
        uint64_t elements = 1;

        if (chord_model_tensor_info(model, i, &info, sizeof info, &err) ||
            chord_model_tensor_name(model, i, name, sizeof name, &len, &err))
            fail(program, err);
        for (d = 0; d < info.dimensions && d < 4; d++) {
            elements *= info.shape[d];
            used += (size_t)snprintf(shape + used, sizeof shape - used, "%s%" PRIu64, d ? " x " : "", info.shape[d]);
        }
        printf("  %-40s %-8s %12" PRIu64 "  %s\n", name, info.type_name, info.size, shape);
        while (kind < kinds && strcmp(sums[kind].type_name, info.type_name) != 0) kind++;
        if (kind == kinds && kinds < sizeof sums / sizeof *sums) {
            memcpy(sums[kind].type_name, info.type_name, sizeof info.type_name);
            kinds++;
        }
        sums[kind].tensors++, all.tensors++;
        sums[kind].size += info.size, all.size += info.size;
        sums[kind].elements += elements, all.elements += elements;
    }
    if (kinds < sizeof sums / sizeof *sums) sums[kinds++] = all;
    printf("%-8s %8s %16s %16s %16s\n", "type", "tensors", "parameters", "bytes", "bits/parameter");
    for (i = 0; i < kinds; i++) {
        printf("%-8s %8zu %16" PRIu64 " %16" PRIu64 " %16.3f\n", sums[i].type_name, sums[i].tensors, sums[i].elements,
               sums[i].size, sums[i].elements ? 8.0 * (double)sums[i].size / (double)sums[i].elements : 0.0);
    }
}

int main(int argc, char **argv)
{
    chord_model_options *options = NULL;
    chord_model *model = NULL;
    chord_error *err = NULL;
    const char *path = NULL;
    bool show_metadata = true, show_tensors = true;
    int i;

    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            return 0;
        }
        if (strcmp(argv[i], "--metadata") == 0) {
            show_tensors = false;
        } else if (strcmp(argv[i], "--tensors") == 0) {
            show_metadata = false;
        } else if (argv[i][0] == '-') {
            usage_error(argv[0], "unknown option", argv[i]);
        } else if (path) {
            usage_error(argv[0], "one too many:", argv[i]);
        } else {
            path = argv[i];
        }
    }
    if (!path) usage_error(argv[0], "missing:", "MODEL.gguf");
    if (chord_model_options_new(&options, &err) || chord_model_options_set_vocab_only(options, true, &err) ||
        chord_model_open(path, options, &model, &err))
        fail(argv[0], err);
    if (show_metadata) metadata(argv[0], model);
    if (show_tensors) tensors(argv[0], model);
    chord_model_free(model);
    chord_model_options_free(options);
    return ferror(stdout) ? EXIT_FAILURE : 0;
}
