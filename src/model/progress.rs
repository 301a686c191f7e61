//! How far long calls are, for hosts that show it or want to stop them.

use crate::error::{Error, Result};
use std::cell::Cell;
use std::sync::Arc;

/// Hears how much of how much is done, and says whether to go on. Called on the thread that makes the call in question.
pub type ProgressSink = Arc<dyn Fn(u64, u64) -> bool + Send + Sync>;

/// The opening of a model. Its measure is the byte that is copied.
pub(super) struct Opening<'a> {
    sink: Option<&'a ProgressSink>,
    done: Cell<u64>,
    total: u64,
}

/// Bytes that could be copied in the time that an element of a tokenizer's tables takes.
const STEP: usize = 256;

impl<'a> Opening<'a> {
    /// An opening that copies so many bytes and has so many elements of tables to go through.
    pub fn new(sink: Option<&'a ProgressSink>, bytes: u64, steps: usize) -> Opening<'a> {
        Opening { sink, done: Cell::new(0), total: bytes.saturating_add(steps.saturating_mul(STEP) as u64) }
    }

    /// More bytes are copied.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when the host does not want to go on; so in all that follow.
    pub fn copied(&self, bytes: usize) -> Result<()> {
        self.done.set(self.done.get().saturating_add(bytes as u64).min(self.total));
        self.tell()
    }

    /// More elements are behind us.
    pub fn stepped(&self, steps: usize) -> Result<()> {
        self.copied(steps.saturating_mul(STEP))
    }

    /// All is done.
    pub fn finish(&self) -> Result<()> {
        self.done.set(self.total);
        self.tell()
    }

    /// Tells the host.
    pub fn tell(&self) -> Result<()> {
        if self.sink.is_none_or(|sink| sink(self.done.get(), self.total)) { Ok(()) } else { Err(Error::Cancelled) }
    }
}
