//! One model, one prompt, one answer: logits do not depend on instruction-set level, threads, batch size, how the prompt
//! was appended, or what the session held before a rewind.

mod common;

use chord::cpu::{self, Level};
use chord::kernels::Kernels;
use chord::model::{Model, ModelOptions};
use chord::quant::{INTERLEAVED_ROWS, Layout, Precision};
use chord::session::{Event, Session, SessionOptions};
use chord::threads::{Pool, Staff};
use common::kinds::{KINDS, WINDOW};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

fn open(path: &Path, level: Level, threads: usize, precision: Precision) -> Arc<Model> {
    let mut options = ModelOptions::default();
    options.set_cpu_level(level.name()).unwrap();
    options.set_threads(threads).unwrap();
    // A model uses no more threads than there are cores, unless its host brings them.
    if threads > cpu::cpu_budget() {
        let host = Pool::on(threads, threads, &Staff::default()).unwrap();
        options.set_runner(Some(Arc::new(move |help, count| {
            host.run(0..count, &|| false, &|_, _| help.help());
        })));
    }
    options.set_precision(precision);
    Model::open(path, &options).unwrap()
}

fn session(model: &Arc<Model>, batch: usize) -> Session {
    let mut options = SessionOptions::default();
    options.set_context_length(512).unwrap();
    options.set_batch_size(batch).unwrap();
    Session::new(Arc::clone(model), &options).unwrap()
}

fn bits(session: &Session) -> Vec<u32> {
    session.logits().expect("evaluated").iter().map(|logit| logit.to_bits()).collect()
}

/// Logits after all tokens, given at once.
fn logits(model: &Arc<Model>, batch: usize, tokens: &[i32]) -> Vec<u32> {
    let mut session = session(model, batch);
    session.append(tokens).unwrap();
    session.eval().unwrap();
    bits(&session)
}

/// A prompt long enough to cross an attention block.
fn prompt(model: &Model) -> Vec<i32> {
    let vocab = model.vocab_size() as u64;
    (0..300u64).map(|index| ((index * 7919 + 17) * 104_729 % vocab) as i32).collect()
}

const THREADS: [usize; 4] = [1, 2, 3, 7];
const BATCHES: [usize; 14] = [1, 2, 3, 4, 5, 7, 8, 16, 31, 32, 33, 48, 64, 512];

/// Every batch size, with every number of threads.
fn all(_: usize) -> Vec<usize> {
    BATCHES.to_vec()
}

/// Every batch size once, each with another number of threads.
fn diagonal(threads: usize) -> Vec<usize> {
    BATCHES.into_iter().skip(threads).step_by(THREADS.len()).collect()
}

/// One batch size for each number of threads.
fn few(threads: usize) -> Vec<usize> {
    vec![[1, 5, 32, 512][threads]]
}

fn check(path: &Path, precision: Precision, batches: fn(usize) -> Vec<usize>) {
    let name = path.display();
    let reference = open(path, Level::Scalar, 1, precision);
    let tokens = prompt(&reference);
    let want = logits(&reference, 48, &tokens);
    assert!(want.iter().all(|&bits| f32::from_bits(bits).is_finite()), "{name}: logits are not finite");
    // The scalar level is slow: it shows its independence on a part of the prompt.
    let want_short = logits(&reference, 32, &tokens[..70]);
    for (threads, batch) in [(2, 1), (3, 7), (1, 48)] {
        let model = open(path, Level::Scalar, threads, precision);
        assert!(logits(&model, batch, &tokens[..70]) == want_short, "{name}: scalar, {threads} threads, batch {batch}");
    }
    for level in Level::ALL.iter().copied().filter(|&level| level.available() && level != Level::Scalar) {
        for (index, threads) in THREADS.into_iter().enumerate() {
            let model = open(path, level, threads, precision);
            for batch in batches(index) {
                assert!(logits(&model, batch, &tokens) == want, "{name}: {level}, {threads} threads, batch {batch}");
            }
        }
        let model = open(path, level, 2, precision);
        for split in [1, 69, 255, 256, 257, 299] {
            let mut session = session(&model, 32);
            session.append(&tokens[..split]).unwrap();
            session.eval().unwrap();
            // Something else, forgotten again.
            session.append(&tokens[7..27]).unwrap();
            session.eval().unwrap();
            session.rewind(split).unwrap();
            session.append(&tokens[split..]).unwrap();
            session.eval().unwrap();
            assert!(bits(&session) == want, "{name}: {level}, split at {split}");
        }
    }
}

