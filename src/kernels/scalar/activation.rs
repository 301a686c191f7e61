//! Activation functions, all built on one exponential.

use super::exp::exp;
use crate::kernels::Activation;

/// `gate = silu(gate) * up` with `silu(x) = x / (1 + exp(-x))`.
#[inline(always)]
pub(in crate::kernels) fn swiglu(gate: &mut [f32], up: &[f32]) {
    gate_by(gate, up, silu);
}

/// `x = activation(x)`.
#[inline(always)]
pub(in crate::kernels) fn activate(x: &mut [f32], activation: Activation) {
    match activation {
        Activation::Identity => {}
        Activation::Softplus => map(x, softplus),
        Activation::Sigmoid => map(x, sigmoid),
        Activation::Tanh => map(x, tanh),
        Activation::Silu => map(x, silu),
        Activation::GeluTanh => map(x, gelu_tanh),
        Activation::GeluErf => map(x, gelu_erf),
        Activation::ReluSquared => map(x, relu_squared),
        Activation::ClampedSilu => map(x, clamped_silu),
    }
}

/// `gate = activation(gate) * up`.
#[inline(always)]
pub(in crate::kernels) fn gate(gate: &mut [f32], up: &[f32], activation: Activation) {
    match activation {
        Activation::Identity => gate_by(gate, up, |x| x),
        Activation::Softplus => gate_by(gate, up, softplus),
        Activation::Sigmoid => gate_by(gate, up, sigmoid),
        Activation::Tanh => gate_by(gate, up, tanh),
        Activation::Silu => gate_by(gate, up, silu),
        Activation::GeluTanh => gate_by(gate, up, gelu_tanh),
        Activation::GeluErf => gate_by(gate, up, gelu_erf),
        Activation::ReluSquared => gate_by(gate, up, relu_squared),
        Activation::ClampedSilu => {
            for (gate, up) in gate.iter_mut().zip(up) {
                *gate = clamped_silu(*gate) * (up.clamp(-LIMIT, LIMIT) + 1.0);
            }
        }
    }
}

/// `x = cap * tanh(x / cap)`.
#[inline(always)]
pub(in crate::kernels) fn softcap(x: &mut [f32], cap: f32) {
    map(x, |x| cap * tanh(x / cap));
}

#[inline(always)]
fn map(x: &mut [f32], f: impl Fn(f32) -> f32) {
    x.iter_mut().for_each(|x| *x = f(*x));
}

#[inline(always)]
fn gate_by(gate: &mut [f32], up: &[f32], f: impl Fn(f32) -> f32) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = f(*gate) * up;
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// Hendrycks and Gimpel (arXiv 1606.08415): `0.5 x (1 + tanh u)` is `x / (1 + exp(-2 u))`, which cancels nothing.
#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769;
    let u = TWICE_SQRT_2_OVER_PI * (0.044_715 * x * x).mul_add(x, x);
    x / (1.0 + exp(-u))
}

/// With the complementary error function of Abramowitz and Stegun, 7.1.26 (absolute error 1.5e-7): `t` times a polynomial in
/// `t`, times `exp(-z^2)`, where `z = |x| / sqrt 2` and `t = 1 / (1 + 0.3275911 z)`.
#[inline(always)]
fn gelu_erf(x: f32) -> f32 {
    const POLYNOMIAL: [f32; 5] = [1.061_405_4, -1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6];
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / 0.327_591_1f32.mul_add(z, 1.0);
    let [first, rest @ ..] = POLYNOMIAL;
    let p = rest.into_iter().fold(first, |p, c| p.mul_add(t, c));
    let half = 0.5 * (p * t * exp(-(z * z)));
    x * if x < 0.0 { half } else { 1.0 - half }
}

/// `max(x, 0) + ln(1 + u)` with `u = exp(-|x|)`, where the logarithm is twice the area tangent of `s = u / (2 + u)`, at most 1/3,
/// by its Taylor polynomial.
#[inline(always)]
fn softplus(x: f32) -> f32 {
    const TAYLOR: [f32; 8] = [0.066_666_67, 0.076_923_08, 0.090_909_09, 0.111_111_11, 0.142_857_14, 0.2, 0.333_333_34, 1.0];
    let u = exp(-x.abs());
    let s = u / (2.0 + u);
    let [first, rest @ ..] = TAYLOR;
    let p = rest.into_iter().fold(first, |p, c| p.mul_add(s * s, c));
    // NaN stays NaN through the exponential.
    let positive = if x > 0.0 { x } else { 0.0 };
    (2.0 * s).mul_add(p, positive)
}

