//! Spaces as marks: SentencePiece's way to make them part of tokens.

use super::vocab::{Kind, SPACE_MARK, Vocab};
use crate::error::{Error, Result};

/// Marks the spaces of a text and cuts it into words where no token reaches across.
#[derive(Debug)]
pub(super) struct Marks {
    /// Characters that some token has before a mark, sorted. Behind any other, a text can be cut before a mark.
    before: Vec<char>,
}

impl Marks {
    /// Looks through the vocabulary.
    pub(super) fn new(vocab: &Vocab) -> Result<Self> {
        let mut before = Vec::new();
        for ((_, kind), text) in vocab.kinds().zip(vocab.texts().iter()) {
            if kind == Kind::Byte || text.len() <= SPACE_MARK.len() {
                continue;
            }
            let Ok(text) = std::str::from_utf8(text) else { continue };
            for (at, _) in text.match_indices('\u{2581}') {
                if let Some(character) = text.get(..at).and_then(|text| text.chars().next_back())
                    && before.last() != Some(&character)
                {
                    before.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
                    before.push(character);
                }
            }
        }
        before.sort_unstable();
        before.dedup();
        Ok(Marks { before })
    }

    /// Passes the words of `text` to `word`, with a mark before the first if `prefix`.
    pub(super) fn words(&self, text: &str, prefix: bool, word: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let spaces = text.bytes().filter(|&byte| byte == b' ').count() + usize::from(prefix);
        let mut marked = Vec::new();
        marked.try_reserve_exact(text.len() + spaces * SPACE_MARK.len()).map_err(|_| Error::OutOfMemory)?;
        let mut before = None;
        if prefix {
            marked.extend_from_slice(SPACE_MARK);
            before = Some('\u{2581}');
        }
        let mut start = 0;
        for character in text.chars() {
            if matches!(character, ' ' | '\u{2581}') {
                if before.is_some_and(|before| self.before.binary_search(&before).is_err()) {
                    word(&marked[start..])?;
                    start = marked.len();
                }
                marked.extend_from_slice(SPACE_MARK);
                before = Some('\u{2581}');
            } else {
                marked.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                before = Some(character);
            }
        }
        word(&marked[start..])
    }
}
