//! Operations along a row.

use crate::kernels::x86_64::recompiled::recompiled;
use half::f16;
use std::arch::x86_64::*;

recompiled! { "avx512bw,avx512dq,avx512vl,avx512vnni" }

/// See `scalar::elementwise`.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn narrow(x: &[f32], out: &mut [f16]) {
    let (greatest, least) = (_mm512_set1_ps(f16::MAX.to_f32()), _mm512_set1_ps(f16::MIN.to_f32()));
    // The second operand of min and max survives when one is NaN.
    let narrow = |x: &[f32; 16], out: &mut [f16; 16]| {
        // SAFETY: both arrays hold 16 elements.
        unsafe {
            let x = _mm512_min_ps(greatest, _mm512_max_ps(least, _mm512_loadu_ps(x.as_ptr())));
            _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x));
        }
    };
    let ((x, x_rest), (out, out_rest)) = (x.as_chunks(), out.as_chunks_mut());
    for (x, out) in x.iter().zip(out) {
        narrow(x, out);
    }
    let (mut x, mut narrowed) = ([0.0; 16], [f16::ZERO; 16]);
    x[..x_rest.len()].copy_from_slice(x_rest);
    narrow(&x, &mut narrowed);
    out_rest.copy_from_slice(&narrowed[..out_rest.len()]);
}
