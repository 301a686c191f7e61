//! Short convolution along the sequence, channel by channel, between two gates.
//!
//! Source: LFM2 (Liquid AI 2025).

use super::{KvElement, Machine, Shared};
use crate::kernels::KV_BLOCK;

/// Arguments of [`short_conv`]: rows of equal width, one per token.
pub struct ShortConvArgs<'a> {
    /// Multiplies the input.
    pub b: &'a [f32],
    /// Multiplies the result, and receives it.
    pub c: &'a mut [f32],
    /// The input.
    pub x: &'a [f32],
    /// `taps` rows of one weight per channel, oldest position first.
    pub weights: &'a [f32],
    /// Positions that an output sees, its own included.
    pub taps: usize,
    /// Position of the first token.
    pub start: usize,
}

/// `c *= sum over taps of weight * (b * x)`, one fma chain per channel ascending over positions; in front of the first
/// position there are zeros. `b * x` of every position goes through the cache: `values` as `[block][256][width]`, with the
/// block of each 256 positions in `table`.
///
/// # Panics
/// When shapes disagree.
pub fn short_conv<T: KvElement>(machine: Machine, args: ShortConvArgs, values: &mut [T], table: &[u32]) {
    let ShortConvArgs { b, x, weights, taps, start, .. } = args;
    let width = weights.len() / taps;
    let tokens = b.len() / width;
    assert!(b.len() == tokens * width && x.len() == b.len() && args.c.len() == b.len(), "convolution rows");
    let row = |position: usize| (table[position / KV_BLOCK] as usize * KV_BLOCK + position % KV_BLOCK) * width;
    let (cached, c) = (Shared::new(values), Shared::new(args.c));
    machine.run(tokens, tokens * width, &|_, token| {
        let at = token * width..(token + 1) * width;
        // SAFETY: one row per unit.
        let cached = unsafe { cached.part(row(start + token), width) };
        for ((cached, b), x) in cached.iter_mut().zip(&b[at.clone()]).zip(&x[at]) {
            T::narrow(machine.kernels, &[b * x], std::slice::from_mut(cached));
        }
    });
    let values = &*values;
    machine.run(tokens, tokens * width * taps, &|_, token| {
        // SAFETY: one row per unit.
        let c = unsafe { c.part(token * width, width) };
        // The first taps lie in front of the first position.
        let missing = taps.saturating_sub(start + token + 1);
        for (channel, c) in c.iter_mut().enumerate() {
            let sum = (missing..taps).fold(0.0, |sum: f32, tap| {
                let value = values[row(start + token + tap + 1 - taps) + channel].widen();
                weights[tap * width + channel].mul_add(value, sum)
            });
            *c *= sum;
        }
    });
}
