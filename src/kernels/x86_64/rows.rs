//! Rows of weights side by side: where their blocks are.

/// As many rows of blocks as a vector has lanes.
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
        Column { first: &self.blocks[index], stride: self.stride * size_of::<B>() }
    }
}

/// One block of each row.
#[derive(Clone, Copy)]
pub(super) struct Column<'a, B, const LANES: usize> {
    first: &'a B,
    /// In bytes. All blocks are there: only `Rows` makes columns.
    stride: usize,
}

impl<B, const LANES: usize> Column<'_, B, LANES> {
    /// Where byte `offset` of the first block is, and how many bytes further on that of the next row: `len` bytes from
    /// there on are readable in every row.
    #[inline]
    pub fn bytes(&self, offset: usize, len: usize) -> (*const u8, usize) {
        assert!(offset + len <= size_of::<B>());
        ((&raw const *self.first).cast::<u8>().wrapping_add(offset), self.stride)
    }
}
