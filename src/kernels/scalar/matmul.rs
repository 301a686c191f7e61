//! Matrix products: the numerics definition as code.

use super::lanes::{LANES, tree};
use crate::kernels::{Input, MatmulArgs};
use crate::quant::{BLOCK, Float, Format, Plain, Shape, blocks};

/// The rows of a weight matrix.
fn rows<'a, T: Plain>(args: &MatmulArgs<'a>) -> impl Iterator<Item = (usize, &'a [T])> + use<'a, T> {
    let (weights, per_row) = (blocks::<T>(args.weights), args.depth / T::DTYPE.block_len());
    (0..args.rows).map(move |row| (row, &weights[row * per_row..][..per_row]))
}

/// Quantized weights times quantized activations. One f32 accumulator per output, which lives in `out`; ascending blocks;
/// a block is unpacked once for all tokens.
///
/// # Safety
/// `args.out` must be valid for writes, as [`MatmulArgs`] says.
pub(super) unsafe fn quantized<F: Format>(args: &MatmulArgs) {
    let Input::Quantized(acts, precision) = args.input else { unreachable!("the caller checks the input") };
    let (per_token, per_act) = (args.depth.div_ceil(BLOCK), BLOCK / F::Shape::LEN);
    for (row, weights) in rows::<F>(args) {
        for token in 0..args.tokens {
            // SAFETY: the caller's promise.
            unsafe { *args.out.at(token, row) = 0.0 };
        }
        for (k, block) in weights.iter().enumerate() {
            let block = block.unpack();
            for token in 0..args.tokens {
                let act = &acts[token * per_token + k / per_act];
                // SAFETY: the caller's promise.
                let acc = unsafe { &mut *args.out.at(token, row) };
                *acc = block.accumulate(*acc, act, k % per_act, precision, F::MINS);
            }
        }
    }
}

/// Float weights times f32: 16 virtual lanes, then their tree.
///
/// # Safety
/// `args.out` must be valid for writes, as [`MatmulArgs`] says.
pub(super) unsafe fn float<F: Float>(args: &MatmulArgs) {
    let Input::Float(x) = args.input else { unreachable!("the caller checks the input") };
    for (row, weights) in rows::<F>(args) {
        for token in 0..args.tokens {
            let mut lanes = [0.0; LANES];
            let x = &x[token * args.depth..][..args.depth];
            for (weights, x) in weights.chunks(LANES).zip(x.chunks(LANES)) {
                for ((lane, w), &x) in lanes.iter_mut().zip(weights).zip(x) {
                    *lane = w.get().mul_add(x, *lane);
                }
            }
            // SAFETY: the caller's promise.
            unsafe { *args.out.at(token, row) = tree(lanes) };
        }
    }
}
