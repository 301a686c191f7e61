//! An open model file: immutable, shared by every session on it.

mod budget;
mod footprint;
mod log;
mod options;
mod progress;
mod quantize;

pub use budget::Grant;
pub use footprint::Footprint;
pub use log::{LogLevel, LogSink};
pub use options::ModelOptions;
pub use progress::ProgressSink;
pub use quantize::{QuantizeOptions, QuantizedTensor, quantize};

use crate::arch::{self, Op, Program, Stream};
use crate::chat::Template;
use crate::cpu::{self, Level};
use crate::error::{Error, Result};
use crate::gguf::File;
use crate::kernels::Kernels;
use crate::ops::Tiling;
use crate::quant::{Layout, Precision};
use crate::threads::{Background, Pool, set_priority};
use crate::tokenizer::{self, Tokenizer};
use budget::Budget;
use progress::Opening;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

/// A model: file, vocabulary, forward pass, threads.
pub struct Model {
    file: File,
    tokenizer: Option<Tokenizer>,
    template: OnceLock<Template>,
    engine: Option<Engine>,
    /// Makes weights resident.
    #[expect(dead_code, reason = "held for the thread that it is")]
    loader: Option<Background>,
    budget: Budget,
    log: Option<LogSink>,
}

/// What computes; a model opened for its vocabulary alone has none.
pub struct Engine {
    /// The forward pass.
    pub program: Program,
    /// How its weights come through memory, where that is limited.
    pub stream: Option<Stream>,
    /// The inner loops.
    pub kernels: Kernels,
    /// The threads.
    pub pool: Pool,
    /// How activations are quantized.
    pub precision: Precision,
    /// How large pieces of work are.
    pub tiling: Tiling,
}

impl Model {
    /// Opens a model file; weights stay in its mapping (or in a private copy, by option).
    ///
    /// # Errors
    /// What [`File::open`] reports, a memory budget that is exceeded, progress that was stopped, an architecture or tensor that cannot be run, a tokenizer that is not known.
    pub fn open(path: &Path, options: &ModelOptions) -> Result<Arc<Model>> {
        Model::open_with(options, || File::open(path), |opening| File::open_watched(path, &|more| opening.copied(more)))
            .map_err(naming(path))
    }

    /// Opens a model that lies in memory: borrowed, or copied by option.
    ///
    /// # Errors
    /// As [`Model::open`].
    ///
    /// # Safety
    /// `data` must be readable for `size` bytes, and, unless `options.copy` is set, stay so and unchanged until the model
    /// and every session on it are gone.
    pub unsafe fn open_memory(data: *const u8, size: usize, options: &ModelOptions) -> Result<Arc<Model>> {
        // SAFETY: readable by the caller's word, and no longer than this call.
        let copied = |opening: &Opening| unsafe {
            File::copy_watched(std::slice::from_raw_parts(data, size), &|more| opening.copied(more))
        };
        // SAFETY: the caller's word is the same as that function's; with `copy` the file does not outlive this call.
        Model::open_with(options, || unsafe { File::from_raw(data, size) }, copied)
    }

    /// Opens the file where it is, or a copy of it, but not before it is known to fit the budget.
    fn open_with(
        options: &ModelOptions,
        in_place: impl FnOnce() -> Result<File>,
        copied: impl FnOnce(&Opening) -> Result<File>,
    ) -> Result<Arc<Model>> {
        // A copy alone needs no look at the file first.
        let looks = !options.copy || options.memory_budget.is_some() || options.progress.is_some();
        let in_place = if looks { Some(in_place()?) } else { None };
        let (mut budget, mut bytes, mut steps) = (Budget::new(None), 0, 0);
        if let Some(file) = &in_place {
            budget = Model::budget(file, options)?;
            bytes = if options.copy { file.size() } else { 0 };
            steps = tokenizer::Footprint::new(file.metadata())?.steps;
        }
        let opening = Opening::new(options.progress.as_ref(), bytes, steps);
        opening.tell()?;
        let file = match in_place {
            Some(file) if !options.copy => file,
            _ => copied(&opening)?,
        };
        let model = Model::build(file, budget, options, &opening)?;
        opening.finish()?;
        Ok(model)
    }

