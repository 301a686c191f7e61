//! Each kernel at each level of this machine. Compare `scalar` with the other levels; products report weight bytes/s with
//! one token (against `stream read`, what this core gets from memory) and multiply-accumulates/s with many.
//!
//! `cargo bench --bench kernels -- FILTER`

use chord::cpu::Level;
use chord::kernels::{AttendArgs, Input, KV_BLOCK, Kernels, MatmulArgs, Partial, RopeStyle, Window};
use chord::quant::{ActBlock, BLOCK, Precision};
use chord::tensor::Dtype;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use half::f16;
use std::hint::black_box;
use std::time::Duration;

/// Larger than any cache here.
const STREAM: usize = 256 << 20;
const DEPTH: usize = 2048;

fn levels() -> impl Iterator<Item = Kernels> {
    Level::ALL.iter().filter(|level| level.available()).map(|&level| Kernels::for_level(level))
}

/// Reproducible bytes; every f16 read from them is finite and none is a denormal.
fn bytes(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as u8 & 0x3b | 0x08
    };
    (0..len).map(|_| next()).collect()
}

fn floats(len: usize) -> Vec<f32> {
    bytes(len).iter().zip(bytes(len + 7).iter().skip(7)).map(|(&a, &b)| f32::from(a) / 64.0 - f32::from(b) / 63.0).collect()
}

/// A product of `rows` times `tokens`, with memory of its own.
struct Product {
    dtype: Dtype,
    weights: Vec<u8>,
    rows: usize,
    tokens: usize,
    x: Vec<f32>,
    out: Vec<f32>,
}

impl Product {
    fn new(dtype: Dtype, rows: usize, tokens: usize) -> Product {
        let weights = bytes(rows * dtype.row_bytes(DEPTH).unwrap());
        Product { dtype, weights, rows, tokens, x: floats(tokens * DEPTH), out: vec![0.0; rows * tokens] }
    }

    fn run(&mut self, kernels: &Kernels, blocks: &[ActBlock], precision: Precision) {
        let input = if self.dtype.block_len() == 1 { Input::Float(&self.x) } else { Input::Quantized(blocks, precision) };
        let (rows, tokens, out) = (self.rows, self.tokens, Window { ptr: self.out.as_mut_ptr(), stride: self.rows });
        let args = MatmulArgs { weights: &self.weights, rows, depth: DEPTH, tokens, input, out };
        // SAFETY: `out` has `tokens` rows of `rows` values.
        unsafe { kernels.matmul(self.dtype, &args) };
        black_box(&mut self.out);
    }

    fn blocks(&self, kernels: &Kernels, precision: Precision) -> Vec<ActBlock> {
        let mut blocks = vec![ActBlock::ZERO; self.tokens * DEPTH / BLOCK];
        for (x, blocks) in self.x.chunks(DEPTH).zip(blocks.chunks_mut(DEPTH / BLOCK)) {
            kernels.quantize(x, blocks, precision);
        }
        blocks
    }
}

fn products(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    let memory = vec![1u64; STREAM / 8];
    group.throughput(Throughput::Bytes(STREAM as u64));
    group.bench_function("stream read", |b| b.iter(|| memory.iter().fold(0, |a, x| a ^ x)));
    for (kernels, dtype) in
        levels().flat_map(|kernels| Dtype::ALL.iter().map(move |&dtype| (Kernels::for_level(kernels.level()), dtype)))
    {
        if !kernels.supports(dtype) {
            continue;
        }
        let size = if kernels.level() == Level::Scalar { 1 << 20 } else { STREAM };
        let mut product = Product::new(dtype, size / dtype.row_bytes(DEPTH).unwrap(), 1);
        let blocks = product.blocks(&kernels, Precision::High);
        group.throughput(Throughput::Bytes(product.weights.len() as u64));
        group.bench_function(BenchmarkId::new(dtype.name(), kernels.level()), |b| {
            b.iter(|| product.run(&kernels, &blocks, Precision::High));
        });
    }
    group.finish();

    let mut group = c.benchmark_group("prefill");
    for kernels in levels() {
        for &dtype in Dtype::ALL.iter().filter(|&&dtype| kernels.supports(dtype)) {
            let (rows, tokens) = if kernels.level() == Level::Scalar { (8, 8) } else { (64, 64) };
            let mut product = Product::new(dtype, rows, tokens);
            group.throughput(Throughput::Elements((rows * tokens * DEPTH) as u64));
            for precision in [Precision::High, Precision::Fast] {
                let blocks = product.blocks(&kernels, precision);
                let name = format!("{}/{precision:?}", dtype.name());
                group.bench_function(BenchmarkId::new(name, kernels.level()), |b| {
                    b.iter(|| product.run(&kernels, &blocks, precision));
                });
            }
        }
    }
}

