//! Tensors in memory of this process, copied from the mapping while that serves.

use super::{File, TensorInfo};
use crate::error::Result;
use crate::quant::{INTERLEAVED_ROWS, Layout, interleave};
use crate::tensor::Buffer;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes between two looks at whether to stop.
const STRIDE: usize = 1 << 20;

/// A copy of a tensor.
pub(super) struct Resident {
    bytes: Buffer<u8>,
    layout: Layout,
}

impl File {
    /// Copies a tensor into memory of its own, in huge pages where the system has them; from then on [`File::resident`] is the
    /// copy, and the pages of the mapping go back to the system. Who holds the old bytes keeps them. False when `stop`
    /// was set before the copy was complete, and then nothing changed.
    ///
    /// # Panics
    /// When rows are to be interleaved that cannot be.
    ///
    /// # Errors
    /// Out of memory; [`crate::error::Error::Io`] when the file was cut.
    pub fn make_resident(&self, tensor: &TensorInfo, layout: Layout, stop: &AtomicBool) -> Result<bool> {
        let Some(resident) = self.0.resident.get(tensor.index) else { return Ok(true) };
        if resident.get().is_some() {
            return Ok(true);
        }
        let data = self.data(tensor);
        let mut bytes = Buffer::new(data.len())?;
        let rows: usize = tensor.dims.iter().skip(1).map(|&dim| dim as usize).product();
        let group = (data.len() / (rows / INTERLEAVED_ROWS).max(1)).max(1);
        let step = match layout {
            Layout::Rows => STRIDE,
            Layout::Interleaved => STRIDE.next_multiple_of(group),
        };
        for (to, from) in bytes.chunks_mut(step).zip(data.chunks(step)) {
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            self.check()?;
            match layout {
                Layout::Rows => to.copy_from_slice(from),
                Layout::Interleaved => {
                    let groups = to.chunks_mut(group).zip(from.chunks(group));
                    groups.for_each(|(to, from)| interleave(tensor.dtype, from, to));
                }
            }
        }
        // Another thread may have been faster; its copy is as good.
        let _ = resident.set(Resident { bytes, layout });
        if let (Some(shard), Some(range)) = (self.0.shards.get(tensor.shard), tensor.range()) {
            shard.release(range);
        }
        Ok(true)
    }

    /// The copy of a tensor that was made resident, and how its rows lie there.
    #[must_use]
    pub fn resident(&self, tensor: &TensorInfo) -> Option<(&[u8], Layout)> {
        let copy = self.0.resident.get(tensor.index).and_then(OnceLock::get)?;
        Some((&copy.bytes, copy.layout))
    }

    /// Bytes of the tensors that were made resident.
    #[must_use]
    pub fn resident_size(&self) -> usize {
        self.0.resident.iter().filter_map(OnceLock::get).map(|copy| copy.bytes.len()).sum()
    }
}
