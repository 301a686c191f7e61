//! Flash attention: lanes are positions for scores and weights, value dimensions for the output.

use super::lanes::widen_f16;
use crate::kernels::scalar::attention as scalar;
use crate::kernels::scalar::exp;
use crate::kernels::scalar::lanes::tree;
use crate::kernels::{AttendArgs, BlockMask, KV_BLOCK};
use half::f16;
use std::arch::aarch64::*;
use std::array::from_fn;
use std::f32::consts::{LN_2, LOG2_E};

/// An element type of the cache.
pub(super) trait Cached: Copy + Into<f32> {
    /// Four values as f32.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn load(values: &[Self; 4]) -> float32x4_t;
}

impl Cached for f16 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(values: &[f16; 4]) -> float32x4_t {
        // SAFETY: the load is the four halves of the array.
        widen_f16(unsafe { vld1_u16(values.as_ptr().cast()) })
    }
}

impl Cached for f32 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(values: &[f32; 4]) -> float32x4_t {
        // SAFETY: the load is the four floats of the array.
        unsafe { vld1q_f32(values.as_ptr()) }
    }
}

/// The vectors that `values` begins with.
#[inline]
#[target_feature(enable = "neon")]
fn load<T: Cached, const N: usize>(values: &[T]) -> [float32x4_t; N] {
    let (vectors, _) = values[..4 * N].as_chunks();
    // SAFETY: the level is there.
    from_fn(|i| unsafe { T::load(&vectors[i]) })
}

/// Writes vectors to what `to` begins with.
#[inline]
#[target_feature(enable = "neon")]
fn store<const N: usize>(vectors: [float32x4_t; N], to: &mut [f32]) {
    for (vector, to) in vectors.into_iter().zip(to[..4 * N].as_chunks_mut::<4>().0) {
        // SAFETY: the store is the four floats of the array.
        unsafe { vst1q_f32(to.as_mut_ptr(), vector) };
    }
}

/// See `scalar::attention`.
#[target_feature(enable = "neon")]
pub(super) fn attend<T: Cached>(args: &mut AttendArgs<T>) {
    let mut query = 0;
    while query < args.queries {
        // Four queries share the loads of keys and values.
        query += if query + 4 <= args.queries { tile::<T, 4, 4>(args, query) } else { tile::<T, 1, 8>(args, query) };
    }
}

/// Q queries from `first` on, V vectors of positions or of the output at a time; returns Q.
#[target_feature(enable = "neon")]
fn tile<T: Cached, const Q: usize, const V: usize>(args: &mut AttendArgs<T>, first: usize) -> usize {
    let (masks, width) = (&args.masks[first..first + Q], args.value_dim);
    let end = masks.iter().map(scalar::last_visible).max().unwrap_or(0);
    let queries: [&[f32]; Q] = from_fn(|q| &args.query[(first + q) * args.head_dim..][..args.head_dim]);
    let scores = &mut args.scores[first * KV_BLOCK..].as_chunks_mut::<KV_BLOCK>().0[..Q];
    for at in (0..end).step_by(4 * V) {
        score::<T, Q, V>(&queries, args.keys, args.scale, at, scores);
    }
    if let Some(adjust) = args.adjust {
        for (q, scores) in scores.iter_mut().enumerate() {
            scalar::adjust(&mut scores[..end], &adjust, first + q);
        }
    }
    for (q, (scores, mask)) in scores.iter_mut().zip(masks).enumerate() {
        (args.out.max[first + q], args.out.sum[first + q]) = weigh(scores, mask, end);
    }

    let weights: [&[f32]; Q] = from_fn(|q| &scores[q][..end]);
    let acc = &mut args.out.acc[first * width..][..Q * width];
    let (vectors, singles) = (width / 4, width / 4 * 4..width);
    for v in 0..vectors / V {
        average::<T, Q, V>(&weights, args.values, width, 4 * V * v, acc);
    }
    for v in vectors / V * V..vectors {
        average::<T, Q, 1>(&weights, args.values, width, 4 * v, acc);
    }
    for d in singles {
        for (q, weights) in weights.iter().enumerate() {
            let values = args.values[d..].iter().step_by(width);
            acc[q * width + d] = weights.iter().zip(values).fold(0.0, |acc, (w, &v)| w.mul_add(v.into(), acc)) + 0.0;
        }
    }
    Q
}

