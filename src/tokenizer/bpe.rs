//! Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019): text is split into words by the
//! pre-tokenizer, and within each word the bytes merge by the rank of the pair.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::arena::{Arena, Index};
use super::byte_level;
use super::definition::Definition;
use super::merge::{Merge, Merger, Merges, NONE, Symbol};
use super::split::Splitter;
use super::vocab::Vocab;
use super::word::{WholeWords, Words, push};
use crate::error::{Error, Result};

/// The tokenizer.
#[derive(Debug)]
pub(super) struct Bpe {
    vocab: Arc<Vocab>,
    /// Tokens by the bytes that they stand for.
    index: Index,
    whole: WholeWords,
    pairs: HashMap<(u32, u32), Merge, RandomState>,
    bytes: [u32; 256],
    unknown: Option<u32>,
    splitter: Splitter,
    ignore_merges: bool,
}

impl Bpe {
    /// Prepares the vocabulary. Merges of or into texts that are no token are ignored, as are repeated ones.
    pub(super) fn new(definition: &Definition, vocab: Arc<Vocab>) -> Result<Self> {
        let mut index = Index::with_capacity(vocab.len())?;
        for (id, kind) in vocab.kinds() {
            // The text of special tokens is not written in the alphabet of bytes; where it reads the same, words can
            // be special tokens.
            let text = vocab.texts().get(id).unwrap_or_default();
            if !kind.is_special() || text.iter().all(u8::is_ascii_graphic) {
                index.insert(vocab.pieces(), id)?;
            }
        }
        let mut bytes = [NONE; 256];
        for (byte, id) in (0..=255).zip(&mut bytes) {
            *id = index.get(vocab.pieces(), &[byte]).unwrap_or(NONE);
        }
        Ok(Bpe {
            pairs: pairs(definition, &vocab, &index)?,
            index,
            whole: WholeWords::new(vocab.len())?,
            bytes,
            unknown: definition.unknown,
            splitter: Splitter::new(definition.pre)?,
            ignore_merges: definition.pre.ignore_merges,
            vocab,
        })
    }

    /// Appends the tokens of `text`.
    pub(super) fn encode(&self, text: &str, merger: &mut Merger, out: &mut Vec<i32>) -> Result<()> {
        self.splitter.split(text, &mut |word| self.whole.encode(self, word, merger, out))
    }
}

/// The merges by pair of tokens.
fn pairs(definition: &Definition, vocab: &Vocab, index: &Index) -> Result<HashMap<(u32, u32), Merge, RandomState>> {
    let mut pairs: HashMap<_, _, RandomState> = HashMap::default();
    pairs.try_reserve(definition.merges.len()).map_err(|_| Error::OutOfMemory)?;
    let mut sides = Arena::default();
    let mut last = 0;
    for (rank, merge) in (0..).zip(&definition.merges) {
        // Tokens never hold a space, but the left one may be a mark that reads like one.
        let Some(space) = merge.iter().skip(1).position(|&byte| byte == b' ').map(|at| at + 1) else { continue };
        sides.discard();
        if !byte_level::decode(&merge[..space], &mut sides)? {
            continue;
        }
        let middle = sides.pending().len();
        if !byte_level::decode(&merge[space + 1..], &mut sides)? {
            continue;
        }
        let both = sides.pending();
        // Merges mostly stand in the order of the tokens that they form: look there before searching.
        let guess = [last, last + 1].into_iter().find(|&id| vocab.pieces().get(id) == Some(both));
        let find = |text| index.get(vocab.pieces(), text);
        let (Some(left), Some(right), Some(id)) = (find(&both[..middle]), find(&both[middle..]), guess.or_else(|| find(both)))
        else {
            continue;
        };
        last = id;
        pairs.entry((left, right)).or_insert(Merge { rank, id });
    }
    Ok(pairs)
}

impl Merges for Bpe {
    #[inline]
    fn merge(&self, _: &[u8], left: Symbol, right: Symbol) -> Option<Merge> {
        self.pairs.get(&(left.id, right.id)).copied()
    }
}

impl Words for Bpe {
    #[inline]
    fn token(&self, word: &[u8]) -> Option<u32> {
        self.index.get(self.vocab.pieces(), word)
    }

    fn ignores_merges(&self) -> bool {
        self.ignore_merges
    }

    #[inline]
    fn first(&self, rest: &[u8]) -> (usize, u32) {
        (1, rest.first().map_or(NONE, |&byte| self.bytes[usize::from(byte)]))
    }

    fn spell(&self, symbol: &[u8], out: &mut Vec<i32>) -> Result<()> {
        match (self.unknown, symbol.first()) {
            (Some(unknown), _) => push(out, unknown),
            (None, Some(byte)) => Err(Error::InvalidModel(format!("the vocabulary has no token for byte 0x{byte:02x}"))),
            (None, None) => Ok(()),
        }
    }
}
