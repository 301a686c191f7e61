//! Any ids through every kind of tokenizer: bytes or an error, and as a stream nothing but whole UTF-8.

#![no_main]

use chord::tokenizer::{Tokenizer, Utf8Stream};
use chord_fuzz::vocabulary::Definition;
use chord_fuzz::{check, vocabularies};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static VOCABULARIES: LazyLock<Vec<(Definition, Tokenizer)>> = LazyLock::new(vocabularies);

fuzz_target!(|input: &[u8]| {
    let [choice, bytes @ ..] = input else { return };
    let (_, tokenizer) = &VOCABULARIES[usize::from(choice >> 2) % VOCABULARIES.len()];
    let special = choice & 1 != 0;
    // Two bytes are an id around the vocabulary; those with the highest bit are the start of one of four.
    let mut ids = Vec::new();
    let mut rest = bytes;
    while let [low, high, tail @ ..] = rest {
        let id = u16::from_le_bytes([*low, *high]);
        (ids, rest) = match tail {
            [third, fourth, tail @ ..] if id >> 15 != 0 => (push(ids, i32::from_le_bytes([*low, *high, *third, *fourth])), tail),
            _ => (push(ids, i32::from(id) % (tokenizer.vocab_size() as i32 + 2)), tail),
        };
    }
    let mut stream = Utf8Stream::with_capacity(16);
    let (mut pieces, mut text) = (Vec::new(), String::new());
    for &id in &ids {
        let before = pieces.len();
        let known = usize::try_from(id).is_ok_and(|id| id < tokenizer.vocab_size());
        let result = tokenizer.token_bytes(id, special, &mut pieces);
        assert_eq!(result.is_ok(), known, "token {id}");
        assert_eq!(tokenizer.token_text(id).is_some(), known, "token {id}");
        text += stream.push(&pieces[before..]);
        assert!(known || !tokenizer.is_end_of_generation(id), "token {id}");
    }
    text += stream.flush();
    assert_eq!(text, String::from_utf8_lossy(&pieces));
    let mut whole = Vec::new();
    match tokenizer.decode(&ids, special, &mut whole) {
        Ok(()) => assert!(whole.len() <= pieces.len() + ids.len(), "{whole:?}"),
        Err(error) => check(&error),
    }
});

fn push(mut ids: Vec<i32>, id: i32) -> Vec<i32> {
    ids.push(id);
    ids
}
