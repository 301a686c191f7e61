//! Unpacking of blocks of 32 weights.

use super::lanes::{Column, Run, all_bits, biased, byte, f16, high_f16, low_f16, turn};
use super::nibbles::{self, Nibbles};
use super::small_tile::{Numbers, SmallFormat};
use crate::quant::{ActBlock, CODEBOOK, E2M1, IQ4_NL, MXFP4, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
use std::arch::x86_64::*;
use std::mem::offset_of;

impl SmallFormat for Q4_0 {
    const OFFSET: i32 = 8;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn numbers<const I: bool>(column: &Column<Q4_0, I>) -> Numbers {
        nibbles::numbers(column)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn multiply_eight<const H: usize>(column: &Column<[Q4_0; 8], false>, act: &ActBlock, acc: &mut __m512) -> bool {
        // SAFETY: the level is there.
        unsafe { nibbles::multiply::<Q4_0, H>(column, act, acc) };
        true
    }
}

impl Nibbles for Q4_0 {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn weights(run: Run) -> [Run; 2] {
        halves(run)
    }
}

impl SmallFormat for Q4_1 {
    const OFFSET: i32 = 0;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn numbers<const I: bool>(column: &Column<Q4_1, I>) -> Numbers {
        Numbers::new(halves(turn(column, offset_of!(Q4_1, qs))), turn(column, 0)[0])
    }
}

impl SmallFormat for Q5_0 {
    const OFFSET: i32 = 16;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn numbers<const I: bool>(column: &Column<Q5_0, I>) -> Numbers {
        // d stands in two bytes, so the fifth bits of a row share two lanes.
        let [head, next, ..] = turn(column, 0);
        let fifth = _mm512_or_si512(_mm512_srli_epi32::<16>(head), _mm512_slli_epi32::<16>(next));
        Numbers::new(with_fifth(fifth, halves(turn(column, offset_of!(Q5_0, qs)))), head)
    }
}

impl SmallFormat for Q5_1 {
    const OFFSET: i32 = 0;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn numbers<const I: bool>(column: &Column<Q5_1, I>) -> Numbers {
        let [head, fifth, ..] = turn(column, 0);
        Numbers::new(with_fifth(fifth, halves(turn(column, offset_of!(Q5_1, qs)))), head)
    }
}

impl SmallFormat for Q8_0 {
    const OFFSET: i32 = 128;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn numbers<const I: bool>(column: &Column<Q8_0, I>) -> Numbers {
        let weights = [turn(column, offset_of!(Q8_0, qs)), turn(column, offset_of!(Q8_0, qs) + 16)];
        Numbers::scaled(weights.map(|run| run.map(|q| biased(q))), f16(column, 0))
    }
}

impl SmallFormat for IQ4_NL {
    const OFFSET: i32 = 128;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn numbers<const I: bool>(column: &Column<IQ4_NL, I>) -> Numbers {
        nibbles::numbers(column)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn multiply_eight<const H: usize>(column: &Column<[IQ4_NL; 8], false>, act: &ActBlock, acc: &mut __m512) -> bool {
        // SAFETY: the level is there.
        unsafe { nibbles::multiply::<IQ4_NL, H>(column, act, acc) };
        true
    }
}

impl Nibbles for IQ4_NL {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn weights(run: Run) -> [Run; 2] {
        halves(run).map(|run| levels(&CODEBOOK, run))
    }
}

impl SmallFormat for MXFP4 {
    const OFFSET: i32 = 128;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn numbers<const I: bool>(column: &Column<MXFP4, I>) -> Numbers {
        let e = byte(turn(column, 0)[0], 0);
        let normal = _mm512_slli_epi32::<23>(_mm512_sub_epi32(e, _mm512_set1_epi32(1)));
        let is_subnormal = _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2));
        let scale = _mm512_mask_sllv_epi32(normal, is_subnormal, _mm512_set1_epi32(0x0020_0000), e);
        let weights = halves(turn(column, offset_of!(MXFP4, qs))).map(|run| levels(&E2M1, run));
        Numbers::scaled(weights, _mm512_castsi512_ps(scale))
    }
}

impl Numbers {
    /// Of a format without offset.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub(super) fn scaled(weights: [Run; 2], scale: __m512) -> Numbers {
        Numbers { weights, scale, min: _mm512_setzero_ps() }
    }

    /// Scale and offset are the f16 in the low and high half of every lane; formats without offset have something else
    /// there.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn new(weights: [Run; 2], head: __m512i) -> Numbers {
        Numbers { weights, scale: low_f16(head), min: high_f16(head) }
    }
}

/// The 4-bit numbers of a run: low halves, then high halves.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn halves(run: Run) -> [Run; 2] {
    [all_bits(run, 0, 15), all_bits(run, 4, 15)]
}

/// Adds the fifth bits of 5-bit numbers: bit i of a lane belongs to weight i of the row.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn with_fifth(fifth: __m512i, mut weights: [Run; 2]) -> [Run; 2] {
    for (v, q) in weights.as_flattened_mut().iter_mut().enumerate() {
        // Every byte of a lane gets the byte that holds its bit, and keeps that bit alone.
        let step = _mm512_set4_epi32(0x0c0c_0c0c, 0x0808_0808, 0x0404_0404, 0);
        let byte = _mm512_shuffle_epi8(fifth, _mm512_add_epi8(step, _mm512_set1_epi8(v as i8 / 2)));
        let set = _mm512_test_epi8_mask(byte, _mm512_set1_epi32(0x0804_0201 << (v % 2 * 4)));
        *q = _mm512_mask_add_epi8(*q, set, *q, _mm512_set1_epi8(16));
    }
    weights
}

/// Levels by their numbers, plus 128.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn levels(table: &[i8; 16], q: Run) -> Run {
    // SAFETY: the load is the 16 bytes of the array.
    let table = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
    q.map(|q| _mm512_shuffle_epi8(biased(_mm512_broadcast_i32x4(table)), q))
}
