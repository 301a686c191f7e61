//! Decoding and the product, written once for both block shapes.
//!
//! Sums over a block are exact in i32; only the few f32 operations spelled out here round. That is what lets every level
//! give the same bits.

use super::{ActBlock, BLOCK, Grid, Precision};

/// An unpacked block.
pub trait Shape {
    /// Weights per block.
    const LEN: usize;

    /// [`Format::fit`](super::Format::fit) for a format with this grid whose scales are f16.
    fn fit(grid: &Grid, x: &[f32], weights: &[f32]) -> Self;

    /// Writes the [`Shape::LEN`] weights: `fma(scale, q, min)`, where `scale` and `min` are rounded products for
    /// super-blocks.
    fn decode(&self, out: &mut [f32]);

    /// `acc` plus the product with the `part`-th [`Shape::LEN`] activations of `act`, by the operations of the
    /// numerics definition. `mins` says whether the format has offsets.
    fn accumulate(&self, acc: f32, act: &ActBlock, part: usize, precision: Precision, mins: bool) -> f32;
}

/// 32 weights `scale * q + min`.
#[derive(Clone, Debug, PartialEq)]
pub struct SmallBlock {
    /// The integers q, of 8 bits at most.
    pub weights: [i8; 32],
    /// Worth of one step.
    pub scale: f32,
    /// Added to every weight; -0 in formats without offset, so that adding it changes no bit.
    pub min: f32,
}

/// 64 weights `scale * q`, with a scale per 16.
#[derive(Clone, Debug, PartialEq)]
pub struct MicroBlock {
    /// The integers q, of 8 bits at most.
    pub weights: [[i8; 16]; 4],
    /// Worth of one step.
    pub scales: [f32; 4],
}

/// 256 weights `d * s * q - dmin * m`, with one `s` and one `m` per 16 weights. Formats that have them per 32 repeat
/// them.
#[derive(Clone, Debug, PartialEq)]
pub struct SuperBlock {
    /// The integers q. For every format `256 * max|s| * max|q| * 128 < 2^31`, whatever the bytes: products with int8
    /// activations fit i32. (Greatest: Q6_K with s = -128, q = -32.)
    pub weights: [i8; 256],
    /// Sub-scales s, -128..=127.
    pub scales: [i16; 16],
    /// Sub-minima m, 0..=63; 0 in formats without offset. `256 * 63 * 32512 < 2^31`.
    pub mins: [i16; 16],
    /// Worth of one step of `s * q`.
    pub d: f32,
    /// Worth of one step of `m`; 0 in formats without offset.
    pub dmin: f32,
}

/// Exact integer product of bytes.
#[inline]
fn dot(weights: &[i8], q: &[i8]) -> i32 {
    weights.iter().zip(q).map(|(&w, &q)| i32::from(w) * i32::from(q)).sum()
}

/// `256 * high + low`, each rounded to f32 before and the result once more.
#[inline]
fn combine(high: i32, low: i32) -> f32 {
    (high as f32).mul_add(256.0, low as f32)
}

impl Shape for SmallBlock {
    const LEN: usize = 32;

    fn fit(grid: &Grid, x: &[f32], weights: &[f32]) -> SmallBlock {
        SmallBlock::search(grid, x, weights)
    }

    fn decode(&self, out: &mut [f32]) {
        for (out, &q) in out.iter_mut().zip(&self.weights) {
            *out = self.scale.mul_add(f32::from(q), self.min);
        }
    }

    #[inline]
    fn accumulate(&self, acc: f32, act: &ActBlock, part: usize, precision: Precision, mins: bool) -> f32 {
        let (at, sums) = (part * 32..part * 32 + 32, part * 2..part * 2 + 2);
        let sum = |sums: &[i16]| sums.iter().map(|&sum| i32::from(sum)).sum::<i32>();
        let high = dot(&self.weights, &act.hi[at.clone()]);
        let (f, m) = match precision {
            Precision::High => {
                (combine(high, dot(&self.weights, &act.lo[at])), 256 * sum(&act.hi_sum[sums.clone()]) + sum(&act.lo_sum[sums]))
            }
            Precision::Fast => (high as f32, sum(&act.hi_sum[sums])),
        };
        let acc = (self.scale * act.scale).mul_add(f, acc);
        if mins { (self.min * act.scale).mul_add(m as f32, acc) } else { acc }
    }
}

