//! What is planned is what is taken: plans against the memory that models and sessions really hold, and budgets.
#![cfg(target_env = "gnu")]

mod common;

use chord::error::Error;
use chord::kv::KvType;
use chord::model::{Model, ModelOptions};
use chord::session::{Plan, Session, SessionOptions};
use common::heap;
use common::kinds::KINDS;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What names, handles and threads take on top: it matters to small models only.
const SLACK: usize = 16 << 10;

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/models/chord-demo-q4_k_m.gguf")
}

fn encoder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/embeddings/modern-bert.gguf")
}

fn kind(architecture: &str, context: u32) -> PathBuf {
    KINDS.iter().find(|kind| kind.architecture == architecture).expect("a known kind").model(context)
}

fn model_options(change: impl FnOnce(&mut ModelOptions)) -> ModelOptions {
    let mut options = ModelOptions::default();
    options.set_threads(2).unwrap();
    change(&mut options);
    options
}

fn session_options(context: usize, batch: usize, kv_type: KvType) -> SessionOptions {
    let mut options = SessionOptions::default();
    options.set_context_length(context).unwrap();
    options.set_batch_size(batch).unwrap();
    options.set_kv_type(Some(kv_type));
    options
}

/// Opens, evaluates more than a batch, and steps; waits for what is copied in the background.
fn life(path: &Path, model: &ModelOptions, session: &SessionOptions, plan: &Plan) {
    let model = Model::open(path, model).unwrap();
    let mut session = Session::new(Arc::clone(&model), session).unwrap();
    let tokens: Vec<i32> = (0..session.context_length().min(300) as i32 - 1).map(|i| i % 100 + 3).collect();
    session.append(&tokens).unwrap();
    match session.step() {
        // Encoders do not step.
        Err(Error::InvalidState(_)) => session.eval().unwrap(),
        event => drop(event.unwrap()),
    }
    let weights: usize = model.file().tensors().iter().map(|tensor| tensor.len).sum();
    let resident = if plan.model.mapped > 0 { weights - plan.model.mapped } else { 0 };
    while model.file().resident_size() < resident {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn plans_are_what_is_taken() {
    let plain = || model_options(|_| ());
    let resident = || model_options(|options| options.set_resident(true));
    let copied = || model_options(|options| options.set_copy(true));
    let threads = |count: usize| model_options(|options| options.set_threads(count).unwrap());
    let tiny = || common::synthetic_model("tiny", "Q4_0");
    let short = || common::synthetic_model("short", "Q4_K_M");
    let pairs = [
        (demo(), plain(), SessionOptions::default()),
        (demo(), threads(4), session_options(512, 64, KvType::F32)),
        (demo(), copied(), session_options(256, 256, KvType::F16)),
        (tiny(), threads(1), session_options(512, 512, KvType::F16)),
        (tiny(), resident(), session_options(64, 16, KvType::F32)),
        (short(), plain(), SessionOptions::default()),
        (short(), resident(), session_options(8192, 512, KvType::F16)),
        (short(), threads(7), session_options(1000, 33, KvType::F32)),
        (kind("gemma2", 16384), plain(), session_options(16384, 32, KvType::F32)),
        (kind("gpt-oss", 4096), plain(), session_options(4096, 128, KvType::F16)),
        (kind("deepseek2", 4096), plain(), session_options(4096, 256, KvType::F32)),
        (kind("lfm2", 4096), plain(), session_options(4096, 256, KvType::F16)),
        (encoder(), plain(), session_options(128, 16, KvType::F32)),
        (kind("mamba", 4096), plain(), session_options(4096, 256, KvType::F16)),
        (kind("mamba2", 4096), plain(), session_options(4096, 64, KvType::F16)),
        (kind("qwen3next", 4096), plain(), session_options(4096, 32, KvType::F32)),
    ];
    for (path, model, session) in &pairs {
        let plan = Plan::new(path, model, session).unwrap();
        let peak = heap::process_peak(|| life(path, model, session, &plan));
        let planned = plan.private();
        let error = 100.0 * (planned as f64 / peak as f64 - 1.0);
        let name = path.file_stem().unwrap().to_string_lossy();
        println!("{name}: context {}, planned {planned}, peak {peak}, {error:+.2} %", plan.context);
        assert!(planned.abs_diff(peak) <= peak / 100 + SLACK, "{name}: {plan:?}, but a peak of {peak}");
    }
}

/// Whatever a model is made of; also when a rewind evaluates tokens again.
#[test]
fn steps_allocate_nothing() {
    for kind in KINDS {
        let model = Model::open(&kind.model(512), &model_options(|_| ())).unwrap();
        let mut session = Session::new(model, &session_options(512, 32, KvType::F16)).unwrap();
        session.append(&(0..100).collect::<Vec<_>>()).unwrap();
        session.step().unwrap();
        let steps = heap::peak(|| {
            for _ in 0..5 {
                session.step().unwrap();
            }
        });
        let again = heap::peak(|| {
            session.rewind(40).unwrap();
            session.step().unwrap();
        });
        assert_eq!((steps, again), (0, 0), "{}", kind.architecture);
    }
}

#[test]
fn budgets_are_kept() {
    let path = common::synthetic_model("tiny", "Q4_0");
    let session = session_options(256, 64, KvType::F16);
    let plan = Plan::new(&path, &model_options(|_| ()), &session).unwrap();
    let need = plan.model.private() + plan.cache + plan.scratch;
    let open = |budget: usize| Model::open(&path, &model_options(|options| options.set_memory_budget(budget as u64)));

    let model = open(need).unwrap();
    let first = Session::new(Arc::clone(&model), &session).unwrap();
    let Err(Error::OverBudget { needed, left, budget, .. }) = Session::new(Arc::clone(&model), &session) else {
        panic!("a second session does not fit")
    };
    assert_eq!((needed, left, budget), (plan.cache + plan.scratch, 0, need));
    drop(first);
    Session::new(Arc::clone(&model), &session).unwrap();

    let message = Session::new(open(need - 1).unwrap(), &session).err().expect("it does not fit").to_string();
    for number in [plan.cache + plan.scratch, need - 1, plan.cache + plan.scratch - 1] {
        assert!(message.contains(&number.to_string()), "{message}");
    }
    let message = open(plan.model.private() - 1).err().expect("it does not fit").to_string();
    assert!(message.contains("tiny") && message.contains("budget"), "{message}");
}

#[test]
fn the_longest_context_is_the_longest() {
    for (path, batch) in [(common::synthetic_model("tiny", "Q4_0"), 32), (kind("gemma2", 16384), 64)] {
        let options = session_options(1, batch, KvType::F16);
        let plan = |budget: usize| {
            let model = model_options(|options| options.set_memory_budget(budget as u64));
            Plan::new(&path, &model, &options).unwrap()
        };
        let trained = plan(0).longest;
        assert_eq!(plan(usize::MAX).longest, trained);
        assert_eq!(plan(1).longest, 0);
        let budget = plan(0).private() + (256 << 10);
        let longest = plan(budget).longest;
        assert!(longest > 1 && longest < trained, "{longest}");
        let model = Model::open(&path, &model_options(|options| options.set_memory_budget(budget as u64))).unwrap();
        assert!(Session::new(Arc::clone(&model), &session_options(longest, batch, KvType::F16)).is_ok());
        let more = Session::new(model, &session_options(longest + 1, batch, KvType::F16));
        assert!(matches!(more.err(), Some(Error::OverBudget { .. })));
    }
}
