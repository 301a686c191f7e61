//! A model's answer -> content, reasoning and tool calls, while it comes.
//!
//! Models mark reasoning and calls as they were trained to; their templates, which write past calls the same way, show how
//! (`format`). An [`Answer`] looks for those marks, holds back what may become one, and reads what stands between them
//! (`call`). What is marked as a call but is none stays in the content: no text is lost but the marks and the white space
//! next to them.

mod call;
mod format;
mod literal;
#[cfg(test)]
mod tests;

use super::Chat;
use crate::error::{Error, Result};
use call::{Call, Tools};
use format::{Effect, Format, Syntax};
use serde_json::{Value, json};

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// The model's own, or one made here: nine letters and digits, different for each call of a conversation.
    pub id: String,
    /// The tool.
    pub name: String,
    /// A JSON object.
    pub arguments: String,
}

/// Where text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sink {
    Content,
    Reasoning,
}

#[derive(Clone, Debug)]
enum State {
    /// Text up to this mark, or without one, to any.
    Text(Sink, Option<&'static str>),
    /// A header up to its end; it began, with its mark, at this byte.
    Header { from: usize, end: &'static str },
    /// A call, that began at `from`, its mark and the white space before it included; its text at `body`.
    Call { from: usize, body: usize, close: Option<&'static str>, syntax: Syntax, name: String },
}

/// How often a call is tried again at a later closing mark, because the one before stood in a text of its JSON.
const MAX_TRIES: u32 = 8;

/// An answer that is being read.
#[derive(Debug)]
pub struct Answer {
    marks: Vec<(&'static str, Effect)>,
    /// Whether an answer that begins as the JSON of a call may be one.
    bare: bool,
    tools: Tools,
    /// Calls in the conversation before.
    earlier_calls: usize,
    /// All text so far.
    raw: String,
    /// What is read of it.
    at: usize,
    /// Before this byte there is no mark to look for; from `at` on.
    searched: usize,
    tries: u32,
    state: State,
    /// Whether white space is dropped until text comes: a mark stood there.
    trims: bool,
    /// Whether the next text begins a new part of its sink.
    parts: bool,
    content: String,
    reasoning: String,
    calls: Vec<ToolCall>,
    finished: bool,
}

impl Answer {
    /// An answer to `chat`. `source` is the template that rendered it, `prompt` the rendered text with its generation
    /// prompt, which may have begun the reasoning already. `format` overrides what the template shows.
    ///
    /// # Errors
    /// An unknown format.
    pub fn new(chat: &Chat, source: &str, prompt: &str, format: Option<&str>) -> Result<Self> {
        let formats = format.map_or_else(|| Ok(format::detect(source)), format::named)?;
        let tools = chat.tools().and_then(Value::as_array).cloned().unwrap_or_default();
        let mut marks: Vec<_> = formats.iter().flat_map(|format| format.marks).copied().collect();
        // A closing mark alone means nothing.
        let closing = marks.iter().filter_map(|(_, effect)| match effect {
            Effect::Reasoning(close) | Effect::Call(Some(close), _) => Some((*close, Effect::Nothing)),
            _ => None,
        });
        marks.extend(closing.collect::<Vec<_>>());
        let calls = |message: &Value| message.get("tool_calls").and_then(Value::as_array).map_or(0, Vec::len);
        let mut answer = Self {
            bare: formats.iter().any(|format: &&Format| format.is_bare()) && !tools.is_empty(),
            tools: Tools(tools),
            earlier_calls: chat.messages().iter().map(calls).sum(),
            raw: String::new(),
            at: 0,
            searched: 0,
            tries: 0,
            state: State::Text(Sink::Content, None),
            trims: false,
            parts: false,
            content: String::new(),
            reasoning: String::new(),
            calls: Vec::new(),
            finished: false,
            marks,
        };
        answer.state = answer.opened_by(prompt.trim_end());
        answer.trims = !matches!(answer.state, State::Text(Sink::Content, _));
        Ok(answer)
    }

    /// The state that the end of a prompt leaves.
    fn opened_by(&self, prompt: &str) -> State {
        let opened = self.marks.iter().find_map(|(mark, effect)| match *effect {
            Effect::Reasoning(close) if prompt.ends_with(mark.trim_end()) => Some(State::Text(Sink::Reasoning, Some(close))),
            Effect::Header(end) if prompt.strip_suffix("assistant").unwrap_or(prompt).ends_with(mark) => {
                Some(State::Header { from: 0, end })
            }
            _ => None,
        });
        opened.unwrap_or(State::Text(Sink::Content, None))
    }

    /// Adds text that the model wrote.
    ///
    /// # Errors
    /// After [`Answer::finish`]; out of memory.
    pub fn feed(&mut self, text: &str) -> Result<()> {
        if self.finished {
            return Err(Error::InvalidState("the answer is finished".to_owned()));
        }
        // Room for the text and for where it goes.
        self.raw.try_reserve(text.len()).map_err(|_| Error::OutOfMemory)?;
        let held = self.raw.len() - self.at + text.len() + 1;
        self.content.try_reserve(held).map_err(|_| Error::OutOfMemory)?;
        self.reasoning.try_reserve(held).map_err(|_| Error::OutOfMemory)?;
        self.raw.push_str(text);
        while self.advance() {}
        Ok(())
    }

    /// Says that no text will come: what was held back is read as it is. Once is enough.
    pub fn finish(&mut self) {
        self.finished = true;
        while self.advance() {}
    }

    /// All text, as it came.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// What the model says to the user, so far. Only ever grows.
    #[must_use]
    pub fn content(&self) -> &str {
        &self.content
    }

    /// What the model thinks, so far. Only ever grows.
    #[must_use]
    pub fn reasoning(&self) -> &str {
        &self.reasoning
    }

    /// The calls that are complete.
    #[must_use]
    pub fn calls(&self) -> &[ToolCall] {
        &self.calls
    }

    /// The answer so far as a message of a conversation: for [`Chat::add_message`].
    #[must_use]
    pub fn message(&self) -> Value {
        let mut message = json!({ "role": "assistant", "content": self.content });
        if !self.reasoning.is_empty() {
            message["reasoning_content"] = self.reasoning.as_str().into();
        }
        if !self.calls.is_empty() {
            let call = |call: &ToolCall| json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": call.arguments } });
            message["tool_calls"] = self.calls.iter().map(call).collect();
        }
        message
    }

    /// Reads on; false when the rest has to wait for more text, or is nothing.
    fn advance(&mut self) -> bool {
        match self.state.clone() {
            State::Text(sink, close) => self.text(sink, close),
            State::Header { from, end } => self.header(from, end),
            State::Call { from, body, close, syntax, name } => self.call(from, body, close, syntax, &name),
        }
    }

    /// The first mark from `searched` on: `close`, or without one, any. Otherwise remembers where to look on.
    fn find(&mut self, close: Option<&'static str>) -> Option<(usize, &'static str, Effect)> {
        let from = self.searched.max(self.at);
        let rest = &self.raw[from..];
        let found = match close {
            Some(close) => rest.find(close).map(|at| (from + at, close, Effect::Nothing)),
            None => rest.char_indices().find_map(|(at, _)| {
                let (mark, effect) = self.marks.iter().find(|(mark, _)| rest[at..].starts_with(mark))?;
                Some((from + at, *mark, *effect))
            }),
        };
        if found.is_none() {
            self.searched = self.raw.len() - self.held(close, from);
        }
        found
    }

    /// How much of the end of the text from `from` on may be the beginning of a mark.
    fn held(&self, close: Option<&'static str>, from: usize) -> usize {
        let rest = &self.raw[from..];
        match close {
            Some(close) => overlap(rest, close),
            None => self.marks.iter().map(|(mark, _)| overlap(rest, mark)).max().unwrap_or(0),
        }
    }

    fn text(&mut self, sink: Sink, close: Option<&'static str>) -> bool {
        if sink == Sink::Content && self.bare && self.content.is_empty() && self.calls.is_empty() {
            let rest = &self.raw[self.at..];
            match begins_call(rest) {
                Some(true) => {
                    self.state =
                        State::Call { from: self.at, body: self.at, close: None, syntax: Syntax::Json, name: String::new() };
                    return true;
                }
                None if !self.finished => return false,
                _ => {}
            }
        }
        if let Some((at, mark, effect)) = self.find(close) {
            let before = self.at + self.raw[self.at..at].trim_end().len();
            self.emit(sink, self.at, before);
            self.enter(before, at + mark.len(), effect);
            return true;
        }
        // White space goes with the mark that may follow it.
        let end = self.searched;
        let end = if self.finished { self.raw.len() } else { self.at + self.raw[self.at..end].trim_end().len() };
        self.emit(sink, self.at, end);
        self.move_to(end);
        false
    }

    /// Goes on behind a mark; `from` is where it began, with the white space before it.
    fn enter(&mut self, from: usize, behind: usize, effect: Effect) {
        self.move_to(behind);
        self.trims = true;
        self.parts |= !matches!(effect, Effect::Nothing);
        self.state = match effect {
            Effect::Reasoning(close) => State::Text(Sink::Reasoning, Some(close)),
            Effect::Header(end) => State::Header { from, end },
            Effect::Call(close, syntax) => State::Call { from, body: behind, close, syntax, name: String::new() },
            Effect::Nothing => State::Text(Sink::Content, None),
        };
    }

    fn move_to(&mut self, at: usize) {
        self.at = at;
        self.searched = self.searched.max(at);
        self.tries = 0;
    }

    /// Puts out the text between two bytes.
    fn emit(&mut self, sink: Sink, from: usize, to: usize) {
        let mut text = &self.raw[from..to];
        if self.trims {
            text = text.trim_start();
        }
        if text.is_empty() {
            return;
        }
        let out = if sink == Sink::Content { &mut self.content } else { &mut self.reasoning };
        if self.parts && !out.is_empty() {
            out.push('\n');
        }
        (self.trims, self.parts) = (false, false);
        out.push_str(text);
    }

    /// Gives back to the content what was no call, as it stands there.
    fn give_back(&mut self, from: usize, to: usize) {
        (self.trims, self.parts) = (false, false);
        self.emit(Sink::Content, from, to);
        self.move_to(to);
        self.state = State::Text(Sink::Content, None);
    }

    fn header(&mut self, from: usize, end: &'static str) -> bool {
        let Some((at, ..)) = self.find(Some(end)) else {
            if self.finished {
                self.give_back(from, self.raw.len());
            }
            return false;
        };
        let header = &self.raw[self.at..at];
        // Functions are called `functions.NAME`; where a header is only a line, it is the name.
        let to = match header.split_once("to=") {
            _ if end == "\n" => Some(header.trim()).filter(|name| *name != "all"),
            Some((_, to)) => to.strip_prefix("functions.").and_then(|name| name.split([' ', '<']).next()),
            None => None,
        };
        let thinks = header.contains("analysis") || header.contains("to=self");
        let call = to.map(str::to_owned);
        self.enter(from, at + end.len(), Effect::Nothing);
        self.parts = true;
        self.state = match call {
            Some(name) => State::Call { from, body: self.at, close: None, syntax: Syntax::Arguments, name },
            None => State::Text(if thinks { Sink::Reasoning } else { Sink::Content }, None),
        };
        true
    }

    fn call(&mut self, from: usize, body: usize, close: Option<&'static str>, syntax: Syntax, name: &str) -> bool {
        let found = self.find(close);
        let (end, behind) = match &found {
            Some((at, mark, _)) => (*at, at + mark.len()),
            None if self.finished => (self.raw.len(), self.raw.len()),
            None => return false,
        };
        let text = &self.raw[body..end];
        // What has no mark of its own must be a tool that exists.
        let known = |calls: &[Call]| from < body || calls.iter().all(|call| self.tools.has(&call.name));
        let closed = close.is_some() && found.is_some();
        let parsed = call::parse(syntax, text, closed, name, &self.tools).filter(|(calls, _)| known(calls));
        // Behind the calls only white space may stand, unless the end is open.
        let parsed = parsed.filter(|(_, len)| !closed || text[*len..].trim().is_empty());
        match parsed {
            Some((calls, len)) => {
                for call in calls {
                    self.push(call);
                }
                self.parts = true;
                // Without a mark of its own a call ends where its JSON does, and what follows is text or the next mark.
                let goes_on = if closed { behind } else { body + len };
                self.searched = goes_on;
                self.move_to(goes_on);
                self.trims = true;
                self.state = State::Text(Sink::Content, None);
            }
            None if found.is_some() && self.tries < MAX_TRIES && call::is_cut(text) => {
                self.tries += 1;
                self.searched = behind;
            }
            None => self.give_back(from, if close.is_some() { behind } else { end }),
        }
        true
    }

    fn push(&mut self, call: Call) {
        let index = self.earlier_calls + self.calls.len();
        self.calls.push(ToolCall {
            id: call.id.unwrap_or_else(|| format!("call{index:05}")),
            name: call.name,
            arguments: Value::Object(call.arguments).to_string(),
        });
    }
}

/// Whether `text` begins as an object that describes a call; none if that cannot be said yet.
fn begins_call(text: &str) -> Option<bool> {
    let text = text.trim_start();
    let Some(inside) = text.strip_prefix('{') else { return if text.is_empty() { None } else { Some(false) } };
    let inside = inside.trim_start();
    let keys = ["\"name\"", "\"type\"", "\"function\""];
    if keys.iter().any(|key| inside.starts_with(key)) {
        Some(true)
    } else if keys.iter().any(|key| key.starts_with(inside)) {
        None
    } else {
        Some(false)
    }
}

/// Length of the longest end of `text` that is a proper beginning of `mark`.
pub(crate) fn overlap(text: &str, mark: &str) -> usize {
    let longest = text.len().min(mark.len() - 1);
    (1..=longest).rev().find(|&len| text.as_bytes()[text.len() - len..] == mark.as_bytes()[..len]).unwrap_or(0)
}
