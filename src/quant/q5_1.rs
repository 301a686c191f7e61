//! Q5_1: 6 bits per weight.

use super::q5_0::{five_bits, pack_five_bits};
use super::{Format, Grid, Levels, SmallBlock, f16, to_f16};

/// 32 weights `d * q + m`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Q5_1 {
    /// Scale, f16.
    pub d: [u8; 2],
    /// Offset, f16.
    pub m: [u8; 2],
    /// Fifth bits: bit i of this little-endian u32 belongs to weight i.
    pub qh: [u8; 4],
    /// Low four bits: weights 0..16 in the low halves, 16..32 in the high halves.
    pub qs: [u8; 16],
}

impl Format for Q5_1 {
    type Shape = SmallBlock;
    const GRID: Grid = Grid::small(Levels::Range(0, 31), true);

    fn unpack(&self) -> SmallBlock {
        let weights = five_bits(self.qh, &self.qs).map(|q| q as i8);
        SmallBlock { weights, scale: f16(self.d), min: f16(self.m) }
    }

    fn pack(block: &SmallBlock) -> Q5_1 {
        let (qh, qs) = pack_five_bits(&block.weights.map(|w| w as u8));
        Q5_1 { d: to_f16(block.scale), m: to_f16(block.min), qh, qs }
    }
}