/// Scores of `4 * V` positions, not masked yet.
#[inline]
#[target_feature(enable = "neon")]
fn score<T: Cached, const Q: usize, const V: usize>(
    queries: &[&[f32]; Q],
    keys: &[T],
    scale: f32,
    at: usize,
    scores: &mut [[f32; KV_BLOCK]],
) {
    let mut sums = [[vdupq_n_f32(0.0); V]; Q];
    for (d, keys) in keys.as_chunks::<KV_BLOCK>().0.iter().enumerate() {
        let keys: [_; V] = load(&keys[at..]);
        for (sums, query) in sums.iter_mut().zip(queries) {
            *sums = from_fn(|v| vfmaq_n_f32(sums[v], keys[v], query[d]));
        }
    }
    for (scores, sums) in scores.iter_mut().zip(sums) {
        store(sums.map(|sum| vmulq_n_f32(sum, scale)), &mut scores[at..]);
    }
}

/// Scores of the first `end` positions become weights; returns the greatest score and the sum of the weights.
#[inline]
#[target_feature(enable = "neon")]
fn weigh(scores: &mut [f32; KV_BLOCK], mask: &BlockMask, end: usize) -> (f32, f32) {
    let least = vdupq_n_f32(f32::NEG_INFINITY);
    let (vectors, _) = scores[..end.next_multiple_of(16)].as_chunks_mut::<4>();
    let mut max = least;
    for (i, vector) in vectors.iter_mut().enumerate() {
        let [score] = load(vector);
        let score = vbslq_f32(visible(mask, 4 * i), score, least);
        // A number wins against NaN.
        max = vmaxnmq_f32(score, max);
        store([score], vector);
    }
    // -0 becomes +0: which of the two zeros came first must not show.
    let max = vmaxnmvq_f32(max) + 0.0;

    let mut sums = [vdupq_n_f32(0.0); 4];
    for (i, vector) in vectors.iter_mut().enumerate() {
        let [score] = load(vector);
        let weight = vreinterpretq_u32_f32(exp_of_negative(vsubq_f32(score, vdupq_n_f32(max))));
        let weight = vreinterpretq_f32_u32(vandq_u32(weight, visible(mask, 4 * i)));
        sums[i % 4] = vaddq_f32(sums[i % 4], weight);
        store([weight], vector);
    }
    let mut lanes = [0.0; 16];
    store(sums, &mut lanes);
    (max, tree(lanes))
}

/// All bits set in the lanes of the visible ones of four positions.
#[inline]
#[target_feature(enable = "neon")]
fn visible(mask: &BlockMask, position: usize) -> uint32x4_t {
    // SAFETY: the load is the four numbers of the array.
    let bits = unsafe { vld1q_u32([1, 2, 4, 8].as_ptr()) };
    vtstq_u32(vdupq_n_u32((mask[position / 64] >> (position % 64)) as u32), bits)
}

/// See `scalar::exp`; not for numbers above 0.
#[inline]
#[target_feature(enable = "neon")]
fn exp_of_negative(x: float32x4_t) -> float32x4_t {
    let round = vdupq_n_f32(exp::ROUND);
    // Rounded twice, as the reference has it.
    let shifted = vaddq_f32(vmulq_n_f32(x, LOG2_E), round);
    let n = vsubq_f32(shifted, round);
    let r = vfmsq_f32(x, n, vdupq_n_f32(LN_2));
    let r = vfmsq_f32(r, n, vdupq_n_f32(exp::LN_2_LOW));
    let [first, rest @ ..] = exp::POLYNOMIAL.map(|c| vdupq_n_f32(c));
    let p = rest.into_iter().fold(first, |p, c| vfmaq_f32(c, p, r));
    let exponent = vshlq_n_u32::<23>(vreinterpretq_u32_f32(shifted));
    let power = vreinterpretq_f32_u32(vaddq_u32(exponent, vdupq_n_u32(1.0f32.to_bits())));
    let vanishes = vcltq_f32(x, vdupq_n_f32(exp::MIN));
    vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(vmulq_f32(p, power)), vanishes))
}

/// V vectors of the output from value dimension `at` on: sums over positions of weight times value.
#[inline]
#[target_feature(enable = "neon")]
fn average<T: Cached, const Q: usize, const V: usize>(
    weights: &[&[f32]; Q],
    values: &[T],
    width: usize,
    at: usize,
    acc: &mut [f32],
) {
    let mut sums = [[vdupq_n_f32(0.0); V]; Q];
    for (p, values) in values.chunks_exact(width).take(weights[0].len()).enumerate() {
        let values: [_; V] = load(&values[at..]);
        for (sums, weights) in sums.iter_mut().zip(weights) {
            *sums = from_fn(|v| vfmaq_n_f32(sums[v], values[v], weights[p]));
        }
    }
    for (acc, sums) in acc.chunks_exact_mut(width).zip(sums) {
        store(sums.map(|sum| vaddq_f32(sum, vdupq_n_f32(0.0))), &mut acc[at..]);
    }
}
