//! Tensors of mapped files that come and go.

use super::{File, TensorInfo};
use std::ops::Range;

impl File {
    /// Lets the system begin to read some bytes of a tensor from storage, if it is mapped.
    pub fn read_ahead(&self, tensor: &TensorInfo, bytes: Range<usize>) {
        if let Some(shard) = self.0.shards.get(tensor.shard) {
            shard.read_ahead(tensor.offset + bytes.start..tensor.offset + bytes.end.min(tensor.len));
        }
    }

    /// Lets the memory of some bytes of a mapped tensor go; who reads them again has them read from storage.
    pub fn leave_behind(&self, tensor: &TensorInfo, bytes: Range<usize>) {
        if let Some(shard) = self.0.shards.get(tensor.shard) {
            shard.forget(tensor.offset + bytes.start..tensor.offset + bytes.end.min(tensor.len));
        }
    }
}
