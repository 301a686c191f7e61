//! What a failed call tells: a status for the program, an error object for the human.

use super::boundary::{self, Failure};
use super::registry::{Handle, Registry};
use crate::error::Error;
use std::ffi::c_char;
use std::fmt::{self, Write};
use std::ptr;

/// The result of a call. Negative values are failures, in groups: -1 the caller, -10 the host, -20 the content of the
/// model file, -30 the state of the session, -90 a defect of the library. Later releases may add values: treat an
/// unknown negative value as a failure of its group.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum chord_status {
    /// The call did what it says.
    CHORD_OK = 0,
    /// A parameter has a value that the call cannot take.
    CHORD_STATUS_INVALID_ARGUMENT = -1,
    /// A handle is NULL, freed, of another type, or was never a handle.
    CHORD_STATUS_INVALID_HANDLE = -2,
    /// The buffer does not hold the result; the size that is needed was written.
    CHORD_STATUS_BUFFER_TOO_SMALL = -3,
    /// An index, token id or position outside its range.
    CHORD_STATUS_OUT_OF_RANGE = -4,
    /// Text is not UTF-8; chord_error_offset() is the first bad byte.
    CHORD_STATUS_INVALID_UTF8 = -5,
    /// Nothing has that name.
    CHORD_STATUS_NOT_FOUND = -6,
    /// Another thread, or a callback of the same call, is using the object.
    CHORD_STATUS_BUSY = -7,
    /// The operating system refused a file operation.
    CHORD_STATUS_IO = -10,
    /// Memory or room for threads ran out, or more than 65536 objects of one type are alive.
    CHORD_STATUS_OUT_OF_MEMORY = -11,
    /// chord_model_options_set_memory_budget() does not allow it; the message has the numbers.
    CHORD_STATUS_OVER_BUDGET = -12,
    /// The file breaks the GGUF format; chord_error_offset() is the place.
    CHORD_STATUS_MALFORMED = -20,
    /// A well-formed file that this release cannot run.
    CHORD_STATUS_UNSUPPORTED = -21,
    /// A key or tensor that the architecture needs is missing or wrong.
    CHORD_STATUS_INVALID_MODEL = -22,
    /// The model has no chat template.
    CHORD_STATUS_NO_CHAT_TEMPLATE = -23,
    /// The chat template is wrong or refuses the conversation; chord_error_offset() is a byte of the template.
    CHORD_STATUS_TEMPLATE = -24,
    /// The tokens do not fit the session's context.
    CHORD_STATUS_CONTEXT_FULL = -30,
    /// The call does not fit what the object has done so far.
    CHORD_STATUS_INVALID_STATE = -31,
    /// chord_session_cancel(), or a progress callback that returned false, ended the call.
    CHORD_STATUS_CANCELLED = -32,
    /// An earlier call on the object ended in an internal error; it can only be freed.
    CHORD_STATUS_POISONED = -33,
    /// A defect of the library: please report it.
    CHORD_STATUS_INTERNAL = -90,
}

/// Why a call failed. Owned by the caller of that call, immutable, and independent of all other objects.
pub struct chord_error {
    _opaque: (),
}

/// chord_error_offset() of an error that does not speak of a place.
pub const CHORD_NO_OFFSET: u64 = u64::MAX;

/// What stands behind an error handle. The text is in place, so that an error is at most one allocation.
pub struct Record {
    status: chord_status,
    offset: u64,
    message: Line,
}

/// Errors that must not allocate have handles of their own, which are never freed.
static FIXED: [Record; 2] = [
    Record { status: chord_status::CHORD_STATUS_OUT_OF_MEMORY, offset: CHORD_NO_OFFSET, message: Line::new("out of memory") },
    Record {
        status: chord_status::CHORD_STATUS_INTERNAL,
        offset: CHORD_NO_OFFSET,
        message: Line::new("internal error: a panic was caught (its message is in the model's log)"),
    },
];
const OUT_OF_MEMORY: usize = 0;
const PANIC: usize = 1;

static ERRORS: Registry<chord_error> = Registry::new();

impl Handle for chord_error {
    const TAG: u8 = 1;
    const NAME: &'static str = "err";
    type Object = Record;

    fn registry() -> &'static Registry<Self> {
        &ERRORS
    }
}

/// The handle of a new error object.
pub(super) fn new(failure: &Failure) -> *mut chord_error {
    let status = status_of(failure);
    let mut message = Line::default();
    // A `Line` cuts and never fails; an error of a `Display` would only shorten the text.
    let _ = write!(message, "{failure}");
    let handle = match (status, failure) {
        (_, Failure::Panic) => ERRORS.reserved(PANIC),
        (chord_status::CHORD_STATUS_OUT_OF_MEMORY, _) => ERRORS.reserved(OUT_OF_MEMORY),
        _ => ERRORS
            .insert(Record { status, offset: offset_of(failure), message })
            .unwrap_or_else(|_| ERRORS.reserved(OUT_OF_MEMORY)),
    };
    ptr::without_provenance_mut(handle)
}

