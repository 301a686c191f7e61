/*
 * libchord: run GGUF language models inside your program.
 *
 * This file is generated from the sources of the library (src/ffi); change it there.
 *
 * A tour
 * ======
 *
 * file -> chord_model -> chord_session -> step -> token
 *
 *     #include <chord.h>
 *     #include <stdio.h>
 *
 *     int main(void)
 *     {
 *         chord_error *err = NULL;
 *         chord_model *model = NULL;
 *         chord_session *session = NULL;
 *         chord_event event = CHORD_EVENT_TOKEN;
 *
 *         if (chord_model_open("model.gguf", NULL, &model, &err)) goto fail;
 *         if (chord_session_new(model, NULL, &session, &err)) goto fail;
 *         chord_model_free(model);                 // fine: the session keeps what it needs
 *         if (chord_session_append_text(session, "Once upon", 9, CHORD_TEXT_ADD_SPECIAL, &err)) goto fail;
 *         while (event == CHORD_EVENT_TOKEN) {
 *             size_t len;
 *             if (chord_session_step(session, &event, &err)) goto fail;
 *             const char *piece = chord_session_piece(session, &len);
 *             fwrite(piece, 1, len, stdout);       // as it comes: whole UTF-8 characters only
 *         }
 *         chord_session_free(session);
 *         return 0;
 *     fail:
 *         fprintf(stderr, "%s\n", chord_error_message(err));
 *         chord_error_free(err);
 *         return 1;                                // what is not freed here ends with the process
 *     }
 *
 * For a conversation make a chord_chat, add messages to it and give it to chord_session_append_chat(). What the model writes
 * can be taken apart by a chord_answer: content, reasoning, tool calls.
 *
 * What holds for every call
 * =========================
 *
 * Handles. The pointers are not addresses. NULL, a freed handle, one of another type or any other value is recognized:
 *   the call returns CHORD_STATUS_INVALID_HANDLE, or NULL or 0 where there is no status. Freeing twice does nothing. A handle
 *   may be freed while another thread is inside a call on it. The order of freeing does not matter.
 * Ownership. What _open and _new give is the caller's, who frees it with _free. What getters give is borrowed: their
 *   comment says until when ("Static": for ever).
 * Status and error. Every call that can fail returns a status, CHORD_OK (0) or a negative value, and takes a last parameter
 *   err. If err is not NULL, a failed call makes an error object and stores it in *err; the caller frees it with
 *   chord_error_free(). A call that succeeds leaves *err alone, so set it to NULL before the first.
 * Statuses of every call that has one: CHORD_STATUS_INVALID_HANDLE; CHORD_STATUS_INVALID_ARGUMENT for a NULL that is not
 *   allowed, an unknown flag or a value out of its range; CHORD_STATUS_INVALID_UTF8 for a string that is not;
 *   CHORD_STATUS_OUT_OF_MEMORY; CHORD_STATUS_INTERNAL for a defect of the library. Comments list the others.
 * Outputs are written only on success, except the sizes that tell how large a buffer must be.
 * Pointers may be NULL only where the comment says so; err always may.
 * Threads. An object that a call takes as const may be used by several threads at once. Without const the call needs it for
 *   itself: CHORD_STATUS_BUSY says that another call is using it. Nothing ever waits for another call.
 * After a failure every object is as it was before the call, unless the comment says otherwise. The one exception is
 *   CHORD_STATUS_INTERNAL: the session it came from then answers CHORD_STATUS_POISONED until it is freed.
 * Strings in: paths, names and keys end with a NUL, text comes with a length; all are UTF-8. Strings out: borrowed ones end
 *   with a NUL. Copied ones go to (buffer, capacity, *length): a NUL follows if there is room for it.
 * Guest manners. The library prints nothing, reads no environment variable, handles no signal, and starts threads only for an
 *   open model (not for one opened for its vocabulary alone), which stop when the last object made from it is freed, and one
 *   for the time that a chat template takes.
 * Enumerations may grow: expect values that this header does not know.
 * All of it since 0.1.0 unless a comment says otherwise.
 */

#ifndef CHORD_H
#define CHORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** The release this header belongs to; chord_version() tells the release of the library. */
#define CHORD_VERSION_MAJOR 0
#define CHORD_VERSION_MINOR 1
#define CHORD_VERSION_PATCH 0

/** The binary interface this header belongs to; see chord_abi_version(). */
#define CHORD_ABI_VERSION 0

/** chord_error_offset() of an error that does not speak of a place. */
#define CHORD_NO_OFFSET UINT64_MAX

/** Text flag: add BOS and EOS as the model asks. */
#define CHORD_TEXT_ADD_SPECIAL 1

/**
 * Text flag: the text of a special token, such as "<|im_end|>", stands for the token. Never set it for text from
 * strangers: they could write the marks that structure a conversation.
 */
#define CHORD_TEXT_PARSE_SPECIAL 2

/** What stands for "no token". */
#define CHORD_NO_TOKEN -1

/**
 * For chord_chat_new(): do not use the model's template but the library's, ChatML: every message becomes
 * "<|im_start|>ROLE\nCONTENT<|im_end|>\n". For models that carry none.
 */
#define CHORD_CHAT_DEFAULT_TEMPLATE 1

/** For chord_chat_render() and chord_session_append_chat(): end with what makes the model answer. */
#define CHORD_CHAT_GENERATION_PROMPT 2

/**
 * The result of a call. Negative values are failures, in groups: -1 the caller, -10 the host, -20 the content of the
 * model file, -30 the state of the session, -90 a defect of the library. Later releases may add values: treat an
 * unknown negative value as a failure of its group.
 */
enum chord_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /** The call did what it says. */
    CHORD_OK = 0,
    /** A parameter has a value that the call cannot take. */
    CHORD_STATUS_INVALID_ARGUMENT = -1,
    /** A handle is NULL, freed, of another type, or was never a handle. */
    CHORD_STATUS_INVALID_HANDLE = -2,
    /** The buffer does not hold the result; the size that is needed was written. */
    CHORD_STATUS_BUFFER_TOO_SMALL = -3,
    /** An index, token id or position outside its range. */
    CHORD_STATUS_OUT_OF_RANGE = -4,
    /** Text is not UTF-8; chord_error_offset() is the first bad byte. */
    CHORD_STATUS_INVALID_UTF8 = -5,
    /** Nothing has that name. */
    CHORD_STATUS_NOT_FOUND = -6,
    /** Another thread, or a callback of the same call, is using the object. */
    CHORD_STATUS_BUSY = -7,
    /** The operating system refused a file operation. */
    CHORD_STATUS_IO = -10,
    /** Memory or room for threads ran out, or more than 65536 objects of one type are alive. */
    CHORD_STATUS_OUT_OF_MEMORY = -11,
    /** chord_model_options_set_memory_budget() does not allow it; the message has the numbers. */
    CHORD_STATUS_OVER_BUDGET = -12,
    /** The file breaks the GGUF format; chord_error_offset() is the place. */
    CHORD_STATUS_MALFORMED = -20,
    /** A well-formed file that this release cannot run. */
    CHORD_STATUS_UNSUPPORTED = -21,
    /** A key or tensor that the architecture needs is missing or wrong. */
    CHORD_STATUS_INVALID_MODEL = -22,
    /** The model has no chat template. */
    CHORD_STATUS_NO_CHAT_TEMPLATE = -23,
    /** The chat template is wrong or refuses the conversation; chord_error_offset() is a byte of the template. */
    CHORD_STATUS_TEMPLATE = -24,
    /** The tokens do not fit the session's context. */
    CHORD_STATUS_CONTEXT_FULL = -30,
    /** The call does not fit what the object has done so far. */
    CHORD_STATUS_INVALID_STATE = -31,
    /** chord_session_cancel(), or a progress callback that returned false, ended the call. */
    CHORD_STATUS_CANCELLED = -32,
    /** An earlier call on the object ended in an internal error; it can only be freed. */
    CHORD_STATUS_POISONED = -33,
    /** A defect of the library: please report it. */
    CHORD_STATUS_INTERNAL = -90,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum chord_status chord_status;
