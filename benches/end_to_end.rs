//! Prefill and decode, end to end, at every level this machine has.
//!
//! `CHORD_BENCH_MODEL` names a model file; without it a small synthetic one runs, whose figures only compare with
//! themselves. `examples/synth` writes models of real shapes, and `examples/bench.c` measures them with a plain table.

use chord::cpu::Level;
use chord::model::{Model, ModelOptions};
use chord::quant::Precision;
use chord::session::{Session, SessionOptions};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

#[path = "../examples/synth/model.rs"]
mod synth;

const PROMPT: usize = 128;

fn model() -> PathBuf {
    if let Some(path) = std::env::var_os("CHORD_BENCH_MODEL") {
        return path.into();
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench.gguf");
    let shape = synth::Shape::ALL.iter().find(|shape| shape.name == "tiny").expect("a known shape");
    let out = BufWriter::new(File::create(&path).expect("the build folder is writable"));
    synth::write(out, shape, synth::Types::by_name("Q4_K_M").expect("a known mix"), 1, |_, _| ()).expect("the model is written");
    path
}

fn end_to_end(criterion: &mut Criterion) {
    let path = model();
    for (precision, name) in [(Precision::High, "high"), (Precision::Fast, "fast")] {
        for level in Level::ALL.iter().copied().filter(|level| level.available()) {
            let mut options = ModelOptions::default();
            options.set_cpu_level(level.name()).expect("an available level");
            options.set_precision(precision);
            let model = Model::open(&path, &options).expect("a model that opens");
            let mut session = Session::new(model.clone(), &SessionOptions::default()).expect("memory");
            let vocab = model.vocab_size();
            let tokens: Vec<i32> = (0..PROMPT).map(|index| (index * 7919 % vocab) as i32).collect();

            let mut group = criterion.benchmark_group(format!("{name}/{level}"));
            group.sample_size(10);
            group.throughput(Throughput::Elements(PROMPT as u64));
            group.bench_function(format!("prefill {PROMPT}"), |bencher| {
                bencher.iter(|| {
                    session.rewind(0).expect("the start");
                    session.append(&tokens).expect("room");
                    session.eval().expect("logits");
                });
            });
            group.throughput(Throughput::Elements(1));
            group.bench_function("decode", |bencher| {
                bencher.iter(|| {
                    if session.position() == session.context_length() {
                        session.rewind(1).expect("the start");
                    }
                    session.append(&tokens[..1]).expect("room");
                    session.eval().expect("logits");
                });
            });
        }
    }
}

criterion_group!(benches, end_to_end);
criterion_main!(benches);
