//! Zeroed memory of fixed size: scratch and caches.

use crate::error::{Error, Result};
use half::f16;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

/// Types for which all-zero bytes are a value.
///
/// # Safety
/// Zero bytes must be a valid value, and the type must need no drop.
pub unsafe trait Zeroed: Copy {}
// SAFETY: plain numbers.
unsafe impl Zeroed for f32 {}
// SAFETY: a 16-bit pattern.
unsafe impl Zeroed for f16 {}
// SAFETY: plain numbers.
unsafe impl Zeroed for u64 {}
// SAFETY: plain bytes.
unsafe impl Zeroed for u8 {}

/// A zeroed, aligned allocation of fixed length. Pages are touched only when they are written, so a large buffer costs
/// what is used of it; large ones are offered to the system for huge pages.
pub struct Buffer<T: Zeroed> {
    data: NonNull<T>,
    len: usize,
    /// Where the elements lie.
    block: Block,
}

/// What a buffer takes.
#[derive(Clone, Copy)]
enum Block {
    /// From the allocator: more than the elements, because the system's hands out untouched zero pages only for its own
    /// alignment.
    Allocated(NonNull<u8>, Layout),
    /// Pages of the system, this many bytes.
    Mapped(usize),
}

// SAFETY: the buffer owns its elements, which are plain values.
unsafe impl<T: Zeroed + Send> Send for Buffer<T> {}
// SAFETY: as above.
unsafe impl<T: Zeroed + Sync> Sync for Buffer<T> {}

/// Alignment of small buffers: two cache lines.
const LINES: usize = 128;
/// Size and alignment of huge pages; buffers from this size on have it.
const HUGE: usize = 2 << 20;
/// A multiple of every page size in use.
const PAGE: usize = 64 << 10;
/// No page is smaller.
const LEAST_PAGE: usize = 4 << 10;

impl<T: Zeroed> Buffer<T> {
    /// A buffer of `len` zeros.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the system has no room.
    pub fn new(len: usize) -> Result<Buffer<T>> {
        let size = Self::footprint(len).ok_or(Error::OutOfMemory)?;
        let block = if size >= HUGE { map(size) } else { allocate(size) };
        let (data, block) = block.ok_or(Error::OutOfMemory)?;
        Ok(Buffer { data: data.cast(), len, block })
    }

    /// Bytes that a buffer of `len` elements takes; `None` when no address is that large.
    #[must_use]
    pub fn footprint(len: usize) -> Option<usize> {
        let bytes = len.checked_mul(size_of::<T>())?;
        if bytes.checked_add(LINES)? < HUGE { Some(bytes + LINES) } else { bytes.max(HUGE).checked_next_multiple_of(PAGE) }
    }

    /// Touches every page of a buffer of zeros, so that the system hands it out now.
    pub fn touch(&mut self) {
        let bytes = self.len * size_of::<T>();
        for at in (0..bytes).step_by(LEAST_PAGE).chain(bytes.checked_sub(1)) {
            // SAFETY: within the elements, of which zero is a value. Volatile, for zeros over zeros could be left out.
            unsafe { self.data.cast::<u8>().add(at).write_volatile(0) };
        }
    }
}

/// Zeros of the allocator.
fn allocate(size: usize) -> Option<(NonNull<u8>, Block)> {
    let layout = Layout::from_size_align(size, align_of::<u64>()).ok()?;
    // SAFETY: the size is not zero, for there is room to align.
    let block = NonNull::new(unsafe { alloc_zeroed(layout) })?;
    // SAFETY: less than `LINES` bytes, which the size has in addition to the elements.
    let data = unsafe { block.add(block.as_ptr().align_offset(LINES)) };
    Some((data, Block::Allocated(block, layout)))
}

/// Zero pages of the system. From it rather than the allocator, because they shall be aligned without taking more than they
/// hold, and go back when they are freed.
fn map(size: usize) -> Option<(NonNull<u8>, Block)> {
    let whole = size.checked_add(HUGE).filter(|&whole| whole <= isize::MAX as usize)?;
    // Addresses first, in which the place can be chosen, then memory.
    // SAFETY: a new mapping, at no particular place.
    let start = unsafe { libc::mmap(ptr::null_mut(), whole, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
    if start == libc::MAP_FAILED {
        return None;
    }
    let before = start.cast::<u8>().align_offset(HUGE);
    // SAFETY: all within the mapping, of which nobody knows but this function; the advice is only a hint.
    unsafe {
        let data = start.byte_add(before);
        for (part, size) in [(start, before), (data.byte_add(size), HUGE - before)] {
            if size > 0 {
                libc::munmap(part, size);
            }
        }
        if libc::mprotect(data, size, libc::PROT_READ | libc::PROT_WRITE) != 0 {
            libc::munmap(data, size);
            return None;
        }
        #[cfg(target_os = "linux")]
        libc::madvise(data, size, libc::MADV_HUGEPAGE);
        Some((NonNull::new(data.cast())?, Block::Mapped(size)))
    }
}

impl<T: Zeroed> Drop for Buffer<T> {
    fn drop(&mut self) {
        match self.block {
            // SAFETY: allocated in `allocate` with this layout.
            Block::Allocated(block, layout) => unsafe { dealloc(block.as_ptr(), layout) },
            // SAFETY: mapped in `map` with this size.
            Block::Mapped(size) => _ = unsafe { libc::munmap(self.data.as_ptr().cast(), size) },
        }
    }
}

impl<T: Zeroed> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `data` holds `len` initialized elements, or none.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

impl<T: Zeroed> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_zeroed_aligned_and_writable_to_the_end() {
        for len in [0, 1, 100, HUGE / 4 - 1, HUGE / 4, HUGE] {
            let mut buffer = Buffer::<f32>::new(len).unwrap();
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|&value| value == 0.0));
            assert_eq!(buffer.as_ptr() as usize % if len * 4 >= HUGE { HUGE } else { LINES }, 0);
            buffer.fill(1.0);
        }
        assert!(matches!(Buffer::<f32>::new(usize::MAX / 8), Err(Error::OutOfMemory)));
        assert!(matches!(Buffer::<f32>::new(usize::MAX), Err(Error::OutOfMemory)));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn pages_are_untouched_until_they_are_written() {
        let resident = || -> usize {
            let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
            pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
        };
        let before = resident();
        let mut buffer = Buffer::<f32>::new(256 << 20 >> 2).unwrap();
        buffer[1 << 20] = 1.0;
        assert_eq!(buffer[1 << 21], 0.0);
        // Other tests run meanwhile.
        assert!(resident().saturating_sub(before) < 128 << 20);
        buffer.touch();
        assert!(resident().saturating_sub(before) > 192 << 20);
    }
}