#else
typedef int32_t chord_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** How finely activations are quantized for products with quantized weights. */
enum chord_precision
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /** The model file's own logits, to about 1e-4: the default. */
    CHORD_PRECISION_HIGH = 0,
    /** 8-bit activations, as other engines use: faster, error about 1e-2. */
    CHORD_PRECISION_FAST = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum chord_precision chord_precision;
#else
typedef int32_t chord_precision;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** How much a log message matters. Later releases may add values. */
enum chord_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /** Something failed; the status of the call says so too. */
    CHORD_LOG_LEVEL_ERROR = 1,
    /** Something is off and was worked around. */
    CHORD_LOG_LEVEL_WARN = 2,
    /** What was chosen: instruction-set level, threads, sizes. */
    CHORD_LOG_LEVEL_INFO = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum chord_log_level chord_log_level;
#else
typedef int32_t chord_log_level;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** The element type of the key-value cache. */
enum chord_kv_type
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /** 16-bit floats. */
    CHORD_KV_TYPE_F16 = 0,
    /** 32-bit floats: twice the memory, exact. */
    CHORD_KV_TYPE_F32 = 1,
    /**
     * The default: 32-bit floats for models that route tokens to experts, because a rounding error may send a token to another
     * one; 16-bit floats for all others.
     */
    CHORD_KV_TYPE_AUTO = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum chord_kv_type chord_kv_type;
#else
typedef int32_t chord_kv_type;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** How the vectors of a text's tokens become its embedding. */
enum chord_pooling
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /** As the model file says; the mean where it says nothing. */
    CHORD_POOLING_DEFAULT = 0,
    /** Not at all: each token keeps a vector of its own. */
    CHORD_POOLING_NONE = 1,
    /** Their mean. */
    CHORD_POOLING_MEAN = 2,
    /** That of the first token. */
    CHORD_POOLING_CLS = 3,
    /** That of the last token. */
    CHORD_POOLING_LAST = 4,
    /** As the model's classifier has it, which makes a score for each of its labels: what models that rank texts are for. */
    CHORD_POOLING_RANK = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum chord_pooling chord_pooling;
#else
typedef int32_t chord_pooling;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** What a step did. Later releases may add values. */
enum chord_event
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /** A token was sampled and added: chord_session_token(), chord_session_piece(). */
    CHORD_EVENT_TOKEN = 1,
    /** The model ended its answer. The token that says so is chord_session_token(); it is not added. */
    CHORD_EVENT_END = 2,
    /** Nothing was sampled: the context is full, or the limit of chord_session_options_set_max_tokens() is reached. */
    CHORD_EVENT_LENGTH = 3,
    /** A token was sampled and added that completed a stop string; the text ends before it. */
    CHORD_EVENT_STOP = 4,
    /** chord_session_cancel() stopped the step. The next one goes on where it stopped. */
    CHORD_EVENT_CANCELLED = 5,
    /** chord_session_step_for() ran out of time. The next step goes on where it stopped. */
    CHORD_EVENT_PENDING = 6,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum chord_event chord_event;
#else
typedef int32_t chord_event;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** A part of an answer, for chord_answer_text(). */
enum chord_answer_part
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /** What the model says to the user. */
    CHORD_ANSWER_PART_CONTENT = 1,
    /** What it thinks before. */
    CHORD_ANSWER_PART_REASONING = 2,
    /** Everything as it came, marks included. */
    CHORD_ANSWER_PART_RAW = 3,
    /** The whole as a JSON message, for chord_chat_add_json(). Only after the last text. */
    CHORD_ANSWER_PART_MESSAGE = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum chord_answer_part chord_answer_part;
#else
typedef int32_t chord_answer_part;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** A part of a tool call, for chord_answer_call(). */
enum chord_call_part
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /** The tool's name. */
    CHORD_CALL_PART_NAME = 1,
    /** The arguments: a JSON object. */
    CHORD_CALL_PART_ARGUMENTS = 2,
    /** What the result must carry as its "tool_call_id". */
    CHORD_CALL_PART_ID = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum chord_call_part chord_call_part;
#else
typedef int32_t chord_call_part;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** The types of handles. */
enum chord_handle_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /** All of them. */
    CHORD_HANDLE_KIND_ANY = 0,
    /** chord_error. */
    CHORD_HANDLE_KIND_ERROR = 1,
    /** chord_model_options. */
    CHORD_HANDLE_KIND_MODEL_OPTIONS = 2,
    /** chord_model. */
    CHORD_HANDLE_KIND_MODEL = 3,
    /** chord_session_options. */
    CHORD_HANDLE_KIND_SESSION_OPTIONS = 4,
    /** chord_session. */
    CHORD_HANDLE_KIND_SESSION = 5,
    /** chord_chat. */
    CHORD_HANDLE_KIND_CHAT = 6,
    /** chord_answer. */
    CHORD_HANDLE_KIND_ANSWER = 7,
    /** chord_quantize_options. */
    CHORD_HANDLE_KIND_QUANTIZE_OPTIONS = 8,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum chord_handle_kind chord_handle_kind;
#else
typedef int32_t chord_handle_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * An answer while it comes: content, reasoning and tool calls. Models mark these parts each in their own way, for example
 * with `<think>` and `<tool_call>`; the chat's template shows how.
 */
typedef struct chord_answer chord_answer;

/** A conversation: messages, each of a role. Its model's template turns it into the text that the model was trained on. */
typedef struct chord_chat chord_chat;

/** Why a call failed. Owned by the caller of that call, immutable, and independent of all other objects. */
typedef struct chord_error chord_error;

/**
 * An open model file: vocabulary, weights and the threads that work on them. Immutable, so it may be used from several
 * threads at once; sessions and chats made from it keep what they need, so it may be freed before them.
 */
