//! Unpacking of super-blocks of codewords into tiles.
//!
//! A gather fetches one word for each of eight rows, as 4-bit digits. With the sign of a weight as their upper bit, digits
//! are what a byte shuffle takes to look weights up.

use super::lanes::{Rows, bits, flags, low_f16, turn};
use super::small_blocks::levels;
use super::tile::{Bytes, Tiled};
use crate::quant::{
    Codewords, IQ1_M, IQ1_S, IQ1_WORDS, IQ2_S, IQ2_S_WORDS, IQ2_XS, IQ2_XS_WORDS, IQ2_XXS, IQ2_XXS_WORDS, IQ3_S, IQ3_S_WORDS,
    IQ3_XXS, IQ3_XXS_WORDS,
};
use std::arch::x86_64::*;
use std::mem::offset_of;
use std::ops::Range;

impl Tiled for IQ2_XXS {
    type Tile = Bytes<32, 1, true, false>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<IQ2_XXS>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        let table = signed(&IQ2_XXS_WORDS);
        for chunk in 0..4 {
            let [words_a, signs_a, words_b, signs_b] = turn(&column, offset_of!(IQ2_XXS, qs) + 16 * chunk);
            for (sub, words, signs) in [(2 * chunk, words_a, signs_a), (2 * chunk + 1, words_b, signs_b)] {
                let minus = even_signs(sevens(signs));
                for k in 0..4 {
                    let word = fetch(&IQ2_XXS_WORDS, field(words, 8 * k, 8));
                    let minus = [flags(minus, 2 * k), flags(minus, 2 * k + 1)];
                    look_up_eight(&table, word, minus, &mut tile.weights[8 * sub + 2 * k..]);
                }
                set_scale(tile, sub, field(signs, 28, 4));
            }
        }
        tile.d = eighth(low_f16(turn(&column, 0)[0]));
    }
}

impl Tiled for IQ2_XS {
    type Tile = Bytes<16, 1, true, false>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<IQ2_XS>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        let table = signed(&IQ2_XS_WORDS);
        for chunk in 0..4 {
            for (i, pair) in turn(&column, offset_of!(IQ2_XS, qs) + 16 * chunk).into_iter().enumerate() {
                let minus = _mm256_or_si256(field(pair, 9, 7), _mm256_slli_epi32::<8>(field(pair, 25, 7)));
                let minus = even_signs(minus);
                for k in 0..2 {
                    let word = fetch(&IQ2_XS_WORDS, field(pair, 16 * k, 9));
                    let minus = [flags(minus, 2 * k), flags(minus, 2 * k + 1)];
                    look_up_eight(&table, word, minus, &mut tile.weights[16 * chunk + 4 * i + 2 * k..]);
                }
            }
        }
        let [.., a, b] = turn(&column, size_of::<IQ2_XS>() - 16);
        for j in 0..16 {
            set_scale(tile, j, field([a, b][j / 8], j % 8 * 4, 4));
        }
        tile.d = eighth(low_f16(turn(&column, 0)[0]));
    }
}

impl Tiled for IQ2_S {
    type Tile = Bytes<16, 1, true, false>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<IQ2_S>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        let table = signed(&IQ2_S_WORDS);
        let [high_a, high_b, scales_a, scales_b] = turn(&column, offset_of!(IQ2_S, qh));
        for half in 0..2 {
            let low = turn(&column, offset_of!(IQ2_S, qs) + 16 * half);
            let minus = turn(&column, offset_of!(IQ2_S, signs) + 16 * half);
            for k in 0..16 {
                let high = field([high_a, high_b][half], 2 * k, 2);
                let word = _mm256_or_si256(field(low[k / 4], k % 4 * 8, 8), _mm256_slli_epi32::<8>(high));
                let minus = [flags(minus[k / 4], k % 4 * 2), flags(minus[k / 4], k % 4 * 2 + 1)];
                look_up_eight(&table, fetch(&IQ2_S_WORDS, word), minus, &mut tile.weights[32 * half + 2 * k..]);
            }
        }
        for j in 0..16 {
            set_scale(tile, j, field([scales_a, scales_b][j / 8], j % 8 * 4, 4));
        }
        tile.d = eighth(low_f16(turn(&column, 0)[0]));
    }
}

