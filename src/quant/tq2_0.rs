//! TQ2_0: 2.0625 bits per weight, for ternary models.

use super::q2_k::{crumbs, pack_crumbs};
use super::{Format, Grid, Levels, SuperBlock, f16, to_f16};

/// 256 weights `d * (q - 1)`. Encoders write -1, 0 and 1; the format has room for 2.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct TQ2_0 {
    /// 2-bit q, as in Q2_K.
    pub qs: [u8; 64],
    /// Scale, f16.
    pub d: [u8; 2],
}

impl Format for TQ2_0 {
    type Shape = SuperBlock;
    const GRID: Grid = Grid { levels: Levels::Range(-1, 1), mins: None, group: 256, scales: (1, 1) };

    fn unpack(&self) -> SuperBlock {
        SuperBlock::even(crumbs(&self.qs).map(|q| q as i8 - 1), f16(self.d))
    }

    fn pack(block: &SuperBlock) -> TQ2_0 {
        TQ2_0 { qs: pack_crumbs(&block.weights.map(|w| (w + 1) as u8)), d: to_f16(block.d) }
    }
}
