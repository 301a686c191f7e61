use super::*;
use serde_json::json;

fn chat(messages: &[(&str, &str)]) -> Chat {
    let mut chat = Chat::new();
    messages.iter().for_each(|(role, content)| chat.add(role, content));
    chat
}

/// What `source` writes for one user message.
fn render(source: &str) -> Result<String> {
    Template::new(source)?.render(&chat(&[("user", "Hi")]), &RenderOptions { add_generation_prompt: true, now: Some(0) })
}

fn refused(source: &str) -> (u64, String) {
    match render(source) {
        Err(Error::Template { offset, message }) => (offset, message),
        other => panic!("{other:?} for {source}"),
    }
}

#[test]
fn default_is_chatml() {
    let template = Template::default_template().unwrap();
    let chat = chat(&[("system", "Be kind."), ("user", " a\n"), ("assistant", "b"), ("user", "c")]);
    let text = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n a\n<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n\
                <|im_start|>user\nc<|im_end|>\n";
    let options = RenderOptions::default();
    assert_eq!(template.render(&chat, &options).unwrap(), text);
    let options = RenderOptions { add_generation_prompt: true, ..options };
    assert_eq!(template.render(&chat, &options).unwrap(), format!("{text}<|im_start|>assistant\n"));
}

#[test]
fn errors_name_the_place() {
    assert_eq!(
        refused("a\n{{ raise_exception('no\nsystem role') }}"),
        (5, "the chat template refuses, line 2: no system role".to_owned())
    );
    assert!(refused("{% for x in messages %}{{ x.a.b }}").1.contains("line 1"));
    let (offset, message) = refused("ab{{ messages[0].nothing.more }}");
    assert!(offset >= 5 && message.starts_with("chat template, line 1: "), "{offset} {message}");
    assert!(refused("{% if %}").1.starts_with("chat template, line 1: "));
}

