//! Every text of every vocabulary of the conformance data: the ids of the reference, and the text back from them.

use std::path::PathBuf;

use chord::gguf::File;
use chord::tokenizer::{TextFlags, Tokenizer, Utf8Stream};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    text: String,
    ids_special_added: Vec<i32>,
    ids_special_parsed: Vec<i32>,
}

/// The folder of vocabularies; a line says so if it is not there.
fn vocabularies() -> Option<PathBuf> {
    let root = std::env::var_os("CHORD_CONFORMANCE").map_or_else(|| PathBuf::from("../shared/conformance"), PathBuf::from);
    let folder = root.join("tokenizers");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no conformance data at {}", folder.display());
    None
}

fn check(name: &str) {
    let Some(folder) = vocabularies() else { return };
    let file = File::open(&folder.join(format!("{name}.gguf"))).unwrap();
    let tokenizer = Tokenizer::from_metadata(file.metadata()).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(folder.join(format!("{name}.json"))).unwrap()).unwrap();
    assert!(cases.len() >= 300, "{name} has only {} texts", cases.len());
    let mut failures = 0;
    for Case { text, ids_special_added, ids_special_parsed } in &cases {
        for (add_special, expected) in [(true, ids_special_added), (false, ids_special_parsed)] {
            let mut ids = Vec::new();
            tokenizer.encode(text, TextFlags { add_special, parse_special: !add_special }, &mut ids).unwrap();
            if ids != *expected {
                failures += 1;
                eprintln!("{name}: {text:?}, special tokens {}", if add_special { "added" } else { "parsed" });
                let at = ids.iter().zip(expected).take_while(|(a, b)| a == b).count();
                let show = |ids: &[i32]| {
                    let texts = ids.iter().skip(at).take(8).map(|&id| tokenizer.token_text(id).unwrap_or_default());
                    texts.map(|text| format!("{:?}", String::from_utf8_lossy(text))).collect::<Vec<_>>().join(" ")
                };
                eprintln!("  from token {at}: {}\n  expected:     {}", show(&ids), show(expected));
            }
        }
    }
    assert_eq!(failures, 0, "{name}: wrong ids");
    if name == "bert-bge" {
        // Lower-cases and drops what it does not know.
        return;
    }
    for Case { text, ids_special_parsed: ids, .. } in &cases {
        streams_what_it_decodes(&tokenizer, name, text, ids);
    }
}

/// Token by token, only whole UTF-8 comes out, and together it is what decoding at once gives.
fn streams_what_it_decodes(tokenizer: &Tokenizer, name: &str, text: &str, ids: &[i32]) {
    let mut whole = Vec::new();
    tokenizer.decode(ids, true, &mut whole).unwrap();
    let mut stream = Utf8Stream::with_capacity(tokenizer.longest_piece());
    let (mut bytes, mut streamed) = (Vec::new(), String::new());
    for &id in ids {
        bytes.clear();
        tokenizer.token_bytes(id, true, &mut bytes).unwrap();
        streamed.push_str(stream.push(&bytes));
    }
    streamed.push_str(stream.flush());
    let whole = String::from_utf8(whole).unwrap_or_else(|error| panic!("{name}: {text:?} decodes to bad UTF-8: {error}"));
    assert!(streamed == whole || streamed.strip_prefix(' ') == Some(&whole), "{name}: {text:?} streams as {streamed:?}");
    // Vocabularies that mark spaces add one before text that follows a special token, and some swallow those behind.
    if !["llama-spm", "phi-3"].contains(&name) || !text.contains('<') {
        assert_eq!(whole, *text, "{name}");
    }
}

macro_rules! vocabularies {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                check($name);
            }
        )*
    };
}

vocabularies! {
    llama_spm: "llama-spm",
    phi_3: "phi-3",
    llama_bpe: "llama-bpe",
    gpt_2: "gpt-2",
    qwen2: "qwen2",
    falcon: "falcon",
    deepseek_llm: "deepseek-llm",
    bert_bge: "bert-bge",
}
