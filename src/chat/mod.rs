//! Conversations -> text, by the model's own template, and answers back to messages.
//!
//! A [`Chat`] is a list of messages; a [`Template`] writes it the way the model was trained to read it. Models bring their
//! template as Jinja source, written for the environment of the `transformers` library, which [`Template`] reproduces:
//! `trim_blocks`, `lstrip_blocks`, loop controls, `raise_exception`, `strftime_now`, `tojson` without HTML escapes,
//! `{% generation %}`, Python's methods on strings, lists and mappings. The interpreter in `jinja` is our own, because a
//! template is part of a file that anyone can have made: none may run long, fill memory or overflow a stack. An [`Answer`] takes
//! what the model writes apart into content, reasoning and tool calls.

mod answer;
mod clock;
mod jinja;
pub(crate) mod json;
mod message;
mod stack;
mod template;
#[cfg(test)]
mod tests;

pub(crate) use answer::overlap;
pub use answer::{Answer, ToolCall};
pub use template::{RenderOptions, Template};

use crate::error::{Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// A conversation: messages, oldest first, the tools that the model may call, and what else its template may ask for.
#[derive(Clone, Debug, Default)]
pub struct Chat {
    messages: Vec<Value>,
    tools: Option<Value>,
    variables: BTreeMap<String, Value>,
}

/// Variables that templates get from elsewhere.
const RESERVED: [&str; 4] = ["messages", "tools", "add_generation_prompt", "strftime_now"];

impl Chat {
    /// An empty conversation without tools.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a message. Which roles exist is the template's affair; `system`, `user` and `assistant` are usual.
    pub fn add(&mut self, role: &str, content: &str) {
        self.messages.push(serde_json::json!({ "role": role, "content": content }));
    }

    /// Appends a message with all its members as JSON, in the form of the `OpenAI` chat API: `role`, `content` (text, null or a
    /// list of parts with a `type`), `tool_calls` (each with an `id` and a `function` of `name` and `arguments`, an object or the
    /// text of one), `tool_call_id`, `name`, `reasoning_content`. Others are passed on to the template.
    ///
    /// # Errors
    /// A member that is not what it must be; the message names it.
    pub fn add_message(&mut self, message: Value) -> Result<()> {
        self.messages.push(message::checked(message)?);
        Ok(())
    }

    /// Sets the tools: a list of `{"type": "function", "function": {"name", "description", "parameters"}}` with a JSON schema as
    /// parameters; null means none.
    ///
    /// # Errors
    /// Neither a list nor null; a tool without the name of a function.
    pub fn set_tools(&mut self, tools: Value) -> Result<()> {
        self.tools = message::checked_tools(tools)?;
        Ok(())
    }

    /// Sets a variable that the template may know, such as `enable_thinking`; null takes it away.
    ///
    /// # Errors
    /// What is no name, and names of variables that every template has, such as `messages`.
    pub fn set_variable(&mut self, name: &str, value: Value) -> Result<()> {
        let is_name = name.starts_with(|first: char| first.is_alphabetic() || first == '_')
            && name.chars().all(|char| char.is_alphanumeric() || char == '_');
        if !is_name || RESERVED.contains(&name) {
            return Err(Error::InvalidArgument(format!("{name:?} is no name for a template variable")));
        }
        match value {
            Value::Null => _ = self.variables.remove(name),
            value => _ = self.variables.insert(name.to_owned(), value),
        }
        Ok(())
    }

    /// How many messages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Drops all but the first `len` messages; a larger `len` changes nothing.
    pub fn truncate(&mut self, len: usize) {
        self.messages.truncate(len);
    }

    /// Drops all messages; tools and variables stay.
    pub fn clear(&mut self) {
        self.messages.clear();
    }

    /// The messages, oldest first.
    #[must_use]
    pub fn messages(&self) -> &[Value] {
        &self.messages
    }

    /// The tools, an array, if any are set.
    #[must_use]
    pub fn tools(&self) -> Option<&Value> {
        self.tools.as_ref()
    }
    /// The variables set for the template.
    pub(crate) fn variables(&self) -> &BTreeMap<String, Value> {
        &self.variables
    }
}
