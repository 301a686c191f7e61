//! What a model answers, taken apart.

use super::boundary::{self, Call, Out, exclusive, get, new_handle, shared, string, text, write_optional};
use super::chat::{self, CHORD_CHAT_GENERATION_PROMPT, chord_chat};
use super::error::{chord_error, chord_status};
use super::registry::{Handle, Registry};
use crate::chat::Answer;
use crate::error::{Error, Result};
use open_enum::open_enum;
use std::ffi::c_char;
use std::ptr;
use std::sync::RwLock;

/// An answer while it comes: content, reasoning and tool calls. Models mark these parts each in their own way, for example
/// with `<think>` and `<tool_call>`; the chat's template shows how.
pub struct chord_answer {
    _opaque: (),
}

/// A part of an answer, for chord_answer_text().
#[open_enum]
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum chord_answer_part {
    /// What the model says to the user.
    CHORD_ANSWER_PART_CONTENT = 1,
    /// What it thinks before.
    CHORD_ANSWER_PART_REASONING = 2,
    /// Everything as it came, marks included.
    CHORD_ANSWER_PART_RAW = 3,
    /// The whole as a JSON message, for chord_chat_add_json(). Only after the last text.
    CHORD_ANSWER_PART_MESSAGE = 4,
}

/// A part of a tool call, for chord_answer_call().
#[open_enum]
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum chord_call_part {
    /// The tool's name.
    CHORD_CALL_PART_NAME = 1,
    /// The arguments: a JSON object.
    CHORD_CALL_PART_ARGUMENTS = 2,
    /// What the result must carry as its "tool_call_id".
    CHORD_CALL_PART_ID = 3,
}

/// A text that grows, with a NUL behind it: C strings need one.
struct Text(Vec<u8>);

impl Text {
    fn new() -> Self {
        Text(vec![0])
    }

    /// Takes over what `text` has more.
    fn follow(&mut self, text: &str) -> Result<()> {
        let known = self.0.len() - 1;
        let more = text.as_bytes().get(known..).unwrap_or_default();
        self.0.try_reserve(more.len()).map_err(|_| Error::OutOfMemory)?;
        self.0.pop();
        self.0.extend_from_slice(more);
        self.0.push(0);
        Ok(())
    }

    fn of(text: &str) -> Result<Self> {
        let mut copy = Text::new();
        copy.follow(text)?;
        Ok(copy)
    }

    fn as_c(&self) -> (*const c_char, usize) {
        (self.0.as_ptr().cast(), self.0.len() - 1)
    }
}

/// What stands behind a `chord_answer`.
pub struct Reading {
    answer: Answer,
    content: Text,
    reasoning: Text,
    raw: Text,
    message: Option<Text>,
    /// Name, arguments and id of each call.
    calls: Vec<[Text; 3]>,
}

impl Reading {
    fn follow(&mut self) -> Result<()> {
        self.content.follow(self.answer.content())?;
        self.reasoning.follow(self.answer.reasoning())?;
        self.raw.follow(self.answer.raw())?;
        for call in self.answer.calls().get(self.calls.len()..).unwrap_or_default() {
            let parts = [Text::of(&call.name)?, Text::of(&call.arguments)?, Text::of(&call.id)?];
            self.calls.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
            self.calls.push(parts);
        }
        Ok(())
    }
}

static ANSWERS: Registry<chord_answer> = Registry::new();

impl Handle for chord_answer {
    const TAG: u8 = 10;
    const NAME: &'static str = "answer";
    type Object = RwLock<Reading>;

    fn registry() -> &'static Registry<Self> {
        &ANSWERS
    }
}

