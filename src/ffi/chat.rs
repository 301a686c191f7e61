//! Conversations, rendered by the model's template.

use super::boundary::{self, Buffer, Call, Out, Result, check_flags, exclusive, get, new_handle, shared, string, text};
use super::error::{chord_error, chord_status};
use super::model::chord_model;
use super::registry::{Handle, Registry};
use crate::chat::{Chat, RenderOptions, Template, json};
use crate::error::Error;
use crate::model::Model;
use std::ffi::c_char;
use std::sync::{Arc, RwLock};

/// A conversation: messages, each of a role. Its model's template turns it into the text that the model was trained on.
pub struct chord_chat {
    _opaque: (),
}

/// What stands behind a `chord_chat`.
pub struct Conversation {
    model: Arc<Model>,
    template: Option<Template>,
    now: Option<i64>,
    pub(super) chat: Chat,
}

static CHATS: Registry<chord_chat> = Registry::new();

impl Handle for chord_chat {
    const TAG: u8 = 5;
    const NAME: &'static str = "chat";
    type Object = RwLock<Conversation>;

    fn registry() -> &'static Registry<Self> {
        &CHATS
    }
}

/// For chord_chat_new(): do not use the model's template but the library's, ChatML: every message becomes
/// "<|im_start|>ROLE\nCONTENT<|im_end|>\n". For models that carry none.
pub const CHORD_CHAT_DEFAULT_TEMPLATE: u32 = 1;
/// For chord_chat_render() and chord_session_append_chat(): end with what makes the model answer.
pub const CHORD_CHAT_GENERATION_PROMPT: u32 = 2;

/// Calls `run` with a chat and its template.
pub(super) fn with_template<T>(
    call: &Call,
    chat: *const chord_chat,
    run: impl FnOnce(&Conversation, &Template) -> crate::error::Result<T>,
) -> Result<T> {
    let pinned = get(chat)?;
    let conversation = shared("chat", &pinned)?;
    call.concerns(&conversation.model);
    let template = match &conversation.template {
        Some(template) => template,
        None => conversation.model.template()?,
    };
    Ok(run(&conversation, template)?)
}

/// The text of a chat, for `chord_chat_render` and `chord_session_append_chat`.
pub(super) fn render(call: &Call, chat: *const chord_chat, flags: u32) -> Result<String> {
    check_flags(flags, CHORD_CHAT_GENERATION_PROMPT)?;
    let add_generation_prompt = flags & CHORD_CHAT_GENERATION_PROMPT != 0;
    with_template(call, chat, |conversation, template| {
        template.render(&conversation.chat, &RenderOptions { add_generation_prompt, now: conversation.now })
    })
}

fn change(
    chat: *mut chord_chat,
    err: *mut *mut chord_error,
    change: impl FnOnce(&mut Conversation) -> crate::error::Result<()>,
) -> chord_status {
    boundary::status(err, |call| {
        let pinned = get(chat)?;
        let mut conversation = exclusive("chat", &pinned)?;
        call.concerns(&conversation.model);
        Ok(change(&mut conversation)?)
    })
}

/// Makes an empty conversation for a model.
///
/// flags: 0 or CHORD_CHAT_DEFAULT_TEMPLATE. chat: receives it; the caller frees it with chord_chat_free().
///
/// CHORD_STATUS_NO_CHAT_TEMPLATE: the model has no template; CHORD_CHAT_DEFAULT_TEMPLATE may do. CHORD_STATUS_TEMPLATE: its
/// template cannot be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_chat_new(
    model: *const chord_model,
    flags: u32,
    chat: *mut *mut chord_chat,
    err: *mut *mut chord_error,
) -> chord_status {
    boundary::status(err, |call| {
        let model = call.model(model)?;
        check_flags(flags, CHORD_CHAT_DEFAULT_TEMPLATE)?;
        let out = Out::new("chat", chat)?;
        let template = if flags & CHORD_CHAT_DEFAULT_TEMPLATE != 0 {
            Some(Template::default_template()?)
        } else {
            model.template()?;
            None
        };
        out.write(new_handle(RwLock::new(Conversation { model, template, now: None, chat: Chat::default() }))?);
        Ok(())
    })
}

/// Frees a chat. NULL and freed ones are fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_chat_free(chat: *mut chord_chat) {
    boundary::free(chat);
}

/// Adds a message.
///
/// role: "system", "user", "assistant", or what else the template knows. content, content_len: UTF-8; NULL when content_len
/// is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_chat_add(
    chat: *mut chord_chat,
    role: *const c_char,
    content: *const c_char,
    content_len: usize,
    err: *mut *mut chord_error,
) -> chord_status {
    change(chat, err, |conversation| {
        // SAFETY: the C contract: NULL or a NUL-terminated string, and `content_len` readable bytes.
        let (role, content) = unsafe { (string("role", role)?, text("content", content, content_len)?) };
        conversation.chat.add(role, content);
        Ok(())
    })
}

