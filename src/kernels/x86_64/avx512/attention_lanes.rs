//! Flash attention of many queries: sixteen of them are the lanes of all vectors, so that nothing is summed across one.
//!
//! Each multiplication takes one operand from memory, at a pointer without an index: so it is a single micro-operation, and next to
//! nothing else is issued beside it. That matters most while another thread of the core issues, too (benches/RESULTS.md).

use super::attention::{Cached, exp_of_negative, load, store};
use crate::kernels::rows::opaque;
use crate::kernels::scalar::activation::softcap;
use crate::kernels::scalar::attention as scalar;
use crate::kernels::{Adjust, AttendArgs, BlockMask, KV_BLOCK};
use std::arch::x86_64::*;
use std::array::from_fn;
use std::ops::Range;

/// Queries of a group.
pub(super) const LANES: usize = 16;
/// Dimensions of which keys are widened at once.
const DIMS: usize = 64;
/// Positions that are masked by a word.
const WORD: usize = 32;

/// A number of each query of a group, or sixteen numbers that are multiplied with such.
type Row = [f32; LANES];
/// The masks of a group: bit p of lane q of vector w is position `32 * w + p` of query q.
type Masks = [[u32; LANES]; KV_BLOCK / WORD];

/// G groups of queries, the last one of which need not be whole, from query `first` on; returns how many.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn groups<T: Cached, const G: usize>(args: &mut AttendArgs<T>, first: usize) -> usize {
    let count = (args.queries - first).min(G * LANES);
    let end = args.masks[first..][..count].iter().map(scalar::last_visible).max().unwrap_or(0);
    let scores = &mut args.scores.as_chunks_mut::<LANES>().0[first * KV_BLOCK / LANES..][..G * KV_BLOCK];
    score::<T, G>(&args.query[first * args.head_dim..][..count * args.head_dim], args.keys, end, scores);
    for (scores, first) in scores.chunks_exact_mut(KV_BLOCK).zip((first..).step_by(LANES)) {
        let lanes = first..args.queries.min(first + LANES);
        let scores = &mut scores[..end.next_multiple_of(LANES)];
        let mut scale = args.scale;
        if let Some(all) = args.adjust {
            adjust(scores, scale, &Adjust { slopes: &all.slopes[lanes.clone()], offsets: &all.offsets[lanes.clone()], ..all });
            scale = 1.0;
        }
        let (max, sum) = weigh(scores, &masks(&args.masks[lanes.clone()]), scale);
        args.out.max[lanes.clone()].copy_from_slice(&max[..lanes.len()]);
        args.out.sum[lanes.clone()].copy_from_slice(&sum[..lanes.len()]);
        let acc = &mut args.out.acc[lanes.start * args.value_dim..lanes.end * args.value_dim];
        average(&scores[..end], args.values, args.value_dim, acc);
    }
    count
}

/// `sums[i] += factors[k][i] * vector()`, for one k after the other.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn multiply(factors: &[Row], mut sums: [__m512; LANES], mut vector: impl FnMut() -> __m512) -> [__m512; LANES] {
    let Range { start: mut factors, end } = factors.as_ptr_range();
    while factors != end {
        let vector = vector();
        // SAFETY: not at their end yet.
        let row = unsafe { &*factors };
        sums = from_fn(|i| _mm512_fmadd_ps(_mm512_set1_ps(row[i]), vector, sums[i]));
        // Of pointers that advance together a compiler makes an index, and a multiplication with an operand at an index is two
        // micro-operations.
        factors = opaque(factors.wrapping_add(1) as usize) as *const Row;
    }
    sums
}

