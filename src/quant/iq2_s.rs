//! IQ2_S: 2.5625 bits per weight.

use super::codewords::{IQ2_S_WORDS, assemble, each_word, half, odd};
use super::{Format, Grid, Levels, SuperBlock, f16, to_f16};
use std::array::from_fn;

/// 256 weights `d / 8 * (2 * s + 1) * w`, one s per 16, w from signed codewords of eight.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct IQ2_S {
    /// Scale of s, f16.
    pub d: [u8; 2],
    /// Low eight bits of the numbers of words.
    pub qs: [u8; 32],
    /// Eight signs per word.
    pub signs: [u8; 32],
    /// High two bits of the numbers: four to a byte.
    pub qh: [u8; 8],
    /// 4-bit s: even numbers in the low halves.
    pub scales: [u8; 8],
}

impl Format for IQ2_S {
    type Shape = SuperBlock;
    const GRID: Grid = Grid { levels: Levels::Signed(&IQ2_S_WORDS, false), mins: None, group: 16, scales: (1, 31) };

    fn unpack(&self) -> SuperBlock {
        let word = |k: usize| {
            let high = usize::from(self.qh[k / 4] >> (k % 4 * 2) & 3);
            IQ2_S_WORDS.signed::<8>(usize::from(self.qs[k]) | high << 8, self.signs[k])
        };
        let scale = |j: usize| odd(self.scales[j / 2] >> (j % 2 * 4) & 15);
        SuperBlock { weights: assemble(word), scales: from_fn(scale), mins: [0; 16], d: f16(self.d) / 8.0, dmin: 0.0 }
    }

    fn pack(block: &SuperBlock) -> IQ2_S {
        let words: [_; 32] = each_word(&block.weights, |weights| IQ2_S_WORDS.signed_word::<8>(weights));
        let s = block.scales.map(half);
        IQ2_S {
            d: to_f16(block.d * 8.0),
            qs: words.map(|(word, _)| word as u8),
            signs: words.map(|(_, signs)| signs),
            qh: from_fn(|j| (0..4).fold(0, |byte, k| byte | (words[4 * j + k].0 >> 8 << (2 * k)) as u8)),
            scales: from_fn(|j| s[2 * j] | s[2 * j + 1] << 4),
        }
    }
}
