//! Byte-pair encoding (Sennrich et al. 2016): text is split into words by the pre-tokenizer, and within each word the bytes
//! (Radford et al. 2019) or characters merge by the rank of the pair.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;

use super::arena::{Arena, Index, Probe};
use super::byte_level;
use super::definition::Definition;
use super::marks::Marks;
use super::merge::{Merge, Merger, Merges, NONE, Symbol};
use super::pairs::Pairs;
use super::pre::{Alphabet, PreTokenizer};
use super::split::Splitter;
use super::vocab::Vocab;
use super::word::{WholeWords, Words, character_length, push};
use crate::error::Result;

/// The tokenizer.
#[derive(Debug)]
pub(super) struct Bpe {
    vocab: Arc<Vocab>,
    /// Tokens by [`strings`].
    index: Index,
    whole: WholeWords,
    pairs: Pairs,
    bytes: [u32; 256],
    splitter: Splitter,
    pre: &'static PreTokenizer,
    /// Of words that are written in characters.
    marks: Option<Marks>,
    lowercase: bool,
}

/// What words are made of: the bytes that tokens stand for, or their texts.
fn strings(vocab: &Vocab, alphabet: Alphabet) -> &Arena {
    match alphabet {
        Alphabet::Bytes => vocab.pieces(),
        Alphabet::Marked | Alphabet::Spaceless => vocab.texts(),
    }
}

impl Bpe {
    /// Prepares the vocabulary. Merges of or into texts that are no token are ignored, as are repeated ones.
    pub(super) fn new(definition: &Definition, vocab: Arc<Vocab>) -> Result<Self> {
        let alphabet = definition.pre.alphabet;
        let strings = strings(&vocab, alphabet);
        let mut index = Index::with_capacity(vocab.len())?;
        for ((id, kind), text) in vocab.kinds().zip(vocab.texts().iter()) {
            definition.tick(id as usize)?;
            // The text of special tokens is not written in the alphabet of bytes; where it reads the same, words can
            // be special tokens.
            if alphabet != Alphabet::Bytes || !kind.is_special() || text.iter().all(u8::is_ascii_graphic) {
                index.insert(strings, id)?;
            }
        }
        let mut bytes = [NONE; 256];
        for (byte, id) in (0..=255_u8).zip(&mut bytes) {
            let token = match alphabet {
                Alphabet::Bytes => index.get(strings, &[byte]),
                Alphabet::Marked | Alphabet::Spaceless => index.get(strings, format!("<0x{byte:02X}>").as_bytes()),
            };
            *id = token.unwrap_or(NONE);
        }
        Ok(Bpe {
            pairs: pairs(definition, strings, &index)?,
            index,
            whole: WholeWords::new(vocab.len())?,
            bytes,
            splitter: Splitter::new(definition.pre)?,
            pre: definition.pre,
            marks: if alphabet == Alphabet::Marked { Some(Marks::new(&vocab)?) } else { None },
            lowercase: definition.lowercase,
            vocab,
        })
    }

    /// Appends the tokens of `text`.
    pub(super) fn encode(&self, text: &str, merger: &mut Merger, out: &mut Vec<i32>) -> Result<()> {
        match (&self.marks, self.pre.alphabet) {
            (Some(marks), _) => self.splitter.split(text, &mut |line| {
                if self.pre.whole_line_ends
                    && line.starts_with("\n")
                    && let Some(id) = self.token(line.as_bytes())
                {
                    return push(out, id);
                }
                marks.words(line, false, &mut |word| self.whole.encode(self, word, merger, out))
            }),
            (None, Alphabet::Spaceless) => {
                let lower: String;
                let mut text = text;
                if self.lowercase {
                    lower = text.to_lowercase();
                    text = &lower;
                }
                let mut words = text.split_whitespace();
                words.try_for_each(|word| self.whole.encode(self, word.as_bytes(), merger, out))
            }
            _ => self.splitter.split(text, &mut |word| self.whole.encode(self, word.as_bytes(), merger, out)),
        }
    }
}

/// A merge whose sides are being looked up.
struct Candidate {
    rank: u32,
    /// Where its sides begin, meet and end in the buffer.
    sides: [usize; 3],
    probes: [Probe; 2],
}

/// Merges that are looked up together. Tables of this size are in no near cache: what a look-up waits for is memory, and
/// the waits of many run side by side if all are begun before the first is finished.
const BATCH: usize = 32;

