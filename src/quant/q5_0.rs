//! Q5_0: 5.5 bits per weight.

use super::{Format, Grid, Levels, SmallBlock, f16, nibbles, pack_nibbles, to_f16};
use std::array::from_fn;

/// 32 weights `d * (q - 16)`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Q5_0 {
    /// Scale, f16.
    pub d: [u8; 2],
    /// Fifth bits: bit i of this little-endian u32 belongs to weight i.
    pub qh: [u8; 4],
    /// Low four bits: weights 0..16 in the low halves, 16..32 in the high halves.
    pub qs: [u8; 16],
}

impl Format for Q5_0 {
    type Shape = SmallBlock;
    const GRID: Grid = Grid::small(Levels::Range(-16, 15), false);

    fn unpack(&self) -> SmallBlock {
        let weights = five_bits(self.qh, &self.qs).map(|q| q as i8 - 16);
        SmallBlock { weights, scale: f16(self.d), min: -0.0 }
    }

    fn pack(block: &SmallBlock) -> Q5_0 {
        let (qh, qs) = pack_five_bits(&block.weights.map(|w| (w + 16) as u8));
        Q5_0 { d: to_f16(block.scale), qh, qs }
    }
}

/// The 5-bit numbers of Q5_0 and Q5_1.
pub(super) fn five_bits(qh: [u8; 4], qs: &[u8; 16]) -> [u8; 32] {
    let (low, high) = (nibbles::<16, 32>(qs), u32::from_le_bytes(qh));
    from_fn(|i| low[i] | ((high >> i & 1) as u8 * 16))
}

/// Inverse of [`five_bits`].
pub(super) fn pack_five_bits(q: &[u8; 32]) -> ([u8; 4], [u8; 16]) {
    let high = q.iter().enumerate().fold(0, |high, (i, &q)| high | u32::from(q >> 4 & 1) << i);
    (high.to_le_bytes(), pack_nibbles(&q.map(|q| q & 15)))
}
