//! Flash attention: one block of positions at a time, and the arithmetic that joins blocks (Milakov and Gimelshein, arXiv
//! 1805.02867; Dao et al., arXiv 2205.14135).

use super::activation::softcap;
use super::exp::exp;
use super::lanes::{LANES, tree};
use crate::kernels::{Adjust, AttendArgs, BlockMask, KV_BLOCK, Partial};

/// One block for a tile of queries:
///
/// - score: one fma chain ascending over the head dimension, from +0, times `scale`, adjusted; masked positions: `-inf`;
/// - max: the greatest score that is not NaN; weight: `exp(score - max)`, masked positions exactly 0;
/// - sum: of the weights, by 16 virtual lanes (position mod 16) and their tree;
/// - acc: one fma chain per value ascending over positions, from +0; a sum of -0 counts as +0.
///
/// Positions run to the last one that any query of the tile sees. What stands behind a query's own last position adds
/// exact zeros as long as the cached values are finite, so the tile does not show in the result.
pub(super) fn attend<T: Copy + Into<f32>>(args: &mut AttendArgs<T>) {
    let end = args.masks.iter().map(last_visible).max().unwrap_or(0);
    for (query, mask) in args.masks.iter().enumerate() {
        let scores = &mut args.scores[query * KV_BLOCK..][..end];
        let acc = &mut args.out.acc[query * args.value_dim..][..args.value_dim];
        (args.out.max[query], args.out.sum[query]) = (f32::NEG_INFINITY, 0.0);
        acc.fill(0.0);
        if mask.iter().all(|&word| word == 0) {
            continue;
        }

        scores.fill(0.0);
        for (&q, keys) in args.query[query * args.head_dim..][..args.head_dim].iter().zip(args.keys.chunks_exact(KV_BLOCK)) {
            for (score, &key) in scores.iter_mut().zip(keys) {
                *score = q.mul_add(key.into(), *score);
            }
        }
        scores.iter_mut().for_each(|score| *score *= args.scale);
        if let Some(adjustments) = &args.adjust {
            adjust(scores, adjustments, query);
        }
        let mut max = f32::NEG_INFINITY;
        for (p, score) in scores.iter_mut().enumerate() {
            *score = if visible(mask, p) { *score } else { f32::NEG_INFINITY };
            max = if *score > max { *score } else { max };
        }
        // -0 becomes +0: which of the two zeros came first must not show.
        max += 0.0;

        let mut lanes = [0.0; LANES];
        for (p, score) in scores.iter_mut().enumerate() {
            *score = if visible(mask, p) { exp(*score - max) } else { 0.0 };
            lanes[p % LANES] += *score;
        }
        (args.out.max[query], args.out.sum[query]) = (max, tree(lanes));

        for (weight, values) in scores.iter().zip(args.values.chunks_exact(args.value_dim)) {
            for (acc, &value) in acc.iter_mut().zip(values) {
                *acc = weight.mul_add(value.into(), *acc);
            }
        }
        acc.iter_mut().for_each(|acc| *acc += 0.0);
    }
}

/// The scores of one query: capped, then `fma(slope, -|offset + p|, score)`.
#[inline(always)]
pub(in crate::kernels) fn adjust(scores: &mut [f32], adjust: &Adjust, query: usize) {
    if adjust.cap > 0.0 {
        softcap(scores, adjust.cap);
    }
    let (slope, offset) = (adjust.slopes[query], adjust.offsets[query]);
    if slope != 0.0 {
        for (p, score) in scores.iter_mut().enumerate() {
            *score = slope.mul_add(-(offset + p as f32).abs(), *score);
        }
    }
}

/// Positions up to the last one set.
pub(in crate::kernels) fn last_visible(mask: &BlockMask) -> usize {
    mask.iter().rposition(|&word| word != 0).map_or(0, |i| 64 * (i + 1) - mask[i].leading_zeros() as usize)
}

fn visible(mask: &BlockMask, position: usize) -> bool {
    mask[position / 64] >> (position % 64) & 1 == 1
}

/// Per query, with m the greater maximum: sum and acc become `fma(total, exp(total.max - m), next * exp(next.max - m))`. An
/// empty side, known by its sum of 0, leaves the other as it is.
#[inline(always)]
pub(in crate::kernels) fn merge(total: &mut Partial, next: &Partial, value_dim: usize) {
    for query in 0..next.max.len() {
        let row = query * value_dim..(query + 1) * value_dim;
        let (acc, next_acc) = (&mut total.acc[row.clone()], &next.acc[row]);
        let (max, sum) = (&mut total.max[query], &mut total.sum[query]);
        let (next_max, next_sum) = (next.max[query], next.sum[query]);
        if next_sum == 0.0 {
            continue;
        }
        if *sum == 0.0 {
            (*max, *sum) = (next_max, next_sum);
            acc.copy_from_slice(next_acc);
            continue;
        }
        let common = if next_max > *max { next_max } else { *max };
        let (keep, take) = (exp(*max - common), exp(next_max - common));
        *max = common;
        *sum = sum.mul_add(keep, next_sum * take);
        for (acc, next) in acc.iter_mut().zip(next_acc) {
            *acc = acc.mul_add(keep, next * take);
        }
    }
}

/// `out = acc / sum`; 0 where `sum` is 0.
#[inline(always)]
pub(in crate::kernels) fn normalize(total: &Partial, value_dim: usize, out: &mut [f32]) {
    for query in 0..total.sum.len() {
        let (row, sum) = (query * value_dim..(query + 1) * value_dim, total.sum[query]);
        let (acc, out) = (&total.acc[row.clone()], &mut out[row]);
        if sum == 0.0 {
            out.fill(0.0);
            continue;
        }
        for (out, acc) in out.iter_mut().zip(acc) {
            *out = acc / sum;
        }
    }
}
