//! Flash attention: lanes are positions for scores and weights, value dimensions for the output.

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
    /// Eight values as f32.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn load(values: &[Self; 8]) -> __m256;
}

impl Cached for f16 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(values: &[f16; 8]) -> __m256 {
        // SAFETY: the load is the 16 bytes of the array.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(values.as_ptr().cast()) })
    }
}

impl Cached for f32 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(values: &[f32; 8]) -> __m256 {
        // SAFETY: the load is the eight floats of the array.
        unsafe { _mm256_loadu_ps(values.as_ptr()) }
    }
}

/// The vectors that `values` begins with.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load<T: Cached, const N: usize>(values: &[T]) -> [__m256; N] {
    let (vectors, _) = values[..8 * N].as_chunks();
    // SAFETY: the level is there.
    from_fn(|i| unsafe { T::load(&vectors[i]) })
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn store(vector: __m256, to: &mut [f32]) {
    let to = &mut to[..8];
    // SAFETY: there is room for eight floats.
    unsafe { _mm256_storeu_ps(to.as_mut_ptr(), vector) };
}

/// See `scalar::attention`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn attend<T: Cached>(args: &mut AttendArgs<T>) {
    let mut query = 0;
    while query < args.queries {
        // Four queries share the loads of keys and values.
        query += if query + 4 <= args.queries { tile::<T, 4, 2>(args, query) } else { tile::<T, 1, 8>(args, query) };
    }
}

/// Q queries from `first` on, D vectors of the output at a time; returns Q.
#[target_feature(enable = "avx2,fma,f16c")]
fn tile<T: Cached, const Q: usize, const D: usize>(args: &mut AttendArgs<T>, first: usize) -> usize {
    let (masks, width) = (&args.masks[first..first + Q], args.value_dim);
    let end = masks.iter().map(scalar::last_visible).max().unwrap_or(0);
    let queries: [&[f32]; Q] = from_fn(|q| &args.query[(first + q) * args.head_dim..][..args.head_dim]);
    let scores = &mut args.scores[first * KV_BLOCK..].as_chunks_mut::<KV_BLOCK>().0[..Q];
    for at in (0..end).step_by(16) {
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

    let weights: [&[f32]; Q] = from_fn(|q| &scores[q][..end]);
    let acc = &mut args.out.acc[first * width..][..Q * width];
    let (vectors, singles) = (width / 8, width / 8 * 8..width);
    for v in 0..vectors / D {
        average::<T, Q, D>(&weights, args.values, width, 8 * D * v, acc);
    }
    for v in vectors / D * D..vectors {
        average::<T, Q, 1>(&weights, args.values, width, 8 * v, acc);
    }
    for d in singles {
        for (q, weights) in weights.iter().enumerate() {
            let values = args.values[d..].iter().step_by(width);
            acc[q * width + d] = weights.iter().zip(values).fold(0.0, |acc, (w, &v)| w.mul_add(v.into(), acc)) + 0.0;
        }
    }
    Q
}

/// Scores of 16 positions, not masked yet.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn score<T: Cached, const Q: usize>(queries: &[&[f32]; Q], keys: &[T], scale: f32, at: usize, scores: &mut [[f32; KV_BLOCK]]) {
    let mut sums = [[_mm256_setzero_ps(); 2]; Q];
    for (d, keys) in keys.as_chunks::<KV_BLOCK>().0.iter().enumerate() {
        let keys: [__m256; 2] = load(&keys[at..]);
        for (sums, query) in sums.iter_mut().zip(queries) {
            let query = _mm256_set1_ps(query[d]);
            *sums = from_fn(|half| _mm256_fmadd_ps(query, keys[half], sums[half]));
        }
    }
    for (scores, sums) in scores.iter_mut().zip(sums) {
        store(_mm256_mul_ps(sums[0], _mm256_set1_ps(scale)), &mut scores[at..]);
        store(_mm256_mul_ps(sums[1], _mm256_set1_ps(scale)), &mut scores[at + 8..]);
    }
}

