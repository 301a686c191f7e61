//! IQ4_NL: 4.5 bits per weight, levels denser around zero.

use super::{Format, Grid, Levels, SmallBlock, f16, nibbles, pack_nibbles, to_f16};

/// The levels of IQ4_NL and IQ4_XS.
pub const CODEBOOK: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// 32 weights `d * CODEBOOK[q]`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct IQ4_NL {
    /// Scale, f16.
    pub d: [u8; 2],
    /// 4-bit q: weights 0..16 in the low halves, 16..32 in the high halves.
    pub qs: [u8; 16],
}

impl Format for IQ4_NL {
    type Shape = SmallBlock;
    const GRID: Grid = Grid::small(Levels::Codebook(&CODEBOOK), false);

    fn unpack(&self) -> SmallBlock {
        SmallBlock { weights: nibbles(&self.qs).map(level), scale: f16(self.d), min: -0.0 }
    }

    fn pack(block: &SmallBlock) -> IQ4_NL {
        IQ4_NL { d: to_f16(block.scale), qs: pack_nibbles(&block.weights.map(index)) }
    }
}

/// The level with this index, below 16.
pub(super) fn level(index: u8) -> i8 {
    CODEBOOK[usize::from(index & 15)]
}

/// The index of a level.
pub(super) fn index(level: i8) -> u8 {
    CODEBOOK.partition_point(|&other| other < level) as u8
}
