//! IQ1_M: 1.75 bits per weight.

use super::codewords::{IQ1_WORDS, assemble, each_word, half, odd};
use super::iq1_s::{shifted, shifted_word};
use super::{Format, Grid, Levels, SuperBlock, f16, to_f16};
use std::array::from_fn;

/// 256 weights `d / 8 * (2 * s + 1) * (w + shift)`, one s per 16, w from codewords of eight with one shift, 1 or -1, each.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct IQ1_M {
    /// Low eight bits of the numbers of words.
    pub qs: [u8; 32],
    /// Half a byte per word, low halves first: high three bits of the number, the sign of the shift.
    pub qh: [u8; 16],
    /// Little-endian u16 per 64 weights: four times three bits s, and four bits of the f16 d, the lowest first.
    pub scales: [[u8; 2]; 4],
}

impl Format for IQ1_M {
    type Shape = SuperBlock;
    const GRID: Grid = Grid { levels: Levels::Shifted(&IQ1_WORDS, 8), mins: None, group: 16, scales: (1, 15) };

    fn unpack(&self) -> SuperBlock {
        let scales = self.scales.map(u16::from_le_bytes);
        let word = |k: usize| {
            let high = self.qh[k / 2] >> (k % 2 * 4);
            shifted(usize::from(self.qs[k]) | usize::from(high & 7) << 8, high & 8 != 0)
        };
        let scale = |j: usize| odd((scales[j / 4] >> (j % 4 * 3) & 7) as u8);
        let d = scales.iter().rev().fold(0, |d, bits| d << 4 | bits >> 12);
        SuperBlock { weights: assemble(word), scales: from_fn(scale), mins: [0; 16], d: f16(d.to_le_bytes()) / 8.0, dmin: 0.0 }
    }

    fn pack(block: &SuperBlock) -> IQ1_M {
        let words: [_; 32] = each_word(&block.weights, shifted_word);
        let d = u16::from_le_bytes(to_f16(block.d * 8.0));
        let high = |k: usize| (words[k].0 >> 8) as u8 | u8::from(words[k].1) << 3;
        let scales = |j: usize| {
            let scales = block.scales[4 * j..][..4].iter().rev().fold(0, |bits, &scale| bits << 3 | u16::from(half(scale)));
            (scales | (d >> (4 * j)) << 12).to_le_bytes()
        };
        IQ1_M {
            qs: words.map(|(word, _)| word as u8),
            qh: from_fn(|j| high(2 * j) | high(2 * j + 1) << 4),
            scales: from_fn(scales),
        }
    }
}
