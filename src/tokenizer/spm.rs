//! SentencePiece byte-pair encoding (Kudo and Richardson 2018, as llama.cpp's `llama` vocabularies use it): neighbours
//! merge into the vocabulary's best-scored token until none fits; characters that are no token fall back to bytes.

use std::sync::Arc;

use super::arena::Index;
use super::definition::Definition;
use super::marks::Marks;
use super::merge::{Merge, Merger, Merges, NONE, Symbol};
use super::vocab::{Kind, Vocab, byte_of};
use super::word::{WholeWords, Words, character_length, push};
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
    marks: Marks,
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
        // No text becomes a control token, though "</" and "s>" could merge to one.
        for (id, kind) in vocab.kinds().filter(|(_, kind)| !kind.is_hidden()) {
            definition.tick(id as usize)?;
            index.insert(vocab.texts(), id)?;
            if kind == Kind::Byte
                && let Some(byte) = vocab.texts().get(id).and_then(byte_of)
            {
                bytes[usize::from(byte)] = id;
            }
        }
        Ok(Spm {
            index,
            whole: WholeWords::new(vocab.len())?,
            ranks,
            bytes,
            unknown: definition.unknown,
            add_space_prefix: definition.add_space_prefix,
            marks: Marks::new(&vocab)?,
            vocab,
        })
    }

    /// Appends the tokens of `text`, which starts a text or follows a special token.
    pub(super) fn encode(&self, text: &str, merger: &mut Merger, out: &mut Vec<i32>) -> Result<()> {
        self.marks.words(text, self.add_space_prefix, &mut |word| self.whole.encode(self, word, merger, out))
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
        // Most symbols merge: what a lone character is gets looked up when it is left over.
        (character_length(rest), NONE)
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
