//! What models write: taken apart the same in pieces as in one, and the message can be added to the conversation.

#![no_main]

use chord::chat::{Answer, Chat};
use libfuzzer_sys::fuzz_target;

const FORMATS: &[&str] = &[
    "hermes", "seed", "llama", "mistral", "harmony", "deepseek", "dsml", "minimax", "atem", "minicpm", "kimi", "kimi-k3", "hunyuan",
    "nemotron", "cohere", "apertus", "gigachat", "granite", "lfm2", "gemma", "functionary",
];

fn chat() -> Chat {
    let mut chat = Chat::new();
    chat.add("user", "What is 2+2?");
    let parameters = serde_json::json!({"type": "object", "properties": {"x": {"type": "number"}, "name": {"type": "string"}}});
    let tools = serde_json::json!([{"type": "function", "function": {"name": "add", "parameters": parameters}}]);
    chat.set_tools(tools).unwrap();
    chat
}

fn read(prompt: &str, format: Option<&str>, pieces: impl Iterator<Item = String>) -> Answer {
    let mut answer = Answer::new(&chat(), "<think>", prompt, format).expect("a known format");
    let (mut content, mut reasoning, mut raw) = (String::new(), String::new(), String::new());
    for piece in pieces {
        answer.feed(&piece).unwrap();
        raw += &piece;
        assert!(answer.content().starts_with(&content) && answer.reasoning().starts_with(&reasoning), "texts only grow");
        (content, reasoning) = (answer.content().to_owned(), answer.reasoning().to_owned());
    }
    answer.finish();
    assert!(answer.content().starts_with(&content) && answer.reasoning().starts_with(&reasoning), "texts only grow");
    assert_eq!(answer.raw(), raw);
    assert!(answer.feed("more").is_err());
    answer
}

fuzz_target!(|input: &[u8]| {
    let [choice, width, bytes @ ..] = input else { return };
    let format = FORMATS.get(usize::from(choice >> 1) % (FORMATS.len() + 1)).copied();
    let prompt = if choice & 1 != 0 { "<assistant>\n<think>\n" } else { "<assistant>" };
    let text = String::from_utf8_lossy(bytes);
    let whole = read(prompt, format, std::iter::once(text.clone().into_owned()));
    let characters: Vec<char> = text.chars().collect();
    let width = usize::from(width % 16) + 1;
    let pieces = read(prompt, format, characters.chunks(width).map(|piece| piece.iter().collect()));
    assert_eq!(whole.message(), pieces.message(), "{format:?}, in pieces of {width}");
    chat().add_message(whole.message()).expect("an answer can be added");
});