/// Scores of the first `end` positions, and of some after these, neither scaled nor masked.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn score<T: Cached, const G: usize>(queries: &[f32], keys: &[T], end: usize, scores: &mut [Row]) {
    const { assert!(G <= 2) };
    // Two groups of queries, turned, then twice sixteen positions of the keys.
    let mut room = [[[0.0; LANES]; DIMS]; 4];
    let head_dim = keys.len() / KV_BLOCK;
    for (keys, first) in keys.chunks(DIMS * KV_BLOCK).zip((0..).step_by(DIMS)) {
        let keys = keys.as_chunks::<KV_BLOCK>().0;
        for (group, turned) in room.iter_mut().enumerate().take(G) {
            turn(queries, head_dim, LANES * group, first..first + keys.len(), turned);
        }
        for at in (0..end).step_by(2 * LANES) {
            for (d, keys) in keys.iter().enumerate().take(DIMS) {
                for (wide, keys) in room[2..].iter_mut().zip(load::<T, 2>(&keys[at..])) {
                    store(keys, &mut wide[d]);
                }
            }
            let (turned, wide) = room.split_at(2);
            for (turned, scores) in turned.iter().zip(scores.chunks_exact_mut(KV_BLOCK)) {
                for (wide, scores) in wide.iter().zip(scores[at..].as_chunks_mut::<LANES>().0) {
                    let sums = match first {
                        0 => [_mm512_setzero_ps(); LANES],
                        _ => from_fn(|i| load::<f32, 1>(&scores[i])[0]),
                    };
                    let mut rows = turned.as_ptr();
                    let sums = multiply(&wide[..keys.len()], sums, || {
                        // SAFETY: there are as many rows as of keys.
                        let row = unsafe { _mm512_loadu_ps(rows.cast()) };
                        rows = rows.wrapping_add(1);
                        row
                    });
                    scores.iter_mut().zip(sums).for_each(|(score, sum)| store(sum, score));
                }
            }
        }
    }
}

/// Makes queries from `first` on the lanes, given the dimensions; where there are too few queries, the last one is there again.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn turn(queries: &[f32], head_dim: usize, first: usize, dims: Range<usize>, turned: &mut [Row; DIMS]) {
    let last = queries.len() / head_dim - 1;
    for (at, turned) in dims.clone().step_by(LANES).zip(turned.as_chunks_mut::<LANES>().0) {
        let there = (dims.end - at).min(LANES);
        let rows = from_fn(|lane| {
            let row = &queries[last.min(first + lane) * head_dim + at..][..there];
            // SAFETY: as many floats as the row has.
            unsafe { _mm512_maskz_loadu_ps(0xffff >> (LANES - there), row.as_ptr()) }
        });
        turned.iter_mut().zip(transpose(rows)).for_each(|(turned, row)| store(row, turned));
    }
}

/// Lane i of vector k becomes lane k of vector i.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn transpose(rows: [__m512; LANES]) -> [__m512; LANES] {
    // Lanes of four: what stands in them, then where they stand.
    let fours: [_; LANES] = from_fn(|i| {
        let [a, b, c, d] = from_fn(|k| rows[i / 4 * 4 + k]);
        let pair = |a, b| if i % 4 < 2 { _mm512_unpacklo_ps(a, b) } else { _mm512_unpackhi_ps(a, b) };
        let (ab, cd) = (_mm512_castps_pd(pair(a, b)), _mm512_castps_pd(pair(c, d)));
        _mm512_castpd_ps(if i % 2 == 0 { _mm512_unpacklo_pd(ab, cd) } else { _mm512_unpackhi_pd(ab, cd) })
    });
    from_fn(|i| {
        let [a, b, c, d] = from_fn(|k| fours[4 * k + i % 4]);
        let (ab, cd) = match i / 4 % 2 {
            0 => (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(c, d)),
            _ => (_mm512_shuffle_f32x4::<0xdd>(a, b), _mm512_shuffle_f32x4::<0xdd>(c, d)),
        };
        if i < 8 { _mm512_shuffle_f32x4::<0x88>(ab, cd) } else { _mm512_shuffle_f32x4::<0xdd>(ab, cd) }
    })
}

/// Scales scores and does what [`scalar::adjust`] does.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn adjust(scores: &mut [Row], scale: f32, adjust: &Adjust) {
    scores.as_flattened_mut().iter_mut().for_each(|score| *score *= scale);
    if adjust.cap > 0.0 {
        softcap(scores.as_flattened_mut(), adjust.cap);
    }
    for (p, scores) in scores.iter_mut().enumerate() {
        for ((score, slope), offset) in scores.iter_mut().zip(adjust.slopes).zip(adjust.offsets) {
            *score = slope.mul_add(-(offset + p as f32).abs(), *score);
        }
    }
}

