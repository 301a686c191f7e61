//! IQ3_XXS: 3.0625 bits per weight.

use super::codewords::{IQ3_XXS_WORDS, assemble, each_word, even_signs, half, odd};
use super::{Format, Grid, Levels, SuperBlock, f16, to_f16};
use std::array::from_fn;

/// 256 weights `d / 4 * (2 * s + 1) * w`, one s per 32, w from signed codewords of four.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct IQ3_XXS {
    /// Scale of s, f16.
    pub d: [u8; 2],
    /// Numbers of the words.
    pub qs: [u8; 64],
    /// Little-endian u32 per 32 weights: four times seven signs (the eighth makes the number of minus signs among eight
    /// weights even), and s in the upper four bits.
    pub signs: [[u8; 4]; 8],
}

impl Format for IQ3_XXS {
    type Shape = SuperBlock;
    const GRID: Grid = Grid { levels: Levels::Signed(&IQ3_XXS_WORDS, true), mins: None, group: 32, scales: (1, 31) };

    fn unpack(&self) -> SuperBlock {
        let word = |k: usize| {
            let signs = even_signs(u32::from_le_bytes(self.signs[k / 8]) >> (k % 8 / 2 * 7));
            IQ3_XXS_WORDS.signed::<4>(self.qs[k].into(), signs >> (k % 2 * 4))
        };
        let scale = |j: usize| odd((u32::from_le_bytes(self.signs[j / 2]) >> 28) as u8);
        SuperBlock { weights: assemble(word), scales: from_fn(scale), mins: [0; 16], d: f16(self.d) / 4.0, dmin: 0.0 }
    }

    fn pack(block: &SuperBlock) -> IQ3_XXS {
        let words: [_; 64] = each_word(&block.weights, |weights| IQ3_XXS_WORDS.signed_word::<4>(weights));
        let signs = |j: usize| {
            let seven = |pair: &[(usize, u8)]| u32::from(pair[0].1 | pair[1].1 << 4 & 127);
            let signs = words[8 * j..][..8].chunks(2).rev().fold(0, |bits, pair| bits << 7 | seven(pair));
            (u32::from(half(block.scales[2 * j])) << 28 | signs).to_le_bytes()
        };
        IQ3_XXS { d: to_f16(block.d * 4.0), qs: words.map(|(word, _)| word as u8), signs: from_fn(signs) }
    }
}
