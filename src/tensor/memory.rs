//! Where scratch and caches get their memory, and how one learns beforehand how much that is.

use super::{Buffer, Zeroed};
use crate::error::{Error, Result, try_vec};
use std::mem::MaybeUninit;

/// Hands out memory and counts it; or only counts it: what is made with it then is empty, and good for nothing but to know its
/// size. Code that takes all its memory from here is its own plan.
pub struct Memory {
    bytes: usize,
    source: Source,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Nothing is taken.
    Plan,
    /// What the system hands out when it is touched.
    System,
    /// The same, and touched.
    Touched,
}

impl Memory {
    /// Takes memory from the system, which hands pages out when they are touched.
    #[must_use]
    pub const fn system() -> Memory {
        Memory { bytes: 0, source: Source::System }
    }

    /// As [`Memory::system`], and touches it at once.
    #[must_use]
    pub const fn touched() -> Memory {
        Memory { bytes: 0, source: Source::Touched }
    }

    /// Takes none.
    #[must_use]
    pub const fn plan() -> Memory {
        Memory { bytes: 0, source: Source::Plan }
    }

    /// Bytes that were asked for so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A buffer of `len` zeros.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], when the system has no room or no address is that large.
    pub fn buffer<T: Zeroed>(&mut self, len: usize) -> Result<Buffer<T>> {
        self.add(Buffer::<T>::footprint(len))?;
        let mut buffer = Buffer::new(self.now(len))?;
        if self.source == Source::Touched {
            buffer.touch();
        }
        Ok(buffer)
    }

    /// A vector of `len` copies of `value`.
    ///
    /// # Errors
    /// As [`Memory::buffer`].
    pub fn vec<T: Clone>(&mut self, len: usize, value: T) -> Result<Vec<T>> {
        self.add(len.checked_mul(size_of::<T>()))?;
        try_vec(self.now(len), value)
    }

    /// An empty vector with room for `capacity` elements.
    ///
    /// # Errors
    /// As [`Memory::buffer`].
    pub fn room<T>(&mut self, capacity: usize) -> Result<Vec<T>> {
        self.add(capacity.checked_mul(size_of::<T>()))?;
        let mut vec = Vec::new();
        vec.try_reserve_exact(self.now(capacity)).map_err(|_| Error::OutOfMemory)?;
        if self.source == Source::Touched {
            vec.spare_capacity_mut().fill_with(MaybeUninit::zeroed);
        }
        Ok(vec)
    }

    /// Counts bytes; `None` are too many to count.
    fn add(&mut self, bytes: Option<usize>) -> Result<()> {
        self.bytes = bytes.and_then(|bytes| self.bytes.checked_add(bytes)).ok_or(Error::OutOfMemory)?;
        Ok(())
    }

    /// How many of `len` elements to take now.
    fn now(&self, len: usize) -> usize {
        if self.source == Source::Plan { 0 } else { len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_counts_what_the_system_gives() {
        let take = |memory: &mut Memory| {
            let lens = [memory.buffer::<f32>(1000)?.len(), memory.vec(10, 7u16)?.len(), memory.room::<u64>(3)?.capacity()];
            Ok::<_, Error>((lens, memory.bytes()))
        };
        let bytes = Buffer::<f32>::footprint(1000).unwrap() + 44;
        for mut memory in [Memory::system(), Memory::touched()] {
            assert_eq!(take(&mut memory).unwrap(), ([1000, 10, 3], bytes));
        }
        assert_eq!(take(&mut Memory::plan()).unwrap(), ([0, 0, 0], bytes));
        for mut memory in [Memory::touched(), Memory::plan()] {
            assert!(matches!(memory.buffer::<f32>(usize::MAX / 2), Err(Error::OutOfMemory)));
        }
    }
}
