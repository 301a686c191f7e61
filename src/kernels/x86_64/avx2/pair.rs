//! Activations for products by pairs.

use crate::kernels::scalar::pair::{finish, set_apart};
use crate::quant::{ActBlock, PairBlock};
use std::arch::x86_64::*;
use std::array::from_fn;

/// See `scalar::pair`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn pair(block: &ActBlock, pair: &mut PairBlock, reach: u16) {
    let greatest = _mm256_set1_epi16((i16::MAX as u16 - reach) as i16);
    let [mut products, mut high, mut low] = [_mm256_setzero_si256(); 3];
    let mut great = [0; 8];
    for (i, great) in great.iter_mut().enumerate() {
        let fine: [__m256i; 2] = from_fn(|half| {
            let at = 32 * i + 16 * half;
            // SAFETY: the loads are 16 of the 256 bytes of each array.
            let [hi, lo] =
                [&block.hi, &block.lo].map(|half| _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(half.as_ptr().add(at).cast()) }));
            high = _mm256_add_epi32(high, _mm256_madd_epi16(hi, hi));
            low = _mm256_add_epi32(low, _mm256_madd_epi16(lo, lo));
            let q = _mm256_add_epi16(_mm256_slli_epi16::<8>(hi), lo);
            let q = _mm256_shufflehi_epi16::<0b11_01_10_00>(_mm256_shufflelo_epi16::<0b11_01_10_00>(q));
            // What is left of a magnitude beyond the greatest, without a sign: that of -2^15 has none.
            let beyond = _mm256_subs_epu16(_mm256_abs_epi16(q), greatest);
            let fine = _mm256_cmpeq_epi16(beyond, _mm256_setzero_si256());
            let kept = _mm256_and_si256(q, fine);
            products = _mm256_add_epi32(products, _mm256_madd_epi16(kept, _mm256_shuffle_epi32::<0b10_11_00_01>(kept)));
            // SAFETY: the store is 16 of the 256 numbers of the array.
            unsafe { _mm256_storeu_si256(pair.q.as_mut_ptr().add(at).cast(), q) };
            fine
        });
        // Packed, the middle quarters stand the wrong way round.
        let fine = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi16(fine[0], fine[1]));
        *great = !_mm256_movemask_epi8(fine) as u32;
    }
    // Neighbours met twice, in lanes side by side.
    let products = _mm256_and_si256(products, _mm256_set1_epi64x(0xffff_ffff));
    let [products, high, low] = [products, high, low].map(|v| {
        let mut lanes = [0_i32; 8];
        // SAFETY: the store is the array.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), v) };
        lanes.into_iter().fold(0, i32::wrapping_add)
    });
    finish(block, pair, [high, low], products.wrapping_neg());
    set_apart(pair, great);
}
