//! Unpacking of super-blocks into tiles.

use super::lanes::{Column, Rows, bits, high_f16, low_f16, spread, turn};
use super::small_blocks::levels;
use super::tile::{Bytes, Tiled, Weights, Words};
use crate::quant::{CODEBOOK, IQ4_XS, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K, TQ1_0, TQ2_0};
use std::arch::x86_64::*;
use std::mem::offset_of;
use std::ops::Range;

impl Tiled for Q4_K {
    type Tile = Bytes<32, 8, false, true>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<Q4_K>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        halves(&column, offset_of!(Q4_K, qs), &mut tile.weights);
        scales_and_mins(turn(&column, 0), tile);
    }
}

impl Tiled for Q5_K {
    type Tile = Bytes<32, 4, false, true>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<Q5_K>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        halves(&column, offset_of!(Q5_K, qs), &mut tile.weights);
        for half in 0..2 {
            let fifth = turn(&column, offset_of!(Q5_K, qh) + 16 * half);
            for sub in 0..8 {
                for i in 0..4 {
                    let weights = &mut tile.weights[8 * sub + 4 * half + i];
                    *weights = _mm256_or_si256(*weights, bits(fifth[i], sub as i32 - 4, 16));
                }
            }
        }
        scales_and_mins(turn(&column, 0), tile);
    }
}

impl Tiled for Q6_K {
    type Tile = Bytes<16, 2, true, false>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<Q6_K>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        // 128 weights in quarters of 32; a quarter's low bits are half of one of two runs of 32 bytes.
        for (part, half) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let low = offset_of!(Q6_K, ql) + 64 * part + 16 * half;
            let low = [turn(&column, low), turn(&column, low + 32)];
            let high = turn(&column, offset_of!(Q6_K, qh) + 32 * part + 16 * half);
            for quarter in 0..4 {
                for i in 0..4 {
                    let low = bits(low[quarter % 2][i], quarter as i32 / 2 * 4, 15);
                    let high = bits(high[i], 2 * quarter as i32 - 4, 0x30);
                    let weight = _mm256_sub_epi8(_mm256_or_si256(low, high), _mm256_set1_epi8(32));
                    tile.weights[32 * part + 8 * quarter + 4 * half + i] = weight;
                }
            }
        }
        signed_scales(turn(&column, offset_of!(Q6_K, scales)), tile);
        tile.d = high_f16(turn(&column, size_of::<Q6_K>() - 16)[3]);
    }
}

impl Tiled for Q3_K {
    type Tile = Bytes<16, 4, true, false>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<Q3_K>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        crumbs(&column, offset_of!(Q3_K, qs), &mut tile.weights);
        for half in 0..2 {
            let third = turn(&column, offset_of!(Q3_K, hmask) + 16 * half);
            for sub in 0..8 {
                for i in 0..4 {
                    let weights = &mut tile.weights[8 * sub + 4 * half + i];
                    let weight = _mm256_or_si256(*weights, bits(third[i], sub as i32 - 2, 4));
                    *weights = _mm256_sub_epi8(weight, _mm256_set1_epi8(4));
                }
            }
        }
        // The last 16 bytes of a block: two that do not matter, twelve of sub-scales, d.
        let tail = turn(&column, size_of::<Q3_K>() - 16);
        let whole = |i: usize| _mm256_or_si256(_mm256_srli_epi32::<16>(tail[i]), _mm256_slli_epi32::<16>(tail[i + 1]));
        let (a, b, c) = (whole(0), whole(1), whole(2));
        let six = |low, high| _mm256_sub_epi8(_mm256_or_si256(low, high), _mm256_set1_epi8(32));
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
    type Tile = Bytes<16, 4, false, true>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<Q2_K>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        crumbs(&column, offset_of!(Q2_K, qs), &mut tile.weights);
        let scales = turn(&column, offset_of!(Q2_K, scales));
        for j in 0..16 {
            tile.scales[j] = spread(bits(scales[j / 4], 0, 15), j % 4, j % 4);
        }
        for j in 0..8 {
            tile.pairs[j] = spread(bits(scales[j / 2], 4, 15), 2 * j % 4, 2 * j % 4 + 1);
        }
        let tail = turn(&column, size_of::<Q2_K>() - 16)[3];
        (tile.d, tile.dmin) = (low_f16(tail), high_f16(tail));
    }
}

impl Tiled for Q8_K {
    type Tile = Words;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<Q8_K>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        for i in 0..16 {
            tile.weights[4 * i..4 * i + 4].copy_from_slice(&turn(&column, offset_of!(Q8_K, qs) + 16 * i));
        }
        tile.scales = [_mm256_set1_epi32(1); 8];
        tile.d = _mm256_castsi256_ps(turn(&column, offset_of!(Q8_K, d))[0]);
    }
}

