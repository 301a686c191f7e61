//! How a session works: context, cache, sampler.

use super::boundary::{self, Out, exclusive, get, new_handle, shared, text};
use super::error::{chord_error, chord_status};
use super::model_options::{chord_progress_callback, progress_sink};
use super::registry::{Handle, Registry};
use crate::error::{Error, Result};
use crate::kv::KvType;
use crate::ops::Pooling;
use crate::session::SessionOptions;
use open_enum::open_enum;
use std::ffi::{c_char, c_void};
use std::sync::RwLock;

/// The element type of the key-value cache.
#[open_enum]
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum chord_kv_type {
    /// 16-bit floats.
    CHORD_KV_TYPE_F16 = 0,
    /// 32-bit floats: twice the memory, exact.
    CHORD_KV_TYPE_F32 = 1,
    /// The default: 32-bit floats for models that route tokens to experts, because a rounding error may send a token to another
    /// one; 16-bit floats for all others.
    CHORD_KV_TYPE_AUTO = 2,
}

/// How the vectors of a text's tokens become its embedding.
#[open_enum]
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum chord_pooling {
    /// As the model file says; the mean where it says nothing.
    CHORD_POOLING_DEFAULT = 0,
    /// Not at all: each token keeps a vector of its own.
    CHORD_POOLING_NONE = 1,
    /// Their mean.
    CHORD_POOLING_MEAN = 2,
    /// That of the first token.
    CHORD_POOLING_CLS = 3,
    /// That of the last token.
    CHORD_POOLING_LAST = 4,
    /// As the model's classifier has it, which makes a score for each of its labels: what models that rank texts are for.
    CHORD_POOLING_RANK = 5,
}

/// How to make a session. Read by chord_session_new() and not needed after it.
pub struct chord_session_options {
    _opaque: (),
}

static SESSION_OPTIONS: Registry<chord_session_options> = Registry::new();

impl Handle for chord_session_options {
    const TAG: u8 = 4;
    const NAME: &'static str = "options";
    type Object = RwLock<SessionOptions>;

    fn registry() -> &'static Registry<Self> {
        &SESSION_OPTIONS
    }
}

/// The options behind a handle, or the defaults for NULL.
pub(super) fn options(options: *const chord_session_options) -> boundary::Result<SessionOptions> {
    if options.is_null() { Ok(SessionOptions::default()) } else { Ok(shared("options", &*get(options)?)?.clone()) }
}

/// Runs `set` on the options behind a handle.
fn set(
    options: *mut chord_session_options,
    err: *mut *mut chord_error,
    set: impl FnOnce(&mut SessionOptions) -> Result<()>,
) -> chord_status {
    boundary::status(err, |_| Ok(set(&mut *exclusive("options", &*get(options)?)?)?))
}

/// Makes options with the defaults.
///
/// options: receives them; the caller frees them with chord_session_options_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_options_new(
    options: *mut *mut chord_session_options,
    err: *mut *mut chord_error,
) -> chord_status {
    boundary::status(err, |_| {
        let out = Out::new("options", options)?;
        out.write(new_handle(RwLock::default())?);
        Ok(())
    })
}

/// Frees options. NULL and freed ones are fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_options_free(options: *mut chord_session_options) {
    boundary::free(options);
}

/// Tokens that the session can hold, prompt and answers together. Memory for all of them is taken at once.
///
/// context_length: at most 2^28; 0, the default, is what the model was trained on, at most 4096.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_options_set_context_length(
    options: *mut chord_session_options,
    context_length: u32,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| options.set_context_length(context_length as usize))
}

/// Tokens of a prompt that are evaluated at once. Scratch memory grows with it; results do not depend on it.
///
/// batch_size: at most 65536; 0, the default, is 512.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_options_set_batch_size(
    options: *mut chord_session_options,
    batch_size: u32,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| options.set_batch_size(batch_size as usize))
}

/// The element type of the key-value cache: CHORD_KV_TYPE_AUTO, the default, CHORD_KV_TYPE_F16 or CHORD_KV_TYPE_F32.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_options_set_kv_type(
    options: *mut chord_session_options,
    kv_type: chord_kv_type,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        options.set_kv_type(match kv_type {
            chord_kv_type::CHORD_KV_TYPE_F16 => Some(KvType::F16),
            chord_kv_type::CHORD_KV_TYPE_F32 => Some(KvType::F32),
            chord_kv_type::CHORD_KV_TYPE_AUTO => None,
            chord_kv_type(unknown) => return Err(Error::InvalidArgument(format!("unknown kv type {unknown}"))),
        });
        Ok(())
    })
}

/// Tokens sampled after an append until chord_session_step() says CHORD_EVENT_LENGTH.
///
/// max_tokens: 0, the default, is no limit but the context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_options_set_max_tokens(
    options: *mut chord_session_options,
    max_tokens: u32,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        options.set_max_tokens(max_tokens as usize);
        Ok(())
    })
}

