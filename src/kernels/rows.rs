//! Rows of weights side by side: where their blocks are.

use std::arch::asm;
use std::marker::PhantomData;

/// As many rows of blocks as a vector has lanes, a multiple of four up to sixteen. INTERLEAVED: laid out as
/// [`crate::quant::Layout::Interleaved`] says.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, B, const LANES: usize, const INTERLEAVED: bool = false> {
    blocks: &'a [B],
    stride: usize,
}

impl<'a, B, const LANES: usize, const INTERLEAVED: bool> Rows<'a, B, LANES, INTERLEAVED> {
    /// Rows that begin `stride` blocks apart; with 0, the same one in all lanes. Interleaved ones have `stride` blocks each.
    pub fn new(blocks: &'a [B], stride: usize) -> Self {
        Rows { blocks, stride }
    }

    /// The block number `index` of every row.
    #[inline]
    pub fn column(&self, index: usize) -> Column<'a, B, LANES, INTERLEAVED> {
        assert!(index + (LANES - 1) * self.stride < self.blocks.len());
        if INTERLEAVED {
            let first = (&raw const self.blocks[index * LANES]).cast::<u8>();
            return Column { fours: [first; 4], strides: [0; 4], blocks: PhantomData };
        }
        let first = (&raw const self.blocks[index]).cast::<u8>();
        let stride = self.stride * size_of::<B>();
        let fours = [0, 1, 2, 3].map(|i| opaque(first.wrapping_add(4 * i * stride) as usize) as *const u8);
        Column { fours, strides: [0, stride, 2 * stride, opaque(3 * stride)], blocks: PhantomData }
    }

    /// The N blocks of every row from number `index` on, if rows are not interleaved.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub fn columns<const N: usize>(&self, index: usize) -> Option<Column<'a, [B; N], LANES>> {
        assert!(index + N - 1 + (LANES - 1) * self.stride < self.blocks.len());
        let Column { fours, strides, .. } = self.column(index);
        (!INTERLEAVED).then_some(Column { fours, strides, blocks: PhantomData })
    }
}

/// One block of each row. All are there: only `Rows` makes columns.
#[derive(Clone, Copy)]
pub(super) struct Column<'a, B, const LANES: usize, const INTERLEAVED: bool = false> {
    /// Blocks of rows 0, 4, 8 and 12; interleaved, where they all begin.
    fours: [*const u8; 4],
    /// Bytes to the three that follow.
    strides: [usize; 4],
    blocks: PhantomData<&'a [B]>,
}

impl<B, const LANES: usize, const INTERLEAVED: bool> Column<'_, B, LANES, INTERLEAVED> {
    /// Byte `offset` of the block of a row; `len` bytes from there on are readable.
    #[inline]
    pub fn bytes(&self, row: usize, offset: usize, len: usize) -> *const u8 {
        assert!(!INTERLEAVED && row < LANES && offset + len <= size_of::<B>());
        self.fours[row / 4].wrapping_add(self.strides[row % 4]).wrapping_add(offset)
    }

    /// Interleaved: where the bytes from `offset` on of all rows are, of each piece those of one row after those of another;
    /// `LANES * len` bytes are readable.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub fn interleaved(&self, offset: usize, len: usize) -> Option<*const u8> {
        assert!(offset + len <= size_of::<B>());
        INTERLEAVED.then(|| self.fours[0].wrapping_add(LANES * offset))
    }
}

/// Bytes that a processor's prefetcher follows a run of reads through, before it has to find it again.
#[cfg(target_arch = "x86_64")]
const PAGE: usize = 4096;

/// An order of rows, `together` of them at a time, of which there are as many at least: the first, and how far they are apart. A row
/// may come twice.
///
/// They are so far apart that each is in a page of its own, and in each of these places one row comes after the other. A processor
/// that looks ahead in each page by itself reads several faster than one: those with AMX do (benches/RESULTS.md), others were not
/// measured.
#[cfg(target_arch = "x86_64")]
pub(super) fn far_apart(rows: usize, together: usize, row_bytes: usize) -> impl Iterator<Item = (usize, usize)> {
    // An odd number, so that rows do not meet in few sets of the caches.
    let apart = (rows / together).saturating_sub(1) | 1;
    let apart = if apart * row_bytes < PAGE { 1 } else { apart };
    let rest = (apart * together..rows).step_by(together);
    (0..apart).map(move |first| (first, apart)).chain(rest.map(move |first| (first.min(rows - together), 1)))
}

/// The number itself, but the compiler does not know. It would keep a pointer to each row, more than there are registers,
/// where a few registers and the addressing modes do.
#[inline]
pub(super) fn opaque(mut number: usize) -> usize {
    // SAFETY: there is no instruction.
    unsafe { asm!("/* {0} */", inout(reg) number, options(pure, nomem, nostack, preserves_flags)) };
    number
}

/// The value itself, but the compiler does not know. It would get what it has just written from registers by shuffles, where an
/// instruction can read it from memory.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn in_memory<T>(value: &T) -> &T {
    let address = opaque(std::ptr::from_ref(value).expose_provenance());
    // SAFETY: it is the same reference.
    unsafe { &*std::ptr::with_exposed_provenance(address) }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn rows_far_apart_all_come() {
        for rows in (16..100).chain([181, 256, 1000]) {
            for row_bytes in [1, 34, 432, 1152, 5000] {
                let mut seen = vec![0; rows];
                for (first, apart) in far_apart(rows, 16, row_bytes) {
                    assert!(apart == 1 || apart * row_bytes >= PAGE, "{rows} rows of {row_bytes}: {apart}");
                    (0..16).for_each(|i| seen[first + i * apart] += 1);
                }
                assert!(seen.iter().all(|&times| times == 1 || times == 2), "{rows} rows of {row_bytes}: {seen:?}");
            }
        }
        let far: Vec<_> = far_apart(181, 16, 1152).collect();
        assert_eq!(far[..2], [(0, 11), (1, 11)]);
        assert_eq!(far[11..], [(165, 1)]);
    }
}