/// The status that stands for a failure in C.
pub(super) fn status_of(failure: &Failure) -> chord_status {
    use chord_status::*;
    let error = match failure {
        Failure::InvalidHandle(_) => return CHORD_STATUS_INVALID_HANDLE,
        Failure::BufferTooSmall { .. } => return CHORD_STATUS_BUFFER_TOO_SMALL,
        Failure::Panic => return CHORD_STATUS_INTERNAL,
        Failure::Error(error) => error,
    };
    match error.root() {
        Error::InvalidArgument(_) => CHORD_STATUS_INVALID_ARGUMENT,
        Error::OutOfRange(_) => CHORD_STATUS_OUT_OF_RANGE,
        Error::InvalidUtf8 { .. } => CHORD_STATUS_INVALID_UTF8,
        Error::NotFound(_) => CHORD_STATUS_NOT_FOUND,
        Error::Busy(_) => CHORD_STATUS_BUSY,
        Error::Io { .. } => CHORD_STATUS_IO,
        Error::OutOfMemory => CHORD_STATUS_OUT_OF_MEMORY,
        Error::OverBudget { .. } => CHORD_STATUS_OVER_BUDGET,
        Error::Malformed { .. } => CHORD_STATUS_MALFORMED,
        Error::Unsupported(_) => CHORD_STATUS_UNSUPPORTED,
        Error::InvalidModel(_) => CHORD_STATUS_INVALID_MODEL,
        Error::NoChatTemplate => CHORD_STATUS_NO_CHAT_TEMPLATE,
        Error::Template { .. } => CHORD_STATUS_TEMPLATE,
        Error::ContextFull { .. } => CHORD_STATUS_CONTEXT_FULL,
        Error::InvalidState(_) => CHORD_STATUS_INVALID_STATE,
        Error::Cancelled => CHORD_STATUS_CANCELLED,
        Error::Poisoned => CHORD_STATUS_POISONED,
        // `root` has no context left.
        Error::Internal(_) | Error::Context { .. } => CHORD_STATUS_INTERNAL,
    }
}

fn offset_of(failure: &Failure) -> u64 {
    match failure {
        Failure::Error(error) => error.offset().unwrap_or(CHORD_NO_OFFSET),
        _ => CHORD_NO_OFFSET,
    }
}

/// Calls `read` with the record behind an error handle.
fn with<R>(err: *const chord_error, read: impl FnOnce(&Record) -> R) -> Option<R> {
    match (0..FIXED.len()).find(|&index| ERRORS.reserved(index) == err.addr()) {
        Some(index) => Some(read(&FIXED[index])),
        None => ERRORS.get(err.addr()).map(|record| read(&record)),
    }
}

/// One line of text in a fixed buffer, NUL-terminated for C; what does not fit is cut at a character.
pub(super) struct Line {
    bytes: [u8; Line::CAPACITY],
    len: usize,
}

impl Line {
    const CAPACITY: usize = 1024;

    const fn new(text: &str) -> Self {
        let mut bytes = [0; Line::CAPACITY];
        let (head, _) = bytes.split_at_mut(text.len());
        head.copy_from_slice(text.as_bytes());
        Line { bytes, len: text.len() }
    }

    /// The text, without the NUL.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The text as C sees it.
    pub(super) fn as_ptr(&self) -> *const c_char {
        self.bytes.as_ptr().cast()
    }
}

impl Default for Line {
    fn default() -> Self {
        Line::new("")
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = Line::CAPACITY - 1 - self.len;
        let text = &text[..text.floor_char_boundary(room)];
        for (to, &from) in self.bytes[self.len..].iter_mut().zip(text.as_bytes()) {
            // Names from files may hold anything; a message stays one line without NUL.
            *to = if from.is_ascii_control() { b'?' } else { from };
        }
        self.len += text.len();
        Ok(())
    }
}

/// The status that the failed call returned.
///
/// err: NULL or not an error gives CHORD_STATUS_INVALID_HANDLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_error_status(err: *const chord_error) -> chord_status {
    let unknown = chord_status::CHORD_STATUS_INVALID_HANDLE;
    boundary::value(unknown, |_| with(err, |record| record.status))
}

/// What went wrong, for a human: one line, lower case, no final period, causes joined by ": ", at most 1023 bytes of
/// UTF-8. It names the key, tensor, token, file or parameter. The wording may change between releases.
///
/// err: NULL or not an error gives NULL.
///
/// Borrowed until chord_error_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_error_message(err: *const chord_error) -> *const c_char {
    boundary::value(ptr::null(), |_| with(err, |record| record.message.as_ptr()))
}

/// The byte that the error speaks of: of the model file, the text or the chat template that was given.
///
/// err: NULL, not an error, or an error without a place gives CHORD_NO_OFFSET.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_error_offset(err: *const chord_error) -> u64 {
    boundary::value(CHORD_NO_OFFSET, |_| with(err, |record| record.offset))
}

/// Frees an error.
///
/// err: NULL and freed errors are fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_error_free(err: *mut chord_error) {
    boundary::free(err);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn lines_are_cut_at_a_character_and_hold_no_control() {
        let mut line = Line::default();
        write!(line, "a\nb\0").unwrap();
        assert_eq!(line.as_bytes(), b"a?b?");
        for _ in 0..1000 {
            write!(line, "é€").unwrap();
        }
        // SAFETY: a `Line` always has a NUL behind its text.
        let text = unsafe { CStr::from_ptr(line.as_ptr()) };
        assert_eq!(text.to_bytes(), line.as_bytes());
        assert!(text.to_str().is_ok() && (1019..1024).contains(&line.as_bytes().len()));
    }

    #[test]
    fn fixed_errors_survive_being_freed() {
        for (failure, status) in [
            (Failure::Panic, chord_status::CHORD_STATUS_INTERNAL),
            (Failure::Error(Error::OutOfMemory), chord_status::CHORD_STATUS_OUT_OF_MEMORY),
        ] {
            let err = new(&failure);
            // SAFETY: handles are safe to pass whatever they are.
            unsafe {
                chord_error_free(err);
                chord_error_free(err);
                assert_eq!(chord_error_status(err), status);
                assert!(!chord_error_message(err).is_null());
            }
        }
    }
}