typedef struct chord_model chord_model;

/** How to open a model. Read by chord_model_open() and not needed after it. */
typedef struct chord_model_options chord_model_options;

/** How chord_quantize() works. Not needed after it. */
typedef struct chord_quantize_options chord_quantize_options;

/**
 * A sequence of tokens over a model, with its cache and its sampler. Calls that change it are one at a time: a second one
 * meanwhile gets CHORD_STATUS_BUSY. Calls that read it (const) may run together, and give NULL or 0 while one changes it.
 */
typedef struct chord_session chord_session;

/** How to make a session. Read by chord_session_new() and not needed after it. */
typedef struct chord_session_options chord_session_options;

/** A part of the library's work: to be called with the task that came with it. */
typedef void (*chord_task_function)(void *task);

/**
 * Has threads of the host do the library's work: calls function(task) up to count times, at the same time from as many threads
 * as it likes, the calling one included, and returns when those calls have returned. What it leaves over the calling thread does
 * itself afterwards. This happens some hundred times for a token, so it must be quick.
 *
 * It runs on the threads that make calls on sessions; those of one model take turns, so it must not itself evaluate a session of
 * that model. Nothing may unwind out of it, and function(task) must not be called after the model and its sessions are freed.
 */
typedef void (*chord_runner_callback)(chord_task_function function, void *task, size_t count, void *user_data);

/**
 * Hears how far a call is, and returns whether to go on. done, total: amounts of work, in no particular unit; done grows, and
 * reaches total in the last call, whose result does not matter.
 *
 * It runs on the thread that made the call; objects of that call answer CHORD_STATUS_BUSY inside it. Nothing may unwind out of
 * it.
 */
typedef bool (*chord_progress_callback)(uint64_t done, uint64_t total, void *user_data);

/**
 * Receives the log of a model. message is one NUL-terminated text that lives until the callback returns.
 *
 * It runs inside calls on the model and its sessions, on the threads that make them, so on several at once if the
 * program does; objects of the running call answer CHORD_STATUS_BUSY inside it. Nothing may unwind out of it.
 */
typedef void (*chord_log_callback)(chord_log_level level, const char *message, void *user_data);

/** A tensor of a model file. Later releases may add fields at the end. */
typedef struct {
    /** Elements per dimension, the one that is contiguous in memory first; 1 in those that are not used. */
    uint64_t shape[4];
    /** Where its bytes begin, counted from the start of its file. */
    uint64_t offset;
    /** How many bytes it has. */
    uint64_t size;
    /** How many dimensions are used, 1 to 4. */
    uint32_t dimensions;
    /** The element type, e.g. "Q4_K"; NUL-terminated. */
    char type_name[12];
} chord_tensor_info;

/**
 * Bytes that a model and one session on it take. Private memory belongs to the process alone; mapped memory is the file itself,
 * which processes share and the system may drop and read again. Later releases may add fields at the end.
 *
 * The parts of the session are exact: what is planned is what is allocated. Tokenizer and model are estimates from the tables of
 * the file. Not counted: the stacks of threads, and what calls take while they run for texts and chats that they are given.
 */
typedef struct {
    /** Weights that are used where the file mapping puts them. */
    uint64_t weights_mapped;
    /** Weights in private memory: chord_model_options_set_copy(), chord_model_options_set_resident(). */
    uint64_t weights_private;
    /** The tokenizer. */
    uint64_t tokenizer;
    /** The rest of the model: the directory of the file, gains and biases. */
    uint64_t model;
    /** Keys and values of the whole context, and recurrent state. */
    uint64_t kv_cache;
    /** The rest of the session: activations of a batch, logits, sampler. */
    uint64_t scratch;
    /** Private memory at the time when it is most. */
    uint64_t private_total;
    /** The same with the mapped weights. */
    uint64_t total;
    /** Tokens of the session's context; 0 for a model that is opened for its vocabulary alone. */
    uint64_t context_length;
    /**
     * Tokens of the longest context, up to what the model was trained on, that fits the memory budget of the model options; 0
     * if not even one does.
     */
    uint64_t longest_context;
} chord_plan;

/**
 * Hears of every tensor that chord_quantize() has written, and returns whether to go on.
 *
 * index, count: the tensor's number, from 0, and how many there are. name, from, to: its name, the type it had and the one it
 * has; they live until the callback returns. error: root mean square of the differences between new and old weights,
 * relative to that of the weights; 0 where nothing changed.
 *
 * It runs on the thread that called. Nothing may unwind out of it.
 */
typedef bool (*chord_quantize_callback)(size_t index,
                                        size_t count,
                                        const char *name,
                                        const char *from,
                                        const char *to,
                                        double error,
                                        void *user_data);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The release, as text: "major.minor.patch".
 *
 * Static.
 */
const char *chord_version(void);

/**
 * The ABI that the library speaks, the number in its SONAME. A program linked against a header with the same
 * CHORD_ABI_VERSION runs on every library that returns it.
 */
uint32_t chord_abi_version(void);

/**
 * The best instruction-set level that this processor and this library share, e.g. "avx2"; models use it unless
 * chord_model_options_set_cpu_level() asks for a lower one.
 *
 * Static.
 */
const char *chord_cpu_level(void);

/**
 * The status that the failed call returned.
 *
 * err: NULL or not an error gives CHORD_STATUS_INVALID_HANDLE.
 */
chord_status chord_error_status(const chord_error *err);

/**
 * What went wrong, for a human: one line, lower case, no final period, causes joined by ": ", at most 1023 bytes of
 * UTF-8. It names the key, tensor, token, file or parameter. The wording may change between releases.
 *
 * err: NULL or not an error gives NULL.
 *
 * Borrowed until chord_error_free().
 */
const char *chord_error_message(const chord_error *err);

/**
 * The byte that the error speaks of: of the model file, the text or the chat template that was given.
 *
 * err: NULL, not an error, or an error without a place gives CHORD_NO_OFFSET.
 */
uint64_t chord_error_offset(const chord_error *err);

/**
 * Frees an error.
 *
 * err: NULL and freed errors are fine.
 */
void chord_error_free(chord_error *err);

/**
 * Makes options with the defaults.
 *
 * options: receives them; the caller frees them with chord_model_options_free().
 */
chord_status chord_model_options_new(chord_model_options **options, chord_error **err);

/** Frees options. NULL and freed ones are fine. */
void chord_model_options_free(chord_model_options *options);

/**
 * Threads that share the work of the model's sessions, the calling one included. Results do not depend on it.
 *
 * threads: 1 to 1024; 0, the default, is the CPU budget of the process (affinity and cgroup quota).
 * Those beyond the budget take part only while single units of work take more than 5 milliseconds, as
 * where weights come from slow storage.
 */
chord_status chord_model_options_set_threads(chord_model_options *options, uint32_t threads, chord_error **err);

