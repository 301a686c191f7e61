//! Quantization of activations.

use crate::kernels::scalar::quantize::begin;
use crate::quant::{ActBlock, BLOCK, Precision};
use std::arch::aarch64::*;

/// See `scalar::quantize`.
#[target_feature(enable = "neon")]
pub(super) fn quantize(x: &[f32; BLOCK], block: &mut ActBlock, precision: Precision) {
    let (chunks, _) = x.as_chunks::<16>();
    let mut m = vdupq_n_u32(0);
    for chunk in chunks {
        for x in load(chunk) {
            m = vmaxq_u32(m, vreinterpretq_u32_f32(vabsq_f32(x)));
        }
    }
    let Some(inverse) = begin(block, f32::from_bits(vmaxvq_u32(m)), precision) else { return };
    let (hi, lo) = (block.hi.as_chunks_mut::<16>().0, block.lo.as_chunks_mut::<16>().0);
    for (i, chunk) in chunks.iter().enumerate() {
        let [a, b, c, d] = load(chunk).map(|x| vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(x, inverse))));
        let (first, second) = (vcombine_s16(a, b), vcombine_s16(c, d));
        let low = vcombine_s8(vmovn_s16(first), vmovn_s16(second));
        match precision {
            Precision::High => {
                // The rounding shift adds 128 before it drops eight bits.
                let high = vcombine_s8(vrshrn_n_s16::<8>(first), vrshrn_n_s16::<8>(second));
                put(high, &mut hi[i]);
                put(low, &mut lo[i]);
            }
            Precision::Fast => put(low, &mut hi[i]),
        }
    }
    block.set_sums(precision);
}

/// Four vectors.
#[inline]
#[target_feature(enable = "neon")]
fn load(x: &[f32; 16]) -> [float32x4_t; 4] {
    // SAFETY: each load is a quarter of the array.
    std::array::from_fn(|i| unsafe { vld1q_f32(x[4 * i..4 * i + 4].as_ptr()) })
}

/// Writes 16 integers.
#[inline]
#[target_feature(enable = "neon")]
fn put(q: int8x16_t, to: &mut [i8; 16]) {
    // SAFETY: the store is the array.
    unsafe { vst1q_s8(to.as_mut_ptr(), q) };
}
