//! Unpacking of super-blocks.

use super::lanes::{Column, Run, all_bits, biased, bits, byte, either, f16, high_f16, low_f16, signed_byte, turn};
use super::pair_tile::PairFormat;
use super::small_blocks::levels;
use super::super_tile::{Head, Quarter, SuperFormat, crossed};
use crate::quant::{BLOCK, CODEBOOK, IQ4_XS, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K, TQ1_0, TQ2_0};
use std::arch::x86_64::*;
use std::array::from_fn;
use std::mem::offset_of;

impl SuperFormat for Q4_K {
    const SUB: usize = 32;
    const OFFSET: i32 = 0;
    const SUB_MINS: usize = 8;
    const NARROW: bool = 16 * 15 * 128 <= i16::MAX as i32;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn head<const I: bool>(column: &Column<Q4_K, I>, head: &mut Head) {
        scales_and_mins(turn(column, 0), head);
    }

    #[inline(always)]
    unsafe fn quarter<const I: bool>(column: &Column<Q4_K, I>, _: &Head, quarter: usize) -> Quarter {
        // SAFETY: the level is there.
        unsafe { halves(column, offset_of!(Q4_K, qs) + 32 * quarter) }
    }
}

impl PairFormat for Q4_K {
    const CENTRE: i32 = 15 * 63 / 2;
    const REACH: u16 = 473;
}

impl SuperFormat for Q5_K {
    const SUB: usize = 32;
    const OFFSET: i32 = 0;
    const SUB_MINS: usize = 8;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn head<const I: bool>(column: &Column<Q5_K, I>, head: &mut Head) {
        head.bits = [turn(column, offset_of!(Q5_K, qh)), turn(column, offset_of!(Q5_K, qh) + 16)];
        scales_and_mins(turn(column, 0), head);
    }

    #[inline(always)]
    unsafe fn quarter<const I: bool>(column: &Column<Q5_K, I>, head: &Head, quarter: usize) -> Quarter {
        // SAFETY: the level is there.
        unsafe {
            let [a, b, c, d] = halves(column, offset_of!(Q5_K, qs) + 32 * quarter);
            let (low, high) = (shifted(head.bits[0], 2 * quarter), shifted(head.bits[1], 2 * quarter));
            [
                either(a, all_bits(low, -4, 16)),
                either(b, all_bits(high, -4, 16)),
                either(c, all_bits(low, -3, 16)),
                either(d, all_bits(high, -3, 16)),
            ]
        }
    }
}

impl PairFormat for Q5_K {
    const CENTRE: i32 = 31 * 63 / 2;
    const REACH: u16 = 977;
}

impl SuperFormat for Q6_K {
    const SUB: usize = 16;
    const OFFSET: i32 = 32;

    fn place(quarter: usize, run: usize) -> usize {
        crossed(quarter, run)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn head<const I: bool>(column: &Column<Q6_K, I>, head: &mut Head) {
        signed_scales(turn(column, offset_of!(Q6_K, scales)), head);
        head.d = f16(column, offset_of!(Q6_K, d));
    }

    #[inline(always)]
    unsafe fn quarter<const I: bool>(column: &Column<Q6_K, I>, _: &Head, quarter: usize) -> Quarter {
        let (part, half) = (quarter / 2, quarter % 2);
        // 128 weights in quarters of 32; a quarter's low bits are half of one of two runs of 32 bytes.
        let low = offset_of!(Q6_K, ql) + 64 * part + 16 * half;
        // SAFETY: the level is there.
        unsafe {
            let (first, second) = (turn(column, low), turn(column, low + 32));
            let high = turn(column, offset_of!(Q6_K, qh) + 32 * part + 16 * half);
            [
                either(all_bits(first, 0, 15), all_bits(high, -4, 0x30)),
                either(all_bits(second, 0, 15), all_bits(high, -2, 0x30)),
                either(all_bits(first, 4, 15), all_bits(high, 0, 0x30)),
                either(all_bits(second, 4, 15), all_bits(high, 2, 0x30)),
            ]
        }
    }
}

impl SuperFormat for Q3_K {
    const SUB: usize = 16;
    const OFFSET: i32 = 4;

