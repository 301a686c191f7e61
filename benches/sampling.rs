//! Time of one sampled token at the vocabulary of Qwen (151936), by what the chain has to do.

use chord::sampling::{Sampler, SamplerOptions};
use chord::tensor::Memory;
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;

/// Logits as a trained model gives them, roughly: a broad bell and a few tokens far above it.
fn logits(vocab: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..vocab).map(|id| (0..8).map(|_| uniform() - 0.5).sum::<f32>() * 3.0 + if id % 9_973 == 0 { 12.0 } else { 0.0 }).collect()
}

fn chain(criterion: &mut Criterion) {
    let logits = logits(151_936);
    let mut group = criterion.benchmark_group("sampling-152k");
    let mut measure = |name: &str, change: fn(&mut SamplerOptions) -> chord::error::Result<()>| {
        let mut options = SamplerOptions::default();
        change(&mut options).expect("valid options");
        let mut sampler = Sampler::new(&mut Memory::system(), &options, logits.len(), 0).expect("a sampler");
        (0..256).for_each(|token| sampler.accept(token * 100).expect("room for a token"));
        group.bench_function(name, |bencher| bencher.iter(|| sampler.sample(black_box(&logits)).expect("a token")));
    };
    measure("greedy", |options| options.set_temperature(0.0));
    measure("full-chain", |options| {
        options.set_penalty_window(256);
        options.set_frequency_penalty(0.1)?;
        options.set_repetition_penalty(1.1)
    });
    measure("top-p-alone", |options| {
        options.set_top_k(0);
        options.set_min_p(0.0)
    });
    measure("temperature-alone", |options| {
        options.set_top_k(0);
        options.set_top_p(1.0)?;
        options.set_min_p(0.0)
    });
    group.finish();
}

criterion_group!(benches, chain);
criterion_main!(benches);