/// Every type that weights come in. Small blocks and floats run in a model whose widths are no multiples of 256.
const SUPER: &[&str] = &["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_K", "IQ4_XS", "TQ1_0", "TQ2_0"];
const WORDS: &[&str] = &["IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "NVFP4"];
const SMALL: &[&str] = &["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "MXFP4"];
const FLOAT: &[&str] = &["F32", "F16", "BF16"];

#[test]
fn every_combination_with_the_usual_mix() {
    check(&common::synthetic_model("tiny", "Q4_K_M"), Precision::High, all);
}

/// What an emulated processor has time for.
#[test]
fn few_combinations_with_the_usual_mix() {
    check(&common::synthetic_model("tiny", "Q4_K_M"), Precision::High, few);
}

#[test]
fn super_blocks() {
    for types in SUPER {
        let path = common::synthetic_model("tiny", types);
        check(&path, Precision::High, diagonal);
        check(&path, Precision::Fast, diagonal);
    }
}

#[test]
fn codewords_and_small_scales() {
    WORDS.iter().for_each(|types| check(&common::synthetic_model("tiny", types), Precision::High, diagonal));
}

#[test]
fn small_blocks() {
    for types in SMALL {
        let path = common::synthetic_model("odd", types);
        check(&path, Precision::High, diagonal);
        check(&path, Precision::Fast, diagonal);
    }
}

#[test]
fn floats() {
    FLOAT.iter().for_each(|types| check(&common::synthetic_model("odd", types), Precision::High, diagonal));
}

#[test]
fn resident_weights() {
    let files = [("tiny", "Q4_K_M"), ("tiny", "Q5_K"), ("tiny", "Q6_K"), ("odd", "Q4_0"), ("odd", "Q8_0"), ("odd", "F16")];
    let files = files.map(|(shape, types)| common::synthetic_model(shape, types));
    // Experts, and products of single heads.
    let kinds = KINDS.iter().filter(|kind| matches!(kind.architecture, "gpt-oss" | "deepseek2")).map(|kind| kind.model(512));
    let files: Vec<_> = files.into_iter().chain(kinds).collect();
    let levels = Level::ALL.iter().filter(|level| level.available());
    for (&level, path) in levels.flat_map(|level| files.iter().map(move |path| (level, path))) {
        let what = format!("{level} {}", path.display());
        let tokens = &prompt(&open(path, level, 2, Precision::High))[..70];
        let batches = |model: &Arc<Model>| [1, 3, 64].map(|batch| logits(model, batch, tokens));
        let want = batches(&open(path, level, 2, Precision::High));
        let mut options = ModelOptions::default();
        options.set_cpu_level(level.name()).unwrap();
        options.set_resident(true);
        let began = Instant::now();
        let model = Model::open(path, &options).unwrap();
        let tied = model.file().tensor("output.weight").is_none();
        let moves = |name: &str| tied || name != "token_embd.weight";
        let multiplied = |name: &str| name.ends_with(".weight") && moves(name);
        let weights = || model.file().tensors().iter().filter(|tensor| tensor.dims.len() > 1 && multiplied(&tensor.name));
        let all: usize = weights().map(|tensor| tensor.len).sum();
        // While they move, and when they have.
        assert!(batches(&model) == want, "{what}");
        while model.file().resident_size() < all {
            assert!(began.elapsed() < Duration::from_secs(60), "{} of {all} bytes are resident", model.file().resident_size());
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(model.file().resident_size(), all);
        assert!(batches(&model) == want, "{what}, resident");
        let kernels = Kernels::for_level(level);
        for tensor in weights() {
            let groups = tensor.dims[1].is_multiple_of(INTERLEAVED_ROWS as u64);
            let layout = if groups { kernels.layout(tensor.dtype) } else { Layout::Rows };
            assert_eq!(model.file().resident(tensor).map(|(_, layout)| layout), Some(layout), "{what} {}", tensor.name);
        }
        // Closing does not wait for the rest.
        drop(Model::open(path, &options).unwrap());
    }
}

#[test]
fn slices_of_time() {
    for (path, threads) in
        [("tiny", 1), ("tiny", 2), ("odd", 3)].map(|(shape, threads)| (common::synthetic_model(shape, "Q4_0"), threads))
    {
        let model = open(&path, cpu::detect(), threads, Precision::High);
        let tokens = prompt(&model);
        let want = logits(&model, 64, &tokens);
        let mut session = session(&model, 64);
        session.append(&tokens[..100]).unwrap();
        let mut slices = 0;
        loop {
            match session.step_for(Duration::ZERO).unwrap() {
                Event::Pending => slices += 1,
                event => break assert_eq!(event, Event::Token),
            }
            match slices {
                // What was begun is finished; what comes later waits.
                50 => session.append(&tokens[100..200]).unwrap(),
                // A pass of which only a part is left is no longer that pass.
                150 => {
                    session.rewind(30).unwrap();
                    session.append(&tokens[30..]).unwrap();
                }
                _ => {}
            }
        }
        assert!(slices > 200, "{slices} slices");
        assert!(bits(&session) == want, "{}, {threads} threads", path.display());
    }
}

/// Under a deadline units of work are smaller, and serve a part of the tokens where rows are long: what was begun with them is
/// finished with them.
#[test]
fn slices_and_whole_steps() {
    for (shape, batch, all_slices) in [("tiny", 64, &[1, 2, 7, 20, 50, 51, 52, 53][..]), ("short", 300, &[1, 100, 333, 1000])] {
        let model = open(&common::synthetic_model(shape, "Q4_K_M"), cpu::detect(), 2, Precision::High);
        let tokens = prompt(&model);
        let want = logits(&model, batch, &tokens);
        for &slices in all_slices {
            let mut session = session(&model, batch);
            session.append(&tokens).unwrap();
            for _ in 0..slices {
                assert_eq!(session.step_for(Duration::ZERO).unwrap(), Event::Pending);
            }
            session.eval().unwrap();
            assert!(bits(&session) == want, "{shape}, {slices} slices");
        }
    }
}

#[test]
fn the_precisions_differ() {
    let path = common::synthetic_model("tiny", "Q4_K");
    let (high, fast) = (open(&path, Level::Scalar, 1, Precision::High), open(&path, Level::Scalar, 1, Precision::Fast));
    let tokens = &prompt(&high)[..20];
    assert_ne!(logits(&high, 8, tokens), logits(&fast, 8, tokens));
}

/// Ways of attention, experts and memory that the llama models above do not have.
#[test]
fn other_kinds() {
    for kind in KINDS {
        check(&kind.model(512), Precision::High, diagonal);
    }
}

/// A prompt many times as long as the window: the cache of a small batch has let most of it go, that of a great batch has not;
/// a rewind to where the window, or the state, is gone evaluates it again.
#[test]
fn beyond_the_window() {
    for kind in
        KINDS.iter().filter(|kind| matches!(kind.architecture, "gemma2" | "gpt-oss" | "lfm2" | "mamba" | "mamba2" | "qwen3next"))
    {
        let name = kind.architecture;
        let model = open(&kind.model(2048), cpu::detect(), 2, Precision::High);
        let tokens: Vec<i32> = prompt(&model).into_iter().cycle().take(15 * WINDOW).collect();
        let session = |batch: usize| {
            let mut options = SessionOptions::default();
            options.set_context_length(2048).unwrap();
            options.set_batch_size(batch).unwrap();
            Session::new(Arc::clone(&model), &options).unwrap()
        };
        let whole = |tokens: &[i32]| {
            let mut session = session(2048);
            session.append(tokens).unwrap();
            session.eval().unwrap();
            bits(&session)
        };
        let want = whole(&tokens);
        for batch in [31, 256] {
            let mut session = session(batch);
            for part in tokens.chunks(700) {
                session.append(part).unwrap();
                session.eval().unwrap();
            }
            assert!(bits(&session) == want, "{name}: batch {batch}");
            for position in [1490, 1200, 500, 3] {
                session.rewind(position).unwrap();
                session.eval().unwrap();
                assert!(bits(&session) == whole(&tokens[..position]), "{name}: batch {batch}, back to {position}");
            }
        }
    }
}
