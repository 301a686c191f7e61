//! Conversations -> text, by the model's own template.
//!
//! A [`Chat`] is a list of messages; a [`Template`] writes it the way the model was trained to read it. Models bring their
//! template as Jinja source, written for the environment of the `transformers` library, which [`Template`] reproduces:
//! `trim_blocks`, `lstrip_blocks`, loop controls, `raise_exception`, `strftime_now`, `tojson` without HTML escapes,
//! `{% generation %}`, Python's methods on strings, lists and mappings. The interpreter in `jinja` is our own, because a
//! template is part of a file that anyone can have made: none may run long, fill memory or overflow a stack.

mod clock;
mod jinja;
mod template;
#[cfg(test)]
mod tests;

pub use template::{RenderOptions, Template};

use crate::error::{Error, Result};
use serde_json::Value;

/// A conversation: messages, oldest first, and the tools that the model may call.
#[derive(Clone, Debug, Default)]
pub struct Chat {
    messages: Vec<Value>,
    tools: Option<Value>,
}

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

    /// Appends a message with all its members as JSON, in the form of the `OpenAI` chat API: `role`, `content` (text or a list of
    /// parts), `tool_calls`, `tool_call_id`, `name`.
    ///
    /// # Errors
    /// Not an object with a text `role`.
    pub fn add_message(&mut self, message: Value) -> Result<()> {
        if !message.get("role").is_some_and(Value::is_string) {
            return Err(Error::InvalidArgument("a message must be an object with a text role".to_owned()));
        }
        self.messages.push(message);
        Ok(())
    }

    /// Sets the tools, as a JSON array of function descriptions; null means none.
    ///
    /// # Errors
    /// Neither an array nor null.
    pub fn set_tools(&mut self, tools: Value) -> Result<()> {
        self.tools = match tools {
            Value::Null => None,
            Value::Array(_) => Some(tools),
            _ => return Err(Error::InvalidArgument("tools must be an array".to_owned())),
        };
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

    /// Drops all messages; tools stay.
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
}
