//! What tests of quantized arithmetic share: random blocks and a second opinion on what they mean.

use super::{Codewords, IQ1_WORDS, IQ2_S_WORDS, IQ2_XS_WORDS, IQ2_XXS_WORDS, IQ3_S_WORDS, IQ3_XXS_WORDS};
use crate::tensor::Dtype;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Reproducible randomness.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(ChaCha8Rng::seed_from_u64(seed))
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// Uniform in 0..1.
    pub(crate) fn uniform(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1 << 24) as f32
    }

    /// About normal: the sum of twelve uniform numbers.
    pub(crate) fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }

    pub(crate) fn normals(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.normal()).collect()
    }

    /// Random blocks for `len` weights; floats among the bytes are moderate and of both signs, the rest is anything.
    pub(crate) fn row(&mut self, dtype: Dtype, len: usize) -> Vec<u8> {
        let mut bytes = self.bytes(dtype.row_bytes(len).expect("whole blocks"));
        for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
            put_floats(dtype, block, || self.normal());
        }
        bytes
    }
}

/// Overwrites the floats of a block.
pub(crate) fn put_floats(dtype: Dtype, block: &mut [u8], mut next: impl FnMut() -> f32) {
    let halves: &[usize] = match dtype {
        Dtype::F32 | Dtype::Q8_K => return block[..4].copy_from_slice(&next().to_le_bytes()),
        Dtype::BF16 => return block.copy_from_slice(&half::bf16::from_f32(next()).to_le_bytes()),
        // The power of two below.
        Dtype::MXFP4 => return block[0] = (next().abs().to_bits() >> 23) as u8 + 1,
        // The number below, of three bits behind its exponent.
        Dtype::NVFP4 => {
            return block[..4].fill_with(|| ((next().abs().clamp(0.01, 6.0).to_bits() >> 20) - (119 << 3)) as u8);
        }
        // The upper halves of four bytes.
        Dtype::IQ1_M => {
            let d = half::f16::from_f32(next()).to_bits();
            return (0..4).for_each(|j| block[49 + 2 * j] = block[49 + 2 * j] & 15 | ((d >> (4 * j)) as u8) << 4);
        }
        Dtype::F16 | Dtype::Q4_0 | Dtype::Q5_0 | Dtype::Q8_0 | Dtype::IQ4_NL | Dtype::IQ4_XS => &[0],
        Dtype::IQ1_S | Dtype::IQ2_XXS | Dtype::IQ2_XS | Dtype::IQ2_S | Dtype::IQ3_XXS | Dtype::IQ3_S => &[0],
        Dtype::Q4_1 | Dtype::Q5_1 | Dtype::Q4_K | Dtype::Q5_K => &[0, 2],
        Dtype::Q2_K => &[80, 82],
        Dtype::Q3_K => &[108],
        Dtype::Q6_K => &[208],
        Dtype::TQ1_0 => &[52],
        Dtype::TQ2_0 => &[64],
        other => panic!("no floats in {other}"),
    };
    for &at in halves {
        block[at..at + 2].copy_from_slice(&half::f16::from_f32(next()).to_le_bytes());
    }
}

