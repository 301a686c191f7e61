//! Quantization of activations.

use super::exp::ROUND;
use crate::quant::{ActBlock, BLOCK, Precision};

/// A block whose greatest magnitude is below this (2^-100) counts as zeros: from here on `32512 / m` and `m / 32512`
/// are normal numbers.
const TINY: f32 = f32::from_bits((127 - 100) << 23);

/// Quantizes 256 neighbouring numbers of a row.
///
/// `m`, the greatest magnitude, counts NaN as greater than infinity. When it is not finite, all integers are
/// 0 and the scale is NaN, so that every product with the block is NaN. Otherwise `q = rne(x * (32512 / m))`, or 127 in
/// place of 32512 in fast precision; the quotient is rounded before it multiplies.
#[inline(always)]
pub(in crate::kernels) fn quantize(x: &[f32; BLOCK], block: &mut ActBlock, precision: Precision) {
    // The bits of magnitudes order like the magnitudes themselves.
    let m = f32::from_bits(x.iter().map(|x| x.abs().to_bits()).max().unwrap_or(0));
    let Some(inverse) = begin(block, m, precision) else { return };
    // Adding this number rounds to nearest even, and leaves the integer in the lowest bits.
    let round = |x: f32| (x * inverse + ROUND).to_bits() as i16;
    match precision {
        Precision::High => {
            for ((x, hi), lo) in x.iter().zip(&mut block.hi).zip(&mut block.lo) {
                // |q| <= 32512 = 127 * 256, so both halves fit.
                let q = round(*x);
                (*hi, *lo) = (((q + 128) >> 8) as i8, q as i8);
            }
        }
        Precision::Fast => x.iter().zip(&mut block.hi).for_each(|(x, hi)| *hi = round(*x) as i8),
    }
    block.set_sums(precision);
}

/// Empties a block and sets its scale for numbers of magnitude `m` at most; returns what they must be multiplied by, or
/// nothing when all integers are 0.
#[inline(always)]
pub(in crate::kernels) fn begin(block: &mut ActBlock, m: f32, precision: Precision) -> Option<f32> {
    *block = ActBlock::ZERO;
    if m < TINY {
        return None;
    }
    if !m.is_finite() {
        block.scale = f32::NAN;
        return None;
    }
    let steps = match precision {
        Precision::High => 32512.0,
        Precision::Fast => 127.0,
    };
    block.scale = m / steps;
    Some(steps / m)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Level;
    use crate::kernels::Kernels;
    use crate::quant::testing::Random;

    fn quantized(x: &[f32], precision: Precision) -> Vec<ActBlock> {
        let mut blocks = vec![ActBlock::ZERO; x.len().div_ceil(BLOCK)];
        let kernels = Kernels::for_level(Level::Scalar);
        x.chunks(BLOCK).zip(&mut blocks).for_each(|(x, block)| kernels.quantize(x, block, precision));
        blocks
    }

    #[test]
    fn integers_are_the_nearest_and_sums_are_sums() {
        let mut x = Random::new(3).normals(BLOCK + 37);
        x[5] = -9.0;
        for (precision, half_step) in [(Precision::High, 4.5 / 32512.0), (Precision::Fast, 4.5 / 127.0)] {
            let blocks = quantized(&x, precision);
            for (k, &x) in x.iter().enumerate() {
                let (block, k) = (&blocks[k / BLOCK], k % BLOCK);
                let q = match precision {
                    Precision::High => 256 * i32::from(block.hi[k]) + i32::from(block.lo[k]),
                    Precision::Fast => i32::from(block.hi[k]),
                };
                assert!((q as f32 * block.scale - x).abs() <= half_step * 1.001, "{x} became {q} * {}", block.scale);
            }
            assert_eq!((blocks[0].hi[5], blocks[0].lo[5]), (-127, 0), "the greatest magnitude");
            for block in &blocks {
                for j in 0..16 {
                    let at = 16 * j..16 * j + 16;
                    assert_eq!(block.hi[at.clone()].iter().map(|&q| i16::from(q)).sum::<i16>(), block.hi_sum[j]);
                    assert_eq!(block.lo[at].iter().map(|&q| i16::from(q)).sum::<i16>(), block.lo_sum[j]);
                }
                for j in 0..8 {
                    let sum: i32 = (32 * j..32 * j + 32)
                        .map(|k| match precision {
                            Precision::High => 256 * i32::from(block.hi[k]) + i32::from(block.lo[k]),
                            Precision::Fast => i32::from(block.hi[k]),
                        })
                        .sum();
                    assert_eq!(block.sums.iter().fold(0, |sum, digits| 256 * sum + i32::from(digits[j])), sum);
                }
            }
            assert!(blocks[1].hi[37..].iter().chain(&blocks[1].lo[37..]).all(|&q| q == 0), "padding");
        }
    }

    #[test]
    fn odd_inputs_have_a_meaning() {
        let all = |value| quantized(&[value; BLOCK], Precision::High).remove(0);
        for zero in [0.0, -0.0, f32::from_bits(1), f32::MIN_POSITIVE, 7e-31] {
            let block = all(zero);
            assert!(block.scale == 0.0 && block.hi == [0; BLOCK] && block.lo == [0; BLOCK], "{zero}");
        }
        for value in [8e-31, -1.0, f32::MAX] {
            let block = all(value);
            assert!(block.scale.is_normal() && block.hi == [127 * value.signum() as i8; BLOCK], "{value}");
        }
        for mixed in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = [1.0; BLOCK];
            x[100] = mixed;
            let block = quantized(&x, Precision::High).remove(0);
            assert!(block.scale.is_nan() && block.hi == [0; BLOCK] && block.hi_sum == [0; 16], "{mixed}");
        }
    }
}
