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

/// A zeroed, cache-line aligned allocation of fixed length. Pages are touched only when they are written, so a large
/// buffer costs what is used of it; large ones are offered to the system for huge pages.
pub struct Buffer<T: Zeroed> {
    data: NonNull<T>,
    len: usize,
}

// SAFETY: the buffer owns its elements, which are plain values.
unsafe impl<T: Zeroed + Send> Send for Buffer<T> {}
// SAFETY: as above.
unsafe impl<T: Zeroed + Sync> Sync for Buffer<T> {}

/// Buffers from this size on are aligned to huge pages.
const HUGE: usize = 2 << 20;

impl<T: Zeroed> Buffer<T> {
    /// A buffer of `len` zeros.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the system has no room.
    pub fn new(len: usize) -> Result<Buffer<T>> {
        let layout = Self::layout(len).ok_or(Error::OutOfMemory)?;
        if layout.size() == 0 {
            return Ok(Buffer { data: NonNull::dangling(), len });
        }
        // SAFETY: the size is not zero.
        let data = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(Error::OutOfMemory)?;
        #[cfg(target_os = "linux")]
        if layout.size() >= HUGE {
            // SAFETY: the range was just allocated; the advice is only a hint.
            unsafe { libc::madvise(data.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE) };
        }
        Ok(Buffer { data: data.cast(), len })
    }

    fn layout(len: usize) -> Option<Layout> {
        let bytes = len.checked_mul(size_of::<T>())?;
        Layout::from_size_align(bytes, if bytes >= HUGE { 4096 } else { 128 }).ok()
    }
}

impl<T: Zeroed> Drop for Buffer<T> {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.len).filter(|layout| layout.size() > 0) {
            // SAFETY: allocated in `new` with this layout.
            unsafe { dealloc(self.data.as_ptr().cast(), layout) }
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
