//! Activations for products by pairs.

use crate::quant::{ActBlock, BLOCK, PairBlock};
use std::array;

/// Makes pairs of blocks of high precision, for weights up to `reach` in magnitude.
pub(in crate::kernels) fn pair(blocks: &[ActBlock], pairs: &mut [PairBlock], reach: u16) {
    let greatest = i16::MAX as u16 - reach;
    for (block, pair) in blocks.iter().zip(pairs) {
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
}

/// Sets all but the activations, given the sums of the squares of both halves.
pub(in crate::kernels) fn finish(block: &ActBlock, pair: &mut PairBlock, squares: [i32; 2], start: i32) {
    /// More than is lost by rounding.
    const UP: f32 = 1.0 + 1.0 / 65536.0;
    let [high, low] = squares.map(|squares| (squares as f32).sqrt());
    let [high_sum, low_sum] = [&block.hi_sum, &block.lo_sum].map(|sums| sums.iter().map(|&sum| i32::from(sum)).sum::<i32>());
    pair.sum = 256 * high_sum + low_sum;
    pair.sums = [&block.hi_sum, &block.lo_sum].map(|sums| [0, 2, 1, 3, 4, 6, 5, 7].map(|i| sums[2 * i] + sums[2 * i + 1]));
    pair.start = start;
    pair.scale = block.scale;
    pair.length = [256.0 * high + low, low].map(|length| UP * length);
    pair.shift = [pair.sum, low_sum].map(|sum| UP * sum.unsigned_abs() as f32);
    (pair.apart, pair.place) = ([0; PairBlock::APART], [0; PairBlock::APART]);
}

/// Moves the activations that are too great, a bit for each, out of `q`.
pub(in crate::kernels) fn set_apart(pair: &mut PairBlock, great: [u32; BLOCK / 32]) {
    let mut count = 0;
    for (run, mut bits) in great.into_iter().enumerate() {
        while bits != 0 {
            if count == PairBlock::APART {
                pair.length = [f32::INFINITY; 2];
                return;
            }
            let k = 32 * run + bits.trailing_zeros() as usize;
            let q = std::mem::take(&mut pair.q[k]);
            (pair.apart[count], pair.place[count]) = (i32::from(q as u16) << (k % 2 * 16), (k / 2) as u8);
            (count, bits) = (count + 1, bits & (bits - 1));
        }
    }
}