impl Tiled for IQ3_XXS {
    type Tile = Bytes<32, 1, true, false>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<IQ3_XXS>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        let table = signed(&IQ3_XXS_WORDS);
        for half in 0..2 {
            let signs = turn(&column, offset_of!(IQ3_XXS, signs) + 16 * half);
            let words = [0, 1].map(|quarter| turn(&column, offset_of!(IQ3_XXS, qs) + 32 * half + 16 * quarter));
            for sub in 0..4 {
                let minus = even_signs(sevens(signs[sub]));
                for k in 0..8 {
                    let words = words[sub / 2][sub % 2 * 2 + k / 4];
                    let word = fetch(&IQ3_XXS_WORDS, field(words, k % 4 * 8, 8));
                    tile.weights[32 * half + 8 * sub + k] = look_up(&table, word, flags(minus, k));
                }
                set_scale(tile, 4 * half + sub, field(signs[sub], 28, 4));
            }
        }
        tile.d = _mm256_mul_ps(low_f16(turn(&column, 0)[0]), _mm256_set1_ps(0.25));
    }
}

impl Tiled for IQ3_S {
    type Tile = Bytes<32, 4, true, false>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<IQ3_S>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        let table = signed(&IQ3_S_WORDS);
        let high = turn(&column, offset_of!(IQ3_S, qh));
        let scales = turn(&column, size_of::<IQ3_S>() - 16)[3];
        for half in 0..2 {
            let minus = turn(&column, offset_of!(IQ3_S, signs) + 16 * half);
            let low = [0, 1].map(|quarter| turn(&column, offset_of!(IQ3_S, qs) + 32 * half + 16 * quarter));
            for sub in 0..4 {
                for k in 0..8 {
                    let low = low[sub / 2][sub % 2 * 2 + k / 4];
                    let ninth = _mm256_slli_epi32::<8>(field(high[half], 8 * sub + k, 1));
                    let word = _mm256_or_si256(field(low, k % 4 * 8, 8), ninth);
                    let weights = look_up(&table, fetch(&IQ3_S_WORDS, word), flags(minus[sub], k));
                    tile.weights[32 * half + 8 * sub + k] = weights;
                }
                set_scale(tile, 4 * half + sub, field(scales, 16 * half + 4 * sub, 4));
            }
        }
        tile.d = low_f16(turn(&column, 0)[0]);
    }
}

impl Tiled for IQ1_S {
    type Tile = Bytes<32, 4, true, false>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<IQ1_S>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        let table = shifted();
        let low = [0, 16].map(|half| turn(&column, offset_of!(IQ1_S, qs) + half));
        let high = turn(&column, offset_of!(IQ1_S, qh));
        for sub in 0..8 {
            let low = low[sub / 4][sub % 4];
            let high = _mm256_srl_epi32(high[sub / 2], _mm_cvtsi32_si128(sub as i32 % 2 * 16));
            let minus = _mm256_srai_epi32::<31>(_mm256_slli_epi32::<16>(high));
            for k in 0..4 {
                let word = _mm256_or_si256(field(low, 8 * k, 8), _mm256_slli_epi32::<8>(field(high, 3 * k, 3)));
                look_up_eight(&table, fetch(&IQ1_WORDS, word), [minus; 2], &mut tile.weights[8 * sub + 2 * k..]);
            }
            set_scale(tile, sub, field(high, 12, 3));
        }
        tile.d = eighth(low_f16(turn(&column, 0)[0]));
    }
}

impl Tiled for IQ1_M {
    type Tile = Bytes<16, 4, true, false>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<IQ1_M>, blocks: Range<usize>, tile: &mut Self::Tile) {
        let column = rows.column(blocks.start);
        let table = shifted();
        let low = [0, 16].map(|half| turn(&column, offset_of!(IQ1_M, qs) + half));
        let high = turn(&column, offset_of!(IQ1_M, qh));
        for sub in 0..8 {
            let low = low[sub / 4][sub % 4];
            for k in 0..4 {
                let at = sub % 2 * 16 + 4 * k;
                let high = high[sub / 2];
                let minus = _mm256_srai_epi32::<31>(_mm256_slli_epi32::<28>(field(high, at, 4)));
                let word = _mm256_or_si256(field(low, 8 * k, 8), _mm256_slli_epi32::<8>(field(high, at, 3)));
                look_up_eight(&table, fetch(&IQ1_WORDS, word), [minus; 2], &mut tile.weights[8 * sub + 2 * k..]);
            }
        }
        let [.., a, b] = turn(&column, size_of::<IQ1_M>() - 16);
        for j in 0..16 {
            set_scale(tile, j, field([a, b][j / 8], j / 4 % 2 * 16 + j % 4 * 3, 3));
        }
        let bits = [field(a, 12, 4), field(a, 28, 4), field(b, 12, 4), field(b, 28, 4)];
        let d = bits.into_iter().rev().fold(_mm256_setzero_si256(), |d, bits| _mm256_or_si256(_mm256_slli_epi32::<4>(d), bits));
        tile.d = eighth(low_f16(d));
    }
}

