//! Chat templates of model files, and the default one.

use super::jinja::{Fault, Program};
use super::stack::with_stack;
use super::{Chat, message};
use crate::error::{Error, Result};
use crate::gguf::Metadata;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::SystemTime;

/// The template that callers can choose for models without one: `ChatML`, as many models use it.
const DEFAULT: &str = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}\
     {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// What a rendering may cost, in bytes made or looked at, whatever the conversation.
const BUDGET: u64 = 64 << 20;
/// And for each byte of conversation and template.
const BUDGET_PER_BYTE: u64 = 256;
/// More than any template in use, by far.
const MAX_SOURCE: usize = 4 << 20;

/// What a rendering depends on besides the conversation.
#[derive(Clone, Copy, Debug, Default)]
pub struct RenderOptions {
    /// Ends the text with the opening of the assistant's turn, so that the model answers.
    pub add_generation_prompt: bool,
    /// What `strftime_now` shows, in seconds since the start of 1970; none asks the system's clock. The zone is UTC: for a
    /// local time add its offset.
    pub now: Option<i64>,
}

/// A parsed chat template.
pub struct Template {
    program: Program,
    /// With line feeds as the only line ends.
    source: String,
    /// Where in `source` line ends of two bytes have become one.
    shortened: Vec<usize>,
    special_tokens: BTreeMap<String, Value>,
}

impl Template {
    /// Parses Jinja `source`.
    ///
    /// # Errors
    /// [`Error::Template`], with the place, for what is not Jinja.
    pub fn new(source: &str) -> Result<Self> {
        if source.len() > MAX_SOURCE {
            return Err(Error::Template {
                offset: 0,
                message: format!("a chat template of {} bytes is too large", source.len()),
            });
        }
        let mut text = String::with_capacity(source.len());
        let mut shortened = Vec::new();
        let mut rest = source;
        while let Some(at) = rest.find('\r') {
            text.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('\n') {
                shortened.push(text.len());
                rest = after;
            }
            text.push('\n');
        }
        text.push_str(rest);
        let program = with_stack(|| Program::parse(&text).map_err(|fault| convert(&fault, &text, &shortened)))?;
        Ok(Self { program, source: text, shortened, special_tokens: BTreeMap::new() })
    }

    /// The template of a model file, told the texts of its BOS and EOS tokens and, where the file has them, of the unknown
    /// and padding tokens.
    ///
    /// # Errors
    /// [`Error::NoChatTemplate`] for a file without one; otherwise as [`Template::new`].
    pub fn from_metadata(metadata: &Metadata, bos: &str, eos: &str) -> Result<Self> {
        let source = metadata.str("tokenizer.chat_template")?.ok_or(Error::NoChatTemplate)?;
        let mut template = Self::new(source)?.with_special_token("bos_token", bos).with_special_token("eos_token", eos);
        let tokens = metadata.strings("tokenizer.ggml.tokens")?;
        for (name, key) in [("unk_token", "tokenizer.ggml.unknown_token_id"), ("pad_token", "tokenizer.ggml.padding_token_id")] {
            let token = metadata.u32(key)?.zip(tokens.as_ref()).and_then(|(id, tokens)| tokens.get(id as usize));
            if let Some(text) = token.and_then(|text| str::from_utf8(text).ok()) {
                template = template.with_special_token(name, text);
            }
        }
        Ok(template)
    }

    /// `ChatML`, for models without a template: each message as `<|im_start|>ROLE`, a line feed, the content and `<|im_end|>`.
    ///
    /// # Errors
    /// Out of memory.
    pub fn default_template() -> Result<Self> {
        Self::new(DEFAULT)
    }

    /// Tells the template the text of a special token, `bos_token`, `eos_token` and so on.
    #[must_use]
    pub fn with_special_token(mut self, name: &str, text: &str) -> Self {
        self.special_tokens.insert(name.to_owned(), Value::from(text));
        self
    }

    /// The text of a special token that the template was told, so that callers can see whether a rendering begins with it.
    #[must_use]
    pub fn special_token(&self, name: &str) -> Option<&str> {
        self.special_tokens.get(name).and_then(Value::as_str)
    }

    /// The source, with line feeds as the only line ends.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The conversation as text. A template that fails on arguments of calls as objects gets them as text. Takes bounded time, memory and stack, whatever the template: what it may make and look at
    /// is 64 MiB and 256 times the size of conversation and template.
    ///
    /// # Errors
    /// [`Error::Template`] with the place in the template: it refuses the conversation, is wrong, or exceeds a limit.
    pub fn render(&self, chat: &Chat, options: &RenderOptions) -> Result<String> {
        let now = options.now.unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            since.ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or_default()
        });
        // Most templates expect the arguments of calls as objects, some as text.
        self.render_messages(chat, chat.messages(), options.add_generation_prompt, now).or_else(|error| {
            let messages = message::with_text_arguments(chat.messages()).ok_or(());
            let text = messages
                .and_then(|messages| self.render_messages(chat, &messages, options.add_generation_prompt, now).map_err(drop));
            text.map_err(|()| error)
        })
    }

    fn render_messages(&self, chat: &Chat, messages: &[Value], add_generation_prompt: bool, now: i64) -> Result<String> {
        let tools = chat.tools().cloned().unwrap_or_default();
        let (messages, add_generation_prompt) = (Value::from(messages), Value::from(add_generation_prompt));
        // Later ones win.
        let mut variables: Vec<(&str, &Value)> = vec![("documents", &Value::Null)];
        let named = self.special_tokens.iter().chain(chat.variables());
        variables.extend(named.map(|(name, value)| (name.as_str(), value)));
        variables.extend([("messages", &messages), ("tools", &tools), ("add_generation_prompt", &add_generation_prompt)]);
        with_stack(|| {
            let mut size = Count(self.source.len() as u64);
            for (_, value) in &variables {
                serde_json::to_writer(&mut size, value).map_err(|error| Error::Internal(error.to_string()))?;
            }
            let budget = size.0.saturating_mul(BUDGET_PER_BYTE).saturating_add(BUDGET);
            let text = self.program.render(&variables, now, budget);
            text.map_err(|fault| convert(&fault, &self.source, &self.shortened))
        })
    }
}

/// Counts what is written.
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The error with its place: the offset in the original source for the program, the line for the human.
fn convert(fault: &Fault, source: &str, shortened: &[usize]) -> Error {
    let at = fault.offset.unwrap_or(0).min(source.len());
    let line = source.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    let offset = at + shortened.partition_point(|shortened| *shortened < at);
    let what = if fault.refused { "the chat template refuses" } else { "chat template" };
    Error::Template {
        offset: offset as u64,
        message: format!("{what}, line {line}: {}", fault.message.replace(['\n', '\r'], " ")),
    }
}
