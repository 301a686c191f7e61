//! Special tokens in text: which stretches are tokens by themselves before anything else looks at them.

use super::arena::Index;
use super::vocab::{Kind, Vocab};
use crate::error::{Error, Result};

/// Bit of [`Specials::starts`]: a user-defined token begins with the byte. Always matched.
const ADDED: u8 = 1;
/// The same for a token of any special type. Matched where special tokens are parsed.
const ANY: u8 = 2;

/// Special tokens that are longer are not looked for: no real vocabulary has any, and they would let a file make the search
/// slow.
const MAX_LENGTH: usize = 256;

/// Finds special tokens in text.
#[derive(Debug)]
pub(super) struct Specials {
    index: Index,
    /// Distinct lengths, longest first, each with the bits of the types that occur.
    lengths: Vec<(usize, u8)>,
    /// By first byte.
    starts: [u8; 256],
    /// Tokens that swallow the white space before them; sorted, as is the next.
    strip_left: Vec<u32>,
    /// Tokens that swallow the white space behind them.
    strip_right: Vec<u32>,
}

/// A special token in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    /// First byte, white space that the token swallows included.
    pub(super) start: usize,
    /// Behind the last byte.
    pub(super) end: usize,
    /// The token.
    pub(super) id: u32,
}

/// White space that tokens swallow.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

impl Specials {
    /// The special tokens of `vocab`; `strip_left` and `strip_right` name those that swallow white space.
    pub(super) fn new(vocab: &Vocab, strip_left: Vec<u32>, strip_right: Vec<u32>) -> Result<Self> {
        let count = vocab.kinds().filter(|(_, kind)| kind.is_special()).count();
        let index = Index::with_capacity(count)?;
        let mut specials = Specials { index, lengths: Vec::new(), starts: [0; 256], strip_left, strip_right };
        for (id, kind) in vocab.kinds().filter(|(_, kind)| kind.is_special()) {
            let Some(text) = vocab.texts().get(id) else { continue };
            // What is not UTF-8 cannot stand in a text; the rest can only stand there as whole characters.
            let (Some(&first), Ok(..=MAX_LENGTH)) = (text.first(), std::str::from_utf8(text).map(str::len)) else { continue };
            let bits = if kind == Kind::UserDefined { ADDED | ANY } else { ANY };
            specials.starts[usize::from(first)] |= bits;
            specials.lengths.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
            specials.lengths.push((text.len(), bits));
            specials.index.insert(vocab.texts(), id)?;
        }
        specials.lengths.sort_unstable_by(|a, b| b.cmp(a));
        // Bits are cumulative, so the first entry of a length has all of them.
        specials.lengths.dedup_by_key(|&mut (length, _)| length);
        Ok(specials)
    }

    /// The special tokens in `text`, in order, without overlap: longer tokens win over shorter ones wherever they are,
    /// equal ones from left to right. Control tokens count only if `parse`.
    ///
    /// Takes time proportional to the places where a token could begin times the number of distinct lengths.
    pub(super) fn find(&self, vocab: &Vocab, text: &[u8], parse: bool) -> Result<Vec<Match>> {
        let wanted = if parse { ANY } else { ADDED };
        let mut matches: Vec<Match> = Vec::new();
        let begins = |&(_, &byte): &(usize, &u8)| self.starts[usize::from(byte)] & wanted != 0;
        if !self.lengths.iter().any(|&(_, bits)| bits & wanted != 0) || !text.iter().enumerate().any(|byte| begins(&byte)) {
            return Ok(matches);
        }
        let mut places = Vec::new();
        for (place, _) in text.iter().enumerate().filter(begins) {
            places.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
            places.push(place);
        }
        for &(length, _) in self.lengths.iter().filter(|&&(_, bits)| bits & wanted != 0) {
            let known = matches.len();
            // The matches so far are sorted: `next` is the first that ends behind the place being looked at.
            let (mut next, mut floor) = (0, 0);
            for &place in &places {
                while next < known && matches[next].end <= place {
                    floor = floor.max(matches[next].end);
                    next += 1;
                }
                let limit = if next < known { matches[next].start } else { text.len() };
                if place < floor || place + length > limit {
                    continue;
                }
                let token = text.get(place..place + length).and_then(|bytes| self.index.get(vocab.texts(), bytes));
                let Some(id) = token.filter(|&id| parse || vocab.kind(id) == Some(Kind::UserDefined)) else { continue };
                let (mut start, mut end) = (place, place + length);
                if self.strip_left.binary_search(&id).is_ok() {
                    start -= text[floor..start].iter().rev().take_while(|&&byte| is_space(byte)).count();
                }
                if self.strip_right.binary_search(&id).is_ok() {
                    end += text[end..limit].iter().take_while(|&&byte| is_space(byte)).count();
                }
                floor = end;
                matches.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
                matches.push(Match { start, end, id });
            }
            if matches.len() > known {
                matches.sort_unstable_by_key(|found| found.start);
            }
        }
        Ok(matches)
    }
}
