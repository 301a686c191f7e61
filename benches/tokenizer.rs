//! Tokenizer: opening a vocabulary, encoding and decoding a mixed text. With the conformance data, its vocabularies and
//! texts; without, small ones of our own.

#[path = "../tests/common/vocabulary.rs"]
#[allow(dead_code)]
mod vocabulary;

use std::hint::black_box;
use std::path::{Path, PathBuf};

use chord::gguf::File;
use chord::tokenizer::{TextFlags, Tokenizer};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vocabulary::{Random, byte_level, spm};

/// Bytes of text that are encoded at once.
const TEXT: usize = 1 << 20;

fn conformance() -> PathBuf {
    let root = std::env::var_os("CHORD_CONFORMANCE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance"), PathBuf::from);
    root.join("tokenizers")
}

/// A text that is as mixed as the texts at hand: prose, code, tables, many scripts.
fn text() -> String {
    let mut random = Random(1);
    let cases = std::fs::read(conformance().join("llama-bpe.json"))
        .ok()
        .and_then(|json| serde_json::from_slice::<Vec<serde_json::Value>>(&json).ok())
        .unwrap_or_default();
    let texts: Vec<&str> = cases.iter().filter_map(|case| case["text"].as_str()).collect();
    let mut text = String::new();
    while text.len() < TEXT {
        match texts.as_slice() {
            [] => text.push_str(&random.text(64)),
            texts => text.push_str(texts[random.below(texts.len())]),
        }
    }
    text
}

fn vocabularies() -> Vec<(String, File)> {
    let names = ["llama-spm", "llama-bpe", "gpt-2", "qwen2", "falcon"];
    let real =
        names.iter().filter_map(|&name| Some((name.to_string(), File::open(&conformance().join(format!("{name}.gguf"))).ok()?)));
    let own = [("own-spm", spm(256).file()), ("own-bpe", byte_level("llama-bpe", 256).file())];
    real.chain(own.map(|(name, file)| (name.to_string(), file))).collect()
}

fn tokenizer(criterion: &mut Criterion) {
    let text = text();
    for (name, file) in vocabularies() {
        let mut group = criterion.benchmark_group(format!("tokenizer-{name}"));
        group.sample_size(10);
        group.bench_function("open", |bencher| bencher.iter(|| Tokenizer::from_metadata(black_box(file.metadata())).unwrap()));
        let tokenizer = Tokenizer::from_metadata(file.metadata()).unwrap();
        let mut ids = Vec::new();
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function("encode", |bencher| {
            bencher.iter(|| {
                ids.clear();
                tokenizer.encode(black_box(&text), TextFlags::default(), &mut ids).unwrap();
            });
        });
        let mut bytes = Vec::new();
        group.bench_function("decode", |bencher| {
            bencher.iter(|| {
                bytes.clear();
                tokenizer.decode(black_box(&ids), false, &mut bytes).unwrap();
            });
        });
    }
}

criterion_group!(benches, tokenizer);
criterion_main!(benches);
