//! Rows of weights side by side: where their blocks are.

use std::arch::asm;
use std::marker::PhantomData;

/// As many rows of blocks as a vector has lanes, a multiple of four up to sixteen.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, B, const LANES: usize> {
    blocks: &'a [B],
    stride: usize,
}

impl<'a, B, const LANES: usize> Rows<'a, B, LANES> {
    /// Rows that begin `stride` blocks apart; with 0, the same one in all lanes.
    pub fn new(blocks: &'a [B], stride: usize) -> Self {
        Rows { blocks, stride }
    }

    /// The block number `index` of every row.
    #[inline]
    pub fn column(&self, index: usize) -> Column<'a, B, LANES> {
        assert!(index + (LANES - 1) * self.stride < self.blocks.len());
        let first = (&raw const self.blocks[index]).cast::<u8>();
        let stride = self.stride * size_of::<B>();
        let fours = [0, 1, 2, 3].map(|i| opaque(first.wrapping_add(4 * i * stride) as usize) as *const u8);
        Column { fours, strides: [0, stride, 2 * stride, opaque(3 * stride)], blocks: PhantomData }
    }
}

/// One block of each row. All are there: only `Rows` makes columns.
#[derive(Clone, Copy)]
pub(super) struct Column<'a, B, const LANES: usize> {
    /// Blocks of rows 0, 4, 8 and 12.
    fours: [*const u8; 4],
    /// Bytes to the three that follow.
    strides: [usize; 4],
    blocks: PhantomData<&'a [B]>,
}

impl<B, const LANES: usize> Column<'_, B, LANES> {
    /// Byte `offset` of the block of a row; `len` bytes from there on are readable.
    #[inline]
    pub fn bytes(&self, row: usize, offset: usize, len: usize) -> *const u8 {
        assert!(row < LANES && offset + len <= size_of::<B>());
        self.fours[row / 4].wrapping_add(self.strides[row % 4]).wrapping_add(offset)
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
