//! IQ2_XXS: 2.0625 bits per weight.

use super::codewords::{IQ2_XXS_WORDS, assemble, each_word, even_signs, half, odd};
use super::{Format, Grid, Levels, SuperBlock, f16, to_f16};
use std::array::from_fn;

/// 256 weights `d / 8 * (2 * s + 1) * w`, one s per 32, w from signed codewords of eight.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct IQ2_XXS {
    /// Scale of s, f16.
    pub d: [u8; 2],
    /// Per 32 weights: the numbers of four words, then a little-endian u32: seven signs for each of them (the eighth makes
    /// the number of minus signs even), and s in the upper four bits.
    pub qs: [[u8; 8]; 8],
}

impl IQ2_XXS {
    fn signs_and_scale(&self, j: usize) -> u32 {
        let [.., a, b, c, d] = self.qs[j];
        u32::from_le_bytes([a, b, c, d])
    }
}

impl Format for IQ2_XXS {
    type Shape = SuperBlock;
    const GRID: Grid = Grid { levels: Levels::Signed(&IQ2_XXS_WORDS, true), mins: None, group: 32, scales: (1, 31) };

    fn unpack(&self) -> SuperBlock {
        let word = |k: usize| {
            let signs = even_signs(self.signs_and_scale(k / 4) >> (k % 4 * 7));
            IQ2_XXS_WORDS.signed::<8>(self.qs[k / 4][k % 4].into(), signs)
        };
        let scale = |j: usize| odd((self.signs_and_scale(j / 2) >> 28) as u8);
        SuperBlock { weights: assemble(word), scales: from_fn(scale), mins: [0; 16], d: f16(self.d) / 8.0, dmin: 0.0 }
    }

    fn pack(block: &SuperBlock) -> IQ2_XXS {
        let words: [_; 32] = each_word(&block.weights, |weights| IQ2_XXS_WORDS.signed_word::<8>(weights));
        let group = |j: usize| {
            let words = &words[4 * j..][..4];
            let scale = u32::from(half(block.scales[2 * j])) << 28;
            let signs = words.iter().rev().fold(0, |bits, (_, signs)| bits << 7 | u32::from(signs & 127));
            let [a, b, c, d] = (scale | signs).to_le_bytes();
            [words[0].0 as u8, words[1].0 as u8, words[2].0 as u8, words[3].0 as u8, a, b, c, d]
        };
        IQ2_XXS { d: to_f16(block.d * 8.0), qs: from_fn(group) }
    }
}
