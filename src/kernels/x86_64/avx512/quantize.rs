//! Quantization of activations.

use crate::kernels::scalar::quantize::begin;
use crate::quant::{ActBlock, BLOCK, Precision};
use std::arch::x86_64::*;

/// See `scalar::quantize`.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn quantize(x: &[f32; BLOCK], block: &mut ActBlock, precision: Precision) {
    let (chunks, _) = x.as_chunks::<16>();
    // SAFETY: the load is the chunk.
    let load = |i: usize| unsafe { _mm512_loadu_ps(chunks[i].as_ptr()) };
    // The bits of magnitudes order like the magnitudes themselves.
    let m = (0..16).fold(_mm512_setzero_si512(), |m, i| _mm512_max_epu32(m, _mm512_castps_si512(_mm512_abs_ps(load(i)))));
    let Some(inverse) = begin(block, f32::from_bits(_mm512_reduce_max_epu32(m)), precision) else { return };
    let inverse = _mm512_set1_ps(inverse);
    let round = |i| {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        _mm512_cvt_roundps_epi32::<NEAREST>(_mm512_mul_ps(load(i), inverse))
    };
    // Packing keeps quarters of vectors apart: sixteen bytes, four of each vector.
    let bytes = |a, b| in_order(_mm512_packs_epi16(a, b));
    let mut sums = [[_mm512_setzero_si512(); 4]; 2];
    let (hi, lo) = (block.hi.as_chunks_mut::<64>().0, block.lo.as_chunks_mut::<64>().0);
    for i in 0..4 {
        let mut put = |half: usize, q, to: &mut [i8; 64]| {
            // Four neighbours added up in each lane.
            sums[half][i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), q);
            // SAFETY: the store is the array.
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), q) };
        };
        let (a, b) = (_mm512_packs_epi32(round(4 * i), round(4 * i + 1)), _mm512_packs_epi32(round(4 * i + 2), round(4 * i + 3)));
        match precision {
            Precision::High => {
                let high = |q| _mm512_srai_epi16::<8>(_mm512_add_epi16(q, _mm512_set1_epi16(128)));
                let low = |q| _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(q));
                put(0, bytes(high(a), high(b)), &mut hi[i]);
                put(1, bytes(low(a), low(b)), &mut lo[i]);
            }
            Precision::Fast => put(0, bytes(a, b), &mut hi[i]),
        }
    }
    let [hi, lo] = sums.map(|sums| sums_of_16(sums));
    let total = match precision {
        Precision::High => _mm512_add_epi32(_mm512_slli_epi32::<8>(hi), lo),
        Precision::Fast => hi,
    };
    let mut rest = _mm512_cvtepi64_epi32(_mm512_add_epi32(total, _mm512_srli_epi64::<32>(total)));
    // SAFETY: the stores are the arrays.
    unsafe {
        _mm256_storeu_si256(block.hi_sum.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(hi));
        _mm256_storeu_si256(block.lo_sum.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(lo));
        for digits in block.sums.iter_mut().rev() {
            _mm_storel_epi64(digits.as_mut_ptr().cast(), _mm256_cvtepi32_epi8(rest));
            rest = _mm256_srai_epi32::<8>(_mm256_add_epi32(rest, _mm256_set1_epi32(128)));
        }
    }
}

/// Makes lane `4 * i + j` lane `4 * j + i`.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn in_order(v: __m512i) -> __m512i {
    _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), v)
}

/// The sums of every four lanes of four vectors.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn sums_of_16([a, b, c, d]: [__m512i; 4]) -> __m512i {
    let twos = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (ab, cd) = (twos(a, b), twos(c, d));
    in_order(_mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd)))
}
