/* Goes on with a text: generate MODEL "Once upon a time" */
#include "common.h"

static const char help[] =
    "usage: generate [options] MODEL.gguf [PROMPT]\n"
    "\n"
    "Goes on with PROMPT (without one: with standard input) and prints the text as it comes.\n"
    "\n"
    "  --tokens N        stop after N tokens (default 200; 0: when the context is full)\n"
    "  --stop TEXT       stop before TEXT comes; may be given again\n" COMMON_OPTIONS;

int main(int argc, char **argv)
{
    struct common options = common_new(argv[0]);
    const char *path = NULL, *prompt = NULL, *value;
    char *input = NULL;
    size_t prompt_len = 0;
    uint32_t tokens = 200;
    chord_error *err = NULL;
    chord_model *model = NULL;
    chord_session *session = NULL;
    chord_event event = CHORD_EVENT_TOKEN;
    int i;

    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            return 0;
        }
        if ((value = option("--tokens", argc, argv, &i))) {
            tokens = count(argv[0], value);
        } else if ((value = option("--stop", argc, argv, &i))) {
            if (chord_session_options_add_stop(options.session, value, strlen(value), &err)) fail(argv[0], err);
        } else if (common_option(options, argc, argv, &i)) {
            continue;
        } else if (argv[i][0] == '-') {
            usage_error(argv[0], "unknown option", argv[i]);
        } else if (!path) {
            path = argv[i];
        } else if (!prompt) {
            prompt = argv[i];
        } else {
            usage_error(argv[0], "one too many:", argv[i]);
        }
    }
    if (!path) usage_error(argv[0], "missing:", "MODEL.gguf");
    if (!prompt) prompt = input = read_all(stdin, &prompt_len);
    if (!input) prompt_len = strlen(prompt);

    if (chord_session_options_set_max_tokens(options.session, tokens, &err) ||
        chord_model_open(path, options.model, &model, &err) ||
        chord_session_new(model, options.session, &session, &err) ||
        chord_session_append_text(session, prompt, prompt_len, CHORD_TEXT_ADD_SPECIAL, &err))
        fail(argv[0], err);
    fwrite(prompt, 1, prompt_len, stdout);
    while (event == CHORD_EVENT_TOKEN) {
        size_t len;
        const char *piece;
        fflush(stdout);
        if (chord_session_step(session, &event, &err)) fail(argv[0], err);
        piece = chord_session_piece(session, &len);
        fwrite(piece, 1, len, stdout);
    }
    putchar('\n');

    chord_session_free(session);
    chord_model_free(model);
    common_free(options);
    free(input);
    return ferror(stdout) ? EXIT_FAILURE : 0;
}
