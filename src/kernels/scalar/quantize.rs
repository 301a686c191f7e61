//! Quantization of activations.

use crate::quant::{ActBlock, BLOCK, Precision};

/// A block whose greatest magnitude is below this (2^-100) counts as zeros: from here on `32512 / m` and `m / 32512`
/// are normal numbers.
const TINY: f32 = f32::from_bits((127 - 100) << 23);

/// Quantizes one row.
///
/// `m`, the greatest magnitude of a block, counts NaN as greater than infinity. When it is not finite, all integers are
/// 0 and the scale is NaN, so that every product with the block is NaN. Otherwise `q = rne(x * (32512 / m))`, or 127 in
/// place of 32512 in fast precision; the quotient is rounded before it multiplies.
pub(super) fn quantize(x: &[f32], blocks: &mut [ActBlock], precision: Precision) {
    for (x, block) in x.chunks(BLOCK).zip(blocks) {
        *block = ActBlock::ZERO;
        // The bits of magnitudes order like the magnitudes themselves.
        let m = f32::from_bits(x.iter().map(|x| x.abs().to_bits()).max().unwrap_or(0));
        if m < TINY {
            continue;
        }
        if !m.is_finite() {
            block.scale = f32::NAN;
            continue;
        }
        let steps = match precision {
            Precision::High => 32512.0,
            Precision::Fast => 127.0,
        };
        let inverse = steps / m;
        block.scale = m / steps;
        for ((x, hi), lo) in x.iter().zip(&mut block.hi).zip(&mut block.lo) {
            let q = (x * inverse).round_ties_even() as i32;
            // |q| <= 32512 = 127 * 256, so both halves fit.
            (*hi, *lo) = match precision {
                Precision::High => (((q + 128) >> 8) as i8, q as i8),
                Precision::Fast => (q as i8, 0),
            };
        }
        let sum = |q: &[i8]| q.iter().map(|&q| i16::from(q)).sum();
        block.hi_sum = std::array::from_fn(|i| sum(&block.hi[16 * i..16 * i + 16]));
        block.lo_sum = std::array::from_fn(|i| sum(&block.lo[16 * i..16 * i + 16]));
    }
}