/// Adds a message with all that it may have, as a JSON object in the form of the OpenAI chat API: "role", "content" (text, null
/// or a list of parts), "tool_calls" (each with an "id" and a "function" of "name" and "arguments"), "tool_call_id" and "name"
/// for the result of a call, "reasoning_content". Other members go to the template as they are. chord_answer_text() gives
/// such a message for an answer.
///
/// message, message_len: UTF-8.
///
/// CHORD_STATUS_INVALID_ARGUMENT: not JSON, or a member is not what it must be; the error names it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_chat_add_json(
    chat: *mut chord_chat,
    message: *const c_char,
    message_len: usize,
    err: *mut *mut chord_error,
) -> chord_status {
    change(chat, err, |conversation| {
        // SAFETY: the C contract: `message_len` readable bytes at `message`.
        let message = unsafe { text("message", message, message_len) }?;
        conversation.chat.add_message(json::parse("message", message)?)
    })
}

/// Sets the tools that the model may call: a JSON list of {"type": "function", "function": {"name", "description",
/// "parameters"}} with a JSON schema as parameters. They stay until others are set.
///
/// tools, tools_len: UTF-8; the text null means none.
///
/// CHORD_STATUS_INVALID_ARGUMENT: not JSON, or a tool without a name; the error names the place.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_chat_set_tools(
    chat: *mut chord_chat,
    tools: *const c_char,
    tools_len: usize,
    err: *mut *mut chord_error,
) -> chord_status {
    change(chat, err, |conversation| {
        // SAFETY: the C contract: `tools_len` readable bytes at `tools`.
        let tools = unsafe { text("tools", tools, tools_len) }?;
        conversation.chat.set_tools(json::parse("tools", tools)?)
    })
}

/// Sets a variable that the template may know, such as "enable_thinking" to false. Which ones there are is the model's affair.
///
/// name: letters, digits and underscores. value, value_len: JSON; the text null takes the variable away.
///
/// CHORD_STATUS_INVALID_ARGUMENT: not JSON, not a name, or one that is set otherwise, such as "messages".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_chat_set_variable(
    chat: *mut chord_chat,
    name: *const c_char,
    value: *const c_char,
    value_len: usize,
    err: *mut *mut chord_error,
) -> chord_status {
    change(chat, err, |conversation| {
        // SAFETY: the C contract: NULL or a NUL-terminated string, and `value_len` readable bytes.
        let (name, value) = unsafe { (string("name", name)?, text("value", value, value_len)?) };
        conversation.chat.set_variable(name, json::parse("value", value)?)
    })
}

/// Messages in the chat. 0: no chat.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_chat_count(chat: *const chord_chat) -> usize {
    boundary::value(0, |_| Some(shared("chat", &*get(chat).ok()?).ok()?.chat.len()))
}

/// Forgets all messages after the first count ones; 0 empties the chat.
///
/// CHORD_STATUS_OUT_OF_RANGE: there are fewer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_chat_truncate(chat: *mut chord_chat, count: usize, err: *mut *mut chord_error) -> chord_status {
    change(chat, err, |conversation| {
        let len = conversation.chat.len();
        if count > len {
            return Err(Error::OutOfRange(format!("the chat has {len} messages, not {count}")));
        }
        conversation.chat.truncate(count);
        Ok(())
    })
}

/// Fixes the clock that templates see, so that a rendered text can be repeated. Without it they see the system's.
///
/// seconds: since 1970-01-01 00:00 UTC.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_chat_set_time(chat: *mut chord_chat, seconds: i64, err: *mut *mut chord_error) -> chord_status {
    change(chat, err, |conversation| {
        conversation.now = Some(seconds);
        Ok(())
    })
}

/// The text of the conversation.
///
/// flags: 0 or CHORD_CHAT_GENERATION_PROMPT. text, capacity: receives the text, with a NUL behind it if there is room; NULL
/// when capacity is 0. text_len: receives its length without the NUL, also when it does not fit.
///
/// CHORD_STATUS_TEMPLATE: the template refuses the conversation, and the message says why. CHORD_STATUS_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chord_chat_render(
    chat: *const chord_chat,
    flags: u32,
    text: *mut c_char,
    capacity: usize,
    text_len: *mut usize,
    err: *mut *mut chord_error,
) -> chord_status {
    boundary::status(err, |call| {
        let buffer = Buffer::new("text", text.cast::<u8>(), capacity, "text_len", text_len)?;
        buffer.fill(render(call, chat, flags)?.as_bytes())
    })
}
