//! Logits of whole models against references: the architecture's original implementation, and exactly dequantized weights.

mod common;

use chord::cpu::Level;
use chord::kv::KvType;
use chord::model::{Model, ModelOptions};
use chord::quant::Precision;
use chord::session::{Session, SessionOptions};
use common::npy;
use std::path::Path;
use std::sync::Arc;

/// Types of the `quant` folder that must agree with theirs.
const TYPES: [&str; 20] = [
    "F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0", "IQ4_NL",
    "IQ4_XS", "IQ3_S", "Q3_K_S", "Q2_K", "TQ2_0", "TQ1_0",
];

/// How a model is run, and the relative error that is allowed.
struct Run {
    precision: Precision,
    cache: Option<KvType>,
    allowed: f64,
}

const fn run(precision: Precision, cache: Option<KvType>, allowed: f64) -> Run {
    Run { precision, cache, allowed }
}

fn open(path: &Path, level: Level, precision: Precision) -> Arc<Model> {
    let mut options = ModelOptions::default();
    options.set_cpu_level(level.name()).unwrap();
    options.set_threads(2).unwrap();
    options.set_precision(precision);
    Model::open(path, &options).unwrap_or_else(|error| panic!("{error}"))
}

fn session(model: &Arc<Model>, cache: Option<KvType>) -> Session {
    let mut options = SessionOptions::default();
    options.set_context_length(64).unwrap();
    options.set_kv_type(cache);
    Session::new(Arc::clone(model), &options).unwrap()
}

/// Logits after each token. That one append of all tokens ends in the same bits is checked on the way.
fn logits(model: &Arc<Model>, cache: Option<KvType>, tokens: &[i32]) -> Vec<f32> {
    let mut stepwise = session(model, cache);
    let mut all = Vec::new();
    for token in tokens {
        stepwise.append(&[*token]).unwrap();
        stepwise.eval().unwrap();
        all.extend_from_slice(stepwise.logits().expect("evaluated"));
    }
    let mut at_once = session(model, cache);
    at_once.append(tokens).unwrap();
    at_once.eval().unwrap();
    let bits = |session: &Session| session.logits().expect("evaluated").iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert!(bits(&stepwise) == bits(&at_once), "one append and many differ");
    all
}

/// norm(x - reference) / norm(reference).
fn relative_error(x: &[f32], reference: &[f32]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let difference = norm(&mut x.iter().zip(reference).map(|(&x, &r)| f64::from(x) - f64::from(r)));
    difference / norm(&mut reference.iter().map(|&r| f64::from(r)))
}

fn check(folder: &Path, name: &str, runs: &[Run]) {
    let path = folder.join(format!("{name}.gguf"));
    let (_, tokens) = npy::i32s(&folder.join(format!("{name}.ids.npy")));
    let (shape, reference) = npy::f32s(&folder.join(format!("{name}.logits.npy")));
    assert_eq!(shape[0], tokens.len());
    for &Run { precision, cache, allowed } in runs {
        let mut first: Option<Vec<f32>> = None;
        for level in Level::ALL.iter().copied().filter(|level| level.available()) {
            let model = open(&path, level, precision);
            assert_eq!(model.level(), level);
            let logits = logits(&model, cache, &tokens);
            assert_eq!(logits.len(), reference.len(), "{name}");
            if let Some(first) = &first {
                let same = first.iter().zip(&logits).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{name}, {precision:?}, {cache:?}: {level} differs from scalar");
                continue;
            }
            let error = relative_error(&logits, &reference);
            eprintln!("{name:12} {precision:?} {cache:?}: {error:.2e} (allowed {allowed:.1e})");
            assert!(error <= allowed, "{name}, {level}, {precision:?}, {cache:?}: error {error:e}, allowed {allowed:e}");
            first = Some(logits);
        }
    }
}

#[test]
fn models_agree_with_their_original_implementation() {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/models");
    for folder in [Some(ours), common::conformance("models")].into_iter().flatten() {
        let files = common::files(&folder, "gguf");
        assert!(!files.is_empty(), "no models in {}", folder.display());
        for path in files {
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap();
            check(&folder, name, &[run(Precision::High, None, 1e-3), run(Precision::High, Some(KvType::F32), 1e-4)]);
        }
    }
}

#[test]
fn quantized_models_agree_with_exact_weights() {
    let runs =
        [run(Precision::High, None, 5e-4), run(Precision::High, Some(KvType::F32), 1e-4), run(Precision::Fast, None, 2.5e-2)];
    let Some(folder) = common::conformance("quant") else { return };
    for name in TYPES {
        check(&folder, name, &runs);
    }
}
