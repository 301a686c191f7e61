//! The Jinja environment of chat templates.

use super::{Chat, clock, json};
use crate::error::{Error, Result};
use crate::gguf::Metadata;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{AutoEscape, Environment, ErrorKind};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::time::SystemTime;

/// The only template of the environment.
const NAME: &str = "chat";
/// The template that callers can choose for models without one: `ChatML`, as many models use it.
const DEFAULT: &str = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}\
     {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// Steps of the interpreter that one rendering may take.
const FUEL: u64 = 10_000_000;
/// Depth of nested macro calls and loops.
const MAX_DEPTH: usize = 100;
/// Bytes that one rendering may write.
const MAX_OUTPUT: usize = 64 << 20;

/// What a rendering depends on besides the conversation.
#[derive(Clone, Copy, Debug, Default)]
pub struct RenderOptions {
    /// Ends the text with the opening of the assistant's turn, so that the model answers.
    pub add_generation_prompt: bool,
    /// What `strftime_now` shows, in seconds since the start of 1970; none asks the system's clock. The zone is UTC: for a
    /// local time add its offset.
    pub now: Option<i64>,
}

/// A compiled chat template.
pub struct Template {
    environment: Environment<'static>,
    special_tokens: BTreeMap<String, String>,
}

/// Marks the error of `raise_exception`.
#[derive(Debug)]
struct Refusal;

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refusal {}

impl Template {
    /// Compiles Jinja `source`.
    ///
    /// # Errors
    /// [`Error::Template`], with the place, for what is not Jinja.
    pub fn new(source: &str) -> Result<Self> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|error| convert(&error))?;
        environment.set_syntax(syntax);
        environment.set_debug(true);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(MAX_DEPTH);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", |value: &Value, options: Kwargs| json::tojson(value, &options));
        environment.add_function("raise_exception", |message: String| -> std::result::Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message).with_source(Refusal))
        });
        // Iterable as in Python, where nothing is not.
        environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
        environment.add_template_owned(NAME, without_generation(source)).map_err(|error| convert(&error))?;
        Ok(Self { environment, special_tokens: BTreeMap::new() })
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
        self.special_tokens.insert(name.to_owned(), text.to_owned());
        self
    }

    /// The text of a special token that the template was told, so that callers can see whether a rendering begins with it.
    #[must_use]
    pub fn special_token(&self, name: &str) -> Option<&str> {
        self.special_tokens.get(name).map(String::as_str)
    }

    /// The conversation as text.
    ///
    /// # Errors
    /// [`Error::Template`] with the place in the template: it refuses the conversation, is wrong, or exceeds a limit.
    pub fn render(&self, chat: &Chat, options: &RenderOptions) -> Result<String> {
        let now = options.now.unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            since.ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or_default()
        });
        let mut context: BTreeMap<&str, Value> = BTreeMap::new();
        for (name, text) in &self.special_tokens {
            context.insert(name, Value::from(text.as_str()));
        }
        context.insert("messages", Value::from(Serde(chat.messages())));
        context.insert("tools", Value::from(Serde(chat.tools())));
        context.insert("documents", Value::from(()));
        context.insert("add_generation_prompt", Value::from(options.add_generation_prompt));
        context.insert("strftime_now", Value::from_function(move |format: &str| clock::format(now, format)));
        let mut out = Limited(Vec::new());
        let template = self.environment.get_template(NAME).map_err(|error| convert(&error))?;
        template.render_captured_to(Value::from(context), &mut out).map_err(|error| convert(&error))?;
        String::from_utf8(out.0).map_err(|_| Error::Internal("a template wrote invalid UTF-8".to_owned()))
    }
}

/// The source with the tags `{% generation %}` and `{% endgeneration %}`, which mark what the model is trained on and write
/// nothing, turned into a condition that always holds. Lengths stay, so that offsets stay true.
fn without_generation(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start + 2);
        let name = tag.trim_start_matches(['-', '+']).trim_start();
        let blank = tag.len() - name.len();
        let replacement = [("generation", "if true   "), ("endgeneration", "endif        ")].into_iter().find(|(word, _)| {
            let after = name.strip_prefix(word).map(|after| after.trim_start().trim_start_matches(['-', '+']));
            after.is_some_and(|after| after.starts_with("%}"))
        });
        out.push_str(before);
        out.push_str(&tag[..blank]);
        let word = replacement.map_or("", |(word, replacement)| {
            out.push_str(replacement);
            word
        });
        rest = &name[word.len()..];
    }
    out.push_str(rest);
    out
}

/// Output up to [`MAX_OUTPUT`] bytes.
struct Limited(Vec<u8>);

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.try_reserve(bytes.len())?;
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The error with its place: the offset for the program, the line for the human.
fn convert(error: &minijinja::Error) -> Error {
    let offset = error.range().map_or(0, |range| range.start as u64);
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned).replace('\n', " ");
    let line = error.line().unwrap_or(1);
    let refused = std::error::Error::source(error).is_some_and(|source| source.is::<Refusal>());
    let message = if refused { "the chat template refuses" } else { "chat template" };
    Error::Template { offset, message: format!("{message}, line {line}: {what}") }
}
