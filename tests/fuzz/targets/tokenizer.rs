//! Texts through every kind of tokenizer: tokens of the vocabulary, no control token for text from strangers, and the text
//! back where the vocabulary has all bytes.

#![no_main]

use chord::tokenizer::{TextFlags, Tokenizer};
use chord_fuzz::vocabulary::Definition;
use chord_fuzz::{check, vocabularies};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static VOCABULARIES: LazyLock<Vec<(Definition, Tokenizer)>> = LazyLock::new(vocabularies);

/// In token kinds of files.
const CONTROL: i32 = 3;

fuzz_target!(|input: &[u8]| {
    let [choice, bytes @ ..] = input else { return };
    let (definition, tokenizer) = &VOCABULARIES[usize::from(choice >> 2) % VOCABULARIES.len()];
    let flags = TextFlags { add_special: choice & 1 != 0, parse_special: choice & 2 != 0 };
    let text = String::from_utf8_lossy(bytes);
    let mut tokens = Vec::new();
    if let Err(error) = tokenizer.encode(&text, flags, &mut tokens) {
        return check(&error);
    }
    let kind = |token: i32| *definition.kinds.get(token as usize).expect("a token of the vocabulary");
    let unknown = definition.ids.iter().find(|(key, _)| *key == "unknown_token_id").map(|(_, id)| *id as i32);
    let controls = tokens.iter().filter(|&&token| kind(token) == CONTROL && Some(token) != unknown).count();
    let mut decoded = Vec::new();
    tokenizer.decode(&tokens, true, &mut decoded).unwrap();
    if !flags.parse_special {
        assert!(controls <= if flags.add_special { 2 } else { 0 }, "{controls} control tokens in {text:?}");
        if !flags.add_special && matches!(&*definition.model, "gpt2" | "rwkv") {
            assert_eq!(decoded, text.as_bytes(), "{text:?}");
        }
    }
});
