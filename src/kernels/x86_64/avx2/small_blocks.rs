//! Unpacking of blocks of 32 weights into tiles.

use super::lanes::{Column, Rows, bits, flags, high_f16, low_f16, turn};
use super::tile::{Small, Tiled};
use crate::quant::{CODEBOOK, E2M1, IQ4_NL, MXFP4, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
use std::arch::x86_64::*;
use std::mem::offset_of;
use std::ops::Range;

/// Fills a tile by `numbers`, which writes the weights of eight blocks and returns their scales and offsets (formats
/// without offset return anything).
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn each_block<B, const MINS: bool>(
    rows: Rows<B>,
    blocks: Range<usize>,
    tile: &mut Small<MINS>,
    numbers: impl Fn(&Column<B>, &mut [__m256i; 8]) -> [__m256; 2],
) {
    tile.blocks = blocks.len();
    let columns = tile.weights.as_chunks_mut().0.iter_mut().zip(&mut tile.d).zip(&mut tile.min);
    for (((weights, d), min), block) in columns.zip(blocks) {
        [*d, *min] = numbers(&rows.column(block), weights);
    }
}

impl Tiled for Q4_0 {
    type Tile = Small<false>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<Q4_0>, blocks: Range<usize>, tile: &mut Self::Tile) {
        each_block(rows, blocks, tile, |column, weights| {
            halves(column, offset_of!(Q4_0, qs), weights);
            subtract(8, weights);
            halves_f16(turn(column, 0)[0])
        });
    }
}

impl Tiled for Q4_1 {
    type Tile = Small<true>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<Q4_1>, blocks: Range<usize>, tile: &mut Self::Tile) {
        each_block(rows, blocks, tile, |column, weights| {
            halves(column, offset_of!(Q4_1, qs), weights);
            halves_f16(turn(column, 0)[0])
        });
    }
}

impl Tiled for Q5_0 {
    type Tile = Small<false>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<Q5_0>, blocks: Range<usize>, tile: &mut Self::Tile) {
        each_block(rows, blocks, tile, |column, weights| {
            // d stands in two bytes, so the fifth bits of a row share two lanes.
            let [head, next, ..] = turn(column, 0);
            let fifth = _mm256_or_si256(_mm256_srli_epi32::<16>(head), _mm256_slli_epi32::<16>(next));
            halves(column, offset_of!(Q5_0, qs), weights);
            add_fifth(fifth, weights);
            subtract(16, weights);
            halves_f16(head)
        });
    }
}

impl Tiled for Q5_1 {
    type Tile = Small<true>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<Q5_1>, blocks: Range<usize>, tile: &mut Self::Tile) {
        each_block(rows, blocks, tile, |column, weights| {
            let [head, fifth, ..] = turn(column, 0);
            halves(column, offset_of!(Q5_1, qs), weights);
            add_fifth(fifth, weights);
            halves_f16(head)
        });
    }
}

impl Tiled for Q8_0 {
    type Tile = Small<false>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<Q8_0>, blocks: Range<usize>, tile: &mut Self::Tile) {
        each_block(rows, blocks, tile, |column, weights| {
            for (half, weights) in weights.as_chunks_mut().0.iter_mut().enumerate() {
                *weights = turn(column, offset_of!(Q8_0, qs) + 16 * half);
            }
            halves_f16(turn(column, 0)[0])
        });
    }
}

impl Tiled for IQ4_NL {
    type Tile = Small<false>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<IQ4_NL>, blocks: Range<usize>, tile: &mut Self::Tile) {
        each_block(rows, blocks, tile, |column, weights| {
            halves(column, offset_of!(IQ4_NL, qs), weights);
            for q in weights {
                *q = levels(&CODEBOOK, *q);
            }
            halves_f16(turn(column, 0)[0])
        });
    }
}

impl Tiled for MXFP4 {
    type Tile = Small<false>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<MXFP4>, blocks: Range<usize>, tile: &mut Self::Tile) {
        each_block(rows, blocks, tile, |column, weights| {
            halves(column, offset_of!(MXFP4, qs), weights);
            for q in weights {
                *q = levels(&E2M1, *q);
            }
            let e = _mm256_and_si256(turn(column, 0)[0], _mm256_set1_epi32(255));
            let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(e, _mm256_set1_epi32(1)));
            let subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x0020_0000), e);
            let is_normal = _mm256_cmpgt_epi32(e, _mm256_set1_epi32(1));
            let scale = _mm256_castsi256_ps(_mm256_blendv_epi8(subnormal, normal, is_normal));
            [scale, scale]
        });
    }
}

/// The f16 in the low and high half of every lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn halves_f16(v: __m256i) -> [__m256; 2] {
    [low_f16(v), high_f16(v)]
}

/// The 4-bit numbers at `offset`: low halves, then high halves.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn halves<B>(column: &Column<B>, offset: usize, weights: &mut [__m256i; 8]) {
    for (i, q) in turn(column, offset).into_iter().enumerate() {
        (weights[i], weights[i + 4]) = (bits(q, 0, 15), bits(q, 4, 15));
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn subtract(offset: i8, weights: &mut [__m256i; 8]) {
    for q in weights {
        *q = _mm256_sub_epi8(*q, _mm256_set1_epi8(offset));
    }
}

/// Adds the fifth bits of 5-bit numbers: bit i of a lane belongs to weight i of the row.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_fifth(fifth: __m256i, weights: &mut [__m256i; 8]) {
    for (v, q) in weights.iter_mut().enumerate() {
        *q = _mm256_or_si256(*q, _mm256_and_si256(flags(fifth, v), _mm256_set1_epi8(16)));
    }
}

/// Levels by their numbers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn levels(table: &[i8; 16], q: __m256i) -> __m256i {
    // SAFETY: the load is the 16 bytes of the array.
    let table = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
    _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), q)
}
