//! Unpacking of blocks of 32 weights into tiles.

use super::lanes::{Rows, bits, high_f16, low_f16, turn};
use super::matmul::Tiled;
use super::tile::Small;
use crate::quant::{CODEBOOK, IQ4_NL, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
use std::arch::x86_64::*;
use std::array::from_fn;
use std::mem::offset_of;

/// Weights of eight blocks; scale and offset as f16 in the halves of a lane (formats without offset ignore the latter).
type Numbers = ([__m256i; 8], __m256i);

/// Fills a tile, given what one block holds.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn each_block<B, const MINS: bool>(rows: &[&[B]; 8], tile: &mut Small<MINS>, numbers: impl Fn(&Rows<B>) -> Numbers) {
    tile.blocks = rows[0].len().min(8);
    for block in 0..tile.blocks {
        let (weights, head) = numbers(&rows.map(|row| &row[block]));
        tile.weights[8 * block..8 * block + 8].copy_from_slice(&weights);
        tile.d[block] = low_f16(head);
        if MINS {
            tile.min[block] = high_f16(head);
        }
    }
}

impl Tiled for Q4_0 {
    type Tile = Small<false>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: &[&[Q4_0]; 8], tile: &mut Self::Tile) {
        each_block(rows, tile, |rows| {
            let q = halves(rows, offset_of!(Q4_0, qs));
            (q.map(|q| _mm256_sub_epi8(q, _mm256_set1_epi8(8))), turn(rows, 0)[0])
        });
    }
}

impl Tiled for Q4_1 {
    type Tile = Small<true>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: &[&[Q4_1]; 8], tile: &mut Self::Tile) {
        each_block(rows, tile, |rows| (halves(rows, offset_of!(Q4_1, qs)), turn(rows, 0)[0]));
    }
}

impl Tiled for Q5_0 {
    type Tile = Small<false>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: &[&[Q5_0]; 8], tile: &mut Self::Tile) {
        each_block(rows, tile, |rows| {
            // d stands in two bytes, so the fifth bits of a row share two lanes.
            let [head, next, ..] = turn(rows, 0);
            let fifth = _mm256_or_si256(_mm256_srli_epi32::<16>(head), _mm256_slli_epi32::<16>(next));
            let q = with_fifth(halves(rows, offset_of!(Q5_0, qs)), fifth);
            (q.map(|q| _mm256_sub_epi8(q, _mm256_set1_epi8(16))), head)
        });
    }
}

impl Tiled for Q5_1 {
    type Tile = Small<true>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: &[&[Q5_1]; 8], tile: &mut Self::Tile) {
        each_block(rows, tile, |rows| {
            let [head, fifth, ..] = turn(rows, 0);
            (with_fifth(halves(rows, offset_of!(Q5_1, qs)), fifth), head)
        });
    }
}

impl Tiled for Q8_0 {
    type Tile = Small<false>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: &[&[Q8_0]; 8], tile: &mut Self::Tile) {
        each_block(rows, tile, |rows| {
            let [a, b] = [0, 16].map(|at| turn(rows, offset_of!(Q8_0, qs) + at));
            ([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]], turn(rows, 0)[0])
        });
    }
}

impl Tiled for IQ4_NL {
    type Tile = Small<false>;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: &[&[IQ4_NL]; 8], tile: &mut Self::Tile) {
        each_block(rows, tile, |rows| (halves(rows, offset_of!(IQ4_NL, qs)).map(|q| levels(q)), turn(rows, 0)[0]));
    }
}

/// The 4-bit numbers at `offset`: low halves, then high halves.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn halves<B>(rows: &Rows<B>, offset: usize) -> [__m256i; 8] {
    let q = turn(rows, offset);
    from_fn(|i| bits(q[i % 4], i as i32 / 4 * 4, 15))
}

/// 5-bit numbers of their low four bits and the fifth ones: bit i of a lane belongs to weight i of the row.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn with_fifth(low: [__m256i; 8], fifth: __m256i) -> [__m256i; 8] {
    from_fn(|v| {
        // Every byte of a lane gets the byte that holds its bit, and keeps that bit alone.
        let step = _mm256_setr_epi32(0, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c, 0, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c);
        let byte = _mm256_shuffle_epi8(fifth, _mm256_add_epi8(step, _mm256_set1_epi8(v as i8 / 2)));
        let own = _mm256_set1_epi32(0x0804_0201 << (v % 2 * 4));
        let set = _mm256_cmpeq_epi8(_mm256_and_si256(byte, own), own);
        _mm256_or_si256(low[v], _mm256_and_si256(set, _mm256_set1_epi8(16)))
    })
}

/// The levels of IQ4_NL and IQ4_XS by their numbers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn levels(q: __m256i) -> __m256i {
    // SAFETY: the load is the 16 bytes of the array.
    let table = unsafe { _mm_loadu_si128(CODEBOOK.as_ptr().cast()) };
    _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), q)
}
