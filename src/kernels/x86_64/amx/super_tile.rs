//! Super-blocks as factors of the tile unit.
//!
//! The unit adds up 64 products of bytes at once, but sub-blocks have scales of their own. So weights are multiplied with
//! them first, and the products, of up to 13 bits, become two digits, `high << shift + low`, that the unit multiplies apart.
//! Together their sums are the very integers that other levels add up sub-block by sub-block. Where nothing is to be
//! multiplied, or what comes out still is a byte, there is one digit.

use super::group::Group;
use super::tiles::{Config, Factor, Operands, Sums, Tiles};
use crate::kernels::MatmulArgs;
use crate::kernels::x86_64::avx512::super_tile::{Head, SuperFormat, digits, subtract_minima, whole};
use crate::quant::ActBlock;
use std::arch::x86_64::*;

/// Sixteen super-blocks in D digits, which have a sign if SIGNED is 1, with MINS sub-minima.
pub(super) struct Super<const D: usize, const SIGNED: usize, const MINS: usize> {
    /// The high digits, then the low ones.
    factors: [Factor; D],
    head: Head,
}

impl<const D: usize, const SIGNED: usize, const MINS: usize> Group for Super<D, SIGNED, MINS> {
    const CONFIG: &'static Config = &const { Config::new(64) };
    const PARTS: usize = 4;
    const APART: bool = false;
    const FACTORS: usize = D;

    /// The scale, that of the sub-minima, and these.
    type Numbers = (__m512, __m512, [__m512i; 4]);

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn new() -> Self {
        Super { factors: [const { Factor::ZERO }; D], head: Head::new() }
    }

    #[inline]
    fn steps(&self) -> usize {
        1
    }

    #[inline]
    fn numbers(&self, _: usize) -> Self::Numbers {
        (self.head.d, self.head.dmin, self.head.mins)
    }

    #[inline]
    unsafe fn multiply<const N: usize, const PART: usize>(&self, _: usize, tiles: &Tiles, acts: Operands, due: &mut Sums) {
        // SAFETY: the caller's promise; a factor has four parts.
        unsafe {
            let factor = self.factors[N / 2].0.as_ptr().add(16 * PART);
            let acts = Operands { first: acts.first.add(64 * PART), ..acts };
            match (PART, D) {
                (0, 1) => tiles.multiply::<N, 2, SIGNED, 1, 0>(acts, factor, due),
                (0, _) => tiles.multiply::<N, 4, SIGNED, 1, 0>(acts, factor, due),
                (3, 1) => tiles.multiply::<N, 2, SIGNED, 0, 1>(acts, factor, due),
                (3, _) => tiles.multiply::<N, 4, SIGNED, 0, 1>(acts, factor, due),
                (_, 1) => tiles.multiply::<N, 2, SIGNED, 0, 0>(acts, factor, due),
                _ => tiles.multiply::<N, 4, SIGNED, 0, 0>(acts, factor, due),
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn add<const H: usize>(
        (d, dmin, mins): &Self::Numbers,
        [mut totals, low, ..]: [[__m512i; H]; 4],
        act: &ActBlock,
        acc: __m512,
    ) -> __m512 {
        if D == 2 {
            for (total, low) in totals.iter_mut().zip(low) {
                let high = if SIGNED == 0 { _mm512_slli_epi32::<3>(*total) } else { _mm512_slli_epi32::<7>(*total) };
                *total = _mm512_add_epi32(high, low);
            }
        }
        let scale = _mm512_set1_ps(act.scale);
        let acc = _mm512_fmadd_ps(_mm512_mul_ps(*d, scale), whole(totals), acc);
        let dmin = _mm512_mul_ps(*dmin, scale);
        match (MINS, H) {
            (0, _) => acc,
            (8, 2) => subtract_minima(mins, &act.sums, dmin, acc),
            // Fewer digits hold the sums of one half.
            (8, _) => subtract_minima(mins, act.half_sums(), dmin, acc),
            _ => subtract_minima(mins, &digits::<H>(act), dmin, acc),
        }
    }
}

impl<const D: usize, const SIGNED: usize, const MINS: usize> Super<D, SIGNED, MINS> {
    /// See [`Fill`].
    ///
    /// [`Fill`]: super::group::Fill
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub unsafe fn fill<F: SuperFormat, const I: bool>(&mut self, args: &MatmulArgs, row: usize, unit: usize) {
        const { assert!(F::SUB_MINS == MINS) };
        let rows = super::matmul::rows::<F, I>(args, row);
        let column = rows.column(unit);
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
                    for (factor, digit) in self.factors.iter_mut().zip(Self::digits::<F>(weights, scale)) {
                        // SAFETY: the store is the 64 bytes of the array.
                        unsafe { _mm512_storeu_si512(factor.0[4 * place + i].as_mut_ptr().cast(), digit) };
                    }
                }
            }
        }
    }

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
    fn digits<F: SuperFormat>(weights: __m512i, scale: [__m512i; 2]) -> [__m512i; 2] {
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