/**
 * Forces an instruction-set level. Results do not depend on it.
 *
 * level: "scalar" or the name of another level that this machine has; the default is the best, chord_cpu_level().
 *
 * CHORD_STATUS_INVALID_ARGUMENT: no level has that name. CHORD_STATUS_UNSUPPORTED: this machine does not have it.
 */
chord_status chord_model_options_set_cpu_level(chord_model_options *options, const char *level, chord_error **err);

/** How finely activations are quantized: CHORD_PRECISION_HIGH, the default, or CHORD_PRECISION_FAST. */
chord_status chord_model_options_set_precision(chord_model_options *options,
                                               chord_precision precision,
                                               chord_error **err);

/**
 * Opens only metadata, tokenizer and chat template: no tensor is looked at, and the file need not hold any. Such a model
 * makes no sessions. The default is false.
 */
chord_status chord_model_options_set_vocab_only(chord_model_options *options,
                                                bool vocab_only,
                                                chord_error **err);

/**
 * Reads the file into private memory (or copies the caller's), instead of using it where it is. When another program cuts a
 * mapped file short, calls that would read it return CHORD_STATUS_IO; if it does so while one reads, the operating system
 * ends the process. A copy is immune. An opening that is stopped first gives back what it has copied: that takes microseconds
 * for every MiB in huge pages, but about 0.1 ms where the system had none. The default is false.
 */
chord_status chord_model_options_set_copy(chord_model_options *options,
                                          bool copy,
                                          chord_error **err);

/**
 * Copies the weights into huge pages of this process, in the order that its instruction set works on, in the background,
 * tensor by tensor, while the file mapping serves. Decoding computes less then; whether it is faster depends on how the
 * machine reads memory. The process takes as much memory as the weights. Results do not change. Of no effect on a file
 * that is copied as a whole. The default is false: weights stay in the mapping, which processes share.
 */
chord_status chord_model_options_set_resident(chord_model_options *options,
                                              bool resident,
                                              chord_error **err);

/**
 * Splits text by default rules if the file names a pre-tokenizer that this release does not know, and says so in the log
 * (CHORD_LOG_LEVEL_WARN). The model then sees text cut in other ways than it was trained on. The default is false: such a
 * file is refused with CHORD_STATUS_UNSUPPORTED.
 */
chord_status chord_model_options_set_default_pre_tokenizer(chord_model_options *options,
                                                           bool default_pre_tokenizer,
                                                           chord_error **err);

/**
 * Limits the private memory that the model and all sessions on it take together, as chord_plan counts it. A model or session
 * that would exceed it is refused with CHORD_STATUS_OVER_BUDGET before anything is taken for it.
 *
 * bytes: 0, the default, is no limit.
 */
chord_status chord_model_options_set_memory_budget(chord_model_options *options,
                                                   uint64_t bytes,
                                                   chord_error **err);

/**
 * Has threads of the host do the work of the model's sessions; the model then starts none. As many as
 * chord_model_options_set_threads() says can help at a time. Results do not depend on it.
 *
 * callback: NULL, the default, has the model start threads of its own. user_data: passed to it as it is.
 *
 * Both must stay valid until the model and its sessions are freed. What chord_model_options_set_resident() copies is then copied
 * before chord_model_open() returns.
 */
chord_status chord_model_options_set_runner(chord_model_options *options,
                                            chord_runner_callback callback,
                                            void *user_data,
                                            chord_error **err);

/**
 * Gives the threads that the model starts, which are called chord-1 and so on, another priority than that of the thread that
 * opens it. What the system does not allow is not done; the threads that make calls keep theirs. (Where the system has no
 * priorities of single threads, nothing happens.)
 *
 * nice: -20, the most urgent, to 19, as of nice(1).
 */
chord_status chord_model_options_set_thread_priority(chord_model_options *options,
                                                     int32_t nice,
                                                     chord_error **err);

/**
 * Tells a function how far chord_model_open() is: at its beginning, about every millisecond, and at its end. A model that is
 * not wanted any more is stopped by returning false; the call then returns CHORD_STATUS_CANCELLED. (What
 * chord_model_options_set_resident() copies in the background is no part of it: see chord_model_resident_size().)
 *
 * callback: NULL, the default, is none. user_data: passed to it as it is.
 *
 * Both must stay valid until the model is open.
 */
chord_status chord_model_options_set_progress(chord_model_options *options,
                                              chord_progress_callback callback,
                                              void *user_data,
                                              chord_error **err);

/**
 * Runs a model that is larger than memory: limits how much of its weights is kept in memory by the file mapping. In every pass
 * over the model the same part of the weights stays; the rest is read from storage ahead of its use and dropped behind it.
 * Results do not change. Less is read than when the system decides, which drops what was used longest ago, and other programs
 * keep their memory; whether it is faster depends on the storage: measure both. Large batches read the weights less often.
 *
 * bytes: 0, the default, is no limit. What three neighbouring operations need is taken in any case; experts are not counted: of
 * them the system keeps those that are needed often. Memory that is shared with other processes on the same file stays with
 * them. Of no effect on a file that is copied or lies in memory; not together with chord_model_options_set_resident(): opening says so.
 */
chord_status chord_model_options_set_mapped_limit(chord_model_options *options,
                                                  uint64_t bytes,
                                                  chord_error **err);

/**
 * Sends the model's log to a function; without one, which is the default, nothing is logged.
 *
 * callback: NULL turns the log off. user_data: passed to it as it is.
 *
 * Both must stay valid until the model and all that was made from it are freed.
 */
chord_status chord_model_options_set_log(chord_model_options *options,
                                         chord_log_callback callback,
                                         void *user_data,
                                         chord_error **err);

/**
 * Opens a GGUF model file, or the first of a split model ("-00001-of-00003.gguf"; the others are found beside it).
 * Weights are used where the file mapping puts them, so the file must not change while the model is open.
 *
 * path: UTF-8. options: NULL is the defaults. model: receives the model; the caller frees it with chord_model_free().
 *
 * CHORD_STATUS_IO: the file cannot be read. CHORD_STATUS_MALFORMED: it breaks the format. CHORD_STATUS_UNSUPPORTED: its
 * version, architecture, tensor type or tokenizer is not known here. CHORD_STATUS_INVALID_MODEL: something that the
 * architecture needs is missing or has the wrong shape. CHORD_STATUS_OUT_OF_MEMORY. CHORD_STATUS_OVER_BUDGET.
 * CHORD_STATUS_CANCELLED: chord_model_options_set_progress().
 */
chord_status chord_model_open(const char *path,
                              const chord_model_options *options,
                              chord_model **model,
                              chord_error **err);

/**
 * Opens a model file that lies in memory. The model borrows it: data must stay as it is until the model and all that was
 * made from it are freed, unless chord_model_options_set_copy() is set.
 *
 * data, size: the file's bytes. The rest, and the statuses, as chord_model_open().
 */
chord_status chord_model_open_memory(const void *data,
                                     size_t size,
                                     const chord_model_options *options,
                                     chord_model **model,
                                     chord_error **err);

