//! Activations for products by pairs.

use crate::kernels::scalar::pair::{finish, set_apart};
use crate::quant::{ActBlock, PairBlock};
use std::arch::x86_64::*;

/// See `scalar::pair`.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn pair(block: &ActBlock, pair: &mut PairBlock, reach: u16) {
    let greatest = i16::MAX as u16 - reach;
    let [mut products, mut high, mut low] = [_mm512_setzero_si512(); 3];
    let mut great = [0; 8];
    for (i, great) in great.iter_mut().enumerate() {
        // SAFETY: the loads are 32 of the 256 bytes of each array.
        let [hi, lo] = [&block.hi, &block.lo]
            .map(|half| _mm512_cvtepi8_epi16(unsafe { _mm256_loadu_si256(half.as_ptr().add(32 * i).cast()) }));
        high = _mm512_dpwssd_epi32(high, hi, hi);
        low = _mm512_dpwssd_epi32(low, lo, lo);
        let q = _mm512_add_epi16(_mm512_slli_epi16::<8>(hi), lo);
        let q = _mm512_shufflehi_epi16::<0b11_01_10_00>(_mm512_shufflelo_epi16::<0b11_01_10_00>(q));
        *great = _mm512_cmpgt_epu16_mask(_mm512_abs_epi16(q), _mm512_set1_epi16(greatest as i16));
        let kept = _mm512_mask_mov_epi16(q, *great, _mm512_setzero_si512());
        products = _mm512_dpwssd_epi32(products, kept, _mm512_shuffle_epi32::<0b10_11_00_01>(kept));
        // SAFETY: the store is 32 of the 256 numbers of the array.
        unsafe { _mm512_storeu_si512(pair.q.as_mut_ptr().add(32 * i).cast(), q) };
    }
    let squares = [_mm512_reduce_add_epi32(high), _mm512_reduce_add_epi32(low)];
    // Neighbours met twice, in lanes side by side.
    finish(block, pair, squares, _mm512_mask_reduce_add_epi32(0x5555, products).wrapping_neg());
    set_apart(pair, great);
}
