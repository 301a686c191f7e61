//! Q5_K: 5.5 bits per weight.

use super::q4_k::{halves, pack_halves, pack_scales_and_mins, scales_and_mins};
use super::{Format, Grid, Levels, SuperBlock, f16, to_f16};
use std::array::from_fn;

/// 256 weights `d * s * q - dmin * m`, one s and m per 32.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Q5_K {
    /// Scale of s, f16.
    pub d: [u8; 2],
    /// Scale of m, f16.
    pub dmin: [u8; 2],
    /// Eight s and m of 6 bits, as in Q4_K.
    pub scales: [u8; 12],
    /// Fifth bits: weight `32 * j + l` in bit j of byte l.
    pub qh: [u8; 32],
    /// Low four bits, as in Q4_K.
    pub qs: [u8; 128],
}

impl Format for Q5_K {
    type Shape = SuperBlock;
    const GRID: Grid = Grid { levels: Levels::Range(0, 31), mins: Some(63), group: 32, scales: (0, 63) };

    fn unpack(&self) -> SuperBlock {
        let low = halves(&self.qs);
        let (scales, mins) = scales_and_mins(&self.scales);
        SuperBlock {
            weights: from_fn(|i| (low[i] | (self.qh[i % 32] >> (i / 32) & 1) << 4) as i8),
            scales,
            mins,
            d: f16(self.d),
            dmin: f16(self.dmin),
        }
    }

    fn pack(block: &SuperBlock) -> Q5_K {
        let q = block.weights.map(|w| w as u8);
        Q5_K {
            d: to_f16(block.d),
            dmin: to_f16(block.dmin),
            scales: pack_scales_and_mins(&block.scales, &block.mins),
            qh: from_fn(|l| (0..8).fold(0, |byte, j| byte | (q[32 * j + l] >> 4) << j)),
            qs: pack_halves(&q.map(|q| q & 15)),
        }
    }
}
