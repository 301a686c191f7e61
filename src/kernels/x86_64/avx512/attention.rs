//! Flash attention of few queries: lanes are positions for scores and weights, value dimensions for the output.

use super::attention_lanes::{LANES, groups};
use crate::kernels::scalar::attention as scalar;
use crate::kernels::scalar::exp;
use crate::kernels::scalar::lanes::tree;
use crate::kernels::{AttendArgs, BlockMask, KV_BLOCK};
use half::f16;
use std::arch::x86_64::*;
use std::array::from_fn;
use std::f32::consts::{LN_2, LOG2_E};

/// An element type of the cache.
pub(super) trait Cached: Copy + Into<f32> {
    /// Sixteen values as f32.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn load(values: &[Self; 16]) -> __m512;
}

impl Cached for f16 {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn load(values: &[f16; 16]) -> __m512 {
        // SAFETY: the load is the 32 bytes of the array.
        let values = unsafe { _mm256_loadu_si256(values.as_ptr().cast()) };
        // Without suppressed exceptions, which are masked anyway, this is one instruction.
        _mm512_cvt_roundph_ps::<_MM_FROUND_CUR_DIRECTION>(values)
    }
}

impl Cached for f32 {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn load(values: &[f32; 16]) -> __m512 {
        // SAFETY: the load is the 16 floats of the array.
        unsafe { _mm512_loadu_ps(values.as_ptr()) }
    }
}

/// The vectors that `values` begins with.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn load<T: Cached, const N: usize>(values: &[T]) -> [__m512; N] {
    let (vectors, _) = values[..16 * N].as_chunks();
    // SAFETY: the level is there.
    from_fn(|i| unsafe { T::load(&vectors[i]) })
}

#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn store(vector: __m512, to: &mut [f32]) {
    let to = &mut to[..16];
    // SAFETY: there is room for 16 floats.
    unsafe { _mm512_storeu_ps(to.as_mut_ptr(), vector) };
}

/// The fewest queries that fill a group of lanes well enough.
const LEAST: usize = 3 * LANES / 4;
/// The same of two groups.
const LEAST_OF_TWO: usize = LANES + LEAST;

/// See `scalar::attention`.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn attend<T: Cached>(args: &mut AttendArgs<T>) {
    let mut query = 0;
    while query < args.queries {
        // Queries share the loads of keys and values, and that these are made f32.
        query += match args.queries - query {
            LEAST_OF_TWO.. => groups::<T, 2>(args, query),
            LEAST.. => groups::<T, 1>(args, query),
            8.. => tile::<T, 8, 2>(args, query),
            4.. => tile::<T, 4, 4>(args, query),
            _ => tile::<T, 1, 8>(args, query),
        };
    }
}

/// Q queries from `first` on, D vectors of the output at a time; returns Q.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn tile<T: Cached, const Q: usize, const D: usize>(args: &mut AttendArgs<T>, first: usize) -> usize {
    let (masks, width) = (&args.masks[first..first + Q], args.value_dim);
    let end = masks.iter().map(scalar::last_visible).max().unwrap_or(0);
    let queries: [&[f32]; Q] = from_fn(|q| &args.query[(first + q) * args.head_dim..][..args.head_dim]);
    let scores = &mut args.scores[first * KV_BLOCK..].as_chunks_mut::<KV_BLOCK>().0[..Q];
    for at in (0..end).step_by(32) {
        score(&queries, args.keys, args.scale, at, scores);
    }
    if let Some(adjust) = args.adjust {
        for (q, scores) in scores.iter_mut().enumerate() {
            scalar::adjust(&mut scores[..end], &adjust, first + q);
        }
    }
    for (q, (scores, mask)) in scores.iter_mut().zip(masks).enumerate() {
        (args.out.max[first + q], args.out.sum[first + q]) = weigh(scores, mask, end);
    }

    let weights: [&[f32; KV_BLOCK]; Q] = from_fn(|q| &scores[q]);
    let acc = &mut args.out.acc[first * width..][..Q * width];
    let (vectors, singles) = (width / 16, width / 16 * 16..width);
    for v in 0..vectors / D {
        average::<T, Q, D>(&weights, end, args.values, width, 16 * D * v, acc);
    }
    for v in vectors / D * D..vectors {
        average::<T, Q, 1>(&weights, end, args.values, width, 16 * v, acc);
    }
    for d in singles {
        for (q, weights) in weights.iter().enumerate() {
            let values = args.values[d..].iter().step_by(width);
            acc[q * width + d] = weights[..end].iter().zip(values).fold(0.0, |acc, (w, &v)| w.mul_add(v.into(), acc)) + 0.0;
        }
    }
    Q
}

