//! Unpacking of blocks of 32 weights into tiles.

use super::lanes::{Column, Rows, biased, bits, byte, high_f16, low_f16, turn};
use super::matmul::Tiled;
use super::tile::Small;
use crate::quant::{CODEBOOK, E2M1, IQ4_NL, MXFP4, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
use std::arch::x86_64::*;
use std::mem::offset_of;
use std::ops::Range;

/// Fills a tile by `numbers`, which writes the weights of sixteen blocks and returns their scales and offsets (formats
/// without offset return anything).
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn each_block<B, const OFFSET: i32, const MINS: bool>(
    rows: Rows<B>,
    blocks: Range<usize>,
    tile: &mut Small<OFFSET, MINS>,
    numbers: impl Fn(&Column<B>, &mut [__m512i; 8]) -> [__m512; 2],
) {
    tile.blocks = blocks.len();
    let columns = tile.weights.as_chunks_mut().0.iter_mut().zip(&mut tile.d).zip(&mut tile.min);
    for (((weights, d), min), block) in columns.zip(blocks) {
        [*d, *min] = numbers(&rows.column(block), weights);
    }
}

impl Tiled for Q4_0 {
    type Tile = Small<8, false>;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn fill(rows: Rows<Q4_0>, blocks: Range<usize>, tile: &mut Self::Tile) {
        each_block(rows, blocks, tile, |column, weights| {
            halves(column, offset_of!(Q4_0, qs), weights);
            halves_f16(turn(column, 0)[0])
        });
    }
}

impl Tiled for Q4_1 {
    type Tile = Small<0, true>;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn fill(rows: Rows<Q4_1>, blocks: Range<usize>, tile: &mut Self::Tile) {
        each_block(rows, blocks, tile, |column, weights| {
            halves(column, offset_of!(Q4_1, qs), weights);
            halves_f16(turn(column, 0)[0])
        });
    }
}

impl Tiled for Q5_0 {
    type Tile = Small<16, false>;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn fill(rows: Rows<Q5_0>, blocks: Range<usize>, tile: &mut Self::Tile) {
        each_block(rows, blocks, tile, |column, weights| {
            // d stands in two bytes, so the fifth bits of a row share two lanes.
            let [head, next, ..] = turn(column, 0);
            let fifth = _mm512_or_si512(_mm512_srli_epi32::<16>(head), _mm512_slli_epi32::<16>(next));
            halves(column, offset_of!(Q5_0, qs), weights);
            add_fifth(fifth, weights);
            halves_f16(head)
        });
    }
}

impl Tiled for Q5_1 {
    type Tile = Small<0, true>;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
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
    type Tile = Small<128, false>;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn fill(rows: Rows<Q8_0>, blocks: Range<usize>, tile: &mut Self::Tile) {
        each_block(rows, blocks, tile, |column, weights| {
            for (half, weights) in weights.as_chunks_mut().0.iter_mut().enumerate() {
                *weights = turn(column, offset_of!(Q8_0, qs) + 16 * half).map(|q| biased(q));
            }
            halves_f16(turn(column, 0)[0])
        });
    }
}

impl Tiled for IQ4_NL {
    type Tile = Small<128, false>;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
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
    type Tile = Small<128, false>;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn fill(rows: Rows<MXFP4>, blocks: Range<usize>, tile: &mut Self::Tile) {
        each_block(rows, blocks, tile, |column, weights| {
            halves(column, offset_of!(MXFP4, qs), weights);
            for q in weights {
                *q = levels(&E2M1, *q);
            }
            let e = byte(turn(column, 0)[0], 0);
            let normal = _mm512_slli_epi32::<23>(_mm512_sub_epi32(e, _mm512_set1_epi32(1)));
            let is_subnormal = _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2));
            let scale = _mm512_mask_sllv_epi32(normal, is_subnormal, _mm512_set1_epi32(0x0020_0000), e);
            [_mm512_castsi512_ps(scale); 2]
        });
    }
}

/// The f16 in the low and high half of every lane.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn halves_f16(v: __m512i) -> [__m512; 2] {
    [low_f16(v), high_f16(v)]
}

/// The 4-bit numbers at `offset`: low halves, then high halves.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn halves<B>(column: &Column<B>, offset: usize, weights: &mut [__m512i; 8]) {
    for (i, q) in turn(column, offset).into_iter().enumerate() {
        (weights[i], weights[i + 4]) = (bits(q, 0, 15), bits(q, 4, 15));
    }
}

/// Adds the fifth bits of 5-bit numbers: bit i of a lane belongs to weight i of the row.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn add_fifth(fifth: __m512i, weights: &mut [__m512i; 8]) {
    for (v, q) in weights.iter_mut().enumerate() {
        // Every byte of a lane gets the byte that holds its bit, and keeps that bit alone.
        let step = _mm512_set4_epi32(0x0c0c_0c0c, 0x0808_0808, 0x0404_0404, 0);
        let byte = _mm512_shuffle_epi8(fifth, _mm512_add_epi8(step, _mm512_set1_epi8(v as i8 / 2)));
        let set = _mm512_test_epi8_mask(byte, _mm512_set1_epi32(0x0804_0201 << (v % 2 * 4)));
        *q = _mm512_mask_add_epi8(*q, set, *q, _mm512_set1_epi8(16));
    }
}

/// Levels by their numbers, plus 128.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn levels(table: &[i8; 16], q: __m512i) -> __m512i {
    // SAFETY: the load is the 16 bytes of the array.
    let table = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
    _mm512_shuffle_epi8(biased(_mm512_broadcast_i32x4(table)), q)
}
