//! A process, and the child that it forked: only the thread that called `fork` lives on in the child.

use crate::error::{Error, Result};
use std::ptr;

/// Made by one process; a child that inherits it finds out by a look at memory, which costs nothing.
pub(super) struct Process {
    /// A page that holds a 1; the system gives the child one of zeros instead (`MADV_WIPEONFORK`, Linux 4.14).
    page: *mut u8,
}

// SAFETY: the page is written once, before the value is shared.
unsafe impl Send for Process {}
// SAFETY: as above.
unsafe impl Sync for Process {}

const PAGE: usize = 4096;

impl Process {
    /// The process that calls.
    pub fn this() -> Result<Process> {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, at no particular place.
        let page = unsafe { libc::mmap(ptr::null_mut(), PAGE, access, kind, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(Error::OutOfMemory);
        }
        // SAFETY: the page was just mapped. A kernel that does not know the advice refuses it: then a child cannot tell.
        unsafe {
            libc::madvise(page, PAGE, libc::MADV_WIPEONFORK);
            page.cast::<u8>().write(1);
        }
        Ok(Process { page: page.cast() })
    }

    /// Whether the caller is in a child of that process.
    pub fn is_parent(&self) -> bool {
        // SAFETY: mapped until drop. Volatile, because the system changes it.
        unsafe { self.page.read_volatile() == 0 }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SAFETY: mapped by `this`, used by nobody else.
        unsafe { libc::munmap(self.page.cast(), PAGE) };
    }
}