    /// What the options allow, and what of it the model takes.
    fn budget(file: &File, options: &ModelOptions) -> Result<Budget> {
        let budget = Budget::new(options.memory_budget);
        if options.memory_budget.is_some() {
            let footprint = Footprint::new(file, Model::outline(file, options)?.as_ref(), options)?;
            budget.take("opening the model", footprint.opening)?;
            budget.give_back(footprint.opening);
            budget.take("the model", footprint.private())?;
        }
        Ok(budget)
    }

    /// The program of a file that runs with these options, with nothing read but the header (see [`arch::outline`]); `None` for a
    /// vocabulary alone.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn outline(file: &File, options: &ModelOptions) -> Result<Option<Program>> {
        let outline = || arch::outline(file, &Kernels::for_level(options.level()), options.precision);
        if options.vocab_only { Ok(None) } else { outline().map(Some) }
    }

    fn build(file: File, budget: Budget, options: &ModelOptions, opening: &Opening) -> Result<Arc<Model>> {
        // A file without any tokenizer can still be run by token ids.
        let tokenizer = match file.metadata().get("tokenizer.ggml.model") {
            Some(_) => {
                let warn = |message: &str| options.log.iter().for_each(|log| log(LogLevel::Warn, message));
                let watch = |steps| opening.stepped(steps);
                Some(Tokenizer::from_metadata_with(file.metadata(), options.default_pre_tokenizer, warn, watch)?)
            }
            None => None,
        };
        let engine = if options.vocab_only { None } else { Some(Engine::new(&file, options)?) };
        let loader = match &engine {
            Some(engine) if options.resident && !options.copy => load(&file, engine, options, opening)?,
            _ => None,
        };
        let model = Model { file, tokenizer, template: OnceLock::new(), engine, loader, budget, log: options.log.clone() };
        if let Some(engine) = &model.engine {
            model.log(LogLevel::Info, || {
                format!(
                    "cpu level {}, {} threads, {} tensors",
                    engine.kernels.level(),
                    engine.pool.threads(),
                    model.file.tensors().len()
                )
            });
        }
        Ok(Arc::new(model))
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The tokenizer, if the file carries one.
    #[must_use]
    pub fn optional_tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// When the file carries none.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer
            .as_ref()
            .ok_or_else(|| Error::InvalidModel("metadata key tokenizer.ggml.model is missing: the model has no tokenizer".into()))
    }

    /// The chat template of the file, compiled on first use.
    ///
    /// # Errors
    /// [`Error::NoChatTemplate`] when the file carries none; [`Error::Template`] when it is not valid.
    pub fn template(&self) -> Result<&Template> {
        if let Some(template) = self.template.get() {
            return Ok(template);
        }
        let (bos, eos) = self.special_texts();
        self.file.check()?;
        let template = Template::from_metadata(self.file.metadata(), &bos, &eos)?;
        Ok(self.template.get_or_init(|| template))
    }

    /// The texts of BOS and EOS, which templates may print; empty where there is none.
    #[must_use]
    pub fn special_texts(&self) -> (String, String) {
        let text = |token: Option<i32>| {
            let bytes = self.tokenizer.as_ref().zip(token).and_then(|(tokenizer, token)| tokenizer.token_text(token));
            bytes.map_or_else(String::new, |bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        let tokenizer = self.tokenizer.as_ref();
        (text(tokenizer.and_then(Tokenizer::bos)), text(tokenizer.and_then(Tokenizer::eos)))
    }

    /// What computes.
    ///
    /// # Errors
    /// When the model was opened for its vocabulary alone.
    pub fn engine(&self) -> Result<&Engine> {
        self.engine.as_ref().ok_or_else(|| Error::InvalidState("the model was opened for its vocabulary alone".into()))
    }

    /// What computes, to be changed.
    #[cfg(test)]
    pub(crate) fn engine_mut(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("a model that computes")
    }

    /// Tokens of the vocabulary: the length of logits, or of the tokenizer's list for a vocabulary-only model.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        match (&self.engine, &self.tokenizer) {
            (Some(engine), _) => engine.program.vocab,
            (None, Some(tokenizer)) => tokenizer.vocab_size(),
            (None, None) => 0,
        }
    }

    /// The context length of the training; 0 when only the vocabulary was opened.
    #[must_use]
    pub fn context_length(&self) -> usize {
        self.engine.as_ref().map_or(0, |engine| engine.program.params.context)
    }

    /// The instruction-set level that runs.
    #[must_use]
    pub fn level(&self) -> Level {
        self.engine.as_ref().map_or(Level::Scalar, |engine| engine.kernels.level())
    }

    /// Threads that share the work.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.engine.as_ref().map_or(0, |engine| engine.pool.threads())
    }

    /// Tells the host's log, if it gave one.
    pub fn log(&self, level: LogLevel, message: impl FnOnce() -> String) {
        if let Some(log) = &self.log {
            log(level, &message());
        }
    }
}