/** Frees a model. Sessions and chats made from it go on working. NULL and freed models are fine. */
void chord_model_free(chord_model *model);

/**
 * Text to tokens.
 *
 * text, text_len: UTF-8, NULs allowed; NULL when text_len is 0. flags: CHORD_TEXT_... tokens, capacity: receives the
 * tokens; NULL when capacity is 0. count: receives how many tokens there are, also when they do not fit.
 *
 * CHORD_STATUS_BUFFER_TOO_SMALL: call again with a capacity of *count. CHORD_STATUS_INVALID_UTF8.
 * CHORD_STATUS_INVALID_MODEL: the model has no tokenizer.
 */
chord_status chord_model_tokenize(const chord_model *model,
                                  const char *text,
                                  size_t text_len,
                                  uint32_t flags,
                                  int32_t *tokens,
                                  size_t capacity,
                                  size_t *count,
                                  chord_error **err);

/**
 * Tokens to text. Bytes that are not UTF-8 (tokens may be parts of characters) come out as they are.
 *
 * tokens, count: ids below chord_model_vocab_size(); NULL when count is 0. flags: CHORD_TEXT_PARSE_SPECIAL writes the text
 * of special tokens, otherwise they are left out; CHORD_TEXT_ADD_SPECIAL is accepted and changes nothing. text, capacity:
 * receives the text, with a NUL behind it if there is room; NULL when capacity is 0. text_len: receives its length
 * without the NUL, also when it does not fit.
 *
 * CHORD_STATUS_BUFFER_TOO_SMALL: call again with a capacity of *text_len. CHORD_STATUS_OUT_OF_RANGE: no such token.
 */
chord_status chord_model_detokenize(const chord_model *model,
                                    const int32_t *tokens,
                                    size_t count,
                                    uint32_t flags,
                                    char *text,
                                    size_t capacity,
                                    size_t *text_len,
                                    chord_error **err);

/** Tokens of the vocabulary: token ids are below it, and logits are that many. 0: no model. */
size_t chord_model_vocab_size(const chord_model *model);

/** Tokens of the context that the model was trained on. 0: no model, or one opened for its vocabulary alone. */
size_t chord_model_context_length(const chord_model *model);

/** The token that begins a text, or CHORD_NO_TOKEN. */
int32_t chord_model_bos(const chord_model *model);

/** The token that ends a text, or CHORD_NO_TOKEN. Others may end a turn: chord_model_ends_generation(). */
int32_t chord_model_eos(const chord_model *model);

/** Whether generation stops at this token; chord_session_step() then says CHORD_EVENT_END. */
bool chord_model_ends_generation(const chord_model *model, int32_t token);

/** Threads that share the work of the model's sessions. 0: no model, or one opened for its vocabulary alone. */
size_t chord_model_threads(const chord_model *model);

/** Bytes of weights that chord_model_options_set_resident() has copied so far; it grows until all are. 0: no model. */
size_t chord_model_resident_size(const chord_model *model);

/**
 * The instruction-set level that the model's sessions run on, e.g. "avx2". NULL: no model.
 *
 * Static.
 */
const char *chord_model_cpu_level(const chord_model *model);

/** Number of metadata entries. 0: no model. */
size_t chord_model_metadata_count(const chord_model *model);

/**
 * The key of a metadata entry, e.g. "general.architecture".
 *
 * index: below chord_model_metadata_count(), in the order of the file. key, capacity: receives the key, with a NUL behind it
 * if there is room; NULL when capacity is 0. key_len: receives its length without the NUL, also when it does not fit.
 *
 * CHORD_STATUS_OUT_OF_RANGE: no such entry. CHORD_STATUS_BUFFER_TOO_SMALL.
 */
chord_status chord_model_metadata_key(const chord_model *model,
                                      size_t index,
                                      char *key,
                                      size_t capacity,
                                      size_t *key_len,
                                      chord_error **err);

/**
 * The value of a metadata entry as text: strings as they are, numbers in decimal, long arrays abbreviated.
 *
 * key: the entry's name. value, capacity: receives the text, with a NUL behind it if there is room; NULL when capacity is 0.
 * value_len: receives its length without the NUL, also when it does not fit.
 *
 * CHORD_STATUS_NOT_FOUND: no such key. CHORD_STATUS_BUFFER_TOO_SMALL.
 */
chord_status chord_model_metadata_value(const chord_model *model,
                                        const char *key,
                                        char *value,
                                        size_t capacity,
                                        size_t *value_len,
                                        chord_error **err);

/** Number of tensors in the model's files. 0: no model. */
size_t chord_model_tensor_count(const chord_model *model);

/**
 * The name of a tensor, e.g. "blk.0.attn_q.weight".
 *
 * index: below chord_model_tensor_count(), in the order of the file. name, capacity: receives the name, with a NUL behind it
 * if there is room; NULL when capacity is 0. name_len: receives its length without the NUL, also when it does not fit.
 *
 * CHORD_STATUS_OUT_OF_RANGE: no such tensor. CHORD_STATUS_BUFFER_TOO_SMALL.
 */
chord_status chord_model_tensor_name(const chord_model *model,
                                     size_t index,
                                     char *name,
                                     size_t capacity,
                                     size_t *name_len,
                                     chord_error **err);

/**
 * Type, shape and place of a tensor.
 *
 * index: below chord_model_tensor_count(). info, size: receives the record; size is sizeof(chord_tensor_info).
 *
 * CHORD_STATUS_OUT_OF_RANGE: no such tensor. CHORD_STATUS_INVALID_ARGUMENT: size is smaller than it ever was.
 */
chord_status chord_model_tensor_info(const chord_model *model,
                                     size_t index,
                                     chord_tensor_info *info,
                                     size_t size,
                                     chord_error **err);

/**
 * Makes an empty conversation for a model.
 *
 * flags: 0 or CHORD_CHAT_DEFAULT_TEMPLATE. chat: receives it; the caller frees it with chord_chat_free().
 *
 * CHORD_STATUS_NO_CHAT_TEMPLATE: the model has no template; CHORD_CHAT_DEFAULT_TEMPLATE may do. CHORD_STATUS_TEMPLATE: its
 * template cannot be read.
 */
chord_status chord_chat_new(const chord_model *model,
                            uint32_t flags,
                            chord_chat **chat,
                            chord_error **err);

/** Frees a chat. NULL and freed ones are fine. */
void chord_chat_free(chord_chat *chat);

/**
 * Adds a message.
 *
 * role: "system", "user", "assistant", or what else the template knows. content, content_len: UTF-8; NULL when content_len
 * is 0.
 */
chord_status chord_chat_add(chord_chat *chat,
                            const char *role,
                            const char *content,
                            size_t content_len,
                            chord_error **err);

