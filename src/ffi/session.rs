//! Sessions: append, step, read.

use super::boundary::{self, Call, Out, Result, exclusive, get, new_handle, shared, slice, text, write_optional};
use super::chat::{self, chord_chat};
use super::error::{chord_error, chord_status};
use super::model::{CHORD_NO_TOKEN, chord_model, text_flags};
use super::registry::{Handle, Registry};
use super::session_options::{self, chord_session_options};
use crate::error::Error;
use crate::session::{Event, Session};
use std::ffi::c_char;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// A sequence of tokens over a model, with its cache and its sampler. Calls that change it are one at a time: a second one
/// meanwhile gets CHORD_STATUS_BUSY. Calls that read it (const) may run together, and give NULL or 0 while one changes it.
pub struct chord_session {
    _opaque: (),
}

/// What stands behind a `chord_session`.
pub struct Shared {
    /// Outside the lock: cancelling is for the time when another thread holds it.
    cancel: Arc<AtomicBool>,
    state: RwLock<State>,
}

struct State {
    session: Session,
    /// The text of the last step with a NUL behind it: C strings need one.
    piece: Vec<u8>,
}

static SESSIONS: Registry<chord_session> = Registry::new();

impl Handle for chord_session {
    const TAG: u8 = 6;
    const NAME: &'static str = "session";
    type Object = Shared;

    fn registry() -> &'static Registry<Self> {
        &SESSIONS
    }
}

/// What a step did. Later releases may add values.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum chord_event {
    /// A token was sampled and added: chord_session_token(), chord_session_piece().
    CHORD_EVENT_TOKEN = 1,
    /// The model ended its answer. The token that says so is chord_session_token(); it is not added.
    CHORD_EVENT_END = 2,
    /// Nothing was sampled: the context is full, or the limit of chord_session_options_set_max_tokens() is reached.
    CHORD_EVENT_LENGTH = 3,
    /// A token was sampled and added that completed a stop string; the text ends before it.
    CHORD_EVENT_STOP = 4,
    /// chord_session_cancel() stopped the step. The next one goes on where it stopped.
    CHORD_EVENT_CANCELLED = 5,
    /// chord_session_step_for() ran out of time. The next step goes on where it stopped.
    CHORD_EVENT_PENDING = 6,
}

impl From<Event> for chord_event {
    fn from(event: Event) -> Self {
        match event {
            Event::Token => chord_event::CHORD_EVENT_TOKEN,
            Event::End => chord_event::CHORD_EVENT_END,
            Event::Length => chord_event::CHORD_EVENT_LENGTH,
            Event::Stop => chord_event::CHORD_EVENT_STOP,
            Event::Cancelled => chord_event::CHORD_EVENT_CANCELLED,
            Event::Pending => chord_event::CHORD_EVENT_PENDING,
        }
    }
}

impl State {
    fn set_piece(&mut self) -> crate::error::Result<()> {
        self.piece.clear();
        let text = self.session.piece().as_bytes();
        self.piece.try_reserve(text.len() + 1).map_err(|_| Error::OutOfMemory)?;
        self.piece.extend_from_slice(text);
        self.piece.push(0);
        Ok(())
    }
}

/// Runs `change` with the session for itself alone.
fn change(call: &Call, session: *mut chord_session, change: impl FnOnce(&mut State) -> Result<()>) -> Result<()> {
    let pinned = get(session)?;
    let mut state = exclusive("session", &pinned.state)?;
    call.concerns(state.session.model());
    change(&mut state)
}

/// Reads a session.
fn read<T>(default: T, session: *const chord_session, read: impl FnOnce(&State) -> Option<T>) -> T {
    boundary::value(default, |_| read(&*shared("session", &get(session).ok()?.state).ok()?))
}

/// Makes an empty session. All memory that it will ever need is taken here.
///
/// options: NULL is the defaults. session: receives it; the caller frees it with chord_session_free().
///
/// CHORD_STATUS_OUT_OF_MEMORY, CHORD_STATUS_OVER_BUDGET: a shorter context needs less (chord_model_plan() tells how much).
/// CHORD_STATUS_INVALID_STATE: the model was opened for its vocabulary alone. CHORD_STATUS_UNSUPPORTED: CHORD_POOLING_RANK
/// with a model that has no classifier.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_new(
    model: *const chord_model,
    options: *const chord_session_options,
    session: *mut *mut chord_session,
    err: *mut *mut chord_error,
) -> chord_status {
    boundary::status(err, |call| {
        let model = call.model(model)?;
        let out = Out::new("session", session)?;
        let session = Session::new(model, &session_options::options(options)?)?;
        let mut state = State { session, piece: Vec::new() };
        // Room for the text of any usual step, so that steps do not allocate.
        state.piece.try_reserve(4096).map_err(|_| Error::OutOfMemory)?;
        state.set_piece()?;
        out.write(new_handle(Shared { cancel: state.session.cancel_flag(), state: RwLock::new(state) })?);
        Ok(())
    })
}

