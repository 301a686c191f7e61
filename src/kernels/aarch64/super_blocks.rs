//! Unpacking of super-blocks into tiles.

use super::lanes::{
    Column, Rows, bits, byte, chunk_bits, each, eightfold, high_f16, low_f16, or, pairs, signed_byte, turn, twice, whole,
};
use super::matmul::Tiled;
use super::small_blocks::{self, levels, subtract};
use super::tile::{Chunk, Super, Weights};
use crate::quant::{CODEBOOK, IQ4_XS, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K, TQ1_0, TQ2_0};
use std::arch::aarch64::*;
use std::array::from_fn;
use std::mem::offset_of;
use std::ops::Range;

impl Tiled for Q4_K {
    type Tile = Super<32, 8, false>;

    #[target_feature(enable = "neon")]
    unsafe fn fill(rows: Rows<Q4_K>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        halves(&column, offset_of!(Q4_K, qs), &mut tile.weights);
        scales_and_mins(turn(&column, 0), tile);
    }
}

impl Tiled for Q5_K {
    type Tile = Super<32, 8, false>;

    #[target_feature(enable = "neon")]
    unsafe fn fill(rows: Rows<Q5_K>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        halves(&column, offset_of!(Q5_K, qs), &mut tile.weights);
        for half in 0..2 {
            let fifth = pairs(&column, offset_of!(Q5_K, qh) + 16 * half);
            for (sub, weights) in tile.weights.iter_mut().skip(half).step_by(2).enumerate() {
                *weights = or(*weights, chunk_bits(fifth, sub as i8 - 4, 16));
            }
        }
        scales_and_mins(turn(&column, 0), tile);
    }
}

impl Tiled for Q6_K {
    type Tile = Super<16, 0, false>;

    #[target_feature(enable = "neon")]
    unsafe fn fill(rows: Rows<Q6_K>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        // 128 weights in quarters of 32; a quarter's low bits are half of one of two runs of 32 bytes.
        for (part, half) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let low = offset_of!(Q6_K, ql) + 64 * part + 16 * half;
            let low = [pairs(&column, low), pairs(&column, low + 32)];
            let high = pairs(&column, offset_of!(Q6_K, qh) + 32 * part + 16 * half);
            for quarter in 0..4 {
                let low = chunk_bits(low[quarter % 2], quarter as i8 / 2 * 4, 15);
                let high = chunk_bits(high, 2 * quarter as i8 - 4, 0x30);
                tile.weights[8 * part + 2 * quarter + half] = subtract(32, or(low, high));
            }
        }
        signed_scales(turn(&column, offset_of!(Q6_K, scales)), tile);
        tile.d = high_f16(turn(&column, size_of::<Q6_K>() - 16)[3]);
    }
}

impl Tiled for Q3_K {
    type Tile = Super<16, 0, false>;

    #[target_feature(enable = "neon")]
    unsafe fn fill(rows: Rows<Q3_K>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        crumbs(&column, offset_of!(Q3_K, qs), &mut tile.weights);
        for half in 0..2 {
            let third = pairs(&column, offset_of!(Q3_K, hmask) + 16 * half);
            for (sub, weights) in tile.weights.iter_mut().skip(half).step_by(2).enumerate() {
                *weights = subtract(4, or(*weights, chunk_bits(third, sub as i8 - 2, 4)));
            }
        }
        // The last 16 bytes of a block: two that do not matter, twelve of sub-scales, d.
        let tail = turn(&column, size_of::<Q3_K>() - 16);
        let [a, b, c] = from_fn(|i| whole(tail[i], tail[i + 1]));
        let six = |low, high| vsubq_u8(vorrq_u8(low, high), vdupq_n_u8(32));
        let scales = [
            six(bits(a, 0, 15), bits(c, -4, 0x30)),
            six(bits(b, 0, 15), bits(c, -2, 0x30)),
            six(bits(a, 4, 15), bits(c, 0, 0x30)),
            six(bits(b, 4, 15), bits(c, 2, 0x30)),
        ];
        signed_scales(scales, tile);
        tile.d = high_f16(tail[3]);
    }
}

impl Tiled for Q2_K {
    type Tile = Super<256, 16, false>;

    #[target_feature(enable = "neon")]
    unsafe fn fill(rows: Rows<Q2_K>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        crumbs(&column, offset_of!(Q2_K, qs), &mut tile.weights);
        let scales = turn(&column, offset_of!(Q2_K, scales));
        for (sub, (weights, min)) in tile.weights.iter_mut().zip(&mut tile.mins).enumerate() {
            // Weights times sub-scales are small enough to be weights.
            let [low, high] = [bits(scales[sub / 4], 0, 15), bits(scales[sub / 4], 4, 15)];
            for (pair, weights) in weights.iter_mut().enumerate() {
                *weights = weights.map(|q| vmulq_u8(q, eightfold(low, pair, sub % 4)));
            }
            *min = byte(high, sub as i32 % 4);
        }
        let tail = turn(&column, size_of::<Q2_K>() - 16)[3];
        (tile.d, tile.dmin) = (low_f16(tail), high_f16(tail));
    }
}

impl Tiled for Q8_K {
    type Tile = Super<256, 0, true>;

    #[target_feature(enable = "neon")]
    unsafe fn fill(rows: Rows<Q8_K>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        tile.weights = from_fn(|i| pairs(&column, offset_of!(Q8_K, qs) + 16 * i));
        tile.d = vreinterpretq_f32_u8(turn(&column, offset_of!(Q8_K, d))[0]);
    }
}