#[test]
fn environment_is_that_of_the_reference() {
    for (source, expected) in [
        ("{% generation %}a{% endgeneration %}|{%- generation -%} b {%+ endgeneration -%} c", "a|b c"),
        ("{% for m in messages %}\n  {% if true %}\nx\n  {% endif %}\n{% endfor %}", "x\n"),
        ("{{ none }} {{ true }} {{ 1.0 }} {{ none is iterable }} {{ [] is iterable }}", "None True 1.0 False True"),
        ("{{ strftime_now('%d %b %Y') }}", "01 Jan 1970"),
        (
            "{{ {'b': [1, 2.5, none, true], 'a': '<é\"\\n\\u0001>'} | tojson }}",
            r#"{"b": [1, 2.5, null, true], "a": "<é\"\n\u0001>"}"#,
        ),
        ("{{ {'b': 'é😀', 'a': []} | tojson(ensure_ascii=True, sort_keys=true) }}", r#"{"a": [], "b": "\u00e9\ud83d\ude00"}"#),
        ("{{ {'a': [1, {}]} | tojson(indent=2) }}", "{\n  \"a\": [\n    1,\n    {}\n  ]\n}"),
        ("{{ [1, 2] | tojson(separators=(',', ':')) }}", "[1,2]"),
        ("{% for i in range(9) %}{% if i == 2 %}{% continue %}{% elif i > 4 %}{% break %}{% endif %}{{ i }}{% endfor %}", "0134"),
        ("{{ messages[0].content.upper().replace('H', 'T') }} {{ messages[-1]['role'].startswith('us') }}", "TI True"),
    ] {
        assert_eq!(render(source).unwrap(), expected, "{source}");
    }
}

/// What the reference's sandbox refuses and templates use all the same.
#[test]
fn lists_of_variables_change() {
    for (source, expected) in [
        ("{% set a = [1] %}{% set _ = a.append(2) %}{{ a }}{{ _ }}", "[1, 2]None"),
        (
            "{% set ns = namespace(a=[]) %}{% for i in [1, 2, 3] %}{{ ns.a.append(i) or '' }}{% endfor %}{{ ns.a.pop(0) | string }}{{ ns.a }}",
            "1[2, 3]",
        ),
        (
            "{% set a = [] %}{% for i in [1, 2] %}{% if true %}{% set _ = a.extend([i, i]) %}{% endif %}{% endfor %}{{ a }}",
            "[1, 1, 2, 2]",
        ),
        (
            "{% set a = [1] %}{{ a.insert(0, 'x') }}{{ a.insert(-1, 'y') }}{{ a }}{{ a.pop() }}{{ a }}",
            "NoneNone['x', 'y', 1]1['x', 'y']",
        ),
        ("{% macro f() %}{{ messages.append(1) or '' }}{% endmacro %}{{ f() }}{{ messages | length }}", "2"),
    ] {
        assert_eq!(render(source).unwrap(), expected, "{source}");
    }
    assert!(refused("{{ [].pop() }}").1.contains("'pop'"));
    assert!(refused("{% set a = [] %}{{ a.pop() }}").1.contains("out of range"));
    assert!(refused("{{ (1, 2).append(3) }}").1.contains("append"));
}

#[test]
fn messages_and_tools_are_checked() {
    let mut chat = Chat::new();
    for (message, place) in [
        (json!("user"), "a message must be an object"),
        (json!({ "content": "no role" }), "role must be text"),
        (json!({ "role": 1 }), "role must be text"),
        (json!({ "role": "user", "content": 1 }), "content must be"),
        (json!({ "role": "user", "content": ["a"] }), "content[0] must be an object"),
        (json!({ "role": "user", "content": [{ "type": "text" }, {}] }), "content[1].type must be text"),
        (json!({ "role": "user", "content": [{ "type": "text", "text": 1 }] }), "content[0].text must be text"),
        (json!({ "role": "tool", "tool_call_id": 1 }), "tool_call_id must be text"),
        (json!({ "role": "assistant", "tool_calls": {} }), "tool_calls must be a list"),
        (json!({ "role": "assistant", "tool_calls": [1] }), "tool_calls[0] must be an object"),
        (json!({ "role": "assistant", "tool_calls": [{ "name": "f" }] }), "tool_calls[0].function must be an object"),
        (json!({ "role": "assistant", "tool_calls": [{ "function": {} }] }), "tool_calls[0].function.name must be text"),
        (
            json!({ "role": "assistant", "tool_calls": [{ "function": { "name": "f", "arguments": "[]" } }] }),
            "tool_calls[0].function.arguments must be an object",
        ),
        (
            json!({ "role": "assistant", "tool_calls": [{ "function": { "name": "f", "arguments": "{" } }] }),
            "tool_calls[0].function.arguments is not JSON",
        ),
    ] {
        let error = chat.add_message(message).unwrap_err().to_string();
        assert!(error.starts_with(place), "{error}, expected {place}");
    }
    assert!(chat.set_tools(json!({})).unwrap_err().to_string().contains("tools must be a list"));
    let nameless = json!([{ "type": "function", "function": { "name": "f" } }, { "name": "f" }]);
    assert!(chat.set_tools(nameless).unwrap_err().to_string().contains("tools[1].function.name"));
    assert!(chat.is_empty() && chat.tools().is_none());
    chat.add_message(json!({ "role": "user", "content": [{ "type": "text", "text": "a" }] })).unwrap();
    chat.add("user", "b");
    chat.truncate(5);
    assert_eq!(chat.len(), 2);
    chat.truncate(1);
    assert_eq!(chat.messages()[0]["content"][0]["text"], "a");
    chat.clear();
    assert!(chat.is_empty());
}

#[test]
fn calls_get_content_and_arguments_as_the_template_wants() {
    let mut chat = Chat::new();
    let call = json!({ "id": "a", "type": "function", "function": { "name": "f", "arguments": "{\"x\": [1]}" } });
    chat.add_message(json!({ "role": "assistant", "content": null, "tool_calls": [call] })).unwrap();
    let render = |source: &str| Template::new(source).unwrap().render(&chat, &RenderOptions::default());
    let call = "messages[0].tool_calls[0].function";
    assert_eq!(render(&format!("{{{{ messages[0].content + {call}.arguments.x | string }}}}")).unwrap(), "[1]");
    assert_eq!(render(&format!("{{{{ 'f' + {call}.arguments }}}}")).unwrap(), "f{\"x\":[1]}");
    assert!(render(&format!("{{{{ {call}.arguments.x + 'f' }}}}")).unwrap_err().to_string().contains("'list' and 'str'"));
}

#[test]
fn variables_reach_the_template() {
    let mut chat = Chat::new();
    for name in ["messages", "tools", "", "a b", "1a", "a.b"] {
        assert!(chat.set_variable(name, json!(1)).is_err(), "{name}");
    }
    chat.set_variable("enable_thinking", json!(false)).unwrap();
    chat.set_variable("documents", json!(["a"])).unwrap();
    let render = |chat: &Chat| {
        let template = Template::new("{{ enable_thinking }} {{ documents }}").unwrap();
        template.render(chat, &RenderOptions::default()).unwrap()
    };
    assert_eq!(render(&chat), "False ['a']");
    chat.set_variable("enable_thinking", Value::Null).unwrap();
    chat.set_variable("documents", Value::Null).unwrap();
    assert_eq!(render(&chat), " None");
}
