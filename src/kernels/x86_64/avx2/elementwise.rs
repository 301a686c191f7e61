//! Operations along a row.

use crate::kernels::x86_64::recompiled::recompiled;
use crate::quant::{ActBlock, BLOCK, Precision};
use half::f16;
use std::arch::x86_64::*;

recompiled! { "avx2,fma,f16c" }
recompiled! { "avx2,fma,f16c":
    quantize::quantize(x: &[f32; BLOCK], block: &mut ActBlock, precision: Precision);
}

/// See `scalar::elementwise`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn narrow(x: &[f32], out: &mut [f16]) {
    let (greatest, least) = (_mm256_set1_ps(f16::MAX.to_f32()), _mm256_set1_ps(f16::MIN.to_f32()));
    // The second operand of min and max survives when one is NaN.
    let narrow = |x: &[f32; 8], out: &mut [f16; 8]| {
        // SAFETY: both arrays hold eight elements.
        unsafe {
            let x = _mm256_min_ps(greatest, _mm256_max_ps(least, _mm256_loadu_ps(x.as_ptr())));
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x));
        }
    };
    let ((x, x_rest), (out, out_rest)) = (x.as_chunks(), out.as_chunks_mut());
    for (x, out) in x.iter().zip(out) {
        narrow(x, out);
    }
    let (mut x, mut narrowed) = ([0.0; 8], [f16::ZERO; 8]);
    x[..x_rest.len()].copy_from_slice(x_rest);
    narrow(&x, &mut narrowed);
    out_rest.copy_from_slice(&narrowed[..out_rest.len()]);
}
