/* Text to tokens: tokenize MODEL "some text" */
#include "common.h"

static const char help[] =
    "usage: tokenize [options] MODEL.gguf [TEXT]\n"
    "\n"
    "Prints the tokens of TEXT (without one: of standard input), one per line: id and text.\n"
    "\n"
    "  --ids             ids only, on one line\n"
    "  --no-special      do not add BOS or EOS\n"
    "  --parse-special   text of special tokens becomes the token\n";

static void print_quoted(const char *text, size_t len)
{
    size_t i;
    putchar('"');
    for (i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') printf("\\%c", c);
        else if (c == '\n') fputs("\\n", stdout);
        else if (c < ' ' || c >= 0x7f) printf("\\x%02x", c);
        else putchar(c);
    }
    puts("\"");
}

int main(int argc, char **argv)
{
    chord_model_options *options = NULL;
    chord_model *model = NULL;
    chord_error *err = NULL;
    const char *path = NULL, *text = NULL;
    char *input = NULL;
    int32_t *tokens;
    size_t len = 0, tokens_len = 0, t;
    uint32_t flags = CHORD_TEXT_ADD_SPECIAL;
    bool ids = false;
    int i;

    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            return 0;
        }
        if (strcmp(argv[i], "--ids") == 0) {
            ids = true;
        } else if (strcmp(argv[i], "--no-special") == 0) {
            flags &= ~(uint32_t)CHORD_TEXT_ADD_SPECIAL;
        } else if (strcmp(argv[i], "--parse-special") == 0) {
            flags |= CHORD_TEXT_PARSE_SPECIAL;
        } else if (argv[i][0] == '-') {
            usage_error(argv[0], "unknown option", argv[i]);
        } else if (!path) {
            path = argv[i];
        } else if (!text) {
            text = argv[i];
        } else {
            usage_error(argv[0], "one too many:", argv[i]);
        }
    }
    if (!path) usage_error(argv[0], "missing:", "MODEL.gguf");
    if (!text) text = input = read_all(stdin, &len);
    if (!input) len = strlen(text);

    if (chord_model_options_new(&options, &err) || chord_model_options_set_vocab_only(options, true, &err) ||
        chord_model_open(path, options, &model, &err))
        fail(argv[0], err);
    /* Ask how many, then get them. */
    if (chord_model_tokenize(model, text, len, flags, NULL, 0, &tokens_len, &err) == CHORD_STATUS_BUFFER_TOO_SMALL) {
        chord_error_free(err);
        err = NULL;
    }
    tokens = calloc(tokens_len + 1, sizeof *tokens);
    if (err || !tokens || chord_model_tokenize(model, text, len, flags, tokens, tokens_len, &tokens_len, &err))
        fail(argv[0], err);
    for (t = 0; t < tokens_len; t++) {
        char piece[1024];
        size_t piece_len = 0;
        if (ids) {
            printf("%s%d", t ? " " : "", (int)tokens[t]);
            continue;
        }
        if (chord_model_detokenize(model, tokens + t, 1, CHORD_TEXT_PARSE_SPECIAL, piece, sizeof piece, &piece_len, &err))
            fail(argv[0], err);
        printf("%8d  ", (int)tokens[t]);
        print_quoted(piece, piece_len);
    }
    if (ids) putchar('\n');

    free(tokens);
    free(input);
    chord_model_free(model);
    chord_model_options_free(options);
    return ferror(stdout) ? EXIT_FAILURE : 0;
}