/// Frees a session. A call on it in another thread is cancelled, and its memory goes when that call returns. NULL and freed
/// sessions are fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_free(session: *mut chord_session) {
    // SAFETY: `chord_session_cancel` takes any handle.
    unsafe { chord_session_cancel(session) };
    boundary::free(session);
}

/// Adds tokens. They are evaluated by the next chord_session_eval() or chord_session_step().
///
/// tokens, count: ids below chord_model_vocab_size(); NULL when count is 0.
///
/// CHORD_STATUS_OUT_OF_RANGE: no such token. CHORD_STATUS_CONTEXT_FULL: too many. After either nothing was added.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_append(
    session: *mut chord_session,
    tokens: *const i32,
    count: usize,
    err: *mut *mut chord_error,
) -> chord_status {
    boundary::status(err, |call| {
        // SAFETY: the C contract: `count` readable tokens at `tokens`.
        let tokens = unsafe { slice("tokens", tokens, count) }?;
        change(call, session, |state| Ok(state.session.append(tokens)?))
    })
}

/// Tokenizes text and adds the tokens. Text given in parts may tokenize otherwise than in one.
///
/// text, text_len: UTF-8, NULs allowed; NULL when text_len is 0. flags: CHORD_TEXT_...
///
/// CHORD_STATUS_INVALID_UTF8. CHORD_STATUS_CONTEXT_FULL: too many tokens. CHORD_STATUS_INVALID_MODEL: the model has no
/// tokenizer. After any of them nothing was added.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_append_text(
    session: *mut chord_session,
    text: *const c_char,
    text_len: usize,
    flags: u32,
    err: *mut *mut chord_error,
) -> chord_status {
    boundary::status(err, |call| {
        let flags = text_flags(flags)?;
        // SAFETY: the C contract: `text_len` readable bytes at `text`.
        let text = unsafe { self::text("text", text, text_len) }?;
        change(call, session, |state| Ok(state.session.append_text(text, flags)?))
    })
}

/// Makes the session hold a conversation. The first time the conversation goes behind what the session holds; from then on
/// it takes the place of the one before, and what both have in common stays evaluated, so a turn costs only what is new.
///
/// flags: 0, or CHORD_CHAT_GENERATION_PROMPT to have the model answer.
///
/// CHORD_STATUS_TEMPLATE: the template refuses the conversation. CHORD_STATUS_CONTEXT_FULL: it does not fit. After either
/// the session is unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_append_chat(
    session: *mut chord_session,
    chat: *const chord_chat,
    flags: u32,
    err: *mut *mut chord_error,
) -> chord_status {
    boundary::status(err, |call| {
        let text = chat::render(call, chat, flags)?;
        change(call, session, |state| Ok(state.session.append_chat(&text)?))
    })
}

/// Evaluates what was added, and samples nothing: chord_session_logits() has the result.
///
/// CHORD_STATUS_INVALID_STATE: the session is empty. CHORD_STATUS_CANCELLED: the next call goes on where it stopped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_eval(session: *mut chord_session, err: *mut *mut chord_error) -> chord_status {
    boundary::status(err, |call| change(call, session, |state| Ok(state.session.eval()?)))
}

/// Evaluates what was added, then samples one token and adds it. Allocates nothing.
///
/// event: receives what happened.
///
/// CHORD_STATUS_INVALID_STATE: the session is empty, or it makes embeddings. After a failure the session is at its last
/// whole token.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_step(
    session: *mut chord_session,
    event: *mut chord_event,
    err: *mut *mut chord_error,
) -> chord_status {
    step(session, event, err, Session::step)
}

