//! Byte strings of a vocabulary: one allocation for all of them, and a hash table from string to index.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::error::{Error, Result};

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
/// The hash is seeded at random, so that a vocabulary cannot be made of collisions; nothing but speed depends on it.
#[derive(Debug, Default)]
pub(super) struct Index {
    table: HashTable<u32>,
    hasher: RandomState,
}

impl Index {
    /// An empty index with room for `count` strings.
    pub(super) fn with_capacity(count: usize) -> Result<Self> {
        let mut index = Index::default();
        index.table.try_reserve(count, |_| 0).map_err(|_| Error::OutOfMemory)?;
        Ok(index)
    }

    /// Adds string `index` of `arena`; of equal strings the first stays. Empty strings are not added.
    pub(super) fn insert(&mut self, arena: &Arena, index: u32) -> Result<()> {
        let Some(key) = arena.get(index).filter(|key| !key.is_empty()) else { return Ok(()) };
        if self.get(arena, key).is_none() {
            let hash = |&index: &u32| self.hasher.hash_one(arena.get(index).unwrap_or_default());
            self.table.try_reserve(1, hash).map_err(|_| Error::OutOfMemory)?;
            self.table.insert_unique(self.hasher.hash_one(key), index, hash);
        }
        Ok(())
    }

    /// The index of the string equal to `key`.
    #[inline]
    pub(super) fn get(&self, arena: &Arena, key: &[u8]) -> Option<u32> {
        self.table.find(self.hasher.hash_one(key), |&index| arena.get(index) == Some(key)).copied()
    }
}
