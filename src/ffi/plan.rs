//! How much memory a model and a session will take.

use super::boundary::{self, string, write_record};
use super::error::{chord_error, chord_status};
use super::model_options::{self, chord_model_options};
use super::session_options::{self, chord_session_options};
use crate::session::Plan;
use std::ffi::c_char;
use std::mem;
use std::path::Path;

/// Bytes that a model and one session on it take. Private memory belongs to the process alone; mapped memory is the file itself,
/// which processes share and the system may drop and read again. Later releases may add fields at the end.
///
/// The parts of the session are exact: what is planned is what is allocated. Tokenizer and model are estimates from the tables of
/// the file. Not counted: the stacks of threads, and what calls take while they run for texts and chats that they are given.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct chord_plan {
    /// Weights that are used where the file mapping puts them.
    pub weights_mapped: u64,
    /// Weights in private memory: chord_model_options_set_copy(), chord_model_options_set_resident().
    pub weights_private: u64,
    /// The tokenizer.
    pub tokenizer: u64,
    /// The rest of the model: the directory of the file, gains and biases.
    pub model: u64,
    /// Keys and values of the whole context, and recurrent state.
    pub kv_cache: u64,
    /// The rest of the session: activations of a batch, logits, sampler.
    pub scratch: u64,
    /// Private memory at the time when it is most.
    pub private_total: u64,
    /// The same with the mapped weights.
    pub total: u64,
    /// Tokens of the session's context; 0 for a model that is opened for its vocabulary alone.
    pub context_length: u64,
    /// Tokens of the longest context, up to what the model was trained on, that fits the memory budget of the model options; 0
    /// if not even one does.
    pub longest_context: u64,
}

/// How long the record was when it appeared; callers never have a shorter one.
const FIRST_SIZE: usize = 80;
const _: () = assert!(mem::size_of::<chord_plan>() == 80, "no padding");

/// Tells how much memory a model file and a session on it will take with these options, before anything is opened. Reads the
/// header of the file only. That more is needed than the memory budget allows is no failure of this call.
///
/// path: as of chord_model_open(). model_options, session_options: NULL is the defaults. plan, size: receives the record; size is
/// sizeof(chord_plan).
///
/// Statuses as of chord_model_open() and chord_session_new().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_plan(
    path: *const c_char,
    model_options: *const chord_model_options,
    session_options: *const chord_session_options,
    plan: *mut chord_plan,
    size: usize,
    err: *mut *mut chord_error,
) -> chord_status {
    boundary::status(err, |_| {
        // SAFETY: the C contract: NULL or a NUL-terminated string.
        let path = unsafe { string("path", path) }?;
        let model_options = model_options::options(model_options)?;
        let session_options = session_options::options(session_options)?;
        let planned = Plan::new(Path::new(path), &model_options, &session_options)?;
        let (model, private) = (planned.model, planned.private() as u64);
        let record = chord_plan {
            weights_mapped: model.mapped as u64,
            weights_private: model.copied as u64,
            tokenizer: model.tokenizer as u64,
            model: model.rest as u64,
            kv_cache: planned.cache as u64,
            scratch: planned.scratch as u64,
            private_total: private,
            total: private.saturating_add(model.mapped as u64),
            context_length: planned.context as u64,
            longest_context: planned.longest as u64,
        };
        Ok(write_record("plan", plan, size, FIRST_SIZE, record)?)
    })
}