/**
 * Adds a message with all that it may have, as a JSON object in the form of the OpenAI chat API: "role", "content" (text, null
 * or a list of parts), "tool_calls" (each with an "id" and a "function" of "name" and "arguments"), "tool_call_id" and "name"
 * for the result of a call, "reasoning_content". Other members go to the template as they are. chord_answer_text() gives
 * such a message for an answer.
 *
 * message, message_len: UTF-8.
 *
 * CHORD_STATUS_INVALID_ARGUMENT: not JSON, or a member is not what it must be; the error names it.
 */
chord_status chord_chat_add_json(chord_chat *chat,
                                 const char *message,
                                 size_t message_len,
                                 chord_error **err);

/**
 * Sets the tools that the model may call: a JSON list of {"type": "function", "function": {"name", "description",
 * "parameters"}} with a JSON schema as parameters. They stay until others are set.
 *
 * tools, tools_len: UTF-8; the text null means none.
 *
 * CHORD_STATUS_INVALID_ARGUMENT: not JSON, or a tool without a name; the error names the place.
 */
chord_status chord_chat_set_tools(chord_chat *chat, const char *tools, size_t tools_len, chord_error **err);

/**
 * Sets a variable that the template may know, such as "enable_thinking" to false. Which ones there are is the model's affair.
 *
 * name: letters, digits and underscores. value, value_len: JSON; the text null takes the variable away.
 *
 * CHORD_STATUS_INVALID_ARGUMENT: not JSON, not a name, or one that is set otherwise, such as "messages".
 */
chord_status chord_chat_set_variable(chord_chat *chat,
                                     const char *name,
                                     const char *value,
                                     size_t value_len,
                                     chord_error **err);

/** Messages in the chat. 0: no chat. */
size_t chord_chat_count(const chord_chat *chat);

/**
 * Forgets all messages after the first count ones; 0 empties the chat.
 *
 * CHORD_STATUS_OUT_OF_RANGE: there are fewer.
 */
chord_status chord_chat_truncate(chord_chat *chat, size_t count, chord_error **err);

/**
 * Fixes the clock that templates see, so that a rendered text can be repeated. Without it they see the system's.
 *
 * seconds: since 1970-01-01 00:00 UTC.
 */
chord_status chord_chat_set_time(chord_chat *chat, int64_t seconds, chord_error **err);

/**
 * The text of the conversation.
 *
 * flags: 0 or CHORD_CHAT_GENERATION_PROMPT. text, capacity: receives the text, with a NUL behind it if there is room; NULL
 * when capacity is 0. text_len: receives its length without the NUL, also when it does not fit.
 *
 * CHORD_STATUS_TEMPLATE: the template refuses the conversation, and the message says why. CHORD_STATUS_BUFFER_TOO_SMALL.
 */
chord_status chord_chat_render(const chord_chat *chat,
                               uint32_t flags,
                               char *text,
                               size_t capacity,
                               size_t *text_len,
                               chord_error **err);

/**
 * Makes options with the defaults.
 *
 * options: receives them; the caller frees them with chord_session_options_free().
 */
chord_status chord_session_options_new(chord_session_options **options, chord_error **err);

/** Frees options. NULL and freed ones are fine. */
void chord_session_options_free(chord_session_options *options);

/**
 * Tokens that the session can hold, prompt and answers together. Memory for all of them is taken at once.
 *
 * context_length: at most 2^28; 0, the default, is what the model was trained on, at most 4096.
 */
chord_status chord_session_options_set_context_length(chord_session_options *options,
                                                      uint32_t context_length,
                                                      chord_error **err);

/**
 * Tokens of a prompt that are evaluated at once. Scratch memory grows with it; results do not depend on it.
 *
 * batch_size: at most 65536; 0, the default, is 512.
 */
chord_status chord_session_options_set_batch_size(chord_session_options *options,
                                                  uint32_t batch_size,
                                                  chord_error **err);

/** The element type of the key-value cache: CHORD_KV_TYPE_AUTO, the default, CHORD_KV_TYPE_F16 or CHORD_KV_TYPE_F32. */
chord_status chord_session_options_set_kv_type(chord_session_options *options,
                                               chord_kv_type kv_type,
                                               chord_error **err);

/**
 * Tokens sampled after an append until chord_session_step() says CHORD_EVENT_LENGTH.
 *
 * max_tokens: 0, the default, is no limit but the context.
 */
chord_status chord_session_options_set_max_tokens(chord_session_options *options,
                                                  uint32_t max_tokens,
                                                  chord_error **err);

/**
 * Makes a session for embeddings (chord_session_embedding()) in place of answers. Without this call only models that cannot
 * generate have such sessions.
 *
 * pooling: CHORD_POOLING_DEFAULT, or another way than the model's own.
 */
chord_status chord_session_options_set_pooling(chord_session_options *options,
                                               chord_pooling pooling,
                                               chord_error **err);

/**
 * Whether embeddings have a length of 1, so that the sum of products of two is the cosine of their angle.
 *
 * unit_length: the default is true. Scores of CHORD_POOLING_RANK stay as they are.
 */
chord_status chord_session_options_set_unit_length(chord_session_options *options, bool unit_length, chord_error **err);

/**
 * Whether chord_session_new() touches all memory of the session, cache of the whole context included. The system hands memory out when
 * it is first touched, 2 MiB at a time: 0.2 ms, but several on virtual machines that get theirs the same way. Without this, steps
 * wait for it, a time budget or not.
 *
 * prefault: the default is false.
 */
chord_status chord_session_options_set_prefault(chord_session_options *options,
                                                bool prefault,
                                                chord_error **err);

/**
 * Tells a function how many of the tokens that a call evaluates are done, of how many: between operations, of which a batch has some
 * hundreds. Only where there is more than one token. Returning false is as chord_session_cancel().
 *
 * callback: NULL, the default, is none. user_data: passed to it as it is.
 *
 * Both must stay valid until the session is freed.
 */
chord_status chord_session_options_set_progress(chord_session_options *options,
                                                chord_progress_callback callback,
                                                void *user_data,
                                                chord_error **err);

/**
 * Adds a text that ends the generation with CHORD_EVENT_STOP. It is found across tokens and does not come out. There can be
 * 64 of them.
 *
 * text, text_len: 1 to 1024 bytes of UTF-8.
 */
chord_status chord_session_options_add_stop(chord_session_options *options,
                                            const char *text,
                                            size_t text_len,
                                            chord_error **err);

/**
 * Whether the text of special tokens comes out too. A chord_answer needs it: models mark reasoning and tool calls with such
 * tokens.
 *
 * special_text: the default is false.
 */
chord_status chord_session_options_set_special_text(chord_session_options *options,
                                                    bool special_text,
                                                    chord_error **err);

/** The seed of the sampler. The same seed, options and tokens give the same answer on every machine. */
chord_status chord_session_options_set_seed(chord_session_options *options, uint64_t seed, chord_error **err);

/**
 * How freely to sample.
 *
 * temperature: 0 always takes the likeliest token; finite and not negative. The default is 0.8.
 */
