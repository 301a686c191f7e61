//! Q8_0: 8.5 bits per weight.

use super::{Format, Grid, Levels, SmallBlock, f16, to_f16};

/// 32 weights `d * q`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Q8_0 {
    /// Scale, f16.
    pub d: [u8; 2],
    /// Signed q.
    pub qs: [i8; 32],
}

impl Format for Q8_0 {
    type Shape = SmallBlock;
    // Like every known encoder, ours leaves -128 out: peers may negate q in 8 bits.
    const GRID: Grid = Grid::small(Levels::Range(-127, 127), false);

    fn unpack(&self) -> SmallBlock {
        SmallBlock { weights: self.qs, scale: f16(self.d), min: -0.0 }
    }

    fn pack(block: &SmallBlock) -> Q8_0 {
        Q8_0 { d: to_f16(block.scale), qs: block.weights }
    }
}
