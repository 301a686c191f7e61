//! IQ2_XS: 2.3125 bits per weight.

use super::codewords::{IQ2_XS_WORDS, assemble, each_word, even_signs, half, odd};
use super::{Format, Grid, Levels, SuperBlock, f16, to_f16};
use std::array::from_fn;

/// 256 weights `d / 8 * (2 * s + 1) * w`, one s per 16, w from signed codewords of eight.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct IQ2_XS {
    /// Scale of s, f16.
    pub d: [u8; 2],
    /// Little-endian u16 per word: its number in the lower nine bits, and seven signs (the eighth makes the number of
    /// minus signs even).
    pub qs: [[u8; 2]; 32],
    /// 4-bit s: even numbers in the low halves.
    pub scales: [u8; 8],
}

impl Format for IQ2_XS {
    type Shape = SuperBlock;
    const GRID: Grid = Grid { levels: Levels::Signed(&IQ2_XS_WORDS, true), mins: None, group: 16, scales: (1, 31) };

    fn unpack(&self) -> SuperBlock {
        let word = |k: usize| {
            let bits = u16::from_le_bytes(self.qs[k]);
            IQ2_XS_WORDS.signed::<8>(usize::from(bits & 511), even_signs(u32::from(bits >> 9)))
        };
        let scale = |j: usize| odd(self.scales[j / 2] >> (j % 2 * 4) & 15);
        SuperBlock { weights: assemble(word), scales: from_fn(scale), mins: [0; 16], d: f16(self.d) / 8.0, dmin: 0.0 }
    }

    fn pack(block: &SuperBlock) -> IQ2_XS {
        let word = |weights: &[i8; 8]| {
            let (word, signs) = IQ2_XS_WORDS.signed_word(weights);
            (word as u16 | u16::from(signs & 127) << 9).to_le_bytes()
        };
        let s = block.scales.map(half);
        IQ2_XS {
            d: to_f16(block.d * 8.0),
            qs: each_word(&block.weights, word),
            scales: from_fn(|j| s[2 * j] | s[2 * j + 1] << 4),
        }
    }
}