fn masks(of: &[BlockMask]) -> Masks {
    let mut masks = Masks::default();
    for (q, mask) in of.iter().enumerate() {
        for (w, word) in masks.iter_mut().enumerate() {
            word[q] = (mask[w / 2] >> (w % 2 * WORD)) as u32;
        }
    }
    masks
}

/// Scores become weights, once they are scaled; returns the greatest scores and the sums of the weights.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn weigh(scores: &mut [Row], masks: &Masks, scale: f32) -> (Row, Row) {
    let (least, scale) = (_mm512_set1_ps(f32::NEG_INFINITY), _mm512_set1_ps(scale));
    let sixteen = |i: usize| {
        // SAFETY: the load is the 16 numbers of the array.
        let word = unsafe { _mm512_loadu_si512(masks[i / 2].as_ptr().cast()) };
        if i.is_multiple_of(2) { word } else { _mm512_srli_epi32::<16>(word) }
    };
    let visible = |sixteen, i: usize| _mm512_test_epi32_mask(sixteen, _mm512_set1_epi32(1 << i));

    let mut max = [least; 4];
    for (i, scores) in scores.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let sixteen = sixteen(i);
        for (p, row) in scores.iter_mut().enumerate() {
            let [score] = load(row);
            let score = _mm512_mask_mul_ps(least, visible(sixteen, p), score, scale);
            // The second operand survives when the first one is NaN.
            max[p % 4] = _mm512_max_ps(score, max[p % 4]);
            store(score, row);
        }
    }
    let max = max.into_iter().fold(least, |a, b| _mm512_max_ps(a, b));
    // -0 becomes +0: which of the two zeros came first must not show.
    let max = _mm512_add_ps(max, _mm512_setzero_ps());

    let mut sums = [_mm512_setzero_ps(); 16];
    for (i, scores) in scores.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let sixteen = sixteen(i);
        for (p, row) in scores.iter_mut().enumerate() {
            let [score] = load(row);
            let weight = exp_of_negative(visible(sixteen, p), _mm512_sub_ps(score, max));
            sums[p] = _mm512_add_ps(sums[p], weight);
            store(weight, row);
        }
    }
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            sums[i] = _mm512_add_ps(sums[i], sums[i + width]);
        }
    }
    let mut rows = [[0.0; LANES]; 2];
    rows.iter_mut().zip([max, sums[0]]).for_each(|(row, vector)| store(vector, row));
    rows.into()
}

/// Sums of weight times value over positions, for as many queries as `acc` has rows.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn average<T: Cached>(weights: &[Row], values: &[T], width: usize, acc: &mut [f32]) {
    assert!(values.len() >= weights.len() * width);
    let zero = _mm512_setzero_ps();
    for at in (0..width / 16).map(|v| 16 * v) {
        let mut value = values.as_ptr().wrapping_add(at);
        let sums = multiply(weights, [zero; LANES], || {
            // SAFETY: there is a row of values for each of weights, and it has 16 numbers from `at` on.
            let vector = unsafe { T::load(&*value.cast()) };
            value = value.wrapping_add(width);
            vector
        });
        for (acc, sum) in acc.chunks_exact_mut(width).zip(sums) {
            store(_mm512_add_ps(sum, zero), &mut acc[at..]);
        }
    }
    for d in width / 16 * 16..width {
        let sums = weights.iter().zip(values[d..].iter().step_by(width)).fold(zero, |sums, (weights, &value)| {
            _mm512_fmadd_ps(load::<f32, 1>(weights)[0], _mm512_set1_ps(value.into()), sums)
        });
        let mut row = [0.0; LANES];
        store(_mm512_add_ps(sums, zero), &mut row);
        acc.chunks_exact_mut(width).zip(row).for_each(|(acc, sum)| acc[d] = sum);
    }
}