    fn place(quarter: usize, run: usize) -> usize {
        crossed(quarter, run)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn head<const I: bool>(column: &Column<Q3_K, I>, head: &mut Head) {
        // The last 16 bytes of a block: two that do not matter, twelve of sub-scales, d.
        let tail = turn(column, size_of::<Q3_K>() - 16);
        let whole = |i: usize| _mm512_or_si512(_mm512_srli_epi32::<16>(tail[i]), _mm512_slli_epi32::<16>(tail[i + 1]));
        let (a, b, c) = (whole(0), whole(1), whole(2));
        let six = |low, high| _mm512_sub_epi8(_mm512_or_si512(low, high), _mm512_set1_epi8(32));
        let scales = [
            six(bits(a, 0, 15), bits(c, -4, 0x30)),
            six(bits(b, 0, 15), bits(c, -2, 0x30)),
            six(bits(a, 4, 15), bits(c, 0, 0x30)),
            six(bits(b, 4, 15), bits(c, 2, 0x30)),
        ];
        signed_scales(scales, head);
        head.bits = [turn(column, offset_of!(Q3_K, hmask)), turn(column, offset_of!(Q3_K, hmask) + 16)];
        head.d = high_f16(tail[3]);
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn quarter<const I: bool>(column: &Column<Q3_K, I>, head: &Head, quarter: usize) -> Quarter {
        let [a, b, c, d] = crumbs(turn(column, offset_of!(Q3_K, qs) + 16 * quarter));
        let third = shifted(head.bits[quarter % 2], quarter / 2 * 4);
        [
            either(a, all_bits(third, -2, 4)),
            either(b, all_bits(third, -1, 4)),
            either(c, all_bits(third, 0, 4)),
            either(d, all_bits(third, 1, 4)),
        ]
    }
}

impl PairFormat for Q3_K {
    const CENTRE: i32 = 0;
    const REACH: u16 = 4 * 32;
}

impl SuperFormat for Q2_K {
    const SUB: usize = BLOCK;
    const OFFSET: i32 = 0;
    const SUB_MINS: usize = 16;

    fn place(quarter: usize, run: usize) -> usize {
        crossed(quarter, run)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn head<const I: bool>(column: &Column<Q2_K, I>, head: &mut Head) {
        let scales = turn(column, offset_of!(Q2_K, scales));
        for (j, scale) in head.scales.iter_mut().enumerate() {
            *scale = byte(bits(scales[j / 4], 0, 15), j % 4);
        }
        head.mins = all_bits(scales, 4, 15);
        let tail = turn(column, size_of::<Q2_K>() - 16)[3];
        (head.d, head.dmin) = (low_f16(tail), high_f16(tail));
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn quarter<const I: bool>(column: &Column<Q2_K, I>, head: &Head, quarter: usize) -> Quarter {
        let mut weights = crumbs(turn(column, offset_of!(Q2_K, qs) + 16 * quarter));
        for (run, weights) in weights.iter_mut().enumerate() {
            // Times its sub-scale a weight still is a byte, so one multiplication is good for two.
            let scale = head.scales[Self::place(quarter, run)];
            let scale = _mm512_or_si512(scale, _mm512_slli_epi32::<16>(scale));
            *weights = weights.map(|q| _mm512_mullo_epi16(q, scale));
        }
        weights
    }
}

impl SuperFormat for Q8_K {
    const SUB: usize = BLOCK;
    const OFFSET: i32 = 128;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn head<const I: bool>(column: &Column<Q8_K, I>, head: &mut Head) {
        head.d = _mm512_castsi512_ps(turn(column, offset_of!(Q8_K, d))[0]);
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn quarter<const I: bool>(column: &Column<Q8_K, I>, _: &Head, quarter: usize) -> Quarter {
        let run = |i: usize| turn(column, offset_of!(Q8_K, qs) + 64 * quarter + 16 * i);
        [run(0), run(1), run(2), run(3)].map(|run| run.map(|q| biased(q)))
    }
}

impl SuperFormat for IQ4_XS {
    const SUB: usize = 32;
    const OFFSET: i32 = 128;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn head<const I: bool>(column: &Column<IQ4_XS, I>, head: &mut Head) {
        let [first, low, ..] = turn(column, 0);
        head.d = low_f16(first);
        for (j, scale) in head.scales[..8].iter_mut().enumerate() {
            let low = _mm512_srl_epi32(low, _mm_cvtsi32_si128(4 * j as i32));
            let high = _mm512_srl_epi32(first, _mm_cvtsi32_si128(16 + 2 * j as i32));
            let low = _mm512_and_si512(low, _mm512_set1_epi32(15));
            let high = _mm512_slli_epi32::<4>(_mm512_and_si512(high, _mm512_set1_epi32(3)));
            *scale = _mm512_sub_epi32(_mm512_or_si512(low, high), _mm512_set1_epi32(32));
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn quarter<const I: bool>(column: &Column<IQ4_XS, I>, _: &Head, quarter: usize) -> Quarter {
        let (a, b) = (offset_of!(IQ4_XS, qs) + 32 * quarter, offset_of!(IQ4_XS, qs) + 32 * quarter + 16);
        let (a, b) = (turn(column, a), turn(column, b));
        let q = [all_bits(a, 0, 15), all_bits(a, 4, 15), all_bits(b, 0, 15), all_bits(b, 4, 15)];
        q.map(|run| levels(&CODEBOOK, run))
    }
}

impl SuperFormat for TQ1_0 {
    const SUB: usize = BLOCK;
    const OFFSET: i32 = 1;

    fn place(quarter: usize, run: usize) -> usize {
        // The first four digits of three chunks of 16 bytes, then what is left of them and of the tail.
        [[0, 2, 4, 6], [1, 3, 5, 7], [10, 11, 12, 13], [8, 9, 14, 15]][quarter][run]
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn head<const I: bool>(column: &Column<TQ1_0, I>, head: &mut Head) {
        head.d = high_f16(turn(column, size_of::<TQ1_0>() - 16)[3]);
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn quarter<const I: bool>(column: &Column<TQ1_0, I>, _: &Head, quarter: usize) -> Quarter {
        let chunk = |chunk: usize| turn(column, offset_of!(TQ1_0, qs) + 16 * chunk);
        if quarter < 3 {
            let chunk = chunk(quarter);
            return [0, 1, 2, 3].map(|n| chunk.map(|fractions| digit(fractions, n)));
        }
        let fifth = |chunk: Run| chunk.map(|fractions| digit(fractions, 4));
        // The last 16 bytes of a block: ten of `qs`, `qh`, d.
        let [.., a, b] = turn(column, size_of::<TQ1_0>() - 16);
        let tail = _mm512_or_si512(_mm512_srli_epi32::<16>(a), _mm512_slli_epi32::<16>(b));
        [fifth(chunk(0)), fifth(chunk(1)), fifth(chunk(2)), [0, 1, 2, 3].map(|n| digit(tail, n))]
    }
}

impl SuperFormat for TQ2_0 {
    const SUB: usize = BLOCK;
    const OFFSET: i32 = 1;

    fn place(quarter: usize, run: usize) -> usize {
        crossed(quarter, run)
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn head<const I: bool>(column: &Column<TQ2_0, I>, head: &mut Head) {
        head.d = high_f16(turn(column, size_of::<TQ2_0>() - 16)[3]);
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn quarter<const I: bool>(column: &Column<TQ2_0, I>, _: &Head, quarter: usize) -> Quarter {
        crumbs(turn(column, offset_of!(TQ2_0, qs) + 16 * quarter))
    }
}

/// A ternary digit of bytes that are fractions of 256: the whole part of three times what is left of the fraction.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn digit(mut fractions: __m512i, index: usize) -> __m512i {
    for _ in 0..index {
        fractions = _mm512_add_epi8(fractions, _mm512_add_epi8(fractions, fractions));
    }
    // The fraction reaches 1/3, 2/3.
    let [one, two] = [86u8, 171].map(|least| _mm512_cmpge_epu8_mask(fractions, _mm512_set1_epi8(least as i8)));
    _mm512_mask_mov_epi8(_mm512_maskz_set1_epi8(one, 1), two, _mm512_set1_epi8(2))
}

/// 4-bit numbers of Q4_K and Q5_K: the low halves of 32 bytes, then the high ones.
///
/// # Safety
/// The CPU has the level.
#[inline(always)]
unsafe fn halves<B, const I: bool>(column: &Column<B, I>, offset: usize) -> Quarter {
    // SAFETY: the caller's promise.
    unsafe {
        let (a, b) = (turn(column, offset), turn(column, offset + 16));
        [all_bits(a, 0, 15), all_bits(b, 0, 15), all_bits(a, 4, 15), all_bits(b, 4, 15)]
    }
}

/// The four 2-bit numbers of every byte.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn crumbs(q: Run) -> Quarter {
    [all_bits(q, 0, 3), all_bits(q, 2, 3), all_bits(q, 4, 3), all_bits(q, 6, 3)]
}

/// All lanes shifted right.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn shifted(run: Run, count: usize) -> Run {
    run.map(|v| _mm512_srl_epi32(v, _mm_cvtsi32_si128(count as i32)))
}

/// The head of Q4_K and Q5_K: d, dmin and twelve bytes of sub-scales and sub-minima.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn scales_and_mins([d, a, b, c]: [__m512i; 4], head: &mut Head) {
    let six = |low, high| _mm512_or_si512(low, bits(high, 2, 0x30));
    let scales = [bits(a, 0, 63), six(bits(c, 0, 15), a)];
    [head.mins[0], head.mins[1]] = [bits(b, 0, 63), six(bits(c, 4, 15), b)];
    for (j, scale) in head.scales[..8].iter_mut().enumerate() {
        *scale = byte(scales[j / 4], j % 4);
    }
    (head.d, head.dmin) = (low_f16(d), high_f16(d));
}

/// Sub-scales that are signed bytes, one per 16 weights.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn signed_scales(bytes: [__m512i; 4], head: &mut Head) {
    head.scales = from_fn(|j| signed_byte(bytes[j / 4], j % 4));
}