/// Weight `i` of a block, straight from the bytes, one weight at a time: shares nothing with the formats.
pub(crate) fn weight(dtype: Dtype, block: &[u8], i: usize) -> f64 {
    let half = |at: usize| f64::from(half::f16::from_le_bytes([block[at], block[at + 1]]));
    let bits = |at: usize, bit: usize, count: u32| i32::from(block[at + bit / 8] >> (bit % 8)) & ((1 << count) - 1);
    // 4-bit numbers of a run of `run` weights in `run / 2` bytes.
    let nibble = |at: usize, run: usize| {
        let (start, k) = (at + i / run * (run / 2), i % run);
        bits(start + k % (run / 2), k / (run / 2) * 4, 4)
    };
    let crumb = |at: usize| bits(at + i / 128 * 32 + i % 32, i / 32 % 4 * 2, 2);
    let level = |q: i32| [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113][q as usize];
    let signed = |at: usize| i32::from(block[at] as i8);
    // Bits of a little-endian number that cross bytes.
    let wide = |at: usize, bit: usize, count: usize| (0..count).map(|n| bits(at, bit + n, 1) << n).sum::<i32>();
    let sign = |at: usize, bit: usize| 1 - 2 * bits(at, bit, 1);
    // The sign of weight i where seven signs from a bit on stand for eight, of which an even number is minus.
    let even = |at: usize, bit: usize| match i % 8 {
        7 => (0..7).map(|n| sign(at, bit + n)).product(),
        n => sign(at, bit + n),
    };
    // What weight i is in its codeword.
    let digit = |words: &Codewords, number: i32| {
        let place = i % if words.levels.len() == 3 { 8 } else { 4 };
        let nibble = words.words[number as usize].to_le_bytes()[place % 4] >> (place / 4 * 4) & 15;
        i32::from(words.levels[usize::from(nibble)])
    };
    match dtype {
        Dtype::F32 => f64::from(f32::from_le_bytes(block.try_into().unwrap())),
        Dtype::F16 => half(0),
        Dtype::BF16 => f64::from(f32::from_bits(u32::from(u16::from_le_bytes(block.try_into().unwrap())) << 16)),
        Dtype::Q4_0 => half(0) * f64::from(nibble(2, 32) - 8),
        Dtype::Q4_1 => half(0) * f64::from(nibble(4, 32)) + half(2),
        Dtype::Q5_0 => half(0) * f64::from(nibble(6, 32) + 16 * bits(2, i, 1) - 16),
        Dtype::Q5_1 => half(0) * f64::from(nibble(8, 32) + 16 * bits(4, i, 1)) + half(2),
        Dtype::Q8_0 => half(0) * f64::from(signed(2 + i)),
        Dtype::IQ4_NL => half(0) * f64::from(level(nibble(2, 32))),
        Dtype::Q2_K => half(80) * f64::from(bits(i / 16, 0, 4) * crumb(16)) - half(82) * f64::from(bits(i / 16, 4, 4)),
        Dtype::Q3_K => {
            let j = i / 16;
            let s = bits(96 + j % 8, j / 8 * 4, 4) + 16 * bits(104 + j % 4, j / 4 * 2, 2) - 32;
            half(108) * f64::from(s * (crumb(32) + 4 * bits(i % 32, i / 32, 1) - 4))
        }
        Dtype::Q4_K | Dtype::Q5_K => {
            let (s, m) = match i / 32 {
                j @ 0..4 => (bits(4 + j, 0, 6), bits(8 + j, 0, 6)),
                j => (bits(8 + j, 0, 4) + 16 * bits(j, 6, 2), bits(8 + j, 4, 4) + 16 * bits(4 + j, 6, 2)),
            };
            let q = match dtype {
                Dtype::Q4_K => nibble(16, 64),
                _ => nibble(48, 64) + 16 * bits(16 + i % 32, i / 32, 1),
            };
            half(0) * f64::from(s * q) - half(2) * f64::from(m)
        }
        Dtype::Q6_K => {
            let q = nibble(0, 128) + 16 * bits(128 + i / 128 * 32 + i % 32, i / 32 % 4 * 2, 2) - 32;
            half(208) * f64::from(signed(192 + i / 16) * q)
        }
        Dtype::Q8_K => f64::from(f32::from_le_bytes(block[..4].try_into().unwrap())) * f64::from(signed(4 + i)),
        Dtype::IQ4_XS => {
            let j = i / 32;
            let s = bits(4, 4 * j, 4) + 16 * bits(2, 2 * j, 2) - 32;
            half(0) * f64::from(s * level(nibble(8, 32)))
        }
        Dtype::IQ1_S => {
            let j = 34 + i / 32 * 2;
            let word = bits(2 + i / 8, 0, 8) + 256 * wide(j, i / 8 % 4 * 3, 3);
            let shift = if wide(j, 15, 1) == 0 { 0.125 } else { -0.125 };
            half(0) * f64::from(2 * wide(j, 12, 3) + 1) * (f64::from(digit(&IQ1_WORDS, word)) / 8.0 + shift)
        }
        Dtype::IQ1_M => {
            let d = (0..4).fold(0, |d, j| d | wide(48 + 2 * j, 12, 4) << (4 * j));
            let s = wide(48 + i / 64 * 2, i / 16 % 4 * 3, 3);
            let word = bits(i / 8, 0, 8) + 256 * bits(32, i / 8 * 4, 3);
            let shift = if bits(32, i / 8 * 4 + 3, 1) == 0 { 0.125 } else { -0.125 };
            let d = f64::from(half::f16::from_bits(d as u16));
            d * f64::from(2 * s + 1) * (f64::from(digit(&IQ1_WORDS, word)) / 8.0 + shift)
        }
        Dtype::IQ2_XXS => {
            let j = 2 + i / 32 * 8;
            let w = digit(&IQ2_XXS_WORDS, bits(j + i / 8 % 4, 0, 8)) * even(j + 4, i / 8 % 4 * 7);
            half(0) * (0.5 + f64::from(bits(j + 4, 28, 4))) * 0.25 * f64::from(w)
        }
        Dtype::IQ2_XS => {
            let w = digit(&IQ2_XS_WORDS, wide(2 + i / 8 * 2, 0, 9)) * even(2 + i / 8 * 2, 9);
            half(0) * (0.5 + f64::from(bits(66, i / 16 * 4, 4))) * 0.25 * f64::from(w)
        }
        Dtype::IQ2_S => {
            let w = digit(&IQ2_S_WORDS, bits(2 + i / 8, 0, 8) + 256 * bits(66, i / 8 * 2, 2)) * sign(34, i);
            half(0) * (0.5 + f64::from(bits(74, i / 16 * 4, 4))) * 0.25 * f64::from(w)
        }
        Dtype::IQ3_XXS => {
            let j = 66 + i / 32 * 4;
            let w = digit(&IQ3_XXS_WORDS, bits(2 + i / 4, 0, 8)) * even(j, i / 8 % 4 * 7);
            half(0) * (0.5 + f64::from(bits(j, 28, 4))) * 0.5 * f64::from(w)
        }
        Dtype::IQ3_S => {
            let w = digit(&IQ3_S_WORDS, bits(2 + i / 4, 0, 8) + 256 * bits(66, i / 4, 1)) * sign(74, i);
            half(0) * (1.0 + 2.0 * f64::from(bits(106, i / 32 * 4, 4))) * f64::from(w)
        }
        Dtype::TQ1_0 => {
            let (byte, digit) = match i {
                0..160 => (i % 32, i / 32),
                160..240 => (32 + i % 16, i / 16 - 10),
                _ => (48 + i % 4, i / 4 - 60),
            };
            // Digits of a fraction that is cut off after eight bits.
            let mut fraction = u32::from(block[byte]);
            for _ in 0..digit {
                fraction = fraction * 3 % 256;
            }
            half(52) * (f64::from(fraction * 3 / 256) - 1.0)
        }
        Dtype::TQ2_0 => half(64) * f64::from(crumb(0) - 1),
        Dtype::MXFP4 => {
            let q = nibble(1, 32);
            let (exponent, mantissa) = (q >> 1 & 3, f64::from(q & 1) / 2.0);
            let size = if exponent == 0 { mantissa } else { f64::from(1 << (exponent - 1)) * (1.0 + mantissa) };
            let scale = f64::from(i32::from(block[0]) - 127).exp2();
            if q & 8 == 0 { scale * size } else { -scale * size }
        }
        Dtype::NVFP4 => {
            let q = nibble(4, 16);
            let size = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0][q as usize & 7];
            let (exponent, mantissa) = (i32::from(block[i / 16] >> 3 & 15), f64::from(block[i / 16] & 7) / 8.0);
            let scale = if exponent == 0 { mantissa / 64.0 } else { (1.0 + mantissa) * f64::from(exponent - 7).exp2() };
            if q & 8 == 0 { scale * size } else { -scale * size }
        }
        other => panic!("{other} has no second opinion"),
    }
}
