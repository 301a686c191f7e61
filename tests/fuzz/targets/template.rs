//! Chat templates: source, and behind a NUL the messages, behind another the tools. A text, or an error with its place.

#![no_main]

use chord::chat::{Chat, RenderOptions, Template};
use chord::error::Error;
use chord_fuzz::check;
use libfuzzer_sys::fuzz_target;

/// What the messages are when the input has none that can be added.
const MESSAGES: &str = r#"[{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "2+2?"}]},
    {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [{"id": "a1", "type": "function",
    "function": {"name": "add", "arguments": "{\"x\": [1, 2.5, null, true], \"y\": {\"z\": \"é<\"}}"}}]},
    {"role": "tool", "tool_call_id": "a1", "content": "4"}]"#;
const TOOLS: &str = r#"[{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties":
    {"x": {"type": "array"}, "y": {"type": "integer", "default": 3}}, "required": ["x"]}}}]"#;

fn add(chat: &mut Chat, messages: &str) {
    if let Ok(serde_json::Value::Array(messages)) = serde_json::from_str(messages) {
        for message in messages {
            if let Err(error) = chat.add_message(message) {
                check(&error);
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    let mut parts = text.splitn(3, '\0');
    let source = parts.next().unwrap_or_default();
    let (mut chat, tools) = (Chat::new(), parts.clone().nth(1).unwrap_or(TOOLS));
    add(&mut chat, parts.next().unwrap_or_default());
    if chat.is_empty() {
        add(&mut chat, MESSAGES);
    }
    if let Ok(tools) = serde_json::from_str(tools)
        && let Err(error) = chat.set_tools(tools)
    {
        check(&error);
    }
    let template = Template::new(source).map(|template| template.with_special_token("bos_token", "<s>"));
    let options = RenderOptions { add_generation_prompt: true, now: Some(1_700_000_000) };
    match template.and_then(|template| template.render(&chat, &options)) {
        Ok(_) => {}
        Err(error) => {
            check(&error);
            assert!(matches!(error.root(), Error::Template { .. }), "{error:?}");
            assert!(error.offset().is_some_and(|offset| offset <= source.len() as u64), "{error:?}");
        }
    }
});
