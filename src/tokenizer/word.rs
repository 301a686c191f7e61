//! Words to tokens, the part that SPM and BPE share: a word that is a token by itself, or merges.

use std::sync::atomic::{AtomicU8, Ordering};

use super::merge::{Merger, Merges, NONE, Symbol};
use crate::error::{Error, Result, try_vec};

/// How a kind of tokenizer treats words.
pub(super) trait Words: Merges {
    /// The token that reads like `word`.
    fn token(&self, word: &[u8]) -> Option<u32>;

    /// Whether a word that is a token is that token, whatever its merges would make of it.
    fn ignores_merges(&self) -> bool;

    /// The bytes of the first symbol of `rest`, which is not empty, and its token or [`NONE`].
    fn first(&self, rest: &[u8]) -> (usize, u32);

    /// Appends the tokens of a symbol that is no token.
    fn spell(&self, symbol: &[u8], out: &mut Vec<i32>) -> Result<()>;
}

/// Not known whether the merges lead to the token.
const OPEN: u8 = 0;
/// They do.
const SAME: u8 = 1;
/// They do not.
const OTHER: u8 = 2;

/// Per token, whether merging its text leads back to it. Then a word that reads like it needs no merging; most words
/// of a text are such. Found out on first use; threads that race find the same.
#[derive(Debug)]
pub(super) struct WholeWords {
    known: Vec<AtomicU8>,
}

impl WholeWords {
    /// Nothing known yet about `count` tokens.
    pub(super) fn new(count: usize) -> Result<Self> {
        Ok(WholeWords { known: try_vec(count, OPEN)?.into_iter().map(AtomicU8::new).collect() })
    }

    /// Appends the tokens of `word`, shorter than 4 GiB.
    pub(super) fn encode(&self, words: &impl Words, word: &[u8], merger: &mut Merger, out: &mut Vec<i32>) -> Result<()> {
        let token = words.token(word);
        let known = token.and_then(|id| self.known.get(id as usize));
        if let (Some(id), Some(known)) = (token, known)
            && (words.ignores_merges() || known.load(Ordering::Relaxed) == SAME)
        {
            return push(out, id);
        }
        merger.start(word.len())?;
        let mut start = 0;
        while let Some(rest) = word.get(start..).filter(|rest| !rest.is_empty()) {
            let (len, id) = words.first(rest);
            merger.symbols.push(Symbol { start: start as u32, len: len as u32, id });
            start += len;
        }
        merger.run(word, words)?;
        if let (Some(id), Some(known)) = (token, known) {
            let same = matches!(merger.symbols.as_slice(), [symbol] if matches!(symbol.id, NONE) || symbol.id == id);
            known.store(if same { SAME } else { OTHER }, Ordering::Relaxed);
        }
        for symbol in &merger.symbols {
            match symbol.id {
                NONE => words.spell(symbol.bytes(word), out)?,
                id => push(out, id)?,
            }
        }
        Ok(())
    }
}

/// Appends a token. Ids of tokens fit an `i32`.
#[inline]
pub(super) fn push(out: &mut Vec<i32>, id: u32) -> Result<()> {
    if out.len() == out.capacity() {
        out.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
    }
    out.push(id as i32);
    Ok(())
}

/// The length of the character that `text`, which is not empty, begins with, going by its first byte.
#[inline]
pub(super) fn character_length(text: &[u8]) -> usize {
    let length = match text.first() {
        Some(0xf0..) => 4,
        Some(0xe0..) => 3,
        Some(0xc0..) => 2,
        _ => 1,
    };
    length.min(text.len())
}
