//! How the blocks of a weight matrix lie in memory.

use super::Q6_K;
use crate::tensor::Dtype;
use std::mem::offset_of;

/// How the rows of a weight matrix lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One after the other, as in the file.
    Rows,
    /// For vectors with a lane per row: [`INTERLEAVED_ROWS`] rows at a time, and of these one block of each after the other. The
    /// blocks are cut into pieces of four bytes, and one of two where an f16 would break the grid: first the first
    /// piece of every row, then the second, and so on.
    Interleaved,
}

/// Rows that are interleaved.
pub const INTERLEAVED_ROWS: usize = 16;

/// Copies [`INTERLEAVED_ROWS`] rows, interleaving them.
///
/// # Panics
/// When the slices differ in length, or the type has blocks of an odd number of bytes.
pub fn interleave(dtype: Dtype, rows: &[u8], out: &mut [u8]) {
    assert!(rows.len() == out.len() && dtype.block_bytes().is_multiple_of(2), "rows to interleave");
    let (row, block) = (rows.len() / INTERLEAVED_ROWS, dtype.block_bytes());
    // What is in front of the lone f16, if there is one.
    let front = match dtype {
        Dtype::Q6_K => offset_of!(Q6_K, d),
        _ if block.is_multiple_of(4) => block,
        _ => 0,
    };
    for (index, out) in out.chunks_exact_mut(INTERLEAVED_ROWS * block).enumerate() {
        let (fours, rest) = out.split_at_mut(INTERLEAVED_ROWS * front);
        let (twos, more) = rest.split_at_mut(rest.len().min(INTERLEAVED_ROWS * 2));
        let first = &rows[index * block..];
        gather::<4>(first, row, fours);
        gather::<2>(&first[front..], row, twos);
        gather::<4>(&first[(front + 2).min(block)..], row, more);
    }
}

/// Fills `out` with pieces of N bytes from rows that begin `row` bytes apart, in turns.
fn gather<const N: usize>(first: &[u8], row: usize, out: &mut [u8]) {
    for (i, out) in out.as_chunks_mut::<N>().0.chunks_exact_mut(INTERLEAVED_ROWS).enumerate() {
        for (r, out) in out.iter_mut().enumerate() {
            out.copy_from_slice(&first[r * row + i * N..][..N]);
        }
    }
}
