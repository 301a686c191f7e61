//! Threads of the system. Those of the standard library end the process when there is no memory for their record; these are
//! refused like anything else.

use crate::error::{Error, Result};
use std::any::Any;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;
use std::{io, ptr};

/// Address space for the stack of a thread that recurses no deeper than a call on a host's thread does.
pub(super) const STACK: usize = 1 << 20;
/// Most bytes of a name that the system takes.
const NAME: usize = 15;

/// Signals that a thread raises by what it does; all others are for the host's threads.
const OWN_SIGNALS: [c_int; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGABRT, libc::SIGPROF];

thread_local! {
    static OURS: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is one that the library started.
#[must_use]
pub fn is_ours() -> bool {
    OURS.get()
}

/// Gives the calling thread another priority, as `nice` does. What the system refuses changes nothing.
pub fn set_priority(nice: i32) {
    // SAFETY: changes nothing but the scheduling of the calling thread, which 0 stands for on Linux; elsewhere it would be the
    // whole process.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, nice);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = nice;
}

/// A running thread, to be joined: it goes on when this is dropped.
pub(super) struct Thread(libc::pthread_t);

/// What a thread begins with.
struct Start<F> {
    name: [u8; NAME + 1],
    work: F,
}

impl Thread {
    /// Starts `work`; what it panics with is lost. Signals to the process never interrupt it.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when there is no memory or no room for another thread.
    pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<Thread> {
        // SAFETY: it borrows nothing.
        unsafe { Self::start(name, STACK, work) }
    }

    /// # Safety
    /// What `work` borrows must live until the thread has been joined.
    unsafe fn start<F: FnOnce() + Send>(name: &str, stack: usize, work: F) -> Result<Thread> {
        let mut start = Vec::new();
        start.try_reserve_exact(1).map_err(|_| Error::OutOfMemory)?;
        let mut bytes = [0; NAME + 1];
        bytes.iter_mut().zip(name.bytes().take(NAME)).for_each(|(to, from)| *to = from);
        start.push(Start { name: bytes, work });
        let start: *mut Start<F> = Box::into_raw(start.into_boxed_slice()).cast();
        let mut id = MaybeUninit::uninit();
        // SAFETY: `begin` takes over what `start` points to, if it begins.
        let status = unsafe { create(&mut id, stack, begin::<F>, start.cast()) };
        if status == 0 {
            // SAFETY: written by the call that succeeded.
            return Ok(Thread(unsafe { id.assume_init() }));
        }
        // SAFETY: made above, and no thread took it.
        drop(unsafe { Box::from_raw(start) });
        match status {
            libc::EAGAIN | libc::ENOMEM => Err(Error::OutOfMemory),
            other => Err(Error::Io { what: format!("starting thread {name}"), source: io::Error::from_raw_os_error(other) }),
        }
    }

    /// Waits for the end.
    pub(super) fn join(self) {
        // SAFETY: a thread that was not joined before, because this takes the only handle.
        unsafe { libc::pthread_join(self.0, ptr::null_mut()) };
    }
}

/// `pthread_create` with a size of stack and the signals of [`OWN_SIGNALS`] alone.
unsafe fn create(
    id: &mut MaybeUninit<libc::pthread_t>,
    stack: usize,
    begin: extern "C" fn(*mut c_void) -> *mut c_void,
    start: *mut c_void,
) -> c_int {
    let (mut attributes, mut blocked, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: every structure is initialized by the first call that gets it.
    unsafe {
        let status = libc::pthread_attr_init(attributes.as_mut_ptr());
        if status != 0 {
            return status;
        }
        let mut status = libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), stack);
        if status == 0 {
            libc::sigfillset(blocked.as_mut_ptr());
            OWN_SIGNALS.iter().for_each(|&signal| _ = libc::sigdelset(blocked.as_mut_ptr(), signal));
            libc::pthread_sigmask(libc::SIG_SETMASK, blocked.as_ptr(), before.as_mut_ptr());
            status = libc::pthread_create(id.as_mut_ptr(), attributes.as_ptr(), begin, start);
            libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut());
        }
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        status
    }
}

