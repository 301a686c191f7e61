//! Q4_1: 5 bits per weight.

use super::{Format, Grid, Levels, SmallBlock, f16, nibbles, pack_nibbles, to_f16};

/// 32 weights `d * q + m`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Q4_1 {
    /// Scale, f16.
    pub d: [u8; 2],
    /// Offset, f16.
    pub m: [u8; 2],
    /// 4-bit q: weights 0..16 in the low halves, 16..32 in the high halves.
    pub qs: [u8; 16],
}

impl Format for Q4_1 {
    type Shape = SmallBlock;
    const GRID: Grid = Grid::small(Levels::Range(0, 15), true);

    fn unpack(&self) -> SmallBlock {
        SmallBlock { weights: nibbles(&self.qs).map(|q| q as i8), scale: f16(self.d), min: f16(self.m) }
    }

    fn pack(block: &SmallBlock) -> Q4_1 {
        let qs = pack_nibbles(&block.weights.map(|w| w as u8));
        Q4_1 { d: to_f16(block.scale), m: to_f16(block.min), qs }
    }
}