impl Shape for MicroBlock {
    const LEN: usize = 64;

    fn fit(grid: &Grid, x: &[f32], weights: &[f32]) -> MicroBlock {
        MicroBlock::search(grid, x, weights)
    }

    fn decode(&self, out: &mut [f32]) {
        for ((out, weights), scale) in out.chunks_exact_mut(16).zip(&self.weights).zip(&self.scales) {
            out.iter_mut().zip(weights).for_each(|(out, &q)| *out = scale * f32::from(q));
        }
    }

    /// The operations of [`SmallBlock`], for every 16 weights.
    #[inline]
    fn accumulate(&self, acc: f32, act: &ActBlock, part: usize, precision: Precision, _: bool) -> f32 {
        let (hi, lo) = (act.hi.as_chunks::<16>().0, act.lo.as_chunks::<16>().0);
        self.weights.iter().zip(&self.scales).zip(4 * part..).fold(acc, |acc, ((weights, scale), at)| {
            let high = dot(weights, &hi[at]);
            let f = match precision {
                Precision::High => combine(high, dot(weights, &lo[at])),
                Precision::Fast => high as f32,
            };
            (scale * act.scale).mul_add(f, acc)
        })
    }
}

impl SuperBlock {
    /// A block of formats with neither sub-scales nor offsets.
    pub(super) fn even(weights: [i8; 256], d: f32) -> SuperBlock {
        SuperBlock { weights, scales: [1; 16], mins: [0; 16], d, dmin: 0.0 }
    }

    /// Sum of `s * w * q` over the block, exact.
    #[inline]
    fn scaled_dot(&self, q: &[i8; BLOCK]) -> i32 {
        let subs = self.weights.chunks_exact(16).zip(q.chunks_exact(16));
        subs.zip(&self.scales).map(|((w, q), &s)| i32::from(s) * dot(w, q)).sum()
    }

    /// Sum of `m` times the sums of 16 activations, exact.
    #[inline]
    fn scaled_sum(&self, sums: &[i16; 16]) -> i32 {
        self.mins.iter().zip(sums).map(|(&m, &sum)| i32::from(m) * i32::from(sum)).sum()
    }
}

impl Shape for SuperBlock {
    const LEN: usize = BLOCK;

    fn fit(grid: &Grid, x: &[f32], weights: &[f32]) -> SuperBlock {
        SuperBlock::search(grid, x, weights)
    }

    fn decode(&self, out: &mut [f32]) {
        let subs = out.chunks_exact_mut(16).zip(self.weights.chunks_exact(16));
        for ((out, weights), (&s, &m)) in subs.zip(self.scales.iter().zip(&self.mins)) {
            let (scale, min) = (self.d * f32::from(s), -(self.dmin * f32::from(m)));
            for (out, &q) in out.iter_mut().zip(weights) {
                *out = scale.mul_add(f32::from(q), min);
            }
        }
    }

    #[inline]
    fn accumulate(&self, acc: f32, act: &ActBlock, _: usize, precision: Precision, mins: bool) -> f32 {
        let high = self.scaled_dot(&act.hi);
        let f = match precision {
            Precision::High => combine(high, self.scaled_dot(&act.lo)),
            Precision::Fast => high as f32,
        };
        let acc = (self.d * act.scale).mul_add(f, acc);
        if !mins {
            return acc;
        }
        let m = match precision {
            Precision::High => 256 * self.scaled_sum(&act.hi_sum) + self.scaled_sum(&act.lo_sum),
            Precision::Fast => self.scaled_sum(&act.hi_sum),
        };
        (-(self.dmin * act.scale)).mul_add(m as f32, acc)
    }
}
