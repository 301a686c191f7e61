//! How many objects there are.

use super::answer::chord_answer;
use super::chat::chord_chat;
use super::error::chord_error;
use super::model::chord_model;
use super::model_options::chord_model_options;
use super::quantize::chord_quantize_options;
use super::registry::Handle;
use super::session::chord_session;
use super::session_options::chord_session_options;
use open_enum::open_enum;

/// The types of handles.
#[open_enum]
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum chord_handle_kind {
    /// All of them.
    CHORD_HANDLE_KIND_ANY = 0,
    /// chord_error.
    CHORD_HANDLE_KIND_ERROR = 1,
    /// chord_model_options.
    CHORD_HANDLE_KIND_MODEL_OPTIONS = 2,
    /// chord_model.
    CHORD_HANDLE_KIND_MODEL = 3,
    /// chord_session_options.
    CHORD_HANDLE_KIND_SESSION_OPTIONS = 4,
    /// chord_session.
    CHORD_HANDLE_KIND_SESSION = 5,
    /// chord_chat.
    CHORD_HANDLE_KIND_CHAT = 6,
    /// chord_answer.
    CHORD_HANDLE_KIND_ANSWER = 7,
    /// chord_quantize_options.
    CHORD_HANDLE_KIND_QUANTIZE_OPTIONS = 8,
}

fn live<H: Handle>() -> usize {
    H::registry().live()
}

/// How many handles are alive in the process: made and not freed yet. For tests and leak hunts; a program that has freed all that
/// it made finds 0. (Out-of-memory and internal errors are not objects of their own, and do not count.)
///
/// kind: one type, or CHORD_HANDLE_KIND_ANY; 0 for a type that is not known.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_handle_count(kind: chord_handle_kind) -> usize {
    const COUNTS: [fn() -> usize; 8] = [
        live::<chord_error>,
        live::<chord_model_options>,
        live::<chord_model>,
        live::<chord_session_options>,
        live::<chord_session>,
        live::<chord_chat>,
        live::<chord_answer>,
        live::<chord_quantize_options>,
    ];
    match kind {
        chord_handle_kind::CHORD_HANDLE_KIND_ANY => COUNTS.iter().map(|count| count()).sum(),
        chord_handle_kind(kind) => {
            let index = usize::try_from(kind).ok().and_then(|kind| kind.checked_sub(1));
            index.and_then(|index| COUNTS.get(index)).map_or(0, |count| count())
        }
    }
}
