use super::*;

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

#[test]
fn messages_and_tools_are_checked() {
    let mut chat = Chat::new();
    assert!(chat.add_message(serde_json::json!("user")).is_err());
    assert!(chat.add_message(serde_json::json!({ "content": "no role" })).is_err());
    assert!(chat.set_tools(serde_json::json!({})).is_err());
    chat.add_message(serde_json::json!({ "role": "user", "content": [{ "type": "text", "text": "a" }] })).unwrap();
    chat.add("user", "b");
    chat.truncate(5);
    assert_eq!(chat.len(), 2);
    chat.truncate(1);
    assert_eq!(chat.messages()[0]["content"][0]["text"], "a");
    chat.clear();
    assert!(chat.is_empty());
}
