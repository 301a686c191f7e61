/* Coarser weights: quantize IN.gguf OUT.gguf TYPE */
#include "common.h"

static const char help[] =
    "usage: quantize [options] IN.gguf OUT.gguf TYPE\n"
    "\n"
    "Writes a model with the types of a mix such as Q4_K_M; metadata are kept. One line per tensor says what became of it, and\n"
    "how far the new weights are from the old ones (root mean square, relative). A wrong TYPE lists the right ones.\n"
    "\n"
    "  --pure             the base type of the mix for all matrices, without the finer types of some\n"
    "  --importance FILE  importance data (GGUF): errors count by the activations that the weights meet\n"
    "  --threads N        threads to use (0: all the process may use)\n"
    "  --quiet            no lines\n";

static bool progress(size_t index, size_t count, const char *name, const char *from, const char *to, double error, void *user_data)
{
    const bool *quiet = user_data;
    if (*quiet) return true;
    if (strcmp(from, to) == 0) printf("[%3zu/%zu] %-40s %s\n", index + 1, count, name, from);
    else printf("[%3zu/%zu] %-40s %s -> %s, error %.2e\n", index + 1, count, name, from, to, error);
    return fflush(stdout) == 0;
}

int main(int argc, char **argv)
{
    chord_quantize_options *options = NULL;
    chord_error *err = NULL;
    const char *value, *names[3] = {NULL, NULL, NULL};
    bool quiet = false;
    int i, given = 0;

    if (chord_quantize_options_new(&options, &err)) fail(argv[0], err);
    for (i = 1; i < argc && !err; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            return 0;
        }
        if (strcmp(argv[i], "--pure") == 0) {
            chord_quantize_options_set_pure(options, true, &err);
        } else if (strcmp(argv[i], "--quiet") == 0) {
            quiet = true;
        } else if ((value = option("--importance", argc, argv, &i))) {
            chord_quantize_options_set_importance(options, value, &err);
        } else if ((value = option("--threads", argc, argv, &i))) {
            chord_quantize_options_set_threads(options, count(argv[0], value), &err);
        } else if (argv[i][0] == '-') {
            usage_error(argv[0], "unknown option", argv[i]);
        } else if (given == 3) {
            usage_error(argv[0], "one too many:", argv[i]);
        } else {
            names[given++] = argv[i];
        }
    }
    if (!err && given < 3) usage_error(argv[0], "not given:", given == 2 ? "TYPE" : given == 1 ? "OUT.gguf" : "IN.gguf");
    if (!err) chord_quantize_options_set_callback(options, progress, &quiet, &err);
    if (!err) chord_quantize(names[0], names[1], names[2], options, &err);
    if (err) fail(argv[0], err);
    chord_quantize_options_free(options);
    return 0;
}
