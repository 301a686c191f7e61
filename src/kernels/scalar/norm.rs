//! Normalization.

use super::lanes::{LANES, tree};

/// Sum of `term(x)` by 16 virtual lanes, each an fma chain of what `term` multiplies, and their tree.
#[inline(always)]
fn sum(x: &[f32], term: impl Fn(f32) -> (f32, f32)) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        lanes = std::array::from_fn(|i| {
            let (a, b) = term(x[i]);
            a.mul_add(b, lanes[i])
        });
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        let (a, b) = term(x);
        *lane = a.mul_add(b, *lane);
    }
    tree(lanes)
}

/// `out = (x * scale) * weight` with `scale = 1 / sqrt(sum of squares / n + eps)`; any width will do.
#[inline(always)]
pub(in crate::kernels) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let scale = 1.0 / (sum(x, |x| (x, x)) / x.len() as f32 + eps).sqrt();
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = (x * scale) * weight;
    }
}

/// `out = fma((x - mean) * scale, weight, bias)` with `mean = sum / n` and `scale = 1 / sqrt(sum of squared differences to
/// the mean / n + eps)`; any width will do.
#[inline(always)]
pub(in crate::kernels) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let n = x.len() as f32;
    let mean = sum(x, |x| (x, 1.0)) / n;
    let scale = 1.0 / (sum(x, |x| (x - mean, x - mean)) / n + eps).sqrt();
    for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
        *out = ((x - mean) * scale).mul_add(*weight, *bias);
    }
}
