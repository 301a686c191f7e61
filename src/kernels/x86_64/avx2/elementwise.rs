//! Operations along a row. Most are the reference, compiled once more for this level: their arithmetic is written in
//! whole lanes already, and without reassociation a compiler cannot change a bit.

use crate::kernels::{Activation, RopeStyle, scalar};
use half::f16;
use std::arch::x86_64::*;

/// See `scalar::norm`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    scalar::norm::rms_norm(x, weight, eps, out);
}

/// See `scalar::norm`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    scalar::norm::layer_norm(x, weight, bias, eps, out);
}

/// See `scalar::rope`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn rope(head: &mut [f32], cos: &[f32], sin: &[f32], style: RopeStyle) {
    scalar::rope::rope(head, cos, sin, style);
}

/// See `scalar::activation`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn swiglu(gate: &mut [f32], up: &[f32]) {
    scalar::activation::swiglu(gate, up);
}

/// See `scalar::activation`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn activate(x: &mut [f32], activation: Activation) {
    scalar::activation::activate(x, activation);
}

/// See `scalar::activation`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn gate(gate: &mut [f32], up: &[f32], activation: Activation) {
    scalar::activation::gate(gate, up, activation);
}

/// See `scalar::activation`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn softcap(x: &mut [f32], cap: f32) {
    scalar::activation::softcap(x, cap);
}

/// See `scalar::elementwise`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn add_scaled(x: &mut [f32], y: &[f32], factor: f32) {
    scalar::elementwise::add_scaled(x, y, factor);
}

/// See `scalar::elementwise`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn scale(x: &mut [f32], factor: f32) {
    scalar::elementwise::scale(x, factor);
}

/// See `scalar::elementwise`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn add(x: &mut [f32], y: &[f32]) {
    scalar::elementwise::add(x, y);
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
