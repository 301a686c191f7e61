//! Q2_K: 2.625 bits per weight.

use super::{Format, Grid, Levels, SuperBlock, f16, to_f16};
use std::array::from_fn;

/// 256 weights `d * s * q - dmin * m`, one s and m per 16.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Q2_K {
    /// Per 16 weights: s in the low half, m in the high half.
    pub scales: [u8; 16],
    /// 2-bit q, see `crumbs`.
    pub qs: [u8; 64],
    /// Scale of s, f16.
    pub d: [u8; 2],
    /// Scale of m, f16.
    pub dmin: [u8; 2],
}

impl Format for Q2_K {
    type Shape = SuperBlock;
    const GRID: Grid = Grid { levels: Levels::Range(0, 3), mins: Some(15), group: 16, scales: (0, 15) };

    fn unpack(&self) -> SuperBlock {
        SuperBlock {
            weights: crumbs(&self.qs).map(|q| q as i8),
            scales: self.scales.map(|byte| i16::from(byte & 15)),
            mins: self.scales.map(|byte| i16::from(byte >> 4)),
            d: f16(self.d),
            dmin: f16(self.dmin),
        }
    }

    fn pack(block: &SuperBlock) -> Q2_K {
        Q2_K {
            scales: from_fn(|j| (block.scales[j] | block.mins[j] << 4) as u8),
            qs: pack_crumbs(&block.weights.map(|w| w as u8)),
            d: to_f16(block.d),
            dmin: to_f16(block.dmin),
        }
    }
}

/// The 2-bit numbers of Q2_K and Q3_K: every 32 bytes hold 128 of them, number `32 * j + l` in bits `2 * j` of byte l.
pub(super) fn crumbs(bytes: &[u8; 64]) -> [u8; 256] {
    from_fn(|i| bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3)
}

/// Inverse of [`crumbs`].
pub(super) fn pack_crumbs(q: &[u8; 256]) -> [u8; 64] {
    from_fn(|i| (0..4).fold(0, |byte, j| byte | q[i / 32 * 128 + 32 * j + i % 32] << (2 * j)))
}
