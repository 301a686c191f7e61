//! Zeroed memory of fixed size: scratch and caches.

use crate::error::{Error, Result};
use half::f16;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

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
    /// What was allocated: more than the elements, because the system's allocator hands out untouched zero pages only for
    /// its own alignment.
    block: NonNull<u8>,
}

// SAFETY: the buffer owns its elements, which are plain values.
unsafe impl<T: Zeroed + Send> Send for Buffer<T> {}
// SAFETY: as above.
unsafe impl<T: Zeroed + Sync> Sync for Buffer<T> {}

/// Alignment of small buffers: two cache lines.
const LINES: usize = 128;
/// Size and alignment of huge pages; buffers from this size on have it.
const HUGE: usize = 2 << 20;

impl<T: Zeroed> Buffer<T> {
    /// A buffer of `len` zeros.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the system has no room.
    pub fn new(len: usize) -> Result<Buffer<T>> {
        let (layout, align) = Self::layout(len).ok_or(Error::OutOfMemory)?;
        // SAFETY: the size is not zero, for there is room to align.
        let block = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(Error::OutOfMemory)?;
        let padding = block.as_ptr().align_offset(align);
        // SAFETY: less than `align` bytes, which the layout has in addition to the elements.
        let data = unsafe { block.add(padding) };
        #[cfg(target_os = "linux")]
        if align == HUGE {
            // SAFETY: the range was just allocated; the advice is only a hint.
            unsafe { libc::madvise(data.as_ptr().cast(), layout.size() - align, libc::MADV_HUGEPAGE) };
        }
        Ok(Buffer { data: data.cast(), len, block })
    }

    /// What to allocate, and what to align the elements to.
    fn layout(len: usize) -> Option<(Layout, usize)> {
        let bytes = len.checked_mul(size_of::<T>())?;
        let align = if bytes >= HUGE { HUGE } else { LINES };
        Some((Layout::from_size_align(bytes.checked_add(align)?, align_of::<T>()).ok()?, align))
    }
}

impl<T: Zeroed> Drop for Buffer<T> {
    fn drop(&mut self) {
        if let Some((layout, _)) = Self::layout(self.len) {
            // SAFETY: allocated in `new` with this layout.
            unsafe { dealloc(self.block.as_ptr(), layout) }
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
    }
}
