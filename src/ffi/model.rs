//! Models: open, tokenize, free.

use super::boundary::{self, Buffer, Call, Out, Result, check_flags, get, new_handle, slice, string, text};
use super::error::{chord_error, chord_status};
use super::model_options::{self, chord_model_options};
use super::registry::{Handle, Registry};
use super::version::level_name;
use crate::model::{Model, ModelOptions};
use crate::tokenizer::{TextFlags, Tokenizer};
use std::ffi::{c_char, c_void};
use std::path::Path;
use std::ptr;
use std::sync::Arc;

/// An open model file: vocabulary, weights and the threads that work on them. Immutable, so it may be used from several
/// threads at once; sessions and chats made from it keep what they need, so it may be freed before them.
pub struct chord_model {
    _opaque: (),
}

static MODELS: Registry<chord_model> = Registry::new();

impl Handle for chord_model {
    const TAG: u8 = 3;
    const NAME: &'static str = "model";
    type Object = Arc<Model>;

    fn registry() -> &'static Registry<Self> {
        &MODELS
    }
}

/// Text flag: add BOS and EOS as the model asks.
pub const CHORD_TEXT_ADD_SPECIAL: u32 = 1;
/// Text flag: the text of a special token, such as "<|im_end|>", stands for the token. Never set it for text from
/// strangers: they could write the marks that structure a conversation.
pub const CHORD_TEXT_PARSE_SPECIAL: u32 = 2;
/// What stands for "no token".
pub const CHORD_NO_TOKEN: i32 = -1;

/// The flags as the library has them.
pub(super) fn text_flags(flags: u32) -> Result<TextFlags> {
    check_flags(flags, CHORD_TEXT_ADD_SPECIAL | CHORD_TEXT_PARSE_SPECIAL)?;
    Ok(TextFlags { add_special: flags & CHORD_TEXT_ADD_SPECIAL != 0, parse_special: flags & CHORD_TEXT_PARSE_SPECIAL != 0 })
}

impl Call {
    /// The model behind a handle.
    pub(super) fn model(&self, model: *const chord_model) -> Result<Arc<Model>> {
        let model = Arc::clone(&*get(model)?);
        self.concerns(&model);
        Ok(model)
    }
}

/// Opens with the options behind a handle, or the defaults.
fn open(
    options: *const chord_model_options,
    model: *mut *mut chord_model,
    open: impl FnOnce(&ModelOptions) -> crate::error::Result<Arc<Model>>,
) -> Result<()> {
    let out = Out::new("model", model)?;
    out.write(new_handle(open(&model_options::options(options)?)?)?);
    Ok(())
}

/// Opens a GGUF model file, or the first of a split model ("-00001-of-00003.gguf"; the others are found beside it).
/// Weights are used where the file mapping puts them, so the file must not change while the model is open.
///
/// path: UTF-8. options: NULL is the defaults. model: receives the model; the caller frees it with chord_model_free().
///
/// CHORD_STATUS_IO: the file cannot be read. CHORD_STATUS_MALFORMED: it breaks the format. CHORD_STATUS_UNSUPPORTED: its
/// version, architecture, tensor type or tokenizer is not known here. CHORD_STATUS_INVALID_MODEL: something that the
/// architecture needs is missing or has the wrong shape. CHORD_STATUS_OUT_OF_MEMORY. CHORD_STATUS_OVER_BUDGET.
/// CHORD_STATUS_CANCELLED: chord_model_options_set_progress().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_open(
    path: *const c_char,
    options: *const chord_model_options,
    model: *mut *mut chord_model,
    err: *mut *mut chord_error,
) -> chord_status {
    boundary::status(err, |_| {
        // SAFETY: the C contract: NULL or a NUL-terminated string.
        let path = unsafe { string("path", path) }?;
        open(options, model, |options| Model::open(Path::new(path), options))
    })
}

/// Opens a model file that lies in memory. The model borrows it: data must stay as it is until the model and all that was
/// made from it are freed, unless chord_model_options_set_copy() is set.
///
/// data, size: the file's bytes. The rest, and the statuses, as chord_model_open().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_open_memory(
    data: *const c_void,
    size: usize,
    options: *const chord_model_options,
    model: *mut *mut chord_model,
    err: *mut *mut chord_error,
) -> chord_status {
    boundary::status(err, |_| {
        // SAFETY: the C contract: `size` readable bytes at `data`.
        let bytes = unsafe { slice("data", data.cast::<u8>(), size) }?;
        // SAFETY: the C contract: they stay readable and unchanged while the model lives.
        open(options, model, |options| unsafe { Model::open_memory(bytes.as_ptr(), bytes.len(), options) })
    })
}

/// Frees a model. Sessions and chats made from it go on working. NULL and freed models are fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_free(model: *mut chord_model) {
    boundary::free(model);
}