/// Begins to read the answer to a chat, which must hold what chord_session_append_chat() got. The session must show special
/// tokens: chord_session_options_set_special_text().
///
/// format: NULL reads what the chat's template writes. Otherwise one of the formats by name: "hermes" (also Qwen and GLM),
/// "llama", "mistral", "harmony", "deepseek" and others; a wrong name gives an error that lists them. answer: receives it; the
/// caller frees it with chord_answer_free().
///
/// CHORD_STATUS_TEMPLATE: the template refuses the conversation.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_answer_new(
    chat: *const chord_chat,
    format: *const c_char,
    answer: *mut *mut chord_answer,
    err: *mut *mut chord_error,
) -> chord_status {
    boundary::status(err, |call: &Call| {
        let out = Out::new("answer", answer)?;
        let prompt = chat::render(call, chat, CHORD_CHAT_GENERATION_PROMPT)?;
        // SAFETY: the C contract: a NUL-terminated string.
        let format = if format.is_null() { None } else { Some(unsafe { string("format", format) }?) };
        let answer = chat::with_template(call, chat, |conversation, template| {
            Answer::new(&conversation.chat, template.source(), &prompt, format)
        })?;
        let (content, reasoning, raw) = (Text::new(), Text::new(), Text::new());
        let reading = Reading { answer, content, reasoning, raw, message: None, calls: Vec::new() };
        out.write(new_handle(RwLock::new(reading))?);
        Ok(())
    })
}

/// Frees an answer. NULL and freed ones are fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_answer_free(answer: *mut chord_answer) {
    boundary::free(answer);
}

/// Adds text: pieces of the session as they come. What may be the beginning of a mark is held back until it is clear; what
/// looked like a call and is none becomes content.
///
/// text, text_len: UTF-8; NULL when text_len is 0. last: no text will follow, and what is held back is read as it is.
///
/// CHORD_STATUS_INVALID_STATE: the last text came already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_answer_feed(
    answer: *mut chord_answer,
    text: *const c_char,
    text_len: usize,
    last: bool,
    err: *mut *mut chord_error,
) -> chord_status {
    boundary::status(err, |_| {
        let pinned = get(answer)?;
        let mut reading = exclusive("answer", &pinned)?;
        // SAFETY: the C contract: `text_len` readable bytes at `text`.
        let text = unsafe { self::text("text", text, text_len) }?;
        reading.answer.feed(text)?;
        if last {
            reading.answer.finish();
            reading.message = Some(Text::of(&reading.answer.message().to_string())?);
        }
        Ok(reading.follow()?)
    })
}

/// A part of the answer, as far as it has come. Content, reasoning and raw text only ever grow: show what is behind the
/// length that was there before.
///
/// part: CHORD_ANSWER_PART_... len: receives the length without the NUL; NULL is fine.
///
/// NULL, and a length of 0: no answer, no such part, or no message yet.
///
/// Borrowed until the next call that changes the answer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_answer_text(
    answer: *const chord_answer,
    part: chord_answer_part,
    len: *mut usize,
) -> *const c_char {
    read(answer, len, |reading| match part {
        chord_answer_part::CHORD_ANSWER_PART_CONTENT => Some(&reading.content),
        chord_answer_part::CHORD_ANSWER_PART_REASONING => Some(&reading.reasoning),
        chord_answer_part::CHORD_ANSWER_PART_RAW => Some(&reading.raw),
        chord_answer_part::CHORD_ANSWER_PART_MESSAGE => reading.message.as_ref(),
        _ => None,
    })
}

/// A part of a complete tool call.
///
/// index: from 0. part: CHORD_CALL_PART_... len: receives the length without the NUL; NULL is fine.
///
/// NULL, and a length of 0: there are not so many calls (yet), no answer, no such part.
///
/// Borrowed until the next call that changes the answer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_answer_call(
    answer: *const chord_answer,
    index: usize,
    part: chord_call_part,
    len: *mut usize,
) -> *const c_char {
    read(answer, len, |reading| {
        let [name, arguments, id] = reading.calls.get(index)?;
        match part {
            chord_call_part::CHORD_CALL_PART_NAME => Some(name),
            chord_call_part::CHORD_CALL_PART_ARGUMENTS => Some(arguments),
            chord_call_part::CHORD_CALL_PART_ID => Some(id),
            _ => None,
        }
    })
}

fn read(answer: *const chord_answer, len: *mut usize, part: impl FnOnce(&Reading) -> Option<&Text>) -> *const c_char {
    let (text, text_len) = boundary::value((ptr::null(), 0), |_| {
        let pinned = get(answer).ok()?;
        let reading = shared("answer", &pinned).ok()?;
        part(&reading).map(Text::as_c)
    });
    write_optional(len, text_len);
    text
}
