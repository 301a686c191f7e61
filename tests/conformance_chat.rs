//! Real chat templates, rendered as the reference environment does.

use chord::chat::{Answer, Chat, RenderOptions, Template};
use serde_json::{Value, json};
use std::path::PathBuf;

/// 2026-07-26T12:00:00, the clock of all reference results.
const NOW: i64 = 1_785_067_200;

fn folder() -> Option<PathBuf> {
    let root = std::env::var_os("CHORD_CONFORMANCE").map_or_else(|| "../shared/conformance".into(), PathBuf::from);
    let folder = root.join("chat");
    if !folder.is_dir() {
        println!("skipped: no conformance data at {}", folder.display());
        return None;
    }
    Some(folder)
}

/// Name and content of every file.
fn templates(folder: PathBuf) -> impl Iterator<Item = (String, Value)> {
    std::fs::read_dir(folder).expect("a folder").map(|entry| {
        let path = entry.expect("an entry").path();
        let data = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
        (path.file_stem().unwrap_or_default().display().to_string(), data)
    })
}

fn template(data: &Value) -> chord::error::Result<Template> {
    let mut template = Template::new(data["template"].as_str().expect("a template"))?;
    for name in ["bos_token", "eos_token", "unk_token", "pad_token"] {
        template = template.with_special_token(name, data[name].as_str().expect("a token"));
    }
    Ok(template)
}

fn render(data: &Value, case: &Value) -> chord::error::Result<String> {
    let template = template(data)?;
    let mut chat = Chat::new();
    for message in case["messages"].as_array().expect("messages") {
        chat.add_message(message.clone())?;
    }
    chat.set_tools(case["tools"].clone())?;
    let add_generation_prompt = case["add_generation_prompt"].as_bool().expect("a flag");
    template.render(&chat, &RenderOptions { add_generation_prompt, now: Some(NOW) })
}

#[test]
fn equal_to_the_reference() {
    let Some(folder) = folder() else { return };
    let mut unequal = Vec::new();
    let mut cases = 0;
    for (file, data) in templates(folder) {
        for (name, case) in data["cases"].as_object().expect("cases") {
            cases += 1;
            let label = format!("{file} {name}");
            match (render(&data, case), case["ok"].as_str(), case["error"].as_str()) {
                (Ok(text), Some(expected), _) if text == expected => {}
                (Err(error), None, Some(expected)) => println!("{label}: {error} (reference: {expected})"),
                (Ok(text), None, Some(expected)) => println!("{label}: rendered, reference: {expected}\n{text}"),
                (result, expected, _) => unequal.push(format!("{label}: {result:?}\nexpected {expected:?}")),
            }
        }
    }
    unequal.sort();
    assert!(unequal.is_empty(), "{} of {cases} unequal\n{}", unequal.len(), unequal.join("\n"));
    assert!(cases >= 200, "{cases} cases");
}

/// Language and environment, apart from any model: what Jinja2 makes of the same templates (`reference/jinja.py`).
#[test]
fn equal_to_jinja2() {
    let data: Value = serde_json::from_str(include_str!("reference/jinja.json")).expect("JSON");
    let mut chat = Chat::new();
    for message in data["messages"].as_array().expect("messages") {
        chat.add_message(message.clone()).expect("a message");
    }
    let options = RenderOptions { add_generation_prompt: true, now: Some(NOW) };
    let cases = data["cases"].as_array().expect("cases");
    for case in cases {
        let source = case["template"].as_str().expect("a template");
        let rendered = Template::new(source)
            .map(|template| template.with_special_token("bos_token", "<s>"))
            .and_then(|template| template.render(&chat, &options));
        assert_eq!(rendered.as_deref().ok(), case["ok"].as_str(), "{source}: {rendered:?}, reference {case}");
    }
    assert!(cases.len() > 100);
}

