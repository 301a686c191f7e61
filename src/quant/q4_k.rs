//! Q4_K: 4.5 bits per weight.

use super::{Format, Grid, Levels, SuperBlock, f16, nibbles, pack_nibbles, to_f16};
use std::array::from_fn;

/// 256 weights `d * s * q - dmin * m`, one s and m per 32.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Q4_K {
    /// Scale of s, f16.
    pub d: [u8; 2],
    /// Scale of m, f16.
    pub dmin: [u8; 2],
    /// Eight s and m of 6 bits, see `scales_and_mins`.
    pub scales: [u8; 12],
    /// 4-bit q: every 32 bytes hold 64 weights, the first 32 of them in the low halves.
    pub qs: [u8; 128],
}

impl Format for Q4_K {
    type Shape = SuperBlock;
    const GRID: Grid = Grid { levels: Levels::Range(0, 15), mins: Some(63), group: 32, scales: (0, 63) };

    fn unpack(&self) -> SuperBlock {
        let (scales, mins) = scales_and_mins(&self.scales);
        SuperBlock { weights: halves(&self.qs).map(|q| q as i8), scales, mins, d: f16(self.d), dmin: f16(self.dmin) }
    }

    fn pack(block: &SuperBlock) -> Q4_K {
        Q4_K {
            d: to_f16(block.d),
            dmin: to_f16(block.dmin),
            scales: pack_scales_and_mins(&block.scales, &block.mins),
            qs: pack_halves(&block.weights.map(|w| w as u8)),
        }
    }
}

/// The 4-bit numbers of Q4_K and Q5_K.
pub(super) fn halves(bytes: &[u8; 128]) -> [u8; 256] {
    let mut out = [0; 256];
    for (bytes, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        *out = nibbles::<32, 64>(bytes);
    }
    out
}

/// Inverse of [`halves`].
pub(super) fn pack_halves(q: &[u8; 256]) -> [u8; 128] {
    let mut out = [0; 128];
    for (q, out) in q.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        *out = pack_nibbles::<64, 32>(q);
    }
    out
}

/// The eight 6-bit s and m of Q4_K and Q5_K, each twice (per 16 weights). Numbers 0..4 stand in the low six bits of bytes
/// 0..4 (s) and 4..8 (m). Of numbers 4..8 the low four bits stand in bytes 8..12 (s low, m high half) and the high two
/// bits on top of the bytes of numbers 0..4.
pub(super) fn scales_and_mins(bytes: &[u8; 12]) -> ([i16; 16], [i16; 16]) {
    let scale = |j: usize| if j < 4 { bytes[j] & 63 } else { bytes[j + 4] & 15 | bytes[j - 4] >> 6 << 4 };
    let min = |j: usize| if j < 4 { bytes[j + 4] & 63 } else { bytes[j + 4] >> 4 | bytes[j] >> 6 << 4 };
    (from_fn(|j| i16::from(scale(j / 2))), from_fn(|j| i16::from(min(j / 2))))
}

/// Inverse of [`scales_and_mins`].
pub(super) fn pack_scales_and_mins(scales: &[i16; 16], mins: &[i16; 16]) -> [u8; 12] {
    let s = |j: usize| scales[2 * j] as u8;
    let m = |j: usize| mins[2 * j] as u8;
    from_fn(|i| match i {
        0..4 => s(i) | s(i + 4) >> 4 << 6,
        4..8 => m(i - 4) | m(i) >> 4 << 6,
        _ => s(i - 4) & 15 | m(i - 4) << 4,
    })
}