/// Text to tokens.
///
/// text, text_len: UTF-8, NULs allowed; NULL when text_len is 0. flags: CHORD_TEXT_... tokens, capacity: receives the
/// tokens; NULL when capacity is 0. count: receives how many tokens there are, also when they do not fit.
///
/// CHORD_STATUS_BUFFER_TOO_SMALL: call again with a capacity of *count. CHORD_STATUS_INVALID_UTF8.
/// CHORD_STATUS_INVALID_MODEL: the model has no tokenizer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_tokenize(
    model: *const chord_model,
    text: *const c_char,
    text_len: usize,
    flags: u32,
    tokens: *mut i32,
    capacity: usize,
    count: *mut usize,
    err: *mut *mut chord_error,
) -> chord_status {
    boundary::status(err, |call| {
        let model = call.model(model)?;
        let flags = text_flags(flags)?;
        let buffer = Buffer::new("tokens", tokens, capacity, "count", count)?;
        let mut list = Vec::new();
        // SAFETY: the C contract: `text_len` readable bytes at `text`.
        model.tokenizer()?.encode(unsafe { self::text("text", text, text_len) }?, flags, &mut list)?;
        buffer.fill(&list)
    })
}

/// Tokens to text. Bytes that are not UTF-8 (tokens may be parts of characters) come out as they are.
///
/// tokens, count: ids below chord_model_vocab_size(); NULL when count is 0. flags: CHORD_TEXT_PARSE_SPECIAL writes the text
/// of special tokens, otherwise they are left out; CHORD_TEXT_ADD_SPECIAL is accepted and changes nothing. text, capacity:
/// receives the text, with a NUL behind it if there is room; NULL when capacity is 0. text_len: receives its length
/// without the NUL, also when it does not fit.
///
/// CHORD_STATUS_BUFFER_TOO_SMALL: call again with a capacity of *text_len. CHORD_STATUS_OUT_OF_RANGE: no such token.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_detokenize(
    model: *const chord_model,
    tokens: *const i32,
    count: usize,
    flags: u32,
    text: *mut c_char,
    capacity: usize,
    text_len: *mut usize,
    err: *mut *mut chord_error,
) -> chord_status {
    boundary::status(err, |call| {
        let model = call.model(model)?;
        let flags = text_flags(flags)?;
        let buffer = Buffer::new("text", text.cast::<u8>(), capacity, "text_len", text_len)?;
        let mut bytes = Vec::new();
        // SAFETY: the C contract: `count` readable tokens at `tokens`.
        let tokens = unsafe { slice("tokens", tokens, count) }?;
        model.tokenizer()?.decode(tokens, flags.parse_special, &mut bytes)?;
        buffer.fill(&bytes)
    })
}

/// Tokens of the vocabulary: token ids are below it, and logits are that many. 0: no model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_vocab_size(model: *const chord_model) -> usize {
    boundary::value(0, |call| Some(call.model(model).ok()?.vocab_size()))
}

/// Tokens of the context that the model was trained on. 0: no model, or one opened for its vocabulary alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_context_length(model: *const chord_model) -> usize {
    boundary::value(0, |call| Some(call.model(model).ok()?.context_length()))
}

/// The token that begins a text, or CHORD_NO_TOKEN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_bos(model: *const chord_model) -> i32 {
    special(model, Tokenizer::bos)
}

/// The token that ends a text, or CHORD_NO_TOKEN. Others may end a turn: chord_model_ends_generation().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_eos(model: *const chord_model) -> i32 {
    special(model, Tokenizer::eos)
}

fn special(model: *const chord_model, token: impl FnOnce(&Tokenizer) -> Option<i32>) -> i32 {
    boundary::value(CHORD_NO_TOKEN, |call| token(call.model(model).ok()?.tokenizer().ok()?))
}

/// Whether generation stops at this token; chord_session_step() then says CHORD_EVENT_END.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_ends_generation(model: *const chord_model, token: i32) -> bool {
    boundary::value(false, |call| Some(call.model(model).ok()?.tokenizer().ok()?.is_end_of_generation(token)))
}

/// Threads that share the work of the model's sessions. 0: no model, or one opened for its vocabulary alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_threads(model: *const chord_model) -> usize {
    boundary::value(0, |call| Some(call.model(model).ok()?.threads()))
}

/// Bytes of weights that chord_model_options_set_resident() has copied so far; it grows until all are. 0: no model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_resident_size(model: *const chord_model) -> usize {
    boundary::value(0, |call| Some(call.model(model).ok()?.file().resident_size()))
}

/// The instruction-set level that the model's sessions run on, e.g. "avx2". NULL: no model.
///
/// Static.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_model_cpu_level(model: *const chord_model) -> *const c_char {
    boundary::value(ptr::null(), |call| level_name(call.model(model).ok()?.level()))
}
