//! IQ3_S: 3.4375 bits per weight.

use super::codewords::{IQ3_S_WORDS, assemble, each_word, half, odd};
use super::{Format, Grid, Levels, SuperBlock, f16, to_f16};
use std::array::from_fn;

/// 256 weights `d * (2 * s + 1) * w`, one s per 32, w from signed codewords of four.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct IQ3_S {
    /// Scale of s, f16.
    pub d: [u8; 2],
    /// Low eight bits of the numbers of words.
    pub qs: [u8; 64],
    /// Ninth bits of the numbers.
    pub qh: [u8; 8],
    /// Signs of the weights.
    pub signs: [u8; 32],
    /// 4-bit s: even numbers in the low halves.
    pub scales: [u8; 4],
}

impl Format for IQ3_S {
    type Shape = SuperBlock;
    const GRID: Grid = Grid { levels: Levels::Signed(&IQ3_S_WORDS, false), mins: None, group: 32, scales: (1, 31) };

    fn unpack(&self) -> SuperBlock {
        let word = |k: usize| {
            let high = usize::from(self.qh[k / 8] >> (k % 8) & 1);
            IQ3_S_WORDS.signed::<4>(usize::from(self.qs[k]) | high << 8, self.signs[k / 2] >> (k % 2 * 4))
        };
        let scale = |j: usize| odd(self.scales[j / 4] >> (j / 2 % 2 * 4) & 15);
        SuperBlock { weights: assemble(word), scales: from_fn(scale), mins: [0; 16], d: f16(self.d), dmin: 0.0 }
    }

    fn pack(block: &SuperBlock) -> IQ3_S {
        let words: [_; 64] = each_word(&block.weights, |weights| IQ3_S_WORDS.signed_word::<4>(weights));
        let s = block.scales.map(half);
        IQ3_S {
            d: to_f16(block.d),
            qs: words.map(|(word, _)| word as u8),
            qh: from_fn(|j| (0..8).fold(0, |byte, k| byte | (words[8 * j + k].0 >> 8 << k) as u8)),
            signs: from_fn(|j| words[2 * j].1 | words[2 * j + 1].1 << 4),
            scales: from_fn(|j| s[4 * j] | s[4 * j + 2] << 4),
        }
    }
}