/// As chord_session_step(), but gives the thread back in time: when the time is over before the token is there, the event is
/// CHORD_EVENT_PENDING, and the next step goes on where this one stopped, with the same result. For frame loops and
/// schedulers. Work is stopped between its units, which take a fraction of a millisecond; every call does at least one
/// unit, and sessions of the same model that evaluate at the same time wait for each other's units.
///
/// microseconds: how long.
///
/// CHORD_STATUS_INVALID_STATE: the session is empty. After a failure the session is at its last whole token.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_step_for(
    session: *mut chord_session,
    microseconds: u64,
    event: *mut chord_event,
    err: *mut *mut chord_error,
) -> chord_status {
    step(session, event, err, |session| session.step_for(Duration::from_micros(microseconds)))
}

fn step(
    session: *mut chord_session,
    event: *mut chord_event,
    err: *mut *mut chord_error,
    step: impl FnOnce(&mut Session) -> crate::error::Result<Event>,
) -> chord_status {
    boundary::status(err, |call| {
        let out = Out::new("event", event)?;
        change(call, session, |state| {
            let event = step(&mut state.session);
            state.set_piece()?;
            out.write(event?.into());
            Ok(())
        })
    })
}

/// The logits after the last evaluated token, one for each token of the vocabulary; softmax makes them probabilities.
///
/// count: receives how many; NULL is fine.
///
/// NULL, and a count of 0: nothing was evaluated since the session was made or rewound, it makes embeddings, or no session.
///
/// Borrowed until the next call that changes the session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_logits(session: *const chord_session, count: *mut usize) -> *const f32 {
    let (logits, len) =
        read((ptr::null(), 0), session, |state| state.session.logits().map(|logits| (logits.as_ptr(), logits.len())));
    write_optional(count, len);
    logits
}

/// The embedding of the text that chord_session_eval() evaluated: append a text, evaluate, read, and empty the session by
/// chord_session_rewind() for the next one.
///
/// count: receives how many values; NULL is fine. CHORD_POOLING_NONE: as many for each token, one token after the other;
/// CHORD_POOLING_RANK: one for each label of the classifier.
///
/// NULL, and a count of 0: nothing was evaluated since the session was made or rewound, it makes no embeddings
/// (chord_session_options_set_pooling()), or no session.
///
/// Borrowed until the next call that changes the session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_embedding(session: *const chord_session, count: *mut usize) -> *const f32 {
    let values = |state: &State| state.session.embedding().map(|values| (values.as_ptr(), values.len()));
    let (embedding, len) = read((ptr::null(), 0), session, values);
    write_optional(count, len);
    embedding
}

/// The token that the last step sampled. CHORD_NO_TOKEN: none since the session was made or rewound, or no session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_token(session: *const chord_session) -> i32 {
    read(CHORD_NO_TOKEN, session, |state| state.session.token())
}

/// The text that the last step completed: whole UTF-8 characters, NUL-terminated, often a word, sometimes nothing (when a
/// character or a stop string may go on in the next token).
///
/// len: receives its length without the NUL; NULL is fine. NULL, and a length of 0: no session.
///
/// Borrowed until the next call that changes the session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_piece(session: *const chord_session, len: *mut usize) -> *const c_char {
    let (piece, piece_len) =
        read((ptr::null(), 0), session, |state| Some((state.piece.as_ptr().cast(), state.piece.len().saturating_sub(1))));
    write_optional(len, piece_len);
    piece
}

/// Tokens in the session, evaluated or not. 0: no session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_position(session: *const chord_session) -> usize {
    read(0, session, |state| Some(state.session.position()))
}

/// Tokens that the session can hold. 0: no session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_context_length(session: *const chord_session) -> usize {
    read(0, session, |state| Some(state.session.context_length()))
}

/// Forgets the tokens from a position on; 0 empties the session. The sampler goes back too, so the same steps repeat.
///
/// position: at most chord_session_position().
///
/// CHORD_STATUS_OUT_OF_RANGE: the session is shorter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_rewind(
    session: *mut chord_session,
    position: usize,
    err: *mut *mut chord_error,
) -> chord_status {
    boundary::status(err, |call| change(call, session, |state| Ok(state.session.rewind(position)?)))
}

/// Stops the call that evaluates in another thread, or the next one if there is none: a step says CHORD_EVENT_CANCELLED, an
/// eval returns CHORD_STATUS_CANCELLED. Never waits; a signal handler may call it while the session is not being freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_session_cancel(session: *const chord_session) {
    // Not inside the boundary: nothing here can panic, and what guards against panics is not made for signal handlers.
    if let Some(shared) = SESSIONS.get(session.addr()) {
        shared.cancel.store(true, Ordering::Relaxed);
    }
}
