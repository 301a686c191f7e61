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
    /** Memory ran out, or more than 65536 objects of one type are alive. */
    CHORD_STATUS_OUT_OF_MEMORY = -11,
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
    /** chord_session_cancel() ended the call. */
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

/** Why a call failed. Owned by the caller of that call, immutable, and independent of all other objects. */
typedef struct chord_error chord_error;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

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

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CHORD_H */
