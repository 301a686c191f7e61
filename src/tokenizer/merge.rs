//! The merge loop that SPM and BPE share: join the best pair of neighbours until no pair is left.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::error::{Error, Result};

/// A token id that no token has.
pub(super) const NONE: u32 = u32::MAX;

/// Longest word, in symbols, that is merged by scanning for the best pair. Longer ones go through a heap: O(n log n).
const SCAN: usize = 24;

/// A stretch of the word that is one token by now, or a character that is none ([`NONE`]).
#[derive(Debug, Clone, Copy)]
pub(super) struct Symbol {
    /// First byte in the word.
    pub(super) start: u32,
    /// Bytes; 0 once it is part of its left neighbour.
    pub(super) len: u32,
    /// Token id or [`NONE`].
    pub(super) id: u32,
}

impl Symbol {
    /// The bytes of `word` that the symbol covers.
    pub(super) fn bytes<'w>(&self, word: &'w [u8]) -> &'w [u8] {
        word.get(self.start as usize..self.start as usize + self.len as usize).unwrap_or_default()
    }
}

/// What neighbours become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Merge {
    /// Lower merges first; of equal ones the leftmost. Below `u32::MAX`.
    pub(super) rank: u32,
    /// The token that they form.
    pub(super) id: u32,
}

/// Which pairs merge.
pub(super) trait Merges {
    /// The merge of two neighbouring symbols of `word`, if there is one.
    fn merge(&self, word: &[u8], left: Symbol, right: Symbol) -> Option<Merge>;
}

/// A pair that waits in the heap. Field order is priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u32,
    left: u32,
    right: u32,
    /// Bytes of both together: tells whether they are still what they were.
    len: u32,
    id: u32,
}

/// The symbols of a word with everything that merging them needs, reused from word to word.
#[derive(Debug, Default)]
pub(super) struct Merger {
    /// Set by the caller, then merged in place by [`Merger::run`].
    pub(super) symbols: Vec<Symbol>,
    /// `ranks[i]`, `formed[i]`: the merge of symbols i and i+1 (scan only).
    ranks: Vec<u32>,
    formed: Vec<u32>,
    /// Neighbours of each symbol (heap only).
    links: Vec<(u32, u32)>,
    heap: BinaryHeap<Reverse<Candidate>>,
}

/// The rank of a pair that does not merge.
const NEVER: u32 = u32::MAX;

impl Merger {
    /// Empties the symbols and makes room for `count`.
    pub(super) fn start(&mut self, count: usize) -> Result<()> {
        self.symbols.clear();
        self.symbols.try_reserve(count).map_err(|_| Error::OutOfMemory)
    }

    /// Merges the symbols of `word`, at most `u32::MAX` - 1 bytes, until no pair merges.
    pub(super) fn run(&mut self, word: &[u8], merges: &impl Merges) -> Result<()> {
        match self.symbols.len() {
            0 | 1 => Ok(()),
            2..=SCAN => self.scan(word, merges),
            _ => self.drain(word, merges),
        }
    }

    /// For short words: the best pair is found by looking at all of them.
    fn scan(&mut self, word: &[u8], merges: &impl Merges) -> Result<()> {
        let Merger { symbols, ranks, formed, .. } = self;
        ranks.clear();
        formed.clear();
        ranks.try_reserve(SCAN).map_err(|_| Error::OutOfMemory)?;
        formed.try_reserve(SCAN).map_err(|_| Error::OutOfMemory)?;
        let merge = |left, right| merges.merge(word, left, right).map_or((NEVER, NONE), |Merge { rank, id }| (rank, id));
        for pair in symbols.windows(2) {
            let (rank, id) = merge(pair[0], pair[1]);
            ranks.push(rank);
            formed.push(id);
        }
        while let Some(best) = ranks.iter().copied().min().filter(|&best| best != NEVER)
            && let Some(at) = ranks.iter().position(|&rank| rank == best)
        {
            // There is one rank less than symbols: symbol `at + 1` exists whenever rank `at` does.
            let right = symbols.remove(at + 1);
            ranks.remove(at);
            symbols[at].len += right.len;
            symbols[at].id = formed.remove(at);
            if at > 0 {
                (ranks[at - 1], formed[at - 1]) = merge(symbols[at - 1], symbols[at]);
            }
            if at < ranks.len() {
                (ranks[at], formed[at]) = merge(symbols[at], symbols[at + 1]);
            }
        }
        Ok(())
    }

    /// For long words: a linked list of symbols and a heap of pairs; outdated pairs are skipped when they come up.
    fn drain(&mut self, word: &[u8], merges: &impl Merges) -> Result<()> {
        let Merger { symbols, links, heap, .. } = self;
        let count = symbols.len();
        links.clear();
        links.try_reserve(count).map_err(|_| Error::OutOfMemory)?;
        links.extend((0..count as u32).map(|i| (i.wrapping_sub(1), if i as usize + 1 < count { i + 1 } else { NONE })));
        heap.clear();
        // Every pair at the start, and two more for each of fewer than `count` merges.
        heap.try_reserve(count.saturating_mul(3)).map_err(|_| Error::OutOfMemory)?;

        let propose = |heap: &mut BinaryHeap<_>, symbols: &[Symbol], left: u32, right: u32| {
            if let (Some(&l), Some(&r)) = (symbols.get(left as usize), symbols.get(right as usize))
                && let Some(Merge { rank, id }) = merges.merge(word, l, r)
            {
                heap.push(Reverse(Candidate { rank, left, right, len: l.len + r.len, id }));
            }
        };
        for left in 1..count as u32 {
            propose(heap, symbols, left - 1, left);
        }
        while let Some(Reverse(Candidate { left, right, len, id, .. })) = heap.pop() {
            let (l, r) = (left as usize, right as usize);
            if symbols[l].len == 0 || symbols[r].len == 0 || symbols[l].len + symbols[r].len != len {
                continue;
            }
            symbols[l] = Symbol { len, id, ..symbols[l] };
            symbols[r].len = 0;
            let next = links[r].1;
            links[l].1 = next;
            if next != NONE {
                links[next as usize].0 = left;
            }
            propose(heap, symbols, links[l].0, left);
            propose(heap, symbols, left, next);
        }
        symbols.retain(|symbol| symbol.len != 0);
        Ok(())
    }
}