chord_status chord_session_options_set_temperature(chord_session_options *options,
                                                   float temperature,
                                                   chord_error **err);

/** Samples among the top_k likeliest tokens. 0 is no limit; the default is 40. */
chord_status chord_session_options_set_top_k(chord_session_options *options, uint32_t top_k, chord_error **err);

/**
 * Samples among the fewest likeliest tokens that together have this probability.
 *
 * top_p: above 0 and at most 1; 1 is no limit. The default is 0.95.
 */
chord_status chord_session_options_set_top_p(chord_session_options *options, float top_p, chord_error **err);

/**
 * Samples among the tokens that have at least this share of the likeliest token's probability.
 *
 * min_p: 0 to 1; 0 is no limit. The default is 0.05.
 */
chord_status chord_session_options_set_min_p(chord_session_options *options, float min_p, chord_error **err);

/**
 * Divides the positive logits of tokens seen in the penalty window by this and multiplies the negative ones.
 *
 * penalty: above 0; 1, the default, is none.
 */
chord_status chord_session_options_set_repetition_penalty(chord_session_options *options,
                                                          float penalty,
                                                          chord_error **err);

/** Subtracts this from the logit of a token for each time it is in the penalty window. 0, the default, is none. */
chord_status chord_session_options_set_frequency_penalty(chord_session_options *options,
                                                         float penalty,
                                                         chord_error **err);

/** Subtracts this from the logit of a token that is in the penalty window at all. 0, the default, is none. */
chord_status chord_session_options_set_presence_penalty(chord_session_options *options,
                                                        float penalty,
                                                        chord_error **err);

/** How many of the last tokens, prompt included, the penalties look at. The default is 64. */
chord_status chord_session_options_set_penalty_window(chord_session_options *options,
                                                      uint32_t tokens,
                                                      chord_error **err);

/**
 * Tells how much memory a model file and a session on it will take with these options, before anything is opened. Reads the
 * header of the file only. That more is needed than the memory budget allows is no failure of this call.
 *
 * path: as of chord_model_open(). model_options, session_options: NULL is the defaults. plan, size: receives the record; size is
 * sizeof(chord_plan).
 *
 * Statuses as of chord_model_open() and chord_session_new().
 */
chord_status chord_model_plan(const char *path,
                              const chord_model_options *model_options,
                              const chord_session_options *session_options,
                              chord_plan *plan,
                              size_t size,
                              chord_error **err);

/**
 * Makes an empty session. All memory that it will ever need is taken here.
 *
 * options: NULL is the defaults. session: receives it; the caller frees it with chord_session_free().
 *
 * CHORD_STATUS_OUT_OF_MEMORY, CHORD_STATUS_OVER_BUDGET: a shorter context needs less (chord_model_plan() tells how much).
 * CHORD_STATUS_INVALID_STATE: the model was opened for its vocabulary alone. CHORD_STATUS_UNSUPPORTED: CHORD_POOLING_RANK
 * with a model that has no classifier.
 */
chord_status chord_session_new(const chord_model *model,
                               const chord_session_options *options,
                               chord_session **session,
                               chord_error **err);

/**
 * Frees a session. A call on it in another thread is cancelled, and its memory goes when that call returns. NULL and freed
 * sessions are fine.
 */
void chord_session_free(chord_session *session);

/**
 * Adds tokens. They are evaluated by the next chord_session_eval() or chord_session_step().
 *
 * tokens, count: ids below chord_model_vocab_size(); NULL when count is 0.
 *
 * CHORD_STATUS_OUT_OF_RANGE: no such token. CHORD_STATUS_CONTEXT_FULL: too many. After either nothing was added.
 */
chord_status chord_session_append(chord_session *session, const int32_t *tokens, size_t count, chord_error **err);

/**
 * Tokenizes text and adds the tokens. Text given in parts may tokenize otherwise than in one.
 *
 * text, text_len: UTF-8, NULs allowed; NULL when text_len is 0. flags: CHORD_TEXT_...
 *
 * CHORD_STATUS_INVALID_UTF8. CHORD_STATUS_CONTEXT_FULL: too many tokens. CHORD_STATUS_INVALID_MODEL: the model has no
 * tokenizer. After any of them nothing was added.
 */
chord_status chord_session_append_text(chord_session *session,
                                       const char *text,
                                       size_t text_len,
                                       uint32_t flags,
                                       chord_error **err);

/**
 * Makes the session hold a conversation. The first time the conversation goes behind what the session holds; from then on
 * it takes the place of the one before, and what both have in common stays evaluated, so a turn costs only what is new.
 *
 * flags: 0, or CHORD_CHAT_GENERATION_PROMPT to have the model answer.
 *
 * CHORD_STATUS_TEMPLATE: the template refuses the conversation. CHORD_STATUS_CONTEXT_FULL: it does not fit. After either
 * the session is unchanged.
 */
chord_status chord_session_append_chat(chord_session *session,
                                       const chord_chat *chat,
                                       uint32_t flags,
                                       chord_error **err);

/**
 * Evaluates what was added, and samples nothing: chord_session_logits() has the result.
 *
 * CHORD_STATUS_INVALID_STATE: the session is empty. CHORD_STATUS_CANCELLED: the next call goes on where it stopped.
 */
chord_status chord_session_eval(chord_session *session, chord_error **err);

/**
 * Evaluates what was added, then samples one token and adds it. Allocates nothing.
 *
 * event: receives what happened.
 *
 * CHORD_STATUS_INVALID_STATE: the session is empty, or it makes embeddings. After a failure the session is at its last
 * whole token.
 */
chord_status chord_session_step(chord_session *session, chord_event *event, chord_error **err);

/**
 * As chord_session_step(), but gives the thread back in time: when the time is over before the token is there, the event is
 * CHORD_EVENT_PENDING, and the next step goes on where this one stopped, with the same result. For frame loops and
 * schedulers. Work is stopped between its units, which take a fraction of a millisecond; every call does at least one
 * unit, and sessions of the same model that evaluate at the same time wait for each other's units.
 *
 * microseconds: how long.
 *
 * CHORD_STATUS_INVALID_STATE: the session is empty. After a failure the session is at its last whole token.
 */
chord_status chord_session_step_for(chord_session *session,
                                    uint64_t microseconds,
                                    chord_event *event,
                                    chord_error **err);

/**
 * The logits after the last evaluated token, one for each token of the vocabulary; softmax makes them probabilities.
 *
 * count: receives how many; NULL is fine.
 *
 * NULL, and a count of 0: nothing was evaluated since the session was made or rewound, it makes embeddings, or no session.
 *
 * Borrowed until the next call that changes the session.
 */
const float *chord_session_logits(const chord_session *session,
                                  size_t *count);

