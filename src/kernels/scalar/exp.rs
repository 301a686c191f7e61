//! The exponential function of all levels.

use std::f32::consts::{LN_2, LOG2_E};

/// Below this the result is 0; `exp` of it is still a normal number.
pub(in crate::kernels) const MIN: f32 = -87.0;
/// Above this the result is infinite.
pub(in crate::kernels) const MAX: f32 = 88.0;
/// What `LN_2` lacks.
pub(in crate::kernels) const LN_2_LOW: f32 = -1.904_654_2e-9;
/// 1.5 * 2^23: adding it to a small number leaves the number, rounded to nearest even, in the low bits of the sum.
pub(in crate::kernels) const ROUND: f32 = 12_582_912.0;
/// Minimax polynomial of relative error 3.1e-9 on |r| <= ln(2)/2, found by the Remez exchange with the first two
/// coefficients fixed; highest power first.
pub(in crate::kernels) const POLYNOMIAL: [f32; 7] =
    [0.001_381_458_4, 0.008_368_724, 0.041_668_39, 0.166_665_21, 0.499_999_94, 1.0, 1.0];

/// e^x: NaN for NaN, 0 below -87, infinite above 88, within 1 ulp between.
///
/// With n = rne(x * log2 e): r = fma(n, -`LN_2`, x), r = fma(n, -`LN_2_LOW`, r), then the polynomial by fma (Horner), times 2^n.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (-n).mul_add(LN_2_LOW, (-n).mul_add(LN_2, x));
    let [first, rest @ ..] = POLYNOMIAL;
    let p = rest.into_iter().fold(first, |p, c| p.mul_add(r, c));
    // The constant's own bits leave the word on the left; what stays is the exponent of 2^n.
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    // Selected rather than skipped, so that loops over it can become vectors.
    if x < MIN {
        0.0
    } else if x > MAX {
        f32::INFINITY
    } else {
        p * power
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_one_ulp() {
        let mut worst = 0.0f64;
        // Steps of 61 ulps through both signs.
        for bits in (0..=MAX.to_bits()).chain((-0.0f32).to_bits()..=MIN.to_bits()).step_by(61) {
            let x = f32::from_bits(bits);
            let (exact, got) = (f64::from(x).exp(), exp(x));
            let ulp = f64::from(f32::from_bits((exact as f32).to_bits() & 0xff80_0000)) * f64::from(f32::EPSILON);
            worst = worst.max((f64::from(got) - exact).abs() / ulp);
        }
        assert!(worst <= 1.0, "{worst} ulp");
    }

    #[test]
    fn edges() {
        assert_eq!(exp(0.0).to_bits(), 1.0f32.to_bits());
        assert_eq!(exp(-0.0).to_bits(), 1.0f32.to_bits());
        for x in [MIN.next_down(), -1e30, f32::NEG_INFINITY] {
            assert_eq!(exp(x).to_bits(), 0);
        }
        assert!(exp(MIN) >= f32::MIN_POSITIVE);
        assert!(exp(MAX).is_finite());
        assert_eq!(exp(MAX.next_up()), f32::INFINITY);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }
}