/// Scores of 32 positions, not masked yet.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn score<T: Cached, const Q: usize>(queries: &[&[f32]; Q], keys: &[T], scale: f32, at: usize, scores: &mut [[f32; KV_BLOCK]]) {
    let mut sums = [[_mm512_setzero_ps(); 2]; Q];
    for (d, keys) in keys.as_chunks::<KV_BLOCK>().0.iter().enumerate() {
        let keys: [__m512; 2] = load(&keys[at..]);
        for (sums, query) in sums.iter_mut().zip(queries) {
            let query = _mm512_set1_ps(query[d]);
            *sums = from_fn(|half| _mm512_fmadd_ps(query, keys[half], sums[half]));
        }
    }
    for (scores, sums) in scores.iter_mut().zip(sums) {
        store(_mm512_mul_ps(sums[0], _mm512_set1_ps(scale)), &mut scores[at..]);
        store(_mm512_mul_ps(sums[1], _mm512_set1_ps(scale)), &mut scores[at + 16..]);
    }
}

/// Scores of the first `end` positions become weights; returns the greatest score and the sum of the weights.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn weigh(scores: &mut [f32; KV_BLOCK], mask: &BlockMask, end: usize) -> (f32, f32) {
    let least = _mm512_set1_ps(f32::NEG_INFINITY);
    let (vectors, _) = scores[..end.next_multiple_of(16)].as_chunks_mut::<16>();
    let mut max = least;
    for (i, vector) in vectors.iter_mut().enumerate() {
        let score = _mm512_mask_mov_ps(least, visible(mask, 16 * i), load::<f32, 1>(vector)[0]);
        // The second operand survives when the first one is NaN.
        max = _mm512_max_ps(score, max);
        store(score, vector);
    }
    // -0 becomes +0: which of the two zeros came first must not show.
    let max = _mm512_reduce_max_ps(max) + 0.0;

    let mut sums = _mm512_setzero_ps();
    for (i, vector) in vectors.iter_mut().enumerate() {
        let distance = _mm512_sub_ps(load::<f32, 1>(vector)[0], _mm512_set1_ps(max));
        let weight = exp_of_negative(visible(mask, 16 * i), distance);
        sums = _mm512_add_ps(sums, weight);
        store(weight, vector);
    }
    let mut lanes = [0.0; 16];
    store(sums, &mut lanes);
    (max, tree(lanes))
}

/// The visible ones of 16 positions.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn visible(mask: &BlockMask, position: usize) -> __mmask16 {
    (mask[position / 64] >> (position % 64)) as __mmask16
}

/// See `scalar::exp`; not for numbers above 0. Where they are not visible, 0.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn exp_of_negative(visible: __mmask16, x: __m512) -> __m512 {
    let round = _mm512_set1_ps(exp::ROUND);
    let shifted = _mm512_add_ps(_mm512_mul_ps(x, _mm512_set1_ps(LOG2_E)), round);
    let n = _mm512_sub_ps(shifted, round);
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN_2), x);
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(exp::LN_2_LOW), r);
    let [first, rest @ ..] = exp::POLYNOMIAL.map(|c| _mm512_set1_ps(c));
    let p = rest.into_iter().fold(first, |p, c| _mm512_fmadd_ps(p, r, c));
    let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted));
    let power = _mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_castps_si512(_mm512_set1_ps(1.0))));
    let stays = _mm512_mask_cmp_ps_mask::<_CMP_NLT_UQ>(visible, x, _mm512_set1_ps(exp::MIN));
    _mm512_maskz_mul_ps(stays, p, power)
}

/// D vectors of the output from value dimension `at` on: sums over the first `end` positions of weight times value.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn average<T: Cached, const Q: usize, const D: usize>(
    weights: &[&[f32; KV_BLOCK]; Q],
    end: usize,
    values: &[T],
    width: usize,
    at: usize,
    acc: &mut [f32],
) {
    let mut sums = [[_mm512_setzero_ps(); D]; Q];
    for (p, values) in values.chunks_exact(width).take(end).enumerate().take(KV_BLOCK) {
        let values: [__m512; D] = load(&values[at..]);
        for (sums, weights) in sums.iter_mut().zip(weights) {
            let weight = _mm512_set1_ps(weights[p]);
            *sums = from_fn(|v| _mm512_fmadd_ps(weight, values[v], sums[v]));
        }
    }
    for (acc, sums) in acc.chunks_exact_mut(width).zip(sums) {
        for (acc, sum) in acc[at..].chunks_exact_mut(16).zip(sums) {
            store(_mm512_add_ps(sum, _mm512_setzero_ps()), acc);
        }
    }
}
