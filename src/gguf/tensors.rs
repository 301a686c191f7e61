//! The tensor directory of a file.

use super::cursor::{Cursor, malformed};
use crate::error::{Error, Result};
use crate::tensor::Dtype;

/// Where a tensor is and what it looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, unique in the model.
    pub name: String,
    /// Type of the elements.
    pub dtype: Dtype,
    /// Sizes, fastest-running first: a matrix is `[inputs, outputs]`.
    pub dims: Vec<u64>,
    /// First byte, from the start of its file.
    pub offset: usize,
    /// Bytes.
    pub len: usize,
    /// Which file of a split set holds it.
    pub shard: usize,
}

const MAX_DIMS: u32 = 4;
/// Longest name that is read. The format says 64; files with longer ones exist.
const MAX_NAME: usize = 1024;

/// Reads `count` entries and checks where they point; `size` is the length of the file.
pub(super) fn read(cursor: &mut Cursor, count: usize, alignment: usize, size: usize) -> Result<Vec<TensorInfo>> {
    let mut tensors = Vec::new();
    let mut places = Vec::new();
    for _ in 0..count {
        let name = cursor.name("a tensor name", MAX_NAME)?.to_owned();
        let (dims, elements) = shape(cursor, &name)?;
        let place = cursor.at;
        let id = cursor.u32("a tensor type")?;
        let dtype = Dtype::from_id(id)
            .ok_or_else(|| Error::Unsupported(format!("tensor {name} has unknown type {id} at byte {place}")))?;
        let len = dims.first().and_then(|&row| {
            let row_bytes = dtype.row_bytes(usize::try_from(row).ok()?)?;
            usize::try_from(elements / row).ok()?.checked_mul(row_bytes)
        });
        let Some(len) = len else {
            let blocks = dtype.block_len();
            return Err(malformed(
                place,
                format!("tensor {name}: rows of shape {dims:?} are not whole blocks of {blocks} {dtype} elements"),
            ));
        };
        let place = cursor.at;
        let offset = cursor.u64("a tensor offset")?;
        if offset % alignment as u64 != 0 {
            return Err(malformed(place, format!("tensor {name}: offset {offset} is not a multiple of {alignment}")));
        }
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        tensors.push(TensorInfo { name, dtype, dims, offset, len, shard: 0 });
        places.push(place);
    }
    let start = cursor.at.next_multiple_of(alignment);
    for (tensor, &place) in tensors.iter_mut().zip(&places) {
        let first = start.checked_add(tensor.offset);
        let Some(first) = first.filter(|first| first.checked_add(tensor.len).is_some_and(|end| end <= size)) else {
            let TensorInfo { name, offset, len, .. } = tensor;
            let message =
                format!("tensor {name}: {len} bytes at data offset {offset} reach beyond the end of the file ({size} bytes)");
            return Err(malformed(place, message));
        };
        tensor.offset = first;
    }
    check_overlap(&tensors, &places)?;
    Ok(tensors)
}

/// The sizes and their product.
fn shape(cursor: &mut Cursor, name: &str) -> Result<(Vec<u64>, u64)> {
    let place = cursor.at;
    let count = cursor.u32("a number of dimensions")?;
    if count == 0 || count > MAX_DIMS {
        return Err(malformed(place, format!("tensor {name} has {count} dimensions, expected 1 to {MAX_DIMS}")));
    }
    let mut dims = Vec::new();
    for _ in 0..count {
        dims.push(cursor.u64("a dimension")?);
    }
    // Below 2^62, so that bytes of any type fit 64 bits.
    let elements =
        dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim).filter(|&product| product > 0 && product < 1 << 60));
    let elements = elements.ok_or_else(|| malformed(place, format!("tensor {name} has the impossible shape {dims:?}")))?;
    Ok((dims, elements))
}

fn check_overlap(tensors: &[TensorInfo], places: &[usize]) -> Result<()> {
    let mut order: Vec<_> = tensors.iter().zip(places).collect();
    order.sort_by_key(|(tensor, _)| tensor.offset);
    for pair in order.windows(2) {
        if let [(first, _), (second, place)] = pair
            && first.offset + first.len > second.offset
        {
            return Err(malformed(**place, format!("tensor {} overlaps tensor {}", second.name, first.name)));
        }
    }
    Ok(())
}