/// `count` bits of every lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn field(lanes: __m256i, at: usize, count: u32) -> __m256i {
    _mm256_and_si256(_mm256_srl_epi32(lanes, _mm_cvtsi32_si128(at as i32)), _mm256_set1_epi32((1 << count) - 1))
}

/// The words with the numbers in the lanes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn fetch(words: &Codewords, numbers: __m256i) -> __m256i {
    assert!(words.words.len().is_power_of_two());
    let numbers = _mm256_and_si256(numbers, _mm256_set1_epi32(words.words.len() as i32 - 1));
    // SAFETY: with the bits above cleared, numbers are below the length.
    unsafe { _mm256_i32gather_epi32::<4>(words.words.as_ptr().cast(), numbers) }
}

/// The levels by digits, and from 8 on the same with the other sign.
fn signed(words: &Codewords) -> [i8; 16] {
    std::array::from_fn(|i| {
        let level = words.levels.get(i % 8).copied().unwrap_or(0);
        if i < 8 { level } else { -level }
    })
}

/// The weights `level + 1` by digits, and from 8 on `level - 1`.
fn shifted() -> [i8; 16] {
    std::array::from_fn(|i| IQ1_WORDS.levels.get(i % 8).copied().unwrap_or(0) + if i < 8 { 1 } else { -1 })
}

/// The weights of words of four digits; `minus` are masks.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn look_up(table: &[i8; 16], digits: __m256i, minus: __m256i) -> __m256i {
    levels(table, _mm256_or_si256(digits, _mm256_and_si256(minus, _mm256_set1_epi8(8))))
}

/// As [`look_up`] for words of eight digits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn look_up_eight(table: &[i8; 16], digits: __m256i, minus: [__m256i; 2], weights: &mut [__m256i]) {
    weights[0] = look_up(table, bits(digits, 0, 15), minus[0]);
    weights[1] = look_up(table, bits(digits, 4, 15), minus[1]);
}

/// Four fields of seven bits as bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn sevens(lanes: __m256i) -> __m256i {
    let part = |shifted, mask| _mm256_and_si256(shifted, _mm256_set1_epi32(mask));
    let low = _mm256_or_si256(part(lanes, 0x7f), part(_mm256_slli_epi32::<1>(lanes), 0x7f00));
    let high =
        _mm256_or_si256(part(_mm256_slli_epi32::<2>(lanes), 0x007f_0000), part(_mm256_slli_epi32::<3>(lanes), 0x7f00_0000));
    _mm256_or_si256(low, high)
}

/// Bytes of seven bits with an eighth that makes the number of set bits even.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn even_signs(sevens: __m256i) -> __m256i {
    const ODD: [i8; 16] = [0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0];
    let folded = _mm256_xor_si256(bits(sevens, 0, 15), bits(sevens, 4, 7));
    _mm256_or_si256(sevens, levels(&ODD, folded))
}

/// Sets the `j`-th sub-scale to `2 * s + 1`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn set_scale<const SUB: usize, const STEP: usize>(tile: &mut Bytes<SUB, STEP, true, false>, j: usize, s: __m256i) {
    let scale = _mm256_add_epi32(_mm256_add_epi32(s, s), _mm256_set1_epi32(1));
    tile.scales[j] = _mm256_or_si256(scale, _mm256_slli_epi32::<16>(scale));
}

/// Scales of formats whose weights count eighths.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn eighth(d: __m256) -> __m256 {
    _mm256_mul_ps(d, _mm256_set1_ps(0.125))
}