/**
 * The embedding of the text that chord_session_eval() evaluated: append a text, evaluate, read, and empty the session by
 * chord_session_rewind() for the next one.
 *
 * count: receives how many values; NULL is fine. CHORD_POOLING_NONE: as many for each token, one token after the other;
 * CHORD_POOLING_RANK: one for each label of the classifier.
 *
 * NULL, and a count of 0: nothing was evaluated since the session was made or rewound, it makes no embeddings
 * (chord_session_options_set_pooling()), or no session.
 *
 * Borrowed until the next call that changes the session.
 */
const float *chord_session_embedding(const chord_session *session,
                                     size_t *count);

/** The token that the last step sampled. CHORD_NO_TOKEN: none since the session was made or rewound, or no session. */
int32_t chord_session_token(const chord_session *session);

/**
 * The text that the last step completed: whole UTF-8 characters, NUL-terminated, often a word, sometimes nothing (when a
 * character or a stop string may go on in the next token).
 *
 * len: receives its length without the NUL; NULL is fine. NULL, and a length of 0: no session.
 *
 * Borrowed until the next call that changes the session.
 */
const char *chord_session_piece(const chord_session *session,
                                size_t *len);

/** Tokens in the session, evaluated or not. 0: no session. */
size_t chord_session_position(const chord_session *session);

/** Tokens that the session can hold. 0: no session. */
size_t chord_session_context_length(const chord_session *session);

/**
 * Forgets the tokens from a position on; 0 empties the session. The sampler goes back too, so the same steps repeat.
 *
 * position: at most chord_session_position().
 *
 * CHORD_STATUS_OUT_OF_RANGE: the session is shorter.
 */
chord_status chord_session_rewind(chord_session *session, size_t position, chord_error **err);

/**
 * Stops the call that evaluates in another thread, or the next one if there is none: a step says CHORD_EVENT_CANCELLED, an
 * eval returns CHORD_STATUS_CANCELLED. Never waits; a signal handler may call it while the session is not being freed.
 */
void chord_session_cancel(const chord_session *session);

/**
 * Begins to read the answer to a chat, which must hold what chord_session_append_chat() got. The session must show special
 * tokens: chord_session_options_set_special_text().
 *
 * format: NULL reads what the chat's template writes. Otherwise one of the formats by name: "hermes" (also Qwen and GLM),
 * "llama", "mistral", "harmony", "deepseek" and others; a wrong name gives an error that lists them. answer: receives it; the
 * caller frees it with chord_answer_free().
 *
 * CHORD_STATUS_TEMPLATE: the template refuses the conversation.
 */
chord_status chord_answer_new(const chord_chat *chat,
                              const char *format,
                              chord_answer **answer,
                              chord_error **err);

/** Frees an answer. NULL and freed ones are fine. */
void chord_answer_free(chord_answer *answer);

/**
 * Adds text: pieces of the session as they come. What may be the beginning of a mark is held back until it is clear; what
 * looked like a call and is none becomes content.
 *
 * text, text_len: UTF-8; NULL when text_len is 0. last: no text will follow, and what is held back is read as it is.
 *
 * CHORD_STATUS_INVALID_STATE: the last text came already.
 */
chord_status chord_answer_feed(chord_answer *answer,
                               const char *text,
                               size_t text_len,
                               bool last,
                               chord_error **err);

/**
 * A part of the answer, as far as it has come. Content, reasoning and raw text only ever grow: show what is behind the
 * length that was there before.
 *
 * part: CHORD_ANSWER_PART_... len: receives the length without the NUL; NULL is fine.
 *
 * NULL, and a length of 0: no answer, no such part, or no message yet.
 *
 * Borrowed until the next call that changes the answer.
 */
const char *chord_answer_text(const chord_answer *answer, chord_answer_part part, size_t *len);

/**
 * A part of a complete tool call.
 *
 * index: from 0. part: CHORD_CALL_PART_... len: receives the length without the NUL; NULL is fine.
 *
 * NULL, and a length of 0: there are not so many calls (yet), no answer, no such part.
 *
 * Borrowed until the next call that changes the answer.
 */
const char *chord_answer_call(const chord_answer *answer, size_t index, chord_call_part part, size_t *len);

/**
 * Makes options with the defaults.
 *
 * options: receives them; the caller frees them with chord_quantize_options_free().
 */
chord_status chord_quantize_options_new(chord_quantize_options **options, chord_error **err);

/** Frees options. NULL and freed ones are fine. */
void chord_quantize_options_free(chord_quantize_options *options);

/**
 * Threads that share the work. The result does not depend on it.
 *
 * threads: 1 to 1024; 0, the default, is the CPU budget of the process (affinity and cgroup quota).
 */
chord_status chord_quantize_options_set_threads(chord_quantize_options *options, uint32_t threads, chord_error **err);

/** Gives every matrix the base type of the mix, without the finer types of some. The default is false. */
chord_status chord_quantize_options_set_pure(chord_quantize_options *options, bool pure, chord_error **err);

/**
 * Weights errors by the activations that the weights meet.
 *
 * path: a GGUF file with importance data: for a tensor NAME, F32 tensors "NAME.in_sum2" (sums of squared activations, one per
 * column, for each expert) and "NAME.counts" (how many activations). Tensors that it does not name are treated evenly.
 *
 * CHORD_STATUS_IO, CHORD_STATUS_MALFORMED: the file.
 */
chord_status chord_quantize_options_set_importance(chord_quantize_options *options,
                                                   const char *path,
                                                   chord_error **err);

/**
 * Has a function hear of the progress.
 *
 * callback: NULL: nobody hears. user_data: passed to it as it is.
 */
chord_status chord_quantize_options_set_callback(chord_quantize_options *options,
                                                 chord_quantize_callback callback,
                                                 void *user_data,
                                                 chord_error **err);

/**
 * Writes a model file with other types of weights. Metadata are kept; tensors that are small and delicate stay as they are.
 *
 * input: the model, of any types that the library decodes; best F32, F16 or BF16. output: appears, or takes an old file's place,
 * when it is complete; may be the input. file_type: a mix by the name that users know, such as "Q4_K_M". options: NULL is the defaults.
 *
 * CHORD_STATUS_INVALID_ARGUMENT: no such type (the message lists them), or a weight that is not finite. CHORD_STATUS_IO,
 * CHORD_STATUS_MALFORMED, CHORD_STATUS_UNSUPPORTED: the input. CHORD_STATUS_INVALID_MODEL: importance data of the wrong shape.
 * CHORD_STATUS_CANCELLED: the callback said so. After any of them there is no new file.
 */
chord_status chord_quantize(const char *input,
                            const char *output,
                            const char *file_type,
                            const chord_quantize_options *options,
                            chord_error **err);

/**
 * How many handles are alive in the process: made and not freed yet. For tests and leak hunts; a program that has freed all that
 * it made finds 0. (Out-of-memory and internal errors are not objects of their own, and do not count.)
 *
 * kind: one type, or CHORD_HANDLE_KIND_ANY; 0 for a type that is not known.
 */
size_t chord_handle_count(chord_handle_kind kind);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CHORD_H */
