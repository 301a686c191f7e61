//! A thread for work that is done on the side.

use super::fork::Process;
use super::thread::Thread;
use crate::error::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A thread that is asked to stop, and waited for, when this is dropped.
pub struct Background {
    stop: Arc<AtomicBool>,
    thread: Option<Thread>,
    process: Process,
}

impl Background {
    /// Starts `work`, which should return soon after the flag it gets is set.
    ///
    /// # Errors
    /// [`crate::error::Error::OutOfMemory`] when there is no memory or no room for another thread.
    pub fn start(name: &str, work: impl FnOnce(&AtomicBool) + Send + 'static) -> Result<Background> {
        let process = Process::this()?;
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = Thread::spawn(name, move || work(&flag))?;
        Ok(Background { stop, thread: Some(thread), process })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A forked child has no such thread to wait for.
        if let Some(thread) = self.thread.take().filter(|_| !self.process.is_parent()) {
            thread.join();
        }
    }
}
