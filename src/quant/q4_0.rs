//! Q4_0: 4.5 bits per weight.

use super::{Format, Grid, Levels, SmallBlock, f16, nibbles, pack_nibbles, to_f16};

/// 32 weights `d * (q - 8)`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Q4_0 {
    /// Scale, f16.
    pub d: [u8; 2],
    /// 4-bit q: weights 0..16 in the low halves, 16..32 in the high halves.
    pub qs: [u8; 16],
}

impl Format for Q4_0 {
    type Shape = SmallBlock;
    const GRID: Grid = Grid::small(Levels::Range(-8, 7), false);

    fn unpack(&self) -> SmallBlock {
        let weights = nibbles(&self.qs).map(|q| q as i8 - 8);
        SmallBlock { weights, scale: f16(self.d), min: -0.0 }
    }

    fn pack(block: &SmallBlock) -> Q4_0 {
        Q4_0 { d: to_f16(block.scale), qs: pack_nibbles(&block.weights.map(|w| (w + 8) as u8)) }
    }
}
