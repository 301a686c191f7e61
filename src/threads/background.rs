//! A thread for work that is done on the side.

use super::fork::Process;
use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// A thread that is asked to stop, and waited for, when this is dropped.
pub struct Background {
    stop: Arc<AtomicBool>,
    handle: Option<JoinHandle<()>>,
    process: Process,
}

impl Background {
    /// Starts `work`, which should return soon after the flag it gets is set.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(name: &str, work: impl FnOnce(&AtomicBool) + Send + 'static) -> Result<Background> {
        let process = Process::this()?;
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = thread::Builder::new().name(name.to_owned());
        let handle =
            thread.spawn(move || work(&flag)).map_err(|source| Error::Io { what: format!("starting thread {name}"), source })?;
        Ok(Background { stop, handle: Some(handle), process })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(handle) = self.handle.take() {
            if self.process.is_parent() {
                // A forked child has no such thread to wait for.
                std::mem::forget(handle);
            } else {
                // Its panics are its own.
                let _ = handle.join();
            }
        }
    }
}
