//! A counting allocator: what a piece of code holds, on its own thread or in the whole process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicIsize, Ordering};

/// The system allocator, counting. A test installs it as its `#[global_allocator]`.
pub struct Counting;

#[derive(Clone, Copy, Default)]
struct Tally {
    held: isize,
    peak: isize,
}

thread_local! {
    static TALLY: Cell<Tally> = const { Cell::new(Tally { held: 0, peak: 0 }) };
}

static HELD: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

fn count(bytes: isize) {
    let held = HELD.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(held, Ordering::Relaxed);
    // Threads that are ending have no tally any more.
    let _ = TALLY.try_with(|tally| {
        let mut new = tally.get();
        new.held += bytes;
        new.peak = new.peak.max(new.held);
        tally.set(new);
    });
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as this function's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as this function's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, data: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new may exist at the same time.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: as this function's.
        unsafe { System.realloc(data, layout, size) }
    }

    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as this function's.
        unsafe { System.dealloc(data, layout) }
    }
}

/// The most bytes that `run` holds at a time, beyond what was held before.
pub fn peak(run: impl FnOnce()) -> usize {
    TALLY.set(Tally::default());
    run();
    TALLY.get().peak as usize
}

/// The same for all threads together; waits for others that measure.
pub fn process_peak(run: impl FnOnce()) -> usize {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that failed measured nothing that others need.
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    run();
    (PEAK.load(Ordering::Relaxed) - before).try_into().unwrap_or(0)
}
