//! Messages and tools from outside: checked, and brought into the form that templates expect.

use super::json;
use crate::error::{Error, Result};
use serde_json::{Map, Value};

fn must_be<T>(place: &str, what: &str) -> Result<T> {
    Err(Error::InvalidArgument(format!("{place} must be {what}")))
}

/// A member that is a text, if it is there and not null.
fn text<'m>(object: &'m Map<String, Value>, place: &str, key: &str) -> Result<Option<&'m str>> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => must_be(&format!("{place}{key}"), "text"),
    }
}

/// A message in the form of the `OpenAI` chat API. Arguments of calls become objects, which templates expect; a message with
/// calls gets a content.
pub(super) fn checked(mut message: Value) -> Result<Value> {
    let Value::Object(members) = &mut message else { return must_be("a message", "an object") };
    if text(members, "", "role")?.is_none_or(str::is_empty) {
        return must_be("role", "text");
    }
    for key in ["tool_call_id", "name", "reasoning_content"] {
        text(members, "", key)?;
    }
    match members.get("content") {
        None | Some(Value::Null | Value::String(_)) => {}
        Some(Value::Array(parts)) => {
            for (index, part) in parts.iter().enumerate() {
                let place = format!("content[{index}]");
                let Value::Object(part) = part else { return must_be(&place, "an object") };
                if text(part, &format!("{place}."), "type")?.is_none() {
                    return must_be(&format!("{place}.type"), "text");
                }
                text(part, &format!("{place}."), "text")?;
            }
        }
        Some(_) => return must_be("content", "text, null or a list of parts"),
    }
    match members.get_mut("tool_calls") {
        None => return Ok(message),
        Some(Value::Null) => _ = members.remove("tool_calls"),
        Some(Value::Array(calls)) => {
            for (index, call) in calls.iter_mut().enumerate() {
                checked_call(call, &format!("tool_calls[{index}]"))?;
            }
            if members.get("content").is_none_or(Value::is_null) {
                members.insert("content".to_owned(), "".into());
            }
        }
        Some(_) => return must_be("tool_calls", "a list"),
    }
    Ok(message)
}

fn checked_call(call: &mut Value, place: &str) -> Result<()> {
    let Value::Object(call) = call else { return must_be(place, "an object") };
    text(call, &format!("{place}."), "id")?;
    let place = format!("{place}.function");
    let Some(Value::Object(function)) = call.get_mut("function") else { return must_be(&place, "an object") };
    if text(function, &format!("{place}."), "name")?.is_none_or(str::is_empty) {
        return must_be(&format!("{place}.name"), "text");
    }
    let place = format!("{place}.arguments");
    let arguments = match function.get("arguments") {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(Value::String(text)) => json::parse(&place, text)?,
        Some(arguments) => arguments.clone(),
    };
    if !arguments.is_object() {
        return must_be(&place, "an object or the text of one");
    }
    function.insert("arguments".to_owned(), arguments);
    Ok(())
}

/// Tools, a list of functions; none for null.
pub(super) fn checked_tools(tools: Value) -> Result<Option<Value>> {
    let Value::Array(list) = &tools else {
        return if tools.is_null() { Ok(None) } else { must_be("tools", "a list") };
    };
    for (index, tool) in list.iter().enumerate() {
        let name = tool.get("function").and_then(|function| function.get("name")).and_then(Value::as_str);
        if name.is_none_or(str::is_empty) {
            return must_be(&format!("tools[{index}].function.name"), "text");
        }
    }
    Ok(Some(tools))
}

/// The messages with the arguments of calls as text, for templates that put texts together; none if there is no call.
pub(super) fn with_text_arguments(messages: &[Value]) -> Option<Vec<Value>> {
    let mut messages = messages.to_vec();
    let calls = messages.iter_mut().filter_map(|message| message.get_mut("tool_calls")?.as_array_mut()).flatten();
    let mut found = false;
    for arguments in calls.filter_map(|call| call.get_mut("function")?.get_mut("arguments")) {
        *arguments = arguments.to_string().into();
        found = true;
    }
    found.then_some(messages)
}