/// The life of a thread.
extern "C" fn begin<F: FnOnce()>(start: *mut c_void) -> *mut c_void {
    // SAFETY: `start` made it for this thread.
    let Start { name, work } = *unsafe { Box::from_raw(start.cast::<Start<F>>()) };
    // SAFETY: the name ends with a zero.
    unsafe { libc::pthread_setname_np(libc::pthread_self(), name.as_ptr().cast()) };
    OURS.set(true);
    let _ = catch_unwind(AssertUnwindSafe(work));
    ptr::null_mut()
}

/// Runs `work` on a stack of `size` bytes, whatever this thread has left, and waits for it. Only what it touches of the stack becomes
/// memory.
///
/// # Errors
/// [`Error::OutOfMemory`] when there is no memory or no room for another thread.
///
/// # Panics
/// When `work` does.
pub fn on_stack<T: Send>(name: &str, size: usize, work: impl FnOnce() -> T + Send) -> Result<T> {
    let mut outcome: Option<std::result::Result<T, Box<dyn Any + Send>>> = None;
    let place = &mut outcome;
    // SAFETY: it is joined before anything that it borrows goes.
    let thread = unsafe { Thread::start(name, size, move || *place = Some(catch_unwind(AssertUnwindSafe(work)))) }?;
    thread.join();
    match outcome {
        Some(Ok(value)) => Ok(value),
        Some(Err(panic)) => resume_unwind(panic),
        None => Err(Error::Internal(format!("thread {name} ended early"))),
    }
}

/// Where one thread sleeps until another wakes it; a wake that comes first is kept. Allocates nothing, as
/// [`std::thread::park`] does for threads that it does not know.
#[derive(Default)]
pub(super) struct Parking {
    woken: Mutex<bool>,
    wake: Condvar,
}

impl Parking {
    /// Sleeps until woken, or for that long at most.
    pub(super) fn park(&self, timeout: Option<Duration>) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        match timeout {
            Some(timeout) if !*woken => {
                woken = self.wake.wait_timeout(woken, timeout).unwrap_or_else(PoisonError::into_inner).0;
            }
            Some(_) => {}
            None => {
                while !*woken {
                    woken = self.wake.wait(woken).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        *woken = false;
    }

    /// Wakes who sleeps, or will.
    pub(super) fn unpark(&self) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn work_on_another_stack_borrows_answers_and_panics_here() {
        let text = "borrowed".to_owned();
        assert_eq!(on_stack("chord-test", 256 << 10, || (text.len(), is_ours())).unwrap(), (8, true));
        assert!(!is_ours());
        let panic = catch_unwind(|| on_stack("chord-test", 256 << 10, || resume_unwind(Box::new(7))));
        assert_eq!(panic.unwrap_err().downcast_ref(), Some(&7));
        // More address space than there is.
        assert!(matches!(on_stack("chord-test", 1 << 60, || ()), Err(Error::OutOfMemory | Error::Io { .. })));
    }

    #[test]
    fn threads_have_their_name_and_no_signals_of_the_process() {
        let status = on_stack("chord-with-a-long-name", STACK, || std::fs::read_to_string("/proc/thread-self/status").unwrap());
        let status = status.unwrap();
        let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim();
        assert_eq!(value("Name:"), "chord-with-a-lo");
        let blocked = u64::from_str_radix(value("SigBlk:"), 16).unwrap();
        let is_blocked = |signal: c_int| blocked >> (signal - 1) & 1 == 1;
        assert!(is_blocked(libc::SIGINT) && is_blocked(libc::SIGALRM) && !is_blocked(libc::SIGBUS));
    }

    #[test]
    fn a_wake_before_the_sleep_is_kept() {
        let parking = Arc::new(Parking::default());
        parking.unpark();
        parking.park(None);
        parking.park(Some(Duration::from_millis(1)));
        let other = Arc::clone(&parking);
        let thread = Thread::spawn("chord-test", move || other.unpark()).unwrap();
        parking.park(None);
        thread.join();
    }
}