impl Tiled for IQ4_XS {
    type Tile = Super<32, 0, true>;

    #[target_feature(enable = "neon")]
    unsafe fn fill(rows: Rows<IQ4_XS>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        let [head, low, ..] = turn(&column, 0);
        for (sub, weights) in tile.weights.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let q = small_blocks::halves(&column, offset_of!(IQ4_XS, qs) + 16 * sub);
            *weights = q.map(|q| levels(&CODEBOOK, q));
            let at = |v, shift: i32, mask| {
                vandq_s32(vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_u8(v), vdupq_n_s32(-shift))), vdupq_n_s32(mask))
            };
            let (low, high) = (at(low, 4 * sub as i32, 15), at(head, 16 + 2 * sub as i32, 3));
            tile.scales[sub] = twice(vsubq_s32(vorrq_s32(low, vshlq_n_s32::<4>(high)), vdupq_n_s32(32)));
        }
        tile.d = low_f16(head);
    }
}

impl Tiled for TQ1_0 {
    type Tile = Super<256, 0, false>;

    #[target_feature(enable = "neon")]
    unsafe fn fill(rows: Rows<TQ1_0>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        // Where the first digits of 16 bytes go, and how far the next ones are from there.
        for (part, at, step) in [(0, 0, 2), (1, 1, 2), (2, 10, 1)] {
            let mut fractions = pairs(&column, offset_of!(TQ1_0, qs) + 16 * part);
            for weights in tile.weights[at..].iter_mut().step_by(step).take(5) {
                *weights = each(fractions, |fraction| digit(fraction));
                fractions = each(fractions, |fraction| vmulq_u8(fraction, vdupq_n_u8(3)));
            }
        }
        // The last 16 bytes of a block: ten of `qs`, `qh`, d.
        let tail = turn(&column, size_of::<TQ1_0>() - 16);
        let fractions = whole(tail[2], tail[3]);
        let [a, b, c, d] = [1, 3, 9, 27].map(|power| vreinterpretq_u32_u8(digit(vmulq_u8(fractions, vdupq_n_u8(power)))));
        let joined = [[vzip1q_u32(a, b), vzip1q_u32(c, d)], [vzip2q_u32(a, b), vzip2q_u32(c, d)]];
        tile.weights[15] = joined.map(|pair| pair.map(|half| vreinterpretq_u8_u32(half)));
        tile.d = high_f16(tail[3]);
    }
}

impl Tiled for TQ2_0 {
    type Tile = Super<256, 0, false>;

    #[target_feature(enable = "neon")]
    unsafe fn fill(rows: Rows<TQ2_0>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        crumbs(&column, offset_of!(TQ2_0, qs), &mut tile.weights);
        tile.weights.iter_mut().for_each(|weights| *weights = subtract(1, *weights));
        tile.d = high_f16(turn(&column, size_of::<TQ2_0>() - 16)[3]);
    }
}

/// First ternary digits, less 1, of bytes that are fractions of 256.
#[inline]
#[target_feature(enable = "neon")]
fn digit(fraction: uint8x16_t) -> uint8x16_t {
    // The masks are -1 where the fraction reaches 1/3 and 2/3.
    let masks = [86, 171].map(|least| vcgeq_u8(fraction, vdupq_n_u8(least)));
    vsubq_u8(vsubq_u8(vdupq_n_u8(255), masks[0]), masks[1])
}

/// The 4-bit numbers of Q4_K and Q5_K.
#[inline]
#[target_feature(enable = "neon")]
fn halves<B>(column: &Column<B>, offset: usize, weights: &mut Weights) {
    for i in 0..8 {
        let at = i / 2 * 4 + i % 2;
        [weights[at], weights[at + 2]] = small_blocks::halves(column, offset + 16 * i);
    }
}

/// The 2-bit numbers of Q2_K, Q3_K and TQ2_0.
#[inline]
#[target_feature(enable = "neon")]
fn crumbs<B>(column: &Column<B>, offset: usize, weights: &mut Weights) {
    for i in 0..4 {
        let q: Chunk = pairs(column, offset + 16 * i);
        for quarter in 0..4 {
            weights[i / 2 * 8 + i % 2 + 2 * quarter] = chunk_bits(q, 2 * quarter as i8, 3);
        }
    }
}

/// The head of Q4_K and Q5_K: d, dmin and twelve bytes of sub-scales and sub-minima.
#[inline]
#[target_feature(enable = "neon")]
fn scales_and_mins(head: [uint8x16_t; 4], tile: &mut Super<32, 8, false>) {
    let [d, a, b, c] = head;
    let six = |low, high| vorrq_u8(low, bits(high, 2, 0x30));
    let scales = [bits(a, 0, 63), six(bits(c, 0, 15), a)];
    let mins = [bits(b, 0, 63), six(bits(c, 4, 15), b)];
    for j in 0..8 {
        tile.scales[j] = twice(byte(scales[j / 4], j as i32 % 4));
        tile.mins[j] = byte(mins[j / 4], j as i32 % 4);
    }
    (tile.d, tile.dmin) = (low_f16(d), high_f16(d));
}

/// Signed bytes, one sub-scale per 16 weights.
#[inline]
#[target_feature(enable = "neon")]
fn signed_scales(bytes: [uint8x16_t; 4], tile: &mut Super<16, 0, false>) {
    for (j, scales) in tile.scales.iter_mut().enumerate() {
        *scales = twice(signed_byte(bytes[j / 4], j as i32 % 4));
    }
}
