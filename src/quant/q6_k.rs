//! Q6_K: 6.5625 bits per weight.

use super::q2_k::{crumbs, pack_crumbs};
use super::{Format, Grid, Levels, SuperBlock, f16, nibbles, pack_nibbles, to_f16};
use std::array::from_fn;

/// 256 weights `d * s * (q - 32)`, one s per 16.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Q6_K {
    /// Low four bits: every 64 bytes hold 128 weights, the first 64 of them in the low halves.
    pub ql: [u8; 128],
    /// High two bits: every 32 bytes hold 128 weights, weight `32 * j + l` in bits `2 * j` of byte l, as in Q2_K.
    pub qh: [u8; 64],
    /// Signed s.
    pub scales: [i8; 16],
    /// Scale of s, f16.
    pub d: [u8; 2],
}

impl Format for Q6_K {
    type Shape = SuperBlock;
    const GRID: Grid = Grid { levels: Levels::Range(-32, 31), mins: None, group: 16, scales: (-128, 127) };

    fn unpack(&self) -> SuperBlock {
        let mut low = [0; 256];
        for (bytes, low) in self.ql.as_chunks().0.iter().zip(low.as_chunks_mut().0) {
            *low = nibbles::<64, 128>(bytes);
        }
        let high = crumbs(&self.qh);
        SuperBlock {
            weights: from_fn(|i| (low[i] | high[i] << 4) as i8 - 32),
            scales: self.scales.map(i16::from),
            mins: [0; 16],
            d: f16(self.d),
            dmin: 0.0,
        }
    }

    fn pack(block: &SuperBlock) -> Q6_K {
        let q = block.weights.map(|w| (w + 32) as u8);
        let mut ql = [0; 128];
        for (q, ql) in q.map(|q| q & 15).as_chunks().0.iter().zip(ql.as_chunks_mut().0) {
            *ql = pack_nibbles::<128, 64>(q);
        }
        Q6_K { ql, qh: pack_crumbs(&q.map(|q| q >> 4)), scales: block.scales.map(|s| s as i8), d: to_f16(block.d) }
    }
}