/// A conversation with one tool and, in its last message, `count` calls of it.
fn with_calls(count: usize) -> (Chat, Vec<Value>) {
    let mut chat = Chat::new();
    chat.add("user", "Weather in Paris?");
    let properties = json!({
        "city": { "type": "string", "description": "City name" },
        "code": { "type": "string", "description": "A number as text" },
        "days": { "type": "integer", "description": "How many" },
        "exact": { "type": "boolean", "description": "Or not" },
        "tags": { "type": "array", "items": { "type": "string" }, "description": "Some" },
        "place": { "type": "object", "properties": { "lat": { "type": "number" } }, "description": "Where" },
    });
    let parameters = json!({ "type": "object", "properties": properties, "required": ["city"] });
    let function = json!({ "name": "get_weather", "description": "Current weather for a city.", "parameters": parameters });
    chat.set_tools(json!([{ "type": "function", "function": function }])).expect("tools");
    let arguments = |index: usize| {
        json!({
            "city": format!("Pa\"ris\" \u{b0}number{index}\nfor <b>you</b> & me"), "code": "75001", "days": index, "exact": true,
            "tags": ["a", "b's"], "place": { "lat": 48.5, "name": null },
        })
    };
    let arguments: Vec<Value> = (0..count).map(arguments).collect();
    let call = |arguments: &Value| json!({ "id": "abcdef123", "type": "function", "function": { "name": "get_weather", "arguments": arguments } });
    let calls: Value = arguments.iter().map(call).collect();
    chat.add_message(json!({ "role": "assistant", "content": "", "tool_calls": calls })).expect("a message");
    (chat, arguments)
}

/// What a template writes for an assistant that calls tools is read back as those calls, in whatever pieces it comes.
#[test]
fn calls_are_read_back_from_every_template() {
    let Some(folder) = folder() else { return };
    let (mut read, mut silent, mut unequal) = (0, Vec::new(), Vec::new());
    for (file, data) in templates(folder) {
        let template = template(&data).expect("a template");
        let options = |add_generation_prompt| RenderOptions { add_generation_prompt, now: Some(NOW) };
        // Some templates refuse two calls, some write only the first.
        let rendered = [2, 1].into_iter().find_map(|count| {
            let (chat, arguments) = with_calls(count);
            let text = template.render(&chat, &options(false)).map_err(|error| println!("{file}, {count} calls: {error}"));
            Some((chat, arguments, text.ok()?))
        });
        let Some((mut chat, arguments, text)) = rendered else {
            silent.push(file);
            continue;
        };
        chat.truncate(1);
        let prompt = template.render(&chat, &options(true)).expect("a prompt");
        // The answer begins where the prompt ends; if that begins otherwise, before the tag that differs.
        let same = prompt.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
        let tag = prompt[..same].rfind(['<', '[']).filter(|at| same < prompt.len() && !prompt[*at..same].contains(['>', ']']));
        let (prompt, part) = text.split_at(tag.unwrap_or(same));
        let arguments: Vec<_> =
            (0..).zip(arguments).filter(|(index, _)| part.contains(&format!("number{index}"))).map(|(_, one)| one).collect();
        if arguments.is_empty() {
            silent.push(file);
            continue;
        }
        let read_back = |pieces: &mut dyn Iterator<Item = &str>| {
            let mut answer = Answer::new(&chat, template.source(), prompt, None).expect("an answer");
            pieces.for_each(|piece| answer.feed(piece).expect("text is read"));
            answer.finish();
            answer
        };
        let whole = read_back(&mut [part].into_iter());
        let calls: Vec<Value> = whole.calls().iter().map(|call| serde_json::from_str(&call.arguments).expect("JSON")).collect();
        let named = whole.calls().iter().all(|call| call.name == "get_weather");
        if calls != arguments || !named || whole.content().contains("get_weather") || !whole.reasoning().is_empty() {
            unequal.push(format!("{file}: {part}\n{:#}", whole.message()));
        }
        for (cut, _) in part.char_indices() {
            let pieces = part.split_at(cut);
            let answer = read_back(&mut [pieces.0, pieces.1].into_iter());
            assert_eq!(answer.message(), whole.message(), "{file} cut at {cut}");
        }
        let answer = read_back(&mut part.split_inclusive(|_: char| true));
        assert_eq!((answer.message(), answer.raw()), (whole.message(), part), "{file} by characters");
        read += 1;
    }
    assert!(unequal.is_empty(), "{} unequal\n{}", unequal.len(), unequal.join("\n"));
    silent.sort();
    assert_eq!(silent, ["google-gemma-2-2b-it", "llama-cpp-rwkv-world", "microsoft-Phi-3.5-mini-instruct"]);
    assert!(read >= 32, "{read} templates");
}
