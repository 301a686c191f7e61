//! Merges by pair of tokens.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::merge::{Merge, NONE};
use crate::error::{Error, Result, try_vec};

/// A hash table like [`super::arena::Index`], at most three quarters full: finding a pair takes one cache line.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    /// A power of two, or none.
    slots: Vec<Slot>,
    len: usize,
    hasher: RandomState,
}

/// An entry of the table; empty if the merge forms no token.
#[derive(Debug, Clone, Copy)]
struct Slot {
    pair: u64,
    merge: Merge,
}

const EMPTY: Slot = Slot { pair: 0, merge: Merge { rank: 0, id: NONE } };

/// Left and right token in one number.
#[inline]
fn join((left, right): (u32, u32)) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

impl Pairs {
    /// An empty table with room for `count` pairs.
    pub(super) fn with_capacity(count: usize) -> Result<Self> {
        let slots = count.checked_mul(4).and_then(|four| (four / 3 + 1).checked_next_power_of_two()).ok_or(Error::OutOfMemory)?;
        Ok(Pairs { slots: try_vec(slots, EMPTY)?, ..Pairs::default() })
    }

    /// The slots where a pair can be, in the order of the search.
    #[inline]
    fn places(&self, pair: u64) -> impl Iterator<Item = usize> + use<> {
        let (start, mask) = (self.hasher.hash_one(pair) as usize, self.slots.len().wrapping_sub(1));
        (0..=mask).map(move |step| start.wrapping_add(step) & mask)
    }

    /// Loads where the search for a pair begins: such loads run side by side when nothing depends on them.
    #[inline]
    pub(super) fn touch(&self, pair: (u32, u32)) -> u64 {
        let place = self.places(join(pair)).next();
        place.and_then(|place| self.slots.get(place)).map_or(0, |slot| slot.pair)
    }

    /// Adds a pair; of equal pairs the first stays.
    ///
    /// # Errors
    /// More pairs than there is room for.
    pub(super) fn insert(&mut self, pair: (u32, u32), merge: Merge) -> Result<()> {
        let pair = join(pair);
        let full = self.len > self.slots.len() / 4 * 3;
        for place in self.places(pair) {
            let Some(slot) = self.slots.get_mut(place).filter(|_| !full) else { break };
            if slot.merge.id == NONE {
                *slot = Slot { pair, merge };
                self.len += 1;
                return Ok(());
            }
            if slot.pair == pair {
                return Ok(());
            }
        }
        Err(Error::Internal("the table of merges is full".into()))
    }

    /// What a pair merges into.
    #[inline]
    pub(super) fn get(&self, pair: (u32, u32)) -> Option<Merge> {
        let pair = join(pair);
        for place in self.places(pair) {
            let slot = self.slots.get(place)?;
            if slot.merge.id == NONE {
                return None;
            }
            if slot.pair == pair {
                return Some(slot.merge);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn finds_what_a_map_finds() {
        for count in [0, 1, 2, 3, 5, 24, 1000] {
            let (mut pairs, mut map) = (Pairs::with_capacity(count).unwrap(), HashMap::new());
            for rank in 0..count as u32 {
                let (pair, merge) = ((rank * 7 % 31, rank * rank % 53), Merge { rank, id: rank + 300 });
                pairs.insert(pair, merge).unwrap();
                map.entry(pair).or_insert(rank);
            }
            for pair in (0..40).flat_map(|left| (0..60).map(move |right| (left, right))) {
                assert_eq!(pairs.get(pair).map(|merge| (merge.rank, merge.id)), map.get(&pair).map(|&rank| (rank, rank + 300)));
            }
        }
        assert!(Pairs::default().get((1, 2)).is_none());
    }

    #[test]
    fn a_full_table_says_so() {
        let mut pairs = Pairs::with_capacity(3).unwrap();
        let added = (0..20).take_while(|&id| pairs.insert((id, id), Merge { rank: id, id }).is_ok()).count();
        assert!((3..8).contains(&added), "{added}");
        assert!(pairs.get((99, 99)).is_none());
    }
}
