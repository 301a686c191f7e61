//! Operations without neighbours.

use half::f16;

/// `x += y`.
#[inline(always)]
pub(in crate::kernels) fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// `x = fma(y, factor, x)`.
#[inline(always)]
pub(in crate::kernels) fn add_scaled(x: &mut [f32], y: &[f32], factor: f32) {
    for (x, y) in x.iter_mut().zip(y) {
        *x = y.mul_add(factor, *x);
    }
}

/// `out = fma(x, y, out)`.
#[inline(always)]
pub(in crate::kernels) fn multiply_add(out: &mut [f32], x: &[f32], y: &[f32]) {
    for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
        *out = x.mul_add(*y, *out);
    }
}

/// `x *= factor`.
#[inline(always)]
pub(in crate::kernels) fn scale(x: &mut [f32], factor: f32) {
    x.iter_mut().for_each(|x| *x *= factor);
}

/// f32 to f16, to nearest even; beyond +-65504 the value becomes +-65504, NaN stays NaN.
pub(super) fn narrow(x: &[f32], out: &mut [f16]) {
    let greatest = f16::MAX.to_f32();
    for (out, x) in out.iter_mut().zip(x) {
        *out = f16::from_f32(x.clamp(-greatest, greatest));
    }
}