/// Makes a session for embeddings (chord_session_embedding()) in place of answers. Without this call only models that cannot
/// generate have such sessions.
///
/// pooling: CHORD_POOLING_DEFAULT, or another way than the model's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_options_set_pooling(
    options: *mut chord_session_options,
    pooling: chord_pooling,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        options.set_pooling(match pooling {
            chord_pooling::CHORD_POOLING_DEFAULT => None,
            chord_pooling::CHORD_POOLING_NONE => Some(Pooling::None),
            chord_pooling::CHORD_POOLING_MEAN => Some(Pooling::Mean),
            chord_pooling::CHORD_POOLING_CLS => Some(Pooling::Cls),
            chord_pooling::CHORD_POOLING_LAST => Some(Pooling::Last),
            chord_pooling::CHORD_POOLING_RANK => Some(Pooling::Rank),
            chord_pooling(unknown) => return Err(Error::InvalidArgument(format!("unknown pooling {unknown}"))),
        });
        Ok(())
    })
}

/// Whether embeddings have a length of 1, so that the sum of products of two is the cosine of their angle.
///
/// unit_length: the default is true. Scores of CHORD_POOLING_RANK stay as they are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_options_set_unit_length(
    options: *mut chord_session_options,
    unit_length: bool,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        options.set_unit_length(unit_length);
        Ok(())
    })
}

/// Whether chord_session_new() touches all memory of the session, cache of the whole context included. The system hands memory out when
/// it is first touched, 2 MiB at a time: 0.2 ms, but several on virtual machines that get theirs the same way. Without this, steps
/// wait for it, a time budget or not.
///
/// prefault: the default is false.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_options_set_prefault(
    options: *mut chord_session_options,
    prefault: bool,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        options.set_prefault(prefault);
        Ok(())
    })
}

/// Tells a function how many of the tokens that a call evaluates are done, of how many: between operations, of which a batch has some
/// hundreds. Only where there is more than one token. Returning false is as chord_session_cancel().
///
/// callback: NULL, the default, is none. user_data: passed to it as it is.
///
/// Both must stay valid until the session is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_options_set_progress(
    options: *mut chord_session_options,
    callback: chord_progress_callback,
    user_data: *mut c_void,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        options.set_progress(progress_sink(callback, user_data));
        Ok(())
    })
}

/// Adds a text that ends the generation with CHORD_EVENT_STOP. It is found across tokens and does not come out. There can be
/// 64 of them.
///
/// text, text_len: 1 to 1024 bytes of UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_options_add_stop(
    options: *mut chord_session_options,
    text: *const c_char,
    text_len: usize,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        // SAFETY: the C contract: `text_len` readable bytes at `text`.
        options.add_stop(unsafe { self::text("text", text, text_len) }?)
    })
}

/// Whether the text of special tokens comes out too. A chord_answer needs it: models mark reasoning and tool calls with such
/// tokens.
///
/// special_text: the default is false.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_options_set_special_text(
    options: *mut chord_session_options,
    special_text: bool,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        options.set_special_text(special_text);
        Ok(())
    })
}

/// The seed of the sampler. The same seed, options and tokens give the same answer on every machine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_options_set_seed(
    options: *mut chord_session_options,
    seed: u64,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        options.sampler.set_seed(seed);
        Ok(())
    })
}

/// How freely to sample.
///
/// temperature: 0 always takes the likeliest token; finite and not negative. The default is 0.8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_options_set_temperature(
    options: *mut chord_session_options,
    temperature: f32,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| options.sampler.set_temperature(temperature))
}

/// Samples among the top_k likeliest tokens. 0 is no limit; the default is 40.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_options_set_top_k(
    options: *mut chord_session_options,
    top_k: u32,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        options.sampler.set_top_k(top_k as usize);
        Ok(())
    })
}

/// Samples among the fewest likeliest tokens that together have this probability.
///
/// top_p: above 0 and at most 1; 1 is no limit. The default is 0.95.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_options_set_top_p(
    options: *mut chord_session_options,
    top_p: f32,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| options.sampler.set_top_p(top_p))
}

/// Samples among the tokens that have at least this share of the likeliest token's probability.
///
/// min_p: 0 to 1; 0 is no limit. The default is 0.05.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_options_set_min_p(
    options: *mut chord_session_options,
    min_p: f32,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| options.sampler.set_min_p(min_p))
}

/// Divides the positive logits of tokens seen in the penalty window by this and multiplies the negative ones.
///
/// penalty: above 0; 1, the default, is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_options_set_repetition_penalty(
    options: *mut chord_session_options,
    penalty: f32,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| options.sampler.set_repetition_penalty(penalty))
}

/// Subtracts this from the logit of a token for each time it is in the penalty window. 0, the default, is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_options_set_frequency_penalty(
    options: *mut chord_session_options,
    penalty: f32,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| options.sampler.set_frequency_penalty(penalty))
}

/// Subtracts this from the logit of a token that is in the penalty window at all. 0, the default, is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_options_set_presence_penalty(
    options: *mut chord_session_options,
    penalty: f32,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| options.sampler.set_presence_penalty(penalty))
}

/// How many of the last tokens, prompt included, the penalties look at. The default is 64.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_options_set_penalty_window(
    options: *mut chord_session_options,
    tokens: u32,
    err: *mut *mut chord_error,
) -> chord_status {
    set(options, err, |options| {
        options.sampler.set_penalty_window(tokens as usize);
        Ok(())
    })
}
