//! Super-blocks as factors of the tile unit.
//!
//! The unit adds up 64 products of bytes at once, but sub-blocks have scales of their own. So weights are multiplied with
//! them first, and the products, of up to 13 bits, become two digits, `high << shift + low`, that the unit multiplies apart.
//! Together their sums are the very integers that other levels add up sub-block by sub-block. Where nothing is to be
//! multiplied, or what comes out still is a byte, there is one digit.

use super::group::Group;
use super::tiles::{Config, Factor, Pair, Tiles};
use crate::kernels::x86_64::avx512::lanes::Rows;
use crate::kernels::x86_64::avx512::super_tile::{Head, SuperFormat, finish};
use crate::quant::ActBlock;
use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::ops::Range;

/// Sixteen super-blocks in D digits, which have a sign if SIGNED is 1.
pub(super) struct Super<F, const D: usize, const SIGNED: usize> {
    /// The high digits, then the low ones.
    factors: [Factor; D],
    head: Head,
    format: PhantomData<F>,
}

impl<F: SuperFormat, const D: usize, const SIGNED: usize> Group for Super<F, D, SIGNED> {
    type Block = F;

    const CONFIG: &'static Config = &const { Config::new(64) };

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn new() -> Self {
        Super { factors: [const { Factor::ZERO }; D], head: Head::new(), format: PhantomData }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn fill<const I: bool>(&mut self, rows: &Rows<F, I>, blocks: Range<usize>) {
        let column = rows.column(blocks.start);
        // SAFETY: the level is there.
        unsafe { F::head(&column, &mut self.head) };
        for q in 0..4 {
            // SAFETY: the level is there.
            let quarter = unsafe { F::quarter(&column, &self.head, q) };
            for (run, weights) in quarter.iter().enumerate() {
                let place = F::place(q, run);
                let scale =
                    if D == 1 { [_mm512_setzero_si512(); 2] } else { Self::scale(self.head.scales[place / (F::SUB / 16)]) };
                for (i, &weights) in weights.iter().enumerate() {
                    for (factor, digit) in self.factors.iter_mut().zip(Self::digits(weights, scale)) {
                        // SAFETY: the store is the 64 bytes of the array.
                        unsafe { _mm512_storeu_si512(factor.0[4 * place + i].as_mut_ptr().cast(), digit) };
                    }
                }
            }
        }
    }

    #[inline]
    fn steps(&self) -> usize {
        1
    }

    #[inline]
    unsafe fn multiply<const H: usize>(&self, _: usize, tiles: &Tiles, acts: *const i8, stride: usize, sums: &mut Pair<H>) {
        // SAFETY: the caller's promise.
        unsafe { tiles.multiply::<SIGNED, D, H>(acts, stride, &self.factors, sums) };
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn add<const H: usize>(&self, _: usize, sums: &Pair<H>, token: usize, act: &ActBlock, acc: __m512) -> __m512 {
        let mut totals = [_mm512_setzero_si512(); H];
        for (d, halves) in sums[..D].iter().enumerate() {
            for (total, sums) in totals.iter_mut().zip(halves) {
                let sums = sums.of(token);
                *total = match (d, SIGNED) {
                    (0, _) => sums,
                    (_, 0) => _mm512_add_epi32(_mm512_slli_epi32::<3>(*total), sums),
                    _ => _mm512_add_epi32(_mm512_slli_epi32::<7>(*total), sums),
                };
            }
        }
        let mut acc = [[acc]];
        finish::<F, 1, 1, H>([[totals]], [&self.head], &[act], &mut acc);
        acc[0][0]
    }
}

impl<F: SuperFormat, const D: usize, const SIGNED: usize> Super<F, D, SIGNED> {
    /// What weights are multiplied with, twice in every lane: both digits of a sub-scale without a sign, or all of one with it.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn scale(scale: __m512i) -> [__m512i; 2] {
        let scale = _mm512_or_si512(_mm512_and_si512(scale, _mm512_set1_epi32(0xffff)), _mm512_slli_epi32::<16>(scale));
        if SIGNED == 1 {
            return [scale; 2];
        }
        [_mm512_srli_epi16::<3>(scale), _mm512_and_si512(scale, _mm512_set1_epi16(7))]
    }

    /// Weights times their sub-scales, the high digits first; one digit: the weights.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn digits(weights: __m512i, scale: [__m512i; 2]) -> [__m512i; 2] {
        if D == 1 {
            return [_mm512_sub_epi8(weights, _mm512_set1_epi8(F::OFFSET as i8)); 2];
        }
        if SIGNED == 0 {
            // A weight of five bits times three bits still is a byte, so one multiplication is good for two.
            return scale.map(|digit| _mm512_mullo_epi16(weights, digit));
        }
        let offset = _mm512_set1_epi16(F::OFFSET as i16);
        let even = _mm512_sub_epi16(_mm512_and_si512(weights, _mm512_set1_epi16(255)), offset);
        let odd = _mm512_sub_epi16(_mm512_srli_epi16::<8>(weights), offset);
        let (even, odd) = (_mm512_mullo_epi16(even, scale[0]), _mm512_mullo_epi16(odd, scale[0]));
        // The low digit reaches from -64 to 63.
        let high = |product| _mm512_srai_epi16::<7>(_mm512_add_epi16(product, _mm512_set1_epi16(64)));
        let join = |even, odd| _mm512_mask_blend_epi8(0xaaaa_aaaa_aaaa_aaaa, even, _mm512_slli_epi16::<8>(odd));
        let bytes = _mm512_add_epi8(join(even, odd), _mm512_set1_epi8(64));
        let low = _mm512_sub_epi8(_mm512_and_si512(bytes, _mm512_set1_epi8(127)), _mm512_set1_epi8(64));
        [join(high(even), high(odd)), low]
    }
}
