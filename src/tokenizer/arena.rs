//! Byte strings of a vocabulary: one allocation for all of them, and a hash table from string to index.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::error::{Error, Result, try_vec};

/// Byte strings one behind the other, addressed by index.
#[derive(Debug, Default)]
pub(super) struct Arena {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Arena {
    /// An empty arena with room for `count` strings of `bytes` bytes together.
    pub(super) fn with_capacity(count: usize, bytes: usize) -> Result<Self> {
        let mut arena = Arena::default();
        arena.bytes.try_reserve_exact(bytes).map_err(|_| Error::OutOfMemory)?;
        arena.ends.try_reserve_exact(count).map_err(|_| Error::OutOfMemory)?;
        Ok(arena)
    }

    /// Appends to the string that the next [`Arena::finish`] completes.
    pub(super) fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.try_reserve(bytes.len()).map_err(|_| Error::OutOfMemory)?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Completes a string; it gets the next index.
    pub(super) fn finish(&mut self) -> Result<()> {
        let end = u32::try_from(self.bytes.len())
            .map_err(|_| Error::Unsupported("the vocabulary holds more than 4 GiB of text".into()))?;
        self.ends.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        self.ends.push(end);
        Ok(())
    }

    /// Where the next string starts.
    fn end(&self) -> usize {
        self.ends.last().map_or(0, |&end| end as usize)
    }

    /// What was appended since the last completed string.
    pub(super) fn pending(&self) -> &[u8] {
        self.bytes.get(self.end()..).unwrap_or_default()
    }

    /// Drops what was appended since the last completed string.
    pub(super) fn discard(&mut self) {
        self.bytes.truncate(self.end());
    }

    /// Appends a whole string.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.extend(bytes)?;
        self.finish()
    }

    /// The number of strings.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The strings in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..).map_while(|index| self.get(index))
    }

    /// String `index`, if there is one.
    pub(super) fn get(&self, index: u32) -> Option<&[u8]> {
        let index = index as usize;
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |&end| end);
        self.bytes.get(start as usize..end as usize)
    }
}

/// Indices of an [`Arena`]'s strings by content. The strings stay in the arena, which every call names.
///
/// Open addressing with linear probing, at most half full. Strings of up to 7 bytes, most of those that are looked up,
/// are compared within the slot: finding one takes one cache line. The hash is seeded at random, so that a vocabulary
/// cannot be made of collisions; nothing but speed depends on it.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// A power of two, or none.
    slots: Vec<Slot>,
    len: usize,
    hasher: RandomState,
}

/// An entry of the table; empty if `key` is 0.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// The string and its length, or, of longer ones, [`LONG`] and a hash.
    key: u64,
    index: u32,
}

/// A string that is looked up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    key: u64,
    start: usize,
}

/// Marks keys that are only hashes; its place is that of the length of a short string.
const LONG: u64 = 0xff << 56;

/// A string of 1 to 7 bytes with its length in the highest byte.
#[inline]
fn pack(string: &[u8]) -> Option<u64> {
    let len = string.len();
    // Reads that overlap agree where they do.
    let bytes = match (string.first_chunk(), string.last_chunk()) {
        (Some(&first), Some(&last)) if len < 8 => {
            u64::from(u32::from_le_bytes(first)) | u64::from(u32::from_le_bytes(last)) << (8 * (len - 4))
        }
        _ => match *string {
            [a] => u64::from(a),
            [a, b] => u64::from(u16::from_le_bytes([a, b])),
            [a, b, c] => u64::from(u32::from_le_bytes([a, b, c, 0])),
            _ => return None,
        },
    };
    Some(bytes | (len as u64) << 56)
}

impl Index {
    /// An empty index with room for `count` strings.
    pub(super) fn with_capacity(count: usize) -> Result<Self> {
        let slots = count.checked_mul(2).and_then(usize::checked_next_power_of_two).ok_or(Error::OutOfMemory)?;
        Ok(Index { slots: try_vec(slots, Slot::default())?, ..Index::default() })
    }

    /// The key of `string` and the slot where the search for it begins.
    #[inline]
    pub(super) fn probe(&self, string: &[u8]) -> Probe {
        match pack(string) {
            Some(key) => Probe { key, start: self.hasher.hash_one(key) as usize },
            None => {
                let hash = self.hasher.hash_one(string);
                Probe { key: LONG | hash, start: hash as usize }
            }
        }
    }

