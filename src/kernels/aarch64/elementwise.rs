//! Operations along a row that the compiler does not make vectors of.

use super::lanes::narrow_f16;
use half::f16;
use std::arch::aarch64::*;

/// See `scalar::elementwise`.
#[target_feature(enable = "neon")]
pub(super) fn narrow(x: &[f32], out: &mut [f16]) {
    let (greatest, least) = (vdupq_n_f32(f16::MAX.to_f32()), vdupq_n_f32(f16::MIN.to_f32()));
    // NaN stays NaN.
    let narrow = |x: &[f32; 4], out: &mut [f16; 4]| {
        // SAFETY: both arrays hold four elements.
        unsafe {
            let x = vminq_f32(greatest, vmaxq_f32(least, vld1q_f32(x.as_ptr())));
            vst1_u16(out.as_mut_ptr().cast(), narrow_f16(x));
        }
    };
    let ((x, x_rest), (out, out_rest)) = (x.as_chunks(), out.as_chunks_mut());
    for (x, out) in x.iter().zip(out) {
        narrow(x, out);
    }
    let (mut x, mut narrowed) = ([0.0; 4], [f16::ZERO; 4]);
    x[..x_rest.len()].copy_from_slice(x_rest);
    narrow(&x, &mut narrowed);
    out_rest.copy_from_slice(&narrowed[..out_rest.len()]);
}
