//! The tensor directory: names, shapes, types, and where the data lies.

use super::cursor::{Cursor, malformed, quoted};
use crate::error::{Error, Result, ResultExt};
use crate::tensor::Dtype;
use std::ops::{Range, RangeInclusive};

/// Longest tensor name the format allows, in bytes.
const MAX_NAME: usize = 64;
/// Numbers of dimensions the format allows.
const RANKS: RangeInclusive<usize> = 1..=4;
/// Most tensors this reader takes per file; big models have some thousands.
const MAX_TENSORS: usize = 1 << 17;
/// Bytes of the smallest entry: length and byte of a name, one dimension, its count, type, offset.
const MIN_ENTRY: u64 = 8 + 1 + 4 + 8 + 4 + 8;

/// A tensor: what it is called, its shape and type, and where its bytes are.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// The name, unique in the model.
    pub name: String,
    /// The element type.
    pub dtype: Dtype,
    /// 1 to 4 dimensions, each at least 1, fastest first: `dims[0]` is the length of a row.
    pub dims: Vec<u64>,
    /// Where the data begins, in bytes from the start of the file (of its shard, in a split model).
    pub offset: usize,
    /// Bytes of data.
    pub len: usize,
    /// Which shard; set when shards are joined.
    pub(super) shard: usize,
    /// Number of the tensor in the model; set when shards are joined.
    pub(super) index: usize,
}

impl TensorInfo {
    /// The number of elements.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.dims.iter().fold(1, |product, &dim| product.saturating_mul(dim))
    }

    pub(super) fn range(&self) -> Option<Range<usize>> {
        Some(self.offset..self.offset.checked_add(self.len)?)
    }
}

/// Reads the number of tensors.
pub(super) fn count(cursor: &mut Cursor) -> Result<usize> {
    let at = cursor.position() as u64;
    let count = cursor.count("tensors", MIN_ENTRY)?;
    if count > MAX_TENSORS {
        return Err(malformed(at, format!("{count} tensors (at most {MAX_TENSORS} are allowed)")));
    }
    Ok(count)
}

/// Reads `count` entries, then finds the data behind them and checks that it holds every tensor.
pub(super) fn parse(cursor: &mut Cursor, count: usize, alignment: u64) -> Result<Vec<TensorInfo>> {
    let (mut tensors, mut offsets) = (Vec::new(), Vec::new());
    tensors.try_reserve_exact(count).map_err(|_| Error::OutOfMemory)?;
    offsets.try_reserve_exact(count).map_err(|_| Error::OutOfMemory)?;
    for i in 0..count {
        let name = cursor.name("tensor name", MAX_NAME).context_with(|| format!("tensor {i}"))?;
        let (tensor, offset) = entry(cursor, name, alignment).context_with(|| format!("tensor {}", quoted(name)))?;
        tensors.push(tensor);
        offsets.push(offset);
    }
    // Without tensors there is no data, and the padding before it may be missing.
    if count > 0 {
        let padding = (cursor.position() as u64).wrapping_neg() % alignment;
        cursor.take(padding).context_with(|| "padding before the tensor data")?;
        for (tensor, offset) in tensors.iter_mut().zip(offsets) {
            place(tensor, offset, cursor).context_with(|| format!("tensor {}", quoted(&tensor.name)))?;
        }
        check_overlap(&tensors)?;
    }
    Ok(tensors)
}

/// The offset field of an entry: where it stands, and where it points from the start of the data.
struct Offset {
    at: u64,
    value: u64,
}

/// Reads what follows a name; the tensor still has to be placed.
fn entry(cursor: &mut Cursor, name: &str, alignment: u64) -> Result<(TensorInfo, Offset)> {
    let shape_at = cursor.position() as u64;
    let rank = cursor.u32()?;
    if !RANKS.contains(&(rank as usize)) {
        return Err(malformed(shape_at, wrong_rank(rank as usize)));
    }
    let mut dims = Vec::new();
    dims.try_reserve_exact(rank as usize).map_err(|_| Error::OutOfMemory)?;
    for _ in 0..rank {
        dims.push(cursor.u64()?);
    }
    let at = cursor.position();
    let id = cursor.u32()?;
    let dtype = Dtype::from_id(id).ok_or_else(|| Error::Unsupported(format!("unknown element type {id} (at byte {at})")))?;
    let len = bytes(dtype, &dims).map_err(|message| malformed(shape_at, message))?;
    let offset = Offset { at: cursor.position() as u64, value: cursor.u64()? };
    if !offset.value.is_multiple_of(alignment) {
        let message = format!("data offset {} is not a multiple of the alignment {alignment}", offset.value);
        return Err(malformed(offset.at, message));
    }
    Ok((TensorInfo { name: super::owned(name)?, dtype, dims, offset: 0, len, shard: 0, index: 0 }, offset))
}

