//! Real chat templates, rendered as the reference environment does.

use chord::chat::{Chat, RenderOptions, Template};
use serde_json::Value;
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

fn render(data: &Value, case: &Value) -> chord::error::Result<String> {
    let mut template = Template::new(data["template"].as_str().expect("a template"))?;
    for name in ["bos_token", "eos_token", "unk_token", "pad_token"] {
        template = template.with_special_token(name, data[name].as_str().expect("a token"));
    }
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
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let data: Value = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
        for (name, case) in data["cases"].as_object().expect("cases") {
            cases += 1;
            let label = format!("{} {name}", path.file_stem().unwrap_or_default().display());
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