impl Tiled for IQ4_XS {
    type Tile = Words;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<IQ4_XS>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        for sub in 0..8 {
            let q = turn(&column, offset_of!(IQ4_XS, qs) + 16 * sub);
            for i in 0..4 {
                tile.weights[8 * sub + i] = levels(&CODEBOOK, bits(q[i], 0, 15));
                tile.weights[8 * sub + 4 + i] = levels(&CODEBOOK, bits(q[i], 4, 15));
            }
        }
        let head = turn(&column, 0);
        for sub in 0..8 {
            let low = _mm256_srl_epi32(head[1], _mm_cvtsi32_si128(4 * sub as i32));
            let high = _mm256_srl_epi32(head[0], _mm_cvtsi32_si128(16 + 2 * sub as i32));
            let low = _mm256_and_si256(low, _mm256_set1_epi32(15));
            let high = _mm256_slli_epi32::<4>(_mm256_and_si256(high, _mm256_set1_epi32(3)));
            tile.scales[sub] = _mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32));
        }
        tile.d = low_f16(head[0]);
    }
}

/// Weights -1..=2 without sub-scales.
type Ternary = Bytes<128, 32, true, false>;

impl Tiled for TQ1_0 {
    type Tile = Ternary;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<TQ1_0>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        // Where the first digits of 16 bytes go, and how far the next ones are from there.
        for (chunk, at, step) in [(0, 0, 8), (1, 4, 8), (2, 40, 4)] {
            for (i, fractions) in turn(&column, offset_of!(TQ1_0, qs) + 16 * chunk).into_iter().enumerate() {
                digits::<5>(fractions, &mut tile.weights[at + i..], step);
            }
        }
        // The last 16 bytes of a block: ten of `qs`, `qh`, d.
        let [.., a, b] = turn(&column, size_of::<TQ1_0>() - 16);
        let fractions = _mm256_or_si256(_mm256_srli_epi32::<16>(a), _mm256_slli_epi32::<16>(b));
        digits::<4>(fractions, &mut tile.weights[60..], 1);
        unscaled(high_f16(b), tile);
    }
}

impl Tiled for TQ2_0 {
    type Tile = Ternary;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<TQ2_0>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        crumbs(&column, offset_of!(TQ2_0, qs), &mut tile.weights);
        tile.weights = tile.weights.map(|weights| _mm256_sub_epi8(weights, _mm256_set1_epi8(1)));
        unscaled(high_f16(turn(&column, size_of::<TQ2_0>() - 16)[3]), tile);
    }
}

/// Ternary digits of bytes that are fractions of 256: whole parts of 3, 9, 27 ... times the fraction.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn digits<const N: usize>(mut fractions: __m256i, weights: &mut [__m256i], step: usize) {
    // The masks are -1 where the fraction reaches 1/3 and 2/3.
    let reaches = |fractions, least| _mm256_cmpeq_epi8(_mm256_max_epu8(fractions, _mm256_set1_epi8(least as i8)), fractions);
    for n in 0..N {
        let masks = _mm256_add_epi8(reaches(fractions, 86u8), reaches(fractions, 171));
        weights[step * n] = _mm256_sub_epi8(_mm256_set1_epi8(-1), masks);
        fractions = _mm256_add_epi8(fractions, _mm256_add_epi8(fractions, fractions));
    }
}

/// Sub-scales of 1.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn unscaled(d: __m256, tile: &mut Ternary) {
    (tile.scales, tile.d) = ([_mm256_set1_epi16(1); 16], d);
}

/// The 4-bit numbers of Q4_K and Q5_K.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn halves<B>(column: &Column<B>, offset: usize, weights: &mut Weights) {
    for chunk in 0..8 {
        let q = turn(column, offset + 16 * chunk);
        let at = chunk / 2 * 16 + chunk % 2 * 4;
        for i in 0..4 {
            weights[at + i] = bits(q[i], 0, 15);
            weights[at + 8 + i] = bits(q[i], 4, 15);
        }
    }
}

/// The 2-bit numbers of Q2_K and Q3_K.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn crumbs<B>(column: &Column<B>, offset: usize, weights: &mut Weights) {
    for chunk in 0..4 {
        let q = turn(column, offset + 16 * chunk);
        let at = chunk / 2 * 32 + chunk % 2 * 4;
        for quarter in 0..4 {
            for i in 0..4 {
                weights[at + 8 * quarter + i] = bits(q[i], 2 * quarter as i32, 3);
            }
        }
    }
}

/// The head of Q4_K and Q5_K: d, dmin and twelve bytes of sub-scales and sub-minima.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scales_and_mins<const STEP: usize>(head: [__m256i; 4], tile: &mut Bytes<32, STEP, false, true>) {
    let [d, a, b, c] = head;
    let six = |low, high| _mm256_or_si256(low, bits(high, 2, 0x30));
    let scales = [bits(a, 0, 63), six(bits(c, 0, 15), a)];
    [tile.pairs[0], tile.pairs[1]] = [bits(b, 0, 63), six(bits(c, 4, 15), b)];
    for j in 0..8 {
        tile.scales[j] = spread(scales[j / 4], j % 4, j % 4);
    }
    (tile.d, tile.dmin) = (low_f16(d), high_f16(d));
}

/// Sub-scales that are signed bytes, one per 16 weights.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn signed_scales<const STEP: usize>(bytes: [__m256i; 4], tile: &mut Bytes<16, STEP, true, false>) {
    for j in 0..16 {
        tile.scales[j] = spread(bytes[j / 4], j % 4, j % 4);
    }
}
