//! How much private memory a model and the sessions on it may take together.

use super::Model;
use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A limit, and what of it is in use.
pub(super) struct Budget {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    /// A budget of so many bytes; `None`: without a limit.
    pub fn new(limit: Option<usize>) -> Budget {
        Budget { limit: limit.unwrap_or(usize::MAX), used: AtomicUsize::new(0) }
    }

    /// Takes `bytes` of it for `what`.
    ///
    /// # Errors
    /// Less is left.
    pub fn take(&self, what: &'static str, bytes: usize) -> Result<()> {
        let fits = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= self.limit);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(()),
            Err(used) => {
                Err(Error::OverBudget { what, needed: bytes, left: self.limit.saturating_sub(used), budget: self.limit })
            }
        }
    }

    /// Gives a part of what was taken back.
    pub fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A part of a model's budget; goes back when this is dropped.
pub struct Grant {
    model: Arc<Model>,
    bytes: usize,
}

impl Model {
    /// Takes `bytes` of the memory budget for `what`.
    ///
    /// # Errors
    /// [`Error::OverBudget`] when less is left.
    pub fn grant(self: &Arc<Model>, what: &'static str, bytes: usize) -> Result<Grant> {
        self.budget.take(what, bytes)?;
        Ok(Grant { model: Arc::clone(self), bytes })
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.model.budget.give_back(self.bytes);
    }
}
