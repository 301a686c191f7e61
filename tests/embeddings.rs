//! Embeddings: vectors of tokens, pooled vectors and scores against references; the same bits on every level, with any number of
//! threads and however the text came in.

mod common;

use chord::cpu::{self, Level};
use chord::error::Error;
use chord::kv::KvType;
use chord::model::{Model, ModelOptions};
use chord::ops::Pooling;
use chord::session::{Session, SessionOptions};
use common::npy;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn references() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/embeddings")
}

fn open(path: &Path, level: Level, threads: usize) -> Arc<Model> {
    let mut options = ModelOptions::default();
    options.set_cpu_level(level.name()).unwrap();
    options.set_threads(threads).unwrap();
    Model::open(path, &options).unwrap_or_else(|error| panic!("{error}"))
}

/// A session for embeddings; `None` is the pooling of the file.
fn session(model: &Arc<Model>, pooling: Option<Pooling>, change: impl Fn(&mut SessionOptions)) -> Session {
    let mut options = SessionOptions::default();
    options.set_pooling(pooling);
    change(&mut options);
    Session::new(Arc::clone(model), &options).unwrap_or_else(|error| panic!("{error}"))
}

fn embed(session: &mut Session, tokens: &[i32]) -> Vec<f32> {
    session.rewind(0).unwrap();
    session.append(tokens).unwrap();
    session.eval().unwrap();
    session.embedding().expect("evaluated").to_vec()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// norm(x - reference) / norm(reference).
fn relative_error(x: &[f32], reference: &[f32]) -> f64 {
    assert_eq!(x.len(), reference.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let difference = norm(&mut x.iter().zip(reference).map(|(&x, &r)| f64::from(x) - f64::from(r)));
    difference / norm(&mut reference.iter().map(|&r| f64::from(r)))
}

fn levels() -> impl Iterator<Item = Level> {
    Level::ALL.iter().copied().filter(|level| level.available())
}

#[test]
fn models_agree_with_their_original_implementation() {
    let files = common::files(&references(), "gguf");
    assert!(files.len() >= 6, "{files:?}");
    for path in files {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let reference = |kind: &str| path.with_file_name(format!("{name}.{kind}.npy"));
        let (_, tokens) = npy::i32s(&reference("ids"));
        let mut wanted = vec![(Some(Pooling::None), reference("vectors")), (None, reference("pooled"))];
        wanted.extend(reference("scores").exists().then(|| (Some(Pooling::Rank), reference("scores"))));
        for (pooling, reference) in wanted {
            let (_, want) = npy::f32s(&reference);
            for (cache, allowed) in [(KvType::F16, 1e-3), (KvType::F32, 1e-4)] {
                let mut first: Option<Vec<f32>> = None;
                for level in levels() {
                    for threads in [1, 3] {
                        let mut session = session(&open(&path, level, threads), pooling, |options| {
                            options.set_kv_type(Some(cache));
                            options.set_unit_length(pooling.is_none());
                        });
                        let got = embed(&mut session, &tokens);
                        let first = first.get_or_insert_with(|| got.clone());
                        assert!(bits(first) == bits(&got), "{name}, {pooling:?}: {level}, {threads} threads differ");
                    }
                }
                let error = relative_error(&first.unwrap(), &want);
                eprintln!("{name:16} {pooling:?} {cache:?}: {error:.2e}");
                assert!(error <= allowed, "{name}, {pooling:?}, {cache:?}: error {error:e}");
            }
        }
    }
}

/// Every pooling of the vectors of tokens, and unit length.
#[test]
fn poolings_are_what_they_are_called() {
    for name in ["bert", "qwen3-embedding"] {
        let model = open(&references().join(format!("{name}.gguf")), cpu::detect(), 2);
        let tokens: Vec<i32> = (3..40).collect();
        let plain = |pooling| embed(&mut session(&model, Some(pooling), |options| options.set_unit_length(false)), &tokens);
        let unit = |pooling| embed(&mut session(&model, Some(pooling), |_| ()), &tokens);
        let (vectors, width) = (plain(Pooling::None), 64);
        assert_eq!(vectors.len(), tokens.len() * width);
        let mean: Vec<f32> = (0..width)
            .map(|column| {
                vectors.iter().skip(column).step_by(width).map(|&x| f64::from(x)).sum::<f64>() as f32 / tokens.len() as f32
            })
            .collect();
        assert!(relative_error(&plain(Pooling::Mean), &mean) < 1e-6);
        assert!(plain(Pooling::Cls) == vectors[..width] && plain(Pooling::Last) == vectors[vectors.len() - width..]);
        for (pooling, plain) in [(Pooling::Mean, plain(Pooling::Mean)), (Pooling::None, vectors)] {
            let unit = unit(pooling);
            for (unit, plain) in unit.chunks(width).zip(plain.chunks(width)) {
                let length = plain.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt() as f32;
                assert!(unit.iter().zip(plain).all(|(unit, plain)| (unit - plain / length).abs() < 1e-6));
            }
        }
    }
}

/// What was appended in parts, interrupted, or stands behind something that was taken back, is the same text.
#[test]
fn the_way_a_text_comes_in_does_not_show() {
    let causal = common::synthetic_model("tiny", "Q4_K_M");
    let encoder = references().join("modern-bert.gguf");
    for (path, len) in [(causal, 300), (encoder, 100)] {
        let model = open(&path, cpu::detect(), 2);
        let vocab = model.vocab_size();
        let tokens: Vec<i32> = (0..len).map(|index| ((index * 7919 + 17) % vocab) as i32).collect();
        for pooling in [Pooling::None, Pooling::Mean, Pooling::Cls, Pooling::Last] {
            let want = bits(&embed(&mut session(&model, Some(pooling), |_| ()), &tokens));
            for batch in [1, 7, 64, 512] {
                let mut session = session(&model, Some(pooling), |options| options.set_batch_size(batch).unwrap());
                for (start, end) in [(0, 20), (20, 21), (21, 60)] {
                    session.append(&tokens[start..end]).unwrap();
                    session.eval().unwrap();
                }
                session.rewind(40).unwrap();
                assert!(session.embedding().is_none() && session.logits().is_none());
                session.append(&tokens[40..50]).unwrap();
                session.cancel_flag().store(true, std::sync::atomic::Ordering::Relaxed);
                assert!(matches!(session.eval(), Err(Error::Cancelled)));
                session.append(&tokens[50..]).unwrap();
                session.eval().unwrap();
                let got = session.embedding().unwrap();
                assert!(bits(got) == want, "{}, {pooling:?}, batch {batch}", path.display());
            }
        }
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let model = open(&references().join("nomic-bert.gguf"), cpu::detect(), 1);
    let mut encoder = Session::new(Arc::clone(&model), &SessionOptions::default()).unwrap();
    encoder.append(&[1, 2, 3]).unwrap();
    let error = encoder.step().unwrap_err();
    assert!(matches!(error, Error::InvalidState(_)) && error.to_string().contains("nomic-bert"), "{error}");
    encoder.eval().unwrap();
    assert_eq!(encoder.embedding().map(<[f32]>::len), Some(64));
    let error = encoder.append(&[1; 200]).unwrap_err();
    assert!(matches!(error, Error::ContextFull { needed: 203, capacity: 128 }), "{error}");
    let mut options = SessionOptions::default();
    options.set_pooling(Some(Pooling::Rank));
    let Err(error) = Session::new(model, &options) else { panic!("ranked without a classifier") };
    assert!(matches!(error, Error::Unsupported(_)) && error.to_string().contains("cls.output"), "{error}");

    let model = open(&references().join("qwen3-embedding.gguf"), cpu::detect(), 1);
    let mut embedder = session(&model, None, |_| ());
    embedder.append(&[1]).unwrap();
    assert!(matches!(embedder.step(), Err(Error::InvalidState(_))));
    let mut writer = Session::new(model, &SessionOptions::default()).unwrap();
    writer.append(&[1]).unwrap();
    writer.step().unwrap();
    assert!(writer.embedding().is_none() && writer.logits().is_some());
}
