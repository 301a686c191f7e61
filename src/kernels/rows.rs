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

/// The number itself, but the compiler does not know. It would keep a pointer to each row, more than there are registers,
/// where a few registers and the addressing modes do.
#[inline]
pub(super) fn opaque(mut number: usize) -> usize {
    // SAFETY: there is no instruction.
    unsafe { asm!("/* {0} */", inout(reg) number, options(pure, nomem, nostack, preserves_flags)) };
    number
}