    /// Loads where the search begins: such loads run side by side when nothing depends on them.
    #[inline]
    pub(super) fn touch(&self, probe: Probe) -> u64 {
        self.first(probe).map_or(0, |slot| slot.key)
    }

    /// Loads the string that the search is likely to compare with.
    #[inline]
    pub(super) fn touch_string(&self, arena: &Arena, probe: Probe) -> u64 {
        let slot = self.first(probe).filter(|slot| slot.key == probe.key && probe.key >= LONG);
        slot.and_then(|slot| arena.get(slot.index)?.first()).map_or(0, |&byte| u64::from(byte))
    }

    #[inline]
    fn first(&self, probe: Probe) -> Option<&Slot> {
        self.slots.get(probe.start & self.slots.len().wrapping_sub(1))
    }

    /// Adds string `index` of `arena`; of equal strings the first stays. Empty strings are not added.
    ///
    /// # Errors
    /// More strings than there is room for.
    pub(super) fn insert(&mut self, arena: &Arena, index: u32) -> Result<()> {
        let Some(string) = arena.get(index).filter(|string| !string.is_empty()) else { return Ok(()) };
        if self.get(arena, string).is_some() {
            return Ok(());
        }
        if self.len >= self.slots.len() / 2 {
            return Err(Error::Internal("the index of a vocabulary is full".into()));
        }
        let Probe { key, start } = self.probe(string);
        let mask = self.slots.len() - 1;
        let free = (start..).map(|place| place & mask).find(|&place| self.slots[place].key == 0);
        if let Some(slot) = free.and_then(|place| self.slots.get_mut(place)) {
            *slot = Slot { key, index };
            self.len += 1;
        }
        Ok(())
    }

    /// The index of the string equal to `string`.
    #[inline]
    pub(super) fn get(&self, arena: &Arena, string: &[u8]) -> Option<u32> {
        self.find(arena, string, self.probe(string))
    }

    /// As [`Index::get`], with what [`Index::probe`] says of the string.
    #[inline]
    pub(super) fn find(&self, arena: &Arena, string: &[u8], probe: Probe) -> Option<u32> {
        let Probe { key, start } = probe;
        let mask = self.slots.len().wrapping_sub(1);
        let mut place = start;
        // Half of the slots are empty: the search ends.
        loop {
            let slot = self.slots.get(place & mask)?;
            if slot.key == key && (key < LONG || arena.get(slot.index) == Some(string)) {
                return Some(slot.index);
            }
            if slot.key == 0 {
                return None;
            }
            place = place.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_every_length_are_found_and_no_others() {
        let strings: Vec<Vec<u8>> = (0..2000u32).map(|i| (0..i % 23).map(|j| (i * 7 + j * j) as u8 % 5).collect()).collect();
        let mut arena = Arena::default();
        let mut index = Index::with_capacity(strings.len()).unwrap();
        for (i, string) in (0..).zip(&strings) {
            arena.push(string).unwrap();
            index.insert(&arena, i).unwrap();
        }
        let mut distinct = 0;
        for (i, string) in strings.iter().enumerate() {
            let first = strings.iter().position(|other| other == string).filter(|_| !string.is_empty());
            distinct += usize::from(first == Some(i));
            assert_eq!(index.get(&arena, string), first.map(|first| first as u32), "{string:?}");
            let other = [string.as_slice(), &[9]].concat();
            assert_eq!(index.get(&arena, &other), None, "{other:?}");
        }
        assert!(distinct > 500 && distinct < 2000);
        assert_eq!(Index::default().get(&arena, b"a"), None);
    }

    #[test]
    fn a_string_appended_in_parts_or_dropped() {
        let mut arena = Arena::with_capacity(2, 4).unwrap();
        arena.extend(b"a").unwrap();
        arena.extend(b"b").unwrap();
        assert_eq!(arena.pending(), b"ab");
        arena.finish().unwrap();
        arena.extend(b"c").unwrap();
        arena.discard();
        arena.push(b"").unwrap();
        assert_eq!((arena.len(), arena.get(0), arena.get(1), arena.get(2)), (2, Some(&b"ab"[..]), Some(&b""[..]), None));
    }
}