#[inline(always)]
fn relu_squared(x: f32) -> f32 {
    let x = if x > 0.0 { x } else { 0.0 };
    x * x
}

/// Limit of the clamped functions.
const LIMIT: f32 = 7.0;

#[inline(always)]
fn clamped_silu(x: f32) -> f32 {
    let x = if x > LIMIT { LIMIT } else { x };
    x / (1.0 + exp(-1.702 * x))
}

/// `(1 - e) / (1 + e)` with `e = exp(-2 |x|)`; up to 1/4, where that cancels, the Taylor polynomial.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    const TAYLOR: [f32; 5] = [0.021_869_488, -0.053_968_254, 0.133_333_34, -0.333_333_34, 1.0];
    let (e, square) = (exp(-2.0 * x.abs()), x * x);
    let [first, rest @ ..] = TAYLOR;
    let near = x * rest.into_iter().fold(first, |p, c| p.mul_add(square, c));
    let far = ((1.0 - e) / (1.0 + e)).copysign(x);
    if x.abs() < 0.25 { near } else { far }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Greatest difference to a function in f64 over -20..20, relative to the greater of the exact result and 1.
    fn error(f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> f64 {
        let difference = |x: f32| (f64::from(f(x)) - exact(f64::from(x))).abs() / exact(f64::from(x)).abs().max(1.0);
        (-200_000..=200_000).map(|i| difference(i as f32 * 1e-4)).fold(0.0, f64::max)
    }

    #[test]
    fn are_what_they_are_called() {
        let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
        let erf = |x: f64| 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2));
        let tanh_form = |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh());
        for (name, error, allowed) in [
            ("sigmoid", error(sigmoid, logistic), 1.2e-7),
            ("silu", error(silu, |x| x * logistic(x)), 2e-7),
            ("gelu, tanh form", error(gelu_tanh, tanh_form), 4e-7),
            ("gelu", error(gelu_erf, erf), 4e-7),
            ("softplus", error(softplus, |x| x.exp().ln_1p()), 2e-7),
            ("squared relu", error(relu_squared, |x| x.max(0.0).powi(2)), 1e-7),
            ("clamped silu", error(clamped_silu, |x| x.min(7.0) * logistic(1.702 * x.min(7.0))), 4e-7),
            ("tanh", error(tanh, f64::tanh), 2e-7),
        ] {
            assert!(error <= allowed, "{name}: {error:e}");
        }
        // Where the result is small, the error is small beside it, too.
        let far = (0..8000).map(|i| i as f32 * -0.01).map(|x| f64::from(softplus(x)) / f64::from(x).exp().ln_1p() - 1.0);
        assert!(far.map(f64::abs).fold(0.0, f64::max) < 4e-7);
        // Near zero the error is small beside the result, too.
        assert!((1..1000).map(|i| i as f32 * 1e-4).all(|x| (f64::from(tanh(x)) / f64::from(x).tanh() - 1.0).abs() < 3e-7));
    }

    #[test]
    fn a_gate_is_an_activation_and_a_product() {
        use Activation::*;
        let (x, up): (Vec<f32>, Vec<f32>) = (-90..90).map(|i| (i as f32 / 9.0, 3.0 - i as f32 / 30.0)).unzip();
        for activation in [Identity, Softplus, Sigmoid, Tanh, Silu, GeluTanh, GeluErf, ReluSquared] {
            let (mut gated, mut activated) = (x.clone(), x.clone());
            gate(&mut gated, &up, activation);
            activate(&mut activated, activation);
            assert!(gated.iter().zip(&activated).zip(&up).all(|((gated, a), up)| *gated == a * up), "{activation:?}");
        }
        let mut gated = x.clone();
        gate(&mut gated, &up, ClampedSilu);
        assert!(gated.iter().zip(&x).zip(&up).all(|((gated, &x), up)| *gated == clamped_silu(x) * (up.clamp(-7.0, 7.0) + 1.0)));
    }
}
