//! Q8_K: 9.125 bits per weight; in files only by way of tools, the reference implementation keeps activations in it.

use super::{Format, Grid, Levels, SuperBlock};
use std::array::from_fn;

/// 256 weights `d * q`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Q8_K {
    /// Scale, f32.
    pub d: [u8; 4],
    /// Signed q.
    pub qs: [i8; 256],
    /// Sums of 16 consecutive q, i16. Not used: the q say the same.
    pub bsums: [[u8; 2]; 16],
}

impl Format for Q8_K {
    type Shape = SuperBlock;
    const GRID: Grid = Grid { levels: Levels::Range(-127, 127), mins: None, group: 256, scales: (1, 1) };

    fn unpack(&self) -> SuperBlock {
        SuperBlock::even(self.qs, f32::from_le_bytes(self.d))
    }

    fn pack(block: &SuperBlock) -> Q8_K {
        let sum = |j: usize| block.weights[16 * j..16 * j + 16].iter().map(|&w| i16::from(w)).sum::<i16>();
        Q8_K { d: block.d.to_le_bytes(), qs: block.weights, bsums: from_fn(|j| sum(j).to_le_bytes()) }
    }
}
