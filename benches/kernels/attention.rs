//! Flash attention beside attention without blocks, its softmax, and what joins blocks.

use crate::floats;
use crate::report::{Limit, Report, Work};
use chord::cpu::Level;
use chord::kernels::{Adjust, AttendArgs, KV_BLOCK, Kernels, Partial, score_scratch};
use half::f16;

/// Two blocks of keys and values: with their queries, they stay in the second-level cache.
const POSITIONS: usize = 2 * KV_BLOCK;

/// All scores, their softmax, the weighted sum.
fn plain(query: &[f32], keys: &[f32], values: &[f32], head_dim: usize, out: &mut [f32]) {
    let scale = 1.0 / (head_dim as f32).sqrt();
    let dot = |key: &[f32]| query.iter().zip(key).map(|(q, k)| q * k).sum::<f32>() * scale;
    let mut weights: Vec<f32> = keys.chunks(head_dim).map(dot).collect();
    let max = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    weights.iter_mut().for_each(|w| *w = (*w - max).exp());
    let sum: f32 = weights.iter().sum();
    out.fill(0.0);
    for (w, values) in weights.iter().zip(values.chunks(head_dim)) {
        out.iter_mut().zip(values).for_each(|(out, value)| *out += w / sum * value);
    }
}

/// The softmax state of some queries.
struct State {
    max: Vec<f32>,
    sum: Vec<f32>,
    acc: Vec<f32>,
}

impl State {
    fn new(queries: usize, value_dim: usize) -> State {
        State { max: vec![0.0; queries], sum: vec![1.0; queries], acc: floats(queries * value_dim) }
    }

    fn partial(&mut self) -> Partial<'_> {
        Partial { max: &mut self.max, sum: &mut self.sum, acc: &mut self.acc }
    }
}

/// A shape of attention.
#[derive(Clone, Copy)]
struct Shape {
    queries: usize,
    head_dim: usize,
    value_dim: usize,
    adjusted: bool,
}

impl Shape {
    /// Attends to the whole cache and joins its blocks.
    fn measure<T: Copy>(
        self,
        report: &mut Report,
        name: &str,
        level: Level,
        cache: &[T],
        attend: impl Fn(&mut AttendArgs<T>),
        kernels: &Kernels,
    ) {
        let Shape { queries, head_dim, value_dim, adjusted } = self;
        let query = floats(queries * head_dim);
        let (masks, mut scores) = (vec![[u64::MAX; KV_BLOCK / 64]; queries], vec![0.0; score_scratch(queries)]);
        let (slopes, offsets) = (vec![0.1; queries], vec![-300.0; queries]);
        let (mut total, mut next) = (State::new(queries, value_dim), State::new(queries, value_dim));
        let work = Work::new(Limit::Float, queries * (head_dim + value_dim) * POSITIONS);
        report.measure("attention", name, level, work, || {
            for block in 0..POSITIONS / KV_BLOCK {
                let state = if block == 0 { &mut total } else { &mut next };
                attend(&mut AttendArgs {
                    queries,
                    head_dim,
                    value_dim,
                    query: &query,
                    keys: &cache[block * KV_BLOCK * head_dim..][..KV_BLOCK * head_dim],
                    values: &cache[block * KV_BLOCK * value_dim..][..KV_BLOCK * value_dim],
                    masks: &masks,
                    scale: 0.125,
                    adjust: adjusted.then_some(Adjust { cap: 50.0, slopes: &slopes, offsets: &offsets }),
                    scores: &mut scores,
                    out: state.partial(),
                });
                if block > 0 {
                    kernels.merge(&mut total.partial(), &next.partial(), value_dim);
                }
            }
        });
    }
}

pub fn all(report: &mut Report, levels: &[Kernels]) {
    let cache = floats(POSITIONS * 128);
    let half: Vec<f16> = cache.iter().copied().map(f16::from_f32).collect();
    let decode = Shape { queries: 8, head_dim: 64, value_dim: 64, adjusted: false };
    for kernels in levels {
        let level = kernels.level();
        let mut f16 = |name: &str, shape: Shape| {
            shape.measure(report, name, level, &half, |args| kernels.attend_f16(args), kernels);
        };
        f16("softmax (of 1 and 16 dimensions)", Shape { head_dim: 1, value_dim: 16, ..decode });
        f16("flash, 8 queries", decode);
        f16("flash, 32 queries", Shape { queries: 32, ..decode });
        f16("flash, 1 query of 128", Shape { queries: 1, head_dim: 128, value_dim: 128, ..decode });
        f16("flash, 8 queries, adjusted", Shape { adjusted: true, ..decode });
        let mut f32 = |name: &str, shape: Shape| {
            shape.measure(report, name, level, &cache, |args| kernels.attend_f32(args), kernels);
        };
        f32("flash, 8 queries, f32", decode);
        f32("flash, 32 queries, f32", Shape { queries: 32, ..decode });
        f32("flash, 8 queries, f32, adjusted", Shape { adjusted: true, ..decode });

        let (queries, width) = (512, 64);
        let (mut total, mut next, mut out) = (State::new(queries, width), State::new(queries, width), floats(queries * width));
        let work = |values: usize| Work::new(Limit::Cache, 4 * values * queries * width);
        report.measure("attention", "merge", level, work(3), || kernels.merge(&mut total.partial(), &next.partial(), width));
        report.measure("attention", "normalize", level, work(2), || kernels.normalize(&next.partial(), width, &mut out));
    }
    let Shape { queries, head_dim, .. } = decode;
    let (query, mut out) = (floats(queries * head_dim), floats(queries * head_dim));
    let work = Work::new(Limit::Float, 2 * queries * head_dim * POSITIONS);
    report.measure("attention", "plain, 8 queries, f32", Level::Scalar, work, || {
        for (query, out) in query.chunks(head_dim).zip(out.chunks_mut(head_dim)) {
            plain(query, &cache[..POSITIONS * head_dim], &cache[..POSITIONS * head_dim], head_dim, out);
        }
    });
}
