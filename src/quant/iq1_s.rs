//! IQ1_S: 1.5625 bits per weight.

use super::codewords::{IQ1_WORDS, assemble, each_word, half, odd};
use super::{Format, Grid, Levels, SuperBlock, f16, to_f16};
use std::array::from_fn;

/// 256 weights `d / 8 * (2 * s + 1) * (w + shift)`, one s and one shift, 1 or -1, per 32, w from codewords of eight.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct IQ1_S {
    /// Scale of s, f16.
    pub d: [u8; 2],
    /// Low eight bits of the numbers of words.
    pub qs: [u8; 32],
    /// Little-endian u16 per 32 weights: high three bits of four numbers, three bits s, the sign of the shift.
    pub qh: [[u8; 2]; 8],
}

impl Format for IQ1_S {
    type Shape = SuperBlock;
    const GRID: Grid = Grid { levels: Levels::Shifted(&IQ1_WORDS, 32), mins: None, group: 32, scales: (1, 15) };

    fn unpack(&self) -> SuperBlock {
        let high = self.qh.map(u16::from_le_bytes);
        let word = |k: usize| {
            let high = high[k / 4];
            let word = usize::from(self.qs[k]) | usize::from(high >> (k % 4 * 3) & 7) << 8;
            shifted(word, high >> 15 == 1)
        };
        let scale = |j: usize| odd((high[j / 2] >> 12 & 7) as u8);
        SuperBlock { weights: assemble(word), scales: from_fn(scale), mins: [0; 16], d: f16(self.d) / 8.0, dmin: 0.0 }
    }

    fn pack(block: &SuperBlock) -> IQ1_S {
        let words: [_; 32] = each_word(&block.weights, shifted_word);
        let high = |j: usize| {
            let words = &words[4 * j..][..4];
            let numbers = words.iter().rev().fold(0, |bits, (word, _)| bits << 3 | (word >> 8) as u16);
            (numbers | u16::from(half(block.scales[2 * j])) << 12 | u16::from(words[0].1) << 15).to_le_bytes()
        };
        IQ1_S { d: to_f16(block.d * 8.0), qs: words.map(|(word, _)| word as u8), qh: from_fn(high) }
    }
}

/// The weights of a word, less or more by 1.
pub(super) fn shifted(word: usize, less: bool) -> [i8; 8] {
    IQ1_WORDS.weights(word).map(|weight: i8| if less { weight - 1 } else { weight + 1 })
}

/// Inverse of [`shifted`].
pub(super) fn shifted_word(weights: &[i8; 8]) -> (usize, bool) {
    // Words are multiples of 8.
    let less = weights[0] & 7 == 7;
    (IQ1_WORDS.word(&weights.map(|weight| if less { weight + 1 } else { weight - 1 })), less)
}