fn wrong_rank(rank: usize) -> String {
    format!("{rank} dimensions ({} to {} are allowed)", RANKS.start(), RANKS.end())
}

/// Bytes of a tensor that is to be written, or why this reader would refuse it.
pub(super) fn check(name: &str, dtype: Dtype, dims: &[u64]) -> std::result::Result<usize, String> {
    if name.is_empty() || name.len() > MAX_NAME || name.contains(char::is_control) {
        return Err(format!("a name has 1 to {MAX_NAME} bytes and no control characters"));
    }
    if !RANKS.contains(&dims.len()) {
        return Err(wrong_rank(dims.len()));
    }
    bytes(dtype, dims)
}

/// Bytes of a tensor, or what is wrong with its shape.
fn bytes(dtype: Dtype, dims: &[u64]) -> std::result::Result<usize, String> {
    if dims.contains(&0) {
        return Err(format!("shape {dims:?} has a dimension of 0"));
    }
    let (block_len, block_bytes) = (dtype.block_len() as u64, dtype.block_bytes() as u64);
    if dims.first().is_none_or(|row| row % block_len != 0) {
        return Err(format!("rows of shape {dims:?} are not whole {dtype} blocks of {block_len}"));
    }
    let elements = dims.iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim));
    let len = elements.and_then(|elements| usize::try_from((elements / block_len).checked_mul(block_bytes)?).ok());
    len.ok_or_else(|| format!("shape {dims:?} is larger than an address can be"))
}

/// Finds the data of a tensor; `cursor` stands where all data begin.
fn place(tensor: &mut TensorInfo, offset: Offset, cursor: &Cursor) -> Result<()> {
    let (start, len, left) = (cursor.position(), tensor.len, cursor.left());
    let inside = offset.value.checked_add(len as u64).is_some_and(|end| end <= left);
    match usize::try_from(offset.value).ok().and_then(|offset| start.checked_add(offset)) {
        Some(first) if inside => tensor.offset = first,
        _ => {
            let message = format!("its {len} bytes at offset {} are not inside the {left} bytes of tensor data", offset.value);
            return Err(malformed(offset.at, message));
        }
    }
    Ok(())
}

/// Checks that no two tensors share a byte.
fn check_overlap(tensors: &[TensorInfo]) -> Result<()> {
    let (order, _) = super::sorted(tensors.len(), |i| tensors[i].offset)?;
    for pair in order.windows(2) {
        let (first, second) = (&tensors[pair[0] as usize], &tensors[pair[1] as usize]);
        // Both lie inside the file, so the sum is small.
        if first.offset + first.len > second.offset {
            let message = format!("tensors {} and {} overlap", quoted(&first.name), quoted(&second.name));
            return Err(malformed(second.offset as u64, message));
        }
    }
    Ok(())
}

/// The tensors of all shards.
pub(super) struct Directory {
    tensors: Vec<TensorInfo>,
    /// Indices of tensors, sorted by name.
    order: Vec<u32>,
}

impl Directory {
    pub(super) fn new(tensors: Vec<TensorInfo>) -> Result<Directory> {
        let (order, twice) = super::sorted(tensors.len(), |i| tensors[i].name.as_str())?;
        if let Some(tensor) = twice.map(|i| &tensors[i]) {
            return Err(malformed(tensor.offset as u64, format!("tensor {} stands twice", quoted(&tensor.name))));
        }
        Ok(Directory { tensors, order })
    }

    pub(super) fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    pub(super) fn find(&self, name: &str) -> Option<&TensorInfo> {
        super::find(&self.order, name, |i| self.tensors[i].name.as_str()).map(|i| &self.tensors[i])
    }
}
