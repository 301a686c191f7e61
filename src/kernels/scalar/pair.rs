//! Activations for products by pairs.

use crate::quant::{ActBlock, BLOCK, PairBlock};
use std::array;

/// Makes pairs of a block of high precision, for weights up to `reach` in magnitude.
pub(in crate::kernels) fn pair(block: &ActBlock, pair: &mut PairBlock, reach: u16) {
    let greatest = i16::MAX as u16 - reach;
    for ((q, &hi), &lo) in pair.q.iter_mut().zip(&block.hi).zip(&block.lo) {
        *q = 256 * i16::from(hi) + i16::from(lo);
    }
    pair.q.as_chunks_mut::<4>().0.iter_mut().for_each(|four| four.swap(1, 2));
    let too_great = |q: i16| q.unsigned_abs() > greatest;
    let great = array::from_fn(|run| (0..32).map(|i| u32::from(too_great(pair.q[32 * run + i])) << i).sum());
    let kept = pair.q.map(|q| if too_great(q) { 0 } else { i32::from(q) });
    let product = |sum: i32, &[a, c, b, d]: &[i32; 4]| sum.wrapping_add(a * b).wrapping_add(c * d);
    let products = kept.as_chunks().0.iter().fold(0, product);
    let squares = |half: &[i8; BLOCK]| half.iter().map(|&q| i32::from(q) * i32::from(q)).sum();
    finish(block, pair, [squares(&block.hi), squares(&block.lo)], products.wrapping_neg());
    set_apart(pair, great);
}

/// Sets all but the activations, given the sums of the squares of both halves.
pub(in crate::kernels) fn finish(block: &ActBlock, pair: &mut PairBlock, squares: [i32; 2], start: i32) {
    for (i, (low, high)) in pair.low_sums.iter_mut().zip(&mut pair.high_sums).enumerate() {
        let [hi, lo] = [&block.hi_sum, &block.lo_sum].map(|sums| i32::from(sums[2 * i]) + i32::from(sums[2 * i + 1]));
        let sum = 256 * hi + lo;
        *low = (sum << 17 >> 17) as i16;
        *high = ((sum - i32::from(*low)) >> 15) as i8;
    }
    pair.low_sums.as_chunks_mut::<4>().0.iter_mut().for_each(|four| four.swap(1, 2));
    let sums = [&block.hi_sum, &block.lo_sum].map(|sums| sums.iter().map(|&sum| i32::from(sum)).sum::<i32>());
    pair.set_limits(squares, sums);
    pair.sum = 256 * sums[0] + sums[1];
    (pair.sums, pair.start, pair.scale) = (block.sums, start, block.scale);
    (pair.apart, pair.place) = (PairBlock::ZERO.apart, PairBlock::ZERO.place);
}

/// Moves the activations that are too great, a bit for each, out of `q`.
pub(in crate::kernels) fn set_apart(pair: &mut PairBlock, great: [u32; BLOCK / 32]) {
    let mut count = 0;
    for (run, mut bits) in great.into_iter().enumerate() {
        while bits != 0 {
            if count == PairBlock::APART {
                pair.length = f32::INFINITY;
                return;
            }
            let k = 32 * run + bits.trailing_zeros() as usize;
            let q = std::mem::take(&mut pair.q[k]);
            (pair.apart[count], pair.place[count]) = (i32::from(q as u16) << (k % 2 * 16), (k / 2) as u16);
            (count, bits) = (count + 1, bits & (bits - 1));
        }
    }
}