/// Makes the weights of products resident, in the order of their use and the layout that is fastest: in the background, unless the host wants no
/// thread of ours.
fn load(file: &File, engine: &Engine, options: &ModelOptions, opening: &Opening) -> Result<Option<Background>> {
    let (mut tensors, mut cut) = (Vec::new(), Vec::new());
    let matrices = || engine.program.ops.iter().flat_map(Op::weights);
    for (matrix, _) in matrices().filter(|(matrix, rows)| !matrix.is_whole_groups(*rows)) {
        cut.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        cut.push(&matrix.tensor().name);
    }
    for tensor in matrices().map(|(matrix, _)| matrix.tensor()) {
        let layout = if cut.contains(&&tensor.name) { Layout::Rows } else { engine.kernels.layout(tensor.dtype) };
        tensors.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        tensors.push((tensor.clone(), layout));
    }
    if options.runner.is_some() {
        for (tensor, layout) in &tensors {
            opening.tell()?;
            file.make_resident(tensor, *layout, &AtomicBool::new(false))?;
        }
        return Ok(None);
    }
    let (file, log, priority) = (file.clone(), options.log.clone(), options.priority);
    let work = move |stop: &AtomicBool| {
        priority.into_iter().for_each(set_priority);
        for (tensor, layout) in &tensors {
            match file.make_resident(tensor, *layout, stop) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    if let Some(log) = &log {
                        let rest = "the weights that are not resident stay in the file mapping";
                        log(LogLevel::Warn, &format!("{}: {error}; {rest}", tensor.name));
                    }
                    return;
                }
            }
        }
    };
    Background::start("chord-load", work).map(Some)
}

/// Makes errors name the file.
fn naming(path: &Path) -> impl FnOnce(Error) -> Error {
    move |error| match error.root() {
        // Speaks of the path already.
        Error::Io { .. } => error,
        _ => error.context(path.display()),
    }
}

impl Engine {
    fn new(file: &File, options: &ModelOptions) -> Result<Engine> {
        let kernels = Kernels::for_level(options.level());
        let program = arch::build(file, &kernels, options.precision)?;
        let stream = match options.mapped_limit {
            Some(_) if options.resident => {
                return Err(Error::InvalidArgument("a limit for mapped weights and resident ones: choose one of them".into()));
            }
            Some(limit) if !options.copy => Stream::new(&program, limit),
            _ => None,
        };
        let pool = Pool::with(options.threads(), &options.staff())?;
        let tiling = Tiling::new(kernels.portion(), cpu::private_cache());
        Ok(Engine { program, stream, kernels, pool, precision: options.precision, tiling })
    }
}
