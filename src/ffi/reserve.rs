//! What keeps a host alive when memory runs out.
//!
//! Memory whose size comes from input is asked for fallibly, and there a failure is an error like any other. What remains
//! are small allocations (a message, a node of a template) that Rust, and libraries written in it, take for granted: it
//! ends the process when one of them fails. So the library's allocator has a reserve for these. It is address space
//! alone until it is used; a call that had to use it makes no object (see [`used`]), and what it took goes back.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of the reserve.
const SIZE: usize = 16 << 20;
/// It serves requests of up to this part of what is left: great ones, which were made fallibly, may not use it up.
const PART: usize = 16;
/// Strongest alignment that it serves.
const ALIGN: usize = 4096;

/// The system's allocator, with a reserve for when that has nothing more to give.
struct Allocator {
    reserve: Reserve,
}

/// A stack of blocks that is cleared when the last one is given back: for the end of one call, not for a life.
#[repr(C, align(4096))]
struct Reserve {
    bytes: UnsafeCell<[u8; SIZE]>,
    /// `blocks alive << 32 | bytes taken`.
    state: AtomicU64,
}

// SAFETY: `state` hands every byte to one owner at a time.
unsafe impl Sync for Reserve {}

const BLOCK: u64 = 1 << 32;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator { reserve: Reserve { bytes: UnsafeCell::new([0; SIZE]), state: AtomicU64::new(0) } };

/// How often the reserve was used.
static USES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static SEEN: Cell<u64> = const { Cell::new(0) };
}

/// Whether the reserve was used since this thread last asked: by any thread, since a call may have others work for it.
pub(super) fn used() -> bool {
    let uses = USES.load(Ordering::Relaxed);
    SEEN.replace(uses) != uses
}

impl Reserve {
    fn take(&self, layout: Layout) -> *mut u8 {
        if layout.align() > ALIGN {
            return ptr::null_mut();
        }
        let start = |state: u64| (state % BLOCK).next_multiple_of(layout.align() as u64);
        let taken = self.state.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |state| {
            let left = (SIZE as u64).saturating_sub(start(state));
            let size = layout.size() as u64;
            (size <= left / PART as u64).then(|| (state / BLOCK + 1) * BLOCK + start(state) + size)
        });
        let Ok(state) = taken else { return ptr::null_mut() };
        USES.fetch_add(1, Ordering::Relaxed);
        self.bytes.get().cast::<u8>().wrapping_add(start(state) as usize)
    }

    fn holds(&self, pointer: *mut u8) -> bool {
        pointer.addr().wrapping_sub(self.bytes.get().addr()) < SIZE
    }

    fn give_back(&self) {
        // The last block takes all with it.
        let clear = |state: u64| if state < 2 * BLOCK { 0 } else { state - BLOCK };
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |state| Some(clear(state)));
    }
}

// SAFETY: blocks of the system are the system's business; those of the reserve are inside it, aligned as asked
// (it is aligned itself), and belong to one owner until given back.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        let block = unsafe { System.alloc(layout) };
        if block.is_null() { self.reserve.take(layout) } else { block }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        let block = unsafe { System.alloc_zeroed(layout) };
        if !block.is_null() {
            return block;
        }
        let block = self.reserve.take(layout);
        if !block.is_null() {
            // SAFETY: the block has this size.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if self.reserve.holds(pointer) {
            self.reserve.give_back();
        } else {
            // SAFETY: the caller's contract; the block came from the system.
            unsafe { System.dealloc(pointer, layout) }
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !self.reserve.holds(pointer) {
            // SAFETY: the caller's contract; the block came from the system.
            let block = unsafe { System.realloc(pointer, layout, size) };
            if !block.is_null() {
                return block;
            }
        }
        // SAFETY: the caller's contract says that a layout of this size and alignment is valid.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: as above; the old block has the bytes that are copied, and is freed once.
        unsafe {
            let block = self.alloc(new);
            if !block.is_null() {
                ptr::copy_nonoverlapping(pointer, block, layout.size().min(size));
                self.dealloc(pointer, layout);
            }
            block
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_disjoint_aligned_and_come_back() {
        static RESERVE: Reserve = Reserve { bytes: UnsafeCell::new([0; SIZE]), state: AtomicU64::new(0) };
        let layouts = [(1, 1), (64, 4096), (100, 8), (SIZE / PART / 2, 16), (0, 1)]
            .map(|(size, align)| Layout::from_size_align(size, align).unwrap());
        for _ in 0..3 {
            let blocks = layouts.map(|layout| RESERVE.take(layout));
            for (i, (&block, layout)) in blocks.iter().zip(&layouts).enumerate() {
                assert!(RESERVE.holds(block) && block.addr().is_multiple_of(layout.align()));
                assert!(blocks[i + 1..].iter().all(|next| next.addr() >= block.addr() + layout.size()));
            }
            blocks.iter().for_each(|_| RESERVE.give_back());
            assert_eq!(RESERVE.state.load(Ordering::Relaxed), 0);
        }
        assert!(used() && !used());
        let layout = |size, align| Layout::from_size_align(size, align).unwrap();
        assert!(RESERVE.take(layout(1, 2 * ALIGN)).is_null());
        let mut taken = 0;
        for size in [SIZE / PART, 1 << 16, 1 << 10] {
            while !RESERVE.take(layout(size, 1)).is_null() {
                taken += 1;
            }
        }
        assert!(taken > 1000 && !RESERVE.take(layout(64, 1)).is_null(), "{taken} blocks, and a small one is left");
        (0..=taken).for_each(|_| RESERVE.give_back());
        assert_eq!(RESERVE.state.load(Ordering::Relaxed), 0);
        let outside = Box::new(1);
        assert!(!RESERVE.holds(ptr::from_ref(&*outside).cast_mut().cast()));
    }
}
