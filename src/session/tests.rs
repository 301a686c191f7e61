//! What runs when a session evaluates, and what does not show in its result.

use super::*;
use crate::cpu::Level;
use crate::kernels::{Kernels, Portion, check, marked};
use crate::model::ModelOptions;
use crate::ops::Tiling;
use crate::tensor::Dtype;
use std::path::Path;

/// The demo model, its engine changed.
fn open(options: &ModelOptions, change: impl FnOnce(&mut Engine)) -> Arc<Model> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/models/chord-demo-q4_k_m.gguf");
    let mut model = Model::open(&path, options).unwrap();
    change(Arc::get_mut(&mut model).expect("nobody else has it").engine_mut());
    model
}

/// Tokens of [`logits`].
const TOKENS: usize = 300;

/// Logits after a prompt that takes two passes and crosses an attention block, and after one token more.
fn logits(model: &Arc<Model>) -> Vec<u32> {
    let mut options = SessionOptions::default();
    options.set_batch_size(200).unwrap();
    let mut session = Session::new(Arc::clone(model), &options).unwrap();
    let tokens: Vec<i32> = (0..TOKENS as i32).map(|index| index * 7919 % model.vocab_size() as i32).collect();
    let mut bits = Vec::new();
    for part in [&tokens[..TOKENS - 1], &tokens[TOKENS - 1..]] {
        session.append(part).unwrap();
        session.eval().unwrap();
        bits.extend(session.logits().unwrap().iter().map(|logit| logit.to_bits()));
    }
    bits
}

#[test]
fn sizes_of_pieces_of_work_do_not_show() {
    let want = logits(&open(&ModelOptions::default(), |_| ()));
    let usual = Tiling::new(Kernels::for_level(Level::Scalar).portion(), 0);
    for (unit_bytes, rows, walk, queries) in [(1, 1, 1, 1), (3000, 7, 20_000, 5), (usize::MAX / 2, 9999, usize::MAX, 99)] {
        let tiling = Tiling { unit_bytes, unit: Portion { rows, work: 1 << 20 }, walk, queries, ..usual };
        let model = open(&ModelOptions::default(), |engine| engine.tiling = tiling);
        assert!(logits(&model) == want, "{tiling:?}");
    }
}

/// Tiles where the machine has none: a whole model on instructions that are emulated, by its own threads.
#[test]
fn a_model_runs_on_emulated_tiles() {
    let want = logits(&open(&ModelOptions::default(), |_| ()));
    for threads in [1, 3] {
        let Some((kernels, done)) = check::emulated() else { return eprintln!("no tiles to emulate: skipped") };
        let mut options = ModelOptions::default();
        options.set_threads(threads).unwrap();
        let model = open(&options, |engine| {
            engine.tiling = Tiling::new(kernels.portion(), 2 << 20);
            engine.kernels = kernels;
        });
        let before = done();
        assert!(logits(&model) == want, "{threads} threads");
        // What one thread does alone is counted; several may leave all products to others than this one.
        assert!(threads > 1 || done() > before, "no product ran on tiles");
    }
}

/// Equal bits would also come from a level that is not used: a model opened for a level has that level's table, and passes
/// enter its entries, as often as those of any other level. That entries of levels are functions of their own is checked where
/// the kernels are.
#[test]
fn the_kernels_of_the_level_run() {
    let mut expected: Option<(Level, Vec<(String, usize)>)> = None;
    let mut additions = None;
    for level in Level::ALL.iter().copied().filter(|level| level.available()) {
        let mut options = ModelOptions::default();
        options.set_cpu_level(level.name()).unwrap();
        options.set_threads(2).unwrap();
        let model = open(&options, |engine| {
            assert!(engine.kernels.level() == level && marked::same(&engine.kernels, &Kernels::for_level(level)), "{level}");
            engine.kernels = marked::marked(level);
            // Sizes that no machine chooses, so that the counts are the same on all of them.
            engine.tiling = Tiling::new(Kernels::for_level(Level::Scalar).portion(), 1 << 20);
        });
        logits(&model);
        let mut entered = marked::entered();
        for name in
            ["quantize", "rms_norm", "rope", "swiglu", "attend_f16", "merge", "normalize", "narrow", "matmul Q4_K", "matmul Q6_K"]
        {
            assert!(entered.iter().any(|(entry, _)| entry == name), "{level}: {name} was not entered: {entered:?}");
        }
        eprintln!("{level}: {entered:?}");
        // Norms of a token stand in front of attention and of the hidden layer. Behind the last attention, and at the end, there
        // are only the two tokens whose logits are wanted.
        let (layers, norms) = (model.engine().unwrap().program.attention.len(), |(name, _): &&_| name == "rms_norm");
        let norms = entered.iter().find(norms).map(|(_, count)| *count);
        assert_eq!(norms, Some((2 * layers - 1) * TOKENS + 2 + 2), "{level}");
        // Which level likes pairs, and on which CPU, is its own affair; so is whether products add themselves to the residual.
        let mut remove = |name| entered.iter().position(|(entry, _)| entry == name).map(|i| entered.remove(i).1);
        let (pairs, added) = (remove("pair"), remove("add"));
        let kernels = Kernels::for_level(level);
        assert_eq!(pairs.is_some(), kernels.pairs(Dtype::Q4_K, usize::MAX).is_some(), "{level}");
        assert_eq!(added < *additions.get_or_insert(added), kernels.finished[Dtype::Q4_K as usize], "{level}");
        match &expected {
            Some((first, expected)) => assert_eq!(&entered, expected, "{level} and {first} entered other kernels"),
            None => expected = Some((level, entered)),
        }
    }
}