/// Scores of the first `end` positions become weights; returns the greatest score and the sum of the weights.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn weigh(scores: &mut [f32; KV_BLOCK], mask: &BlockMask, end: usize) -> (f32, f32) {
    let least = _mm256_set1_ps(f32::NEG_INFINITY);
    let (vectors, _) = scores[..end.next_multiple_of(16)].as_chunks_mut::<8>();
    let mut max = least;
    for (i, vector) in vectors.iter_mut().enumerate() {
        let score = _mm256_blendv_ps(least, load::<f32, 1>(vector)[0], visible(mask, 8 * i));
        // The second operand survives when the first one is NaN.
        max = _mm256_max_ps(score, max);
        store(score, vector);
    }
    let mut lanes = [0.0; 8];
    store(max, &mut lanes);
    // -0 becomes +0: which of the two zeros came first must not show.
    let max = lanes.into_iter().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a }) + 0.0;

    let mut sums = [_mm256_setzero_ps(); 2];
    for (i, vector) in vectors.iter_mut().enumerate() {
        let distance = _mm256_sub_ps(load::<f32, 1>(vector)[0], _mm256_set1_ps(max));
        let weight = _mm256_and_ps(exp_of_negative(distance), visible(mask, 8 * i));
        sums[i % 2] = _mm256_add_ps(sums[i % 2], weight);
        store(weight, vector);
    }
    let mut lanes = [0.0; 16];
    store(sums[0], &mut lanes);
    store(sums[1], &mut lanes[8..]);
    (max, tree(lanes))
}

/// All bits set in the lanes of the visible ones of eight positions.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn visible(mask: &BlockMask, position: usize) -> __m256 {
    let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    let eight = _mm256_set1_epi32((mask[position / 64] >> (position % 64)) as i32);
    _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(eight, bits), bits))
}

/// See `scalar::exp`; not for numbers above 0.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn exp_of_negative(x: __m256) -> __m256 {
    let round = _mm256_set1_ps(exp::ROUND);
    let shifted = _mm256_add_ps(_mm256_mul_ps(x, _mm256_set1_ps(LOG2_E)), round);
    let n = _mm256_sub_ps(shifted, round);
    let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(LN_2), x);
    let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(exp::LN_2_LOW), r);
    let [first, rest @ ..] = exp::POLYNOMIAL.map(|c| _mm256_set1_ps(c));
    let p = rest.into_iter().fold(first, |p, c| _mm256_fmadd_ps(p, r, c));
    let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(shifted));
    let power = _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_castps_si256(_mm256_set1_ps(1.0))));
    let vanishes = _mm256_cmp_ps::<_CMP_LT_OQ>(x, _mm256_set1_ps(exp::MIN));
    _mm256_andnot_ps(vanishes, _mm256_mul_ps(p, power))
}

/// D vectors of the output from value dimension `at` on: sums over positions of weight times value.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn average<T: Cached, const Q: usize, const D: usize>(
    weights: &[&[f32]; Q],
    values: &[T],
    width: usize,
    at: usize,
    acc: &mut [f32],
) {
    let mut sums = [[_mm256_setzero_ps(); D]; Q];
    for (p, values) in values.chunks_exact(width).take(weights[0].len()).enumerate() {
        let values: [__m256; D] = load(&values[at..]);
        for (sums, weights) in sums.iter_mut().zip(weights) {
            let weight = _mm256_set1_ps(weights[p]);
            *sums = from_fn(|v| _mm256_fmadd_ps(weight, values[v], sums[v]));
        }
    }
    for (acc, sums) in acc.chunks_exact_mut(width).zip(sums) {
        for (acc, sum) in acc[at..].chunks_exact_mut(8).zip(sums) {
            store(_mm256_add_ps(sum, _mm256_setzero_ps()), acc);
        }
    }
}
