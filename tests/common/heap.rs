//! What a piece of code holds, on its own thread or in the whole process.
//!
//! A test that has this module replaces the C library's allocator, below that of Rust, by one that counts; pages that are asked
//! of the system directly count too, if they can be written.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::Mutex;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

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

unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(block: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_memalign(align: usize, size: usize) -> *mut c_void;
    fn __libc_free(block: *mut c_void);
}

/// How much the block takes; 0 for NULL.
fn size(block: *mut c_void) -> isize {
    // SAFETY: blocks of this allocator, or NULL.
    unsafe { libc::malloc_usable_size(block) as isize }
}

/// Counts a new block.
fn counted(block: *mut c_void) -> *mut c_void {
    count(size(block));
    block
}

#[unsafe(no_mangle)]
unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    // SAFETY: as this function's.
    counted(unsafe { __libc_malloc(size) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    // SAFETY: as this function's.
    counted(unsafe { __libc_calloc(count, size) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(block: *mut c_void, new_size: usize) -> *mut c_void {
    let old = size(block);
    // SAFETY: as this function's.
    let block = counted(unsafe { __libc_realloc(block, new_size) });
    // Old and new may exist at the same time.
    if !block.is_null() {
        count(-old);
    }
    block
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(to: *mut *mut c_void, align: usize, size: usize) -> c_int {
    // SAFETY: as this function's.
    let block = counted(unsafe { __libc_memalign(align, size) });
    if block.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: as this function's.
    unsafe { to.write(block) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    // SAFETY: as this function's.
    counted(unsafe { __libc_memalign(align, size) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn free(block: *mut c_void) {
    count(-size(block));
    // SAFETY: as this function's.
    unsafe { __libc_free(block) }
}

/// Where pages that count begin; 0: nowhere.
static PAGES: [AtomicUsize; 4096] = [const { AtomicUsize::new(0) }; 4096];

/// Puts `new` in the place of `old`.
fn exchange(old: usize, new: usize) -> bool {
    PAGES.iter().any(|place| place.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed).is_ok())
}

/// Counts pages that can be written.
fn count_pages(pages: *mut c_void, size: usize, access: c_int) {
    if access & libc::PROT_WRITE != 0 && exchange(0, pages.addr()) {
        count(size as isize);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mmap(at: *mut c_void, size: usize, access: c_int, flags: c_int, file: c_int, offset: i64) -> *mut c_void {
    // SAFETY: as this function's.
    let pages = unsafe { libc::syscall(libc::SYS_mmap, at, size, access, flags, file, offset) } as *mut c_void;
    if pages != libc::MAP_FAILED {
        count_pages(pages, size, access);
    }
    pages
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mprotect(pages: *mut c_void, size: usize, access: c_int) -> c_int {
    count_pages(pages, size, access);
    // SAFETY: as this function's.
    unsafe { libc::syscall(libc::SYS_mprotect, pages, size, access) as c_int }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn munmap(pages: *mut c_void, size: usize) -> c_int {
    if exchange(pages.addr(), 0) {
        count(-(size as isize));
    }
    // SAFETY: as this function's.
    unsafe { libc::syscall(libc::SYS_munmap, pages, size) as c_int }
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
