//! Q3_K: 3.4375 bits per weight.

use super::q2_k::{crumbs, pack_crumbs};
use super::{Format, Grid, Levels, SuperBlock, f16, to_f16};
use std::array::from_fn;

/// 256 weights `d * (s - 32) * (q - 4)`, one s per 16.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Q3_K {
    /// Third bits: weight `32 * j + l` in bit j of byte l.
    pub hmask: [u8; 32],
    /// Low two bits, as in Q2_K.
    pub qs: [u8; 64],
    /// 6-bit s: low four bits of 0..8 in the low halves and of 8..16 in the high halves of bytes 0..8; high two bits of
    /// s number `4 * i + l` in bits `2 * i` of byte `8 + l`.
    pub scales: [u8; 12],
    /// Scale of s, f16.
    pub d: [u8; 2],
}

impl Format for Q3_K {
    type Shape = SuperBlock;
    const GRID: Grid = Grid { levels: Levels::Range(-4, 3), mins: None, group: 16, scales: (-32, 31) };

    fn unpack(&self) -> SuperBlock {
        let low = crumbs(&self.qs);
        let scale = |j: usize| {
            let (low, high) = (self.scales[j % 8] >> (j / 8 * 4) & 15, self.scales[8 + j % 4] >> (j / 4 * 2) & 3);
            i16::from(low | high << 4) - 32
        };
        SuperBlock {
            weights: from_fn(|i| (low[i] | (self.hmask[i % 32] >> (i / 32) & 1) << 2) as i8 - 4),
            scales: from_fn(scale),
            mins: [0; 16],
            d: f16(self.d),
            dmin: 0.0,
        }
    }

    fn pack(block: &SuperBlock) -> Q3_K {
        let q = block.weights.map(|w| (w + 4) as u8);
        let s = block.scales.map(|s| (s + 32) as u8);
        Q3_K {
            hmask: from_fn(|l| (0..8).fold(0, |byte, j| byte | (q[32 * j + l] >> 2) << j)),
            qs: pack_crumbs(&q.map(|q| q & 3)),
            scales: from_fn(|i| match i {
                0..8 => s[i] & 15 | s[8 + i] << 4,
                _ => (0..4).fold(0, |byte, j| byte | (s[4 * j + i - 8] >> 4) << (2 * j)),
            }),
            d: to_f16(block.d),
        }
    }
}
