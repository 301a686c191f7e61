#ifndef CHORD_H
#define CHORD_H 
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#define CHORD_VERSION_MAJOR 0
#define CHORD_VERSION_MINOR 1
#define CHORD_VERSION_PATCH 0
#define CHORD_ABI_VERSION 0
#define CHORD_NO_OFFSET UINT64_MAX
#define CHORD_TEXT_ADD_SPECIAL 1
#define CHORD_TEXT_PARSE_SPECIAL 2
#define CHORD_NO_TOKEN -1
#define CHORD_CHAT_DEFAULT_TEMPLATE 1
#define CHORD_CHAT_GENERATION_PROMPT 2
enum chord_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif
 {
    CHORD_OK = 0,
    CHORD_STATUS_INVALID_ARGUMENT = -1,
    CHORD_STATUS_INVALID_HANDLE = -2,
    CHORD_STATUS_BUFFER_TOO_SMALL = -3,
    CHORD_STATUS_OUT_OF_RANGE = -4,
    CHORD_STATUS_INVALID_UTF8 = -5,
    CHORD_STATUS_NOT_FOUND = -6,
    CHORD_STATUS_BUSY = -7,
    CHORD_STATUS_IO = -10,
    CHORD_STATUS_OUT_OF_MEMORY = -11,
    CHORD_STATUS_OVER_BUDGET = -12,
    CHORD_STATUS_MALFORMED = -20,
    CHORD_STATUS_UNSUPPORTED = -21,
    CHORD_STATUS_INVALID_MODEL = -22,
    CHORD_STATUS_NO_CHAT_TEMPLATE = -23,
    CHORD_STATUS_TEMPLATE = -24,
    CHORD_STATUS_CONTEXT_FULL = -30,
    CHORD_STATUS_INVALID_STATE = -31,
    CHORD_STATUS_CANCELLED = -32,
    CHORD_STATUS_POISONED = -33,
    CHORD_STATUS_INTERNAL = -90,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum chord_status chord_status;
#else
typedef int32_t chord_status;
#endif
#endif
enum chord_precision
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif
 {
    CHORD_PRECISION_HIGH = 0,
    CHORD_PRECISION_FAST = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum chord_precision chord_precision;
#else
typedef int32_t chord_precision;
#endif
#endif
enum chord_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif
 {
    CHORD_LOG_LEVEL_ERROR = 1,
    CHORD_LOG_LEVEL_WARN = 2,
    CHORD_LOG_LEVEL_INFO = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum chord_log_level chord_log_level;
#else
typedef int32_t chord_log_level;
#endif
#endif
enum chord_kv_type
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif
 {
    CHORD_KV_TYPE_F16 = 0,
    CHORD_KV_TYPE_F32 = 1,
    CHORD_KV_TYPE_AUTO = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum chord_kv_type chord_kv_type;
#else
typedef int32_t chord_kv_type;
#endif
#endif
enum chord_pooling
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif
 {
    CHORD_POOLING_DEFAULT = 0,
    CHORD_POOLING_NONE = 1,
    CHORD_POOLING_MEAN = 2,
    CHORD_POOLING_CLS = 3,
    CHORD_POOLING_LAST = 4,
    CHORD_POOLING_RANK = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum chord_pooling chord_pooling;
#else
typedef int32_t chord_pooling;
#endif
#endif
enum chord_event
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif
 {
    CHORD_EVENT_TOKEN = 1,
    CHORD_EVENT_END = 2,
    CHORD_EVENT_LENGTH = 3,
    CHORD_EVENT_STOP = 4,
    CHORD_EVENT_CANCELLED = 5,
    CHORD_EVENT_PENDING = 6,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum chord_event chord_event;
#else
typedef int32_t chord_event;
#endif
#endif
enum chord_answer_part
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif
 {
    CHORD_ANSWER_PART_CONTENT = 1,
    CHORD_ANSWER_PART_REASONING = 2,
    CHORD_ANSWER_PART_RAW = 3,
    CHORD_ANSWER_PART_MESSAGE = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum chord_answer_part chord_answer_part;
#else
typedef int32_t chord_answer_part;
#endif
#endif
enum chord_call_part
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif
 {
    CHORD_CALL_PART_NAME = 1,
    CHORD_CALL_PART_ARGUMENTS = 2,
    CHORD_CALL_PART_ID = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum chord_call_part chord_call_part;
#else
typedef int32_t chord_call_part;
#endif
#endif
enum chord_handle_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif
 {
    CHORD_HANDLE_KIND_ANY = 0,
    CHORD_HANDLE_KIND_ERROR = 1,
    CHORD_HANDLE_KIND_MODEL_OPTIONS = 2,
    CHORD_HANDLE_KIND_MODEL = 3,
    CHORD_HANDLE_KIND_SESSION_OPTIONS = 4,
    CHORD_HANDLE_KIND_SESSION = 5,
    CHORD_HANDLE_KIND_CHAT = 6,
    CHORD_HANDLE_KIND_ANSWER = 7,
    CHORD_HANDLE_KIND_QUANTIZE_OPTIONS = 8,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum chord_handle_kind chord_handle_kind;
#else
typedef int32_t chord_handle_kind;
#endif
#endif
typedef struct chord_answer chord_answer;
typedef struct chord_chat chord_chat;
typedef struct chord_error chord_error;
typedef struct chord_model chord_model;
typedef struct chord_model_options chord_model_options;
typedef struct chord_quantize_options chord_quantize_options;
typedef struct chord_session chord_session;
typedef struct chord_session_options chord_session_options;
typedef void (*chord_task_function)(void *task);
typedef void (*chord_runner_callback)(chord_task_function function, void *task, size_t count, void *user_data);
typedef bool (*chord_progress_callback)(uint64_t done, uint64_t total, void *user_data);
typedef void (*chord_log_callback)(chord_log_level level, const char *message, void *user_data);
typedef struct {
    uint64_t shape[4];
    uint64_t offset;
    uint64_t size;
    uint32_t dimensions;
    char type_name[12];
} chord_tensor_info;
typedef struct {
    uint64_t weights_mapped;
    uint64_t weights_private;
    uint64_t tokenizer;
    uint64_t model;
    uint64_t kv_cache;
    uint64_t scratch;
    uint64_t private_total;
    uint64_t total;
    uint64_t context_length;
    uint64_t longest_context;
} chord_plan;
typedef bool (*chord_quantize_callback)(size_t index,
                                        size_t count,
                                        const char *name,
                                        const char *from,
                                        const char *to,
                                        double error,
                                        void *user_data);
#ifdef __cplusplus
extern "C" {
#endif
const char *chord_version(void);
uint32_t chord_abi_version(void);
const char *chord_cpu_level(void);
chord_status chord_error_status(const chord_error *err);
const char *chord_error_message(const chord_error *err);
uint64_t chord_error_offset(const chord_error *err);
void chord_error_free(chord_error *err);
chord_status chord_model_options_new(chord_model_options **options, chord_error **err);
void chord_model_options_free(chord_model_options *options);
chord_status chord_model_options_set_threads(chord_model_options *options, uint32_t threads, chord_error **err);
chord_status chord_model_options_set_cpu_level(chord_model_options *options, const char *level, chord_error **err);
chord_status chord_model_options_set_precision(chord_model_options *options,
                                               chord_precision precision,
                                               chord_error **err);
chord_status chord_model_options_set_vocab_only(chord_model_options *options,
                                                bool vocab_only,
                                                chord_error **err);
chord_status chord_model_options_set_copy(chord_model_options *options,
                                          bool copy,
                                          chord_error **err);
chord_status chord_model_options_set_resident(chord_model_options *options,
                                              bool resident,
                                              chord_error **err);
chord_status chord_model_options_set_default_pre_tokenizer(chord_model_options *options,
                                                           bool default_pre_tokenizer,
                                                           chord_error **err);
chord_status chord_model_options_set_memory_budget(chord_model_options *options,
                                                   uint64_t bytes,
                                                   chord_error **err);
chord_status chord_model_options_set_runner(chord_model_options *options,
                                            chord_runner_callback callback,
                                            void *user_data,
                                            chord_error **err);
chord_status chord_model_options_set_thread_priority(chord_model_options *options,
                                                     int32_t nice,
                                                     chord_error **err);
chord_status chord_model_options_set_progress(chord_model_options *options,
                                              chord_progress_callback callback,
                                              void *user_data,
                                              chord_error **err);
chord_status chord_model_options_set_log(chord_model_options *options,
                                         chord_log_callback callback,
                                         void *user_data,
                                         chord_error **err);
chord_status chord_model_open(const char *path,
                              const chord_model_options *options,
                              chord_model **model,
                              chord_error **err);
chord_status chord_model_open_memory(const void *data,
                                     size_t size,
                                     const chord_model_options *options,
                                     chord_model **model,
                                     chord_error **err);
void chord_model_free(chord_model *model);
chord_status chord_model_tokenize(const chord_model *model,
                                  const char *text,
                                  size_t text_len,
                                  uint32_t flags,
                                  int32_t *tokens,
                                  size_t capacity,
                                  size_t *count,
                                  chord_error **err);
chord_status chord_model_detokenize(const chord_model *model,
                                    const int32_t *tokens,
                                    size_t count,
                                    uint32_t flags,
                                    char *text,
                                    size_t capacity,
                                    size_t *text_len,
                                    chord_error **err);
size_t chord_model_vocab_size(const chord_model *model);
size_t chord_model_context_length(const chord_model *model);
int32_t chord_model_bos(const chord_model *model);
int32_t chord_model_eos(const chord_model *model);
bool chord_model_ends_generation(const chord_model *model, int32_t token);
size_t chord_model_threads(const chord_model *model);
size_t chord_model_resident_size(const chord_model *model);
const char *chord_model_cpu_level(const chord_model *model);
size_t chord_model_metadata_count(const chord_model *model);
chord_status chord_model_metadata_key(const chord_model *model,
                                      size_t index,
                                      char *key,
                                      size_t capacity,
                                      size_t *key_len,
                                      chord_error **err);
chord_status chord_model_metadata_value(const chord_model *model,
                                        const char *key,
                                        char *value,
                                        size_t capacity,
                                        size_t *value_len,
                                        chord_error **err);
size_t chord_model_tensor_count(const chord_model *model);
chord_status chord_model_tensor_name(const chord_model *model,
                                     size_t index,
                                     char *name,
                                     size_t capacity,
                                     size_t *name_len,
                                     chord_error **err);
chord_status chord_model_tensor_info(const chord_model *model,
                                     size_t index,
                                     chord_tensor_info *info,
                                     size_t size,
                                     chord_error **err);
chord_status chord_chat_new(const chord_model *model,
                            uint32_t flags,
                            chord_chat **chat,
                            chord_error **err);
void chord_chat_free(chord_chat *chat);
chord_status chord_chat_add(chord_chat *chat,
                            const char *role,
                            const char *content,
                            size_t content_len,
                            chord_error **err);
chord_status chord_chat_add_json(chord_chat *chat,
                                 const char *message,
                                 size_t message_len,
                                 chord_error **err);
chord_status chord_chat_set_tools(chord_chat *chat, const char *tools, size_t tools_len, chord_error **err);
chord_status chord_chat_set_variable(chord_chat *chat,
                                     const char *name,
                                     const char *value,
                                     size_t value_len,
                                     chord_error **err);
size_t chord_chat_count(const chord_chat *chat);
chord_status chord_chat_truncate(chord_chat *chat, size_t count, chord_error **err);
chord_status chord_chat_set_time(chord_chat *chat, int64_t seconds, chord_error **err);
chord_status chord_chat_render(const chord_chat *chat,
                               uint32_t flags,
                               char *text,
                               size_t capacity,
                               size_t *text_len,
                               chord_error **err);
chord_status chord_session_options_new(chord_session_options **options, chord_error **err);
void chord_session_options_free(chord_session_options *options);
chord_status chord_session_options_set_context_length(chord_session_options *options,
                                                      uint32_t context_length,
                                                      chord_error **err);
chord_status chord_session_options_set_batch_size(chord_session_options *options,
                                                  uint32_t batch_size,
                                                  chord_error **err);
chord_status chord_session_options_set_kv_type(chord_session_options *options,
                                               chord_kv_type kv_type,
                                               chord_error **err);
chord_status chord_session_options_set_max_tokens(chord_session_options *options,
                                                  uint32_t max_tokens,
                                                  chord_error **err);
chord_status chord_session_options_set_pooling(chord_session_options *options,
                                               chord_pooling pooling,
                                               chord_error **err);
chord_status chord_session_options_set_unit_length(chord_session_options *options, bool unit_length, chord_error **err);
chord_status chord_session_options_set_progress(chord_session_options *options,
                                                chord_progress_callback callback,
                                                void *user_data,
                                                chord_error **err);
chord_status chord_session_options_add_stop(chord_session_options *options,
                                            const char *text,
                                            size_t text_len,
                                            chord_error **err);
chord_status chord_session_options_set_special_text(chord_session_options *options,
                                                    bool special_text,
                                                    chord_error **err);
chord_status chord_session_options_set_seed(chord_session_options *options, uint64_t seed, chord_error **err);
chord_status chord_session_options_set_temperature(chord_session_options *options,
                                                   float temperature,
                                                   chord_error **err);
chord_status chord_session_options_set_top_k(chord_session_options *options, uint32_t top_k, chord_error **err);
chord_status chord_session_options_set_top_p(chord_session_options *options, float top_p, chord_error **err);
chord_status chord_session_options_set_min_p(chord_session_options *options, float min_p, chord_error **err);
chord_status chord_session_options_set_repetition_penalty(chord_session_options *options,
                                                          float penalty,
                                                          chord_error **err);
chord_status chord_session_options_set_frequency_penalty(chord_session_options *options,
                                                         float penalty,
                                                         chord_error **err);
chord_status chord_session_options_set_presence_penalty(chord_session_options *options,
                                                        float penalty,
                                                        chord_error **err);
chord_status chord_session_options_set_penalty_window(chord_session_options *options,
                                                      uint32_t tokens,
                                                      chord_error **err);
chord_status chord_model_plan(const char *path,
                              const chord_model_options *model_options,
                              const chord_session_options *session_options,
                              chord_plan *plan,
                              size_t size,
                              chord_error **err);
chord_status chord_session_new(const chord_model *model,
                               const chord_session_options *options,
                               chord_session **session,
                               chord_error **err);
void chord_session_free(chord_session *session);
chord_status chord_session_append(chord_session *session, const int32_t *tokens, size_t count, chord_error **err);
chord_status chord_session_append_text(chord_session *session,
                                       const char *text,
                                       size_t text_len,
                                       uint32_t flags,
                                       chord_error **err);
chord_status chord_session_append_chat(chord_session *session,
                                       const chord_chat *chat,
                                       uint32_t flags,
                                       chord_error **err);
chord_status chord_session_eval(chord_session *session, chord_error **err);
chord_status chord_session_step(chord_session *session, chord_event *event, chord_error **err);
chord_status chord_session_step_for(chord_session *session,
                                    uint64_t microseconds,
                                    chord_event *event,
                                    chord_error **err);
const float *chord_session_logits(const chord_session *session,
                                  size_t *count);
const float *chord_session_embedding(const chord_session *session,
                                     size_t *count);
int32_t chord_session_token(const chord_session *session);
const char *chord_session_piece(const chord_session *session,
                                size_t *len);
size_t chord_session_position(const chord_session *session);
size_t chord_session_context_length(const chord_session *session);
chord_status chord_session_rewind(chord_session *session, size_t position, chord_error **err);
void chord_session_cancel(const chord_session *session);
chord_status chord_answer_new(const chord_chat *chat,
                              const char *format,
                              chord_answer **answer,
                              chord_error **err);
void chord_answer_free(chord_answer *answer);
chord_status chord_answer_feed(chord_answer *answer,
                               const char *text,
                               size_t text_len,
                               bool last,
                               chord_error **err);
const char *chord_answer_text(const chord_answer *answer, chord_answer_part part, size_t *len);
const char *chord_answer_call(const chord_answer *answer, size_t index, chord_call_part part, size_t *len);
chord_status chord_quantize_options_new(chord_quantize_options **options, chord_error **err);
void chord_quantize_options_free(chord_quantize_options *options);
chord_status chord_quantize_options_set_threads(chord_quantize_options *options, uint32_t threads, chord_error **err);
chord_status chord_quantize_options_set_pure(chord_quantize_options *options, bool pure, chord_error **err);
chord_status chord_quantize_options_set_importance(chord_quantize_options *options,
                                                   const char *path,
                                                   chord_error **err);
chord_status chord_quantize_options_set_callback(chord_quantize_options *options,
                                                 chord_quantize_callback callback,
                                                 void *user_data,
                                                 chord_error **err);
chord_status chord_quantize(const char *input,
                            const char *output,
                            const char *file_type,
                            const chord_quantize_options *options,
                            chord_error **err);
size_t chord_handle_count(chord_handle_kind kind);
#ifdef __cplusplus
}
#endif
#endif
