/* Compiled, not run: the header alone, then every kind of item once. */
#include <chord.h>

#if CHORD_VERSION_MAJOR < 0 || CHORD_ABI_VERSION < 0
#error "version macros are numbers for the preprocessor"
#endif

static void callback(chord_log_level level, const char *message, void *user_data)
{
    (void)level;
    (void)message;
    (void)user_data;
}

int header_compiles(void);

int header_compiles(void)
{
    chord_log_callback log = callback;
    chord_event event = CHORD_EVENT_TOKEN;
    chord_status status = CHORD_OK;
    chord_tensor_info info;
    uint32_t flags = CHORD_TEXT_ADD_SPECIAL | CHORD_TEXT_PARSE_SPECIAL;
    uint64_t offset = CHORD_NO_OFFSET;
    info.dimensions = 1;
    switch (event) {
    case CHORD_EVENT_TOKEN:
    case CHORD_EVENT_END:
        status = CHORD_STATUS_BUSY;
        break;
    default:
        break;
    }
    return log && status == CHORD_STATUS_BUSY && flags == 3 && offset && info.dimensions && CHORD_NO_TOKEN < 0;
}