/// The merges by pair of tokens.
fn pairs(definition: &Definition, strings: &Arena, index: &Index) -> Result<Pairs> {
    let mut pairs = Pairs::with_capacity(definition.merges.len())?;
    let mut buffer = Arena::default();
    let mut candidates: Vec<Candidate> = Vec::with_capacity(BATCH);
    let mut found: Vec<((u32, u32), Merge)> = Vec::with_capacity(BATCH);
    let (mut rank, mut last) = (0, 0);
    for batch in definition.merges.chunks(BATCH) {
        buffer.discard();
        candidates.clear();
        for merge in batch {
            candidates.extend(candidate(merge, rank, definition.pre.alphabet, index, &mut buffer)?);
            rank += 1;
        }
        let probes = || candidates.iter().flat_map(|candidate| candidate.probes);
        black_box(probes().fold(0, |sum, probe| sum ^ index.touch(probe)));
        black_box(probes().fold(0, |sum, probe| sum ^ index.touch_string(strings, probe)));
        found.clear();
        for &Candidate { rank, sides: [start, middle, end], probes: [left, right] } in &candidates {
            let bytes = buffer.pending();
            let both = bytes.get(start..end).unwrap_or_default();
            let find = |range: Range<usize>, probe| index.find(strings, bytes.get(range)?, probe);
            // Merges mostly stand in the order of the tokens that they form: look there before searching.
            let guess = [last, last + 1].into_iter().find(|&id| strings.get(id) == Some(both));
            if let (Some(left), Some(right), Some(id)) =
                (find(start..middle, left), find(middle..end, right), guess.or_else(|| index.get(strings, both)))
            {
                last = id;
                found.push(((left, right), Merge { rank, id }));
            }
        }
        black_box(found.iter().fold(0, |sum, &(pair, _)| sum ^ pairs.touch(pair)));
        found.iter().try_for_each(|&(pair, merge)| pairs.insert(pair, merge))?;
    }
    Ok(pairs)
}

/// Appends the sides of a merge to the buffer, if they are written in the alphabet.
fn candidate(merge: &[u8], rank: u32, alphabet: Alphabet, index: &Index, buffer: &mut Arena) -> Result<Option<Candidate>> {
    // Tokens never hold a space, but the left one may be a mark that reads like one.
    let Some(space) = merge.iter().skip(1).position(|&byte| byte == b' ').map(|at| at + 1) else { return Ok(None) };
    let append = |side: &[u8], buffer: &mut Arena| match alphabet {
        Alphabet::Bytes => byte_level::decode(side, buffer),
        Alphabet::Marked | Alphabet::Spaceless => buffer.extend(side).map(|()| true),
    };
    let start = buffer.pending().len();
    let whole = append(&merge[..space], buffer)?;
    let middle = buffer.pending().len();
    if !(whole && append(&merge[space + 1..], buffer)?) {
        return Ok(None);
    }
    let (left, right) = buffer.pending()[start..].split_at(middle - start);
    let probes = [left, right].map(|side| index.probe(side));
    Ok(Some(Candidate { rank, sides: [start, middle, buffer.pending().len()], probes }))
}

impl Merges for Bpe {
    #[inline]
    fn merge(&self, _: &[u8], left: Symbol, right: Symbol) -> Option<Merge> {
        self.pairs.get((left.id, right.id))
    }
}

impl Words for Bpe {
    #[inline]
    fn token(&self, word: &[u8]) -> Option<u32> {
        self.index.get(strings(&self.vocab, self.pre.alphabet), word)
    }

    fn ignores_merges(&self) -> bool {
        self.pre.ignore_merges
    }

    #[inline]
    fn first(&self, rest: &[u8]) -> (usize, u32) {
        match self.pre.alphabet {
            Alphabet::Bytes => (1, rest.first().map_or(NONE, |&byte| self.bytes[usize::from(byte)])),
            Alphabet::Marked | Alphabet::Spaceless => {
                let length = character_length(rest);
                (length, rest.get(..length).and_then(|character| self.token(character)).unwrap_or(NONE))
            }
        }
    }

    /// Bytes that are no token are left out.
    fn spell(&self, symbol: &[u8], out: &mut Vec<i32>) -> Result<()> {
        let known = symbol.iter().map(|&byte| self.bytes[usize::from(byte)]).filter(|&id| id != NONE);
        known.into_iter().try_for_each(|id| push(out, id))
    }
}
