//! Tensors in memory of this process, copied from the mapping while that serves.

use super::{File, TensorInfo};
use crate::error::Result;
use crate::tensor::Buffer;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes between two looks at whether to stop.
const STRIDE: usize = 4 << 20;

impl File {
    /// Copies a tensor into memory of its own, in huge pages where the system has them; from then on [`File::data`] is the
    /// copy, and the pages of the mapping go back to the system. Who holds the old bytes keeps them. False when `stop`
    /// was set before the copy was complete, and then nothing changed.
    ///
    /// # Errors
    /// Out of memory; [`crate::error::Error::Io`] when the file was cut.
    pub fn make_resident(&self, tensor: &TensorInfo, stop: &AtomicBool) -> Result<bool> {
        let Some(resident) = self.0.resident.get(tensor.index) else { return Ok(true) };
        if resident.get().is_some() {
            return Ok(true);
        }
        let data = self.data(tensor);
        let mut copy = Buffer::new(data.len())?;
        for (to, from) in copy.chunks_mut(STRIDE).zip(data.chunks(STRIDE)) {
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            self.check()?;
            to.copy_from_slice(from);
        }
        // Another thread may have been faster; its copy is as good.
        let _ = resident.set(copy);
        if let (Some(shard), Some(range)) = (self.0.shards.get(tensor.shard), tensor.range()) {
            shard.release(range);
        }
        Ok(true)
    }

    /// Bytes of the tensors that were made resident.
    #[must_use]
    pub fn resident_size(&self) -> usize {
        self.0.resident.iter().filter_map(OnceLock::get).map(|copy| copy.len()).sum()
    }
}
