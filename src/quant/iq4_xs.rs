//! IQ4_XS: 4.25 bits per weight, the levels of IQ4_NL.

use super::iq4_nl::{CODEBOOK, index, level};
use super::{Format, Grid, Levels, SuperBlock, f16, nibbles, pack_nibbles, to_f16};
use std::array::from_fn;

/// 256 weights `d * (s - 32) * CODEBOOK[q]`, one s per 32.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct IQ4_XS {
    /// Scale of s, f16.
    pub d: [u8; 2],
    /// High two bits of s number j in bits `2 * j` of this little-endian u16.
    pub scales_h: [u8; 2],
    /// Low four bits of s: even numbers in the low halves.
    pub scales_l: [u8; 4],
    /// 4-bit q: every 16 bytes hold 32 weights, the first 16 of them in the low halves.
    pub qs: [u8; 128],
}

impl Format for IQ4_XS {
    type Shape = SuperBlock;
    const GRID: Grid = Grid { levels: Levels::Codebook(&CODEBOOK), mins: None, group: 32, scales: (-32, 31) };

    fn unpack(&self) -> SuperBlock {
        let mut weights = [0; 256];
        for (bytes, weights) in self.qs.as_chunks().0.iter().zip(weights.as_chunks_mut().0) {
            *weights = nibbles::<16, 32>(bytes).map(level);
        }
        let high = u16::from_le_bytes(self.scales_h);
        let scale = |j: usize| i16::from(self.scales_l[j / 2] >> (j % 2 * 4) & 15) | ((high >> (2 * j) & 3) << 4) as i16;
        SuperBlock { weights, scales: from_fn(|j| scale(j / 2) - 32), mins: [0; 16], d: f16(self.d), dmin: 0.0 }
    }

    fn pack(block: &SuperBlock) -> IQ4_XS {
        let s: [u16; 8] = from_fn(|j| (block.scales[2 * j] + 32) as u16);
        let mut qs = [0; 128];
        for (weights, qs) in block.weights.as_chunks().0.iter().zip(qs.as_chunks_mut().0) {
            *qs = pack_nibbles::<32, 16>(&weights.map(index));
        }
        IQ4_XS {
            d: to_f16(block.d),
            scales_h: s.iter().enumerate().fold(0, |high, (j, s)| high | (s >> 4) << (2 * j)).to_le_bytes(),
            scales_l: from_fn(|i| (s[2 * i] & 15 | (s[2 * i + 1] & 15) << 4) as u8),
            qs,
        }
    }
}
