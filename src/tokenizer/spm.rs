//! SentencePiece byte-pair encoding (Kudo and Richardson 2018, as llama.cpp's `llama` vocabularies use it): neighbours
//! merge into the vocabulary's best-scored token until none fits; characters that are no token fall back to bytes.

use std::sync::Arc;

use super::arena::Index;
use super::definition::Definition;
use super::merge::{Merge, Merger, Merges, NONE, Symbol};
use super::vocab::{Kind, SPACE_MARK, Vocab, byte_of};
use super::word::{WholeWords, Words, push};
use crate::error::{Error, Result, try_vec};

/// The tokenizer.
#[derive(Debug)]
pub(super) struct Spm {
    vocab: Arc<Vocab>,
    /// Tokens by their text, in which spaces are marks.
    index: Index,
    whole: WholeWords,
    /// By token: lower merges first.
    ranks: Vec<u32>,
    bytes: [u32; 256],
    unknown: Option<u32>,
    add_space_prefix: bool,
    /// Characters that some token has before a space mark, sorted. Behind any other, a text can be cut before a
    /// mark: no token reaches across.
    before_mark: Vec<char>,
}

/// A score as a rank: the higher the score, the lower the rank; what is no number comes last.
fn rank(score: f32) -> u32 {
    // Adding 0 turns -0 into 0: they are equal scores.
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    if score.is_nan() { u32::MAX - 1 } else { (!ascending).min(u32::MAX - 1) }
}

impl Spm {
    /// Prepares the vocabulary.
    pub(super) fn new(definition: &Definition, vocab: Arc<Vocab>) -> Result<Self> {
        let mut index = Index::with_capacity(vocab.len())?;
        let mut ranks = try_vec(vocab.len(), rank(0.0))?;
        for (rank_of, &score) in ranks.iter_mut().zip(&definition.scores) {
            *rank_of = rank(score);
        }
        let mut bytes = [NONE; 256];
        let mut before_mark = Vec::new();
        for (id, kind) in vocab.kinds() {
            index.insert(vocab.texts(), id)?;
            let Some(text) = vocab.texts().get(id) else { continue };
            if kind == Kind::Byte {
                if let Some(byte) = byte_of(text) {
                    bytes[usize::from(byte)] = id;
                }
            } else if let Ok(text) = std::str::from_utf8(text) {
                let marks = text.match_indices('\u{2581}');
                let before = marks.filter_map(|(at, _)| text.get(..at)?.chars().next_back());
                for character in before {
                    if let Err(at) = before_mark.binary_search(&character) {
                        before_mark.insert(at, character);
                    }
                }
            }
        }
        Ok(Spm {
            index,
            whole: WholeWords::new(vocab.len())?,
            ranks,
            bytes,
            unknown: definition.unknown,
            add_space_prefix: definition.add_space_prefix,
            before_mark,
            vocab,
        })
    }

    /// Appends the tokens of `text`, which starts a text or follows a special token.
    pub(super) fn encode(&self, text: &str, merger: &mut Merger, out: &mut Vec<i32>) -> Result<()> {
        let spaces = text.bytes().filter(|&byte| byte == b' ').count() + 1;
        let mut marked = Vec::new();
        marked.try_reserve_exact(text.len() + spaces * SPACE_MARK.len()).map_err(|_| Error::OutOfMemory)?;
        // Where the current word starts, and the character before the place being looked at.
        let (mut word, mut before) = (0, None);
        let mut mark = |marked: &mut Vec<u8>, before: Option<char>| {
            let cut = before.is_some_and(|before| self.before_mark.binary_search(&before).is_err());
            let end = marked.len();
            marked.extend_from_slice(SPACE_MARK);
            cut.then(|| std::mem::replace(&mut word, end)..end)
        };
        if self.add_space_prefix {
            mark(&mut marked, before);
            before = Some('\u{2581}');
        }
        for character in text.chars() {
            if matches!(character, ' ' | '\u{2581}') {
                if let Some(range) = mark(&mut marked, before) {
                    self.whole.encode(self, &marked[range], merger, out)?;
                }
                before = Some('\u{2581}');
            } else {
                marked.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                before = Some(character);
            }
        }
        self.whole.encode(self, &marked[word..], merger, out)
    }
}

impl Merges for Spm {
    fn merge(&self, word: &[u8], left: Symbol, right: Symbol) -> Option<Merge> {
        let both = Symbol { len: left.len + right.len, ..left };
        let id = self.index.get(self.vocab.texts(), both.bytes(word))?;
        Some(Merge { rank: *self.ranks.get(id as usize)?, id })
    }
}

impl Words for Spm {
    fn token(&self, word: &[u8]) -> Option<u32> {
        self.index.get(self.vocab.texts(), word)
    }

    fn ignores_merges(&self) -> bool {
        false
    }

    fn first(&self, rest: &[u8]) -> (usize, u32) {
        let len = match rest.first() {
            Some(0xf0..) => 4,
            Some(0xe0..) => 3,
            Some(0xc0..) => 2,
            _ => 1,
        };
        // Most symbols merge: what a lone character is gets looked up when it is left over.
        (len.min(rest.len()), NONE)
    }

    fn spell(&self, symbol: &[u8], out: &mut Vec<i32>) -> Result<()> {
        if let Some(id) = self.token(symbol) {
            return push(out, id);
        }
        for &byte in symbol {
            match (self.bytes[usize::from(byte)], self.unknown) {
                (NONE, None) => return Err(Error::InvalidModel(format!("the vocabulary has no token for byte 0x{byte:02x}"))),
                (NONE, Some(unknown)) => push(out, unknown)?,
                (id, _) => push(out, id)?,
            }
        }
        Ok(())
    }
}