fn rows(c: &mut Criterion) {
    let mut group = c.benchmark_group("rows");
    group.throughput(Throughput::Elements(DEPTH as u64));
    let (x, y) = (floats(DEPTH), floats(DEPTH));
    let mut out = x.clone();
    let (mut half, mut blocks) = (vec![f16::ZERO; DEPTH], vec![ActBlock::ZERO; DEPTH / BLOCK]);
    for kernels in levels() {
        let name = |what: &str| BenchmarkId::new(what, kernels.level());
        group.bench_function(name("rms_norm"), |b| b.iter(|| kernels.rms_norm(black_box(&x), &y, 1e-5, &mut out)));
        group.bench_function(name("add"), |b| b.iter(|| kernels.add(black_box(&mut out), &y)));
        group.bench_function(name("narrow"), |b| b.iter(|| kernels.narrow(black_box(&x), &mut half)));
        group.bench_function(name("swiglu"), |b| {
            b.iter(|| {
                out.copy_from_slice(&x);
                kernels.swiglu(black_box(&mut out), &y);
            });
        });
        for style in [RopeStyle::Interleaved, RopeStyle::Halves] {
            out.copy_from_slice(&x);
            group.bench_function(name(&format!("rope/{style:?}")), |b| {
                // No growth: the cosine of 0 and the sine of 0.
                b.iter(|| kernels.rope(black_box(&mut out), &[1.0; DEPTH / 2], &[0.0; DEPTH / 2], style));
            });
        }
        for precision in [Precision::High, Precision::Fast] {
            group.bench_function(name(&format!("quantize/{precision:?}")), |b| {
                b.iter(|| kernels.quantize(black_box(&x), &mut blocks, precision));
            });
        }
        for dtype in [Dtype::Q4_K, Dtype::Q6_K] {
            let weights = bytes(dtype.row_bytes(DEPTH).unwrap());
            group.bench_function(name(&format!("decode/{dtype}")), |b| {
                b.iter(|| kernels.decode(dtype, black_box(&weights), &mut out));
            });
        }
    }
}

/// Attention without blocks: all scores, their softmax, the weighted sum.
fn plain_attention(query: &[f32], keys: &[f32], values: &[f32], head_dim: usize, out: &mut [f32]) {
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

/// One KV head of 64 dimensions over 2048 positions, eight queries: a step of grouped-query attention.
fn attention(c: &mut Criterion) {
    const POSITIONS: usize = 2048;
    let (queries, head_dim) = (8, 64);
    let mut group = c.benchmark_group("attention");
    group.throughput(Throughput::Elements((2 * queries * head_dim * POSITIONS) as u64));
    let (query, cache) = (floats(queries * head_dim), floats(POSITIONS * head_dim));
    let mut out = vec![0.0; queries * head_dim];
    group.bench_function("plain", |b| {
        b.iter(|| {
            for (query, out) in query.chunks(head_dim).zip(out.chunks_mut(head_dim)) {
                plain_attention(query, &cache, black_box(&cache), head_dim, out);
            }
        });
    });
    let half: Vec<f16> = cache.iter().copied().map(f16::from_f32).collect();
    let masks = vec![[u64::MAX; KV_BLOCK / 64]; queries];
    let mut scores = vec![0.0; queries * KV_BLOCK];
    for kernels in levels() {
        group.bench_function(BenchmarkId::new("flash", kernels.level()), |b| {
            b.iter(|| {
                let (mut max, mut sum, mut acc) =
                    (vec![f32::NEG_INFINITY; queries], vec![0.0; queries], vec![0.0; queries * head_dim]);
                let mut total = Partial { max: &mut max, sum: &mut sum, acc: &mut acc };
                for block in black_box(&half).chunks(KV_BLOCK * head_dim) {
                    let (mut max, mut sum, mut acc) = (vec![0.0; queries], vec![0.0; queries], vec![0.0; queries * head_dim]);
                    let mut args = AttendArgs {
                        queries,
                        head_dim,
                        value_dim: head_dim,
                        query: &query,
                        keys: block,
                        values: block,
                        masks: &masks,
                        scale: 0.125,
                        adjust: None,
                        scores: &mut scores,
                        out: Partial { max: &mut max, sum: &mut sum, acc: &mut acc },
                    };
                    kernels.attend_f16(&mut args);
                    kernels.merge(&mut total, &args.out, head_dim);
                }
                kernels.normalize(&total, head_dim, &mut out);
            });
        });
    }
}

fn config() -> Criterion {
    Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(800))
}

criterion_group! { name = benches; config = config(); targets = products, rows, attention }
criterion_main!(benches);
