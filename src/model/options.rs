//! How a model is opened.

use super::{LogSink, ProgressSink};
use crate::cpu::{self, Level};
use crate::error::{Error, Result};
use crate::quant::Precision;
use crate::threads::{Runner, Staff};

/// Options of [`super::Model::open`]. The default maps the file and uses every core the process may use.
#[derive(Clone, Default)]
pub struct ModelOptions {
    pub(super) threads: Option<usize>,
    pub(super) cpu_level: Option<Level>,
    pub(super) precision: Precision,
    pub(super) vocab_only: bool,
    pub(super) copy: bool,
    pub(super) resident: bool,
    pub(super) default_pre_tokenizer: bool,
    pub(super) memory_budget: Option<usize>,
    pub(super) progress: Option<ProgressSink>,
    pub(super) runner: Option<Runner>,
    pub(super) priority: Option<i32>,
    pub(super) mapped_limit: Option<usize>,
    pub(super) log: Option<LogSink>,
}

/// Most threads a model takes.
const MAX_THREADS: usize = 1024;

/// A checked number of threads; `None` stands for the default.
pub(super) fn threads(threads: usize) -> Result<Option<usize>> {
    if threads > MAX_THREADS {
        return Err(Error::InvalidArgument(format!("{threads} threads: at most {MAX_THREADS}")));
    }
    Ok((threads > 0).then_some(threads))
}

impl ModelOptions {
    /// Threads that share the work, the caller's included; 0: the CPU budget of the process.
    ///
    /// # Errors
    /// More than 1024.
    pub fn set_threads(&mut self, threads: usize) -> Result<()> {
        self.threads = self::threads(threads)?;
        Ok(())
    }

    /// Forces an instruction-set level, by name (see [`Level::name`]).
    ///
    /// # Errors
    /// An unknown name, or a level that this machine lacks.
    pub fn set_cpu_level(&mut self, name: &str) -> Result<()> {
        self.cpu_level = Some(Level::by_name(name)?);
        Ok(())
    }

    /// How finely activations are quantized.
    pub fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    /// Opens only metadata and tokenizer: no tensor is needed, no thread started.
    pub fn set_vocab_only(&mut self, vocab_only: bool) {
        self.vocab_only = vocab_only;
    }

    /// Reads the model into private memory instead of mapping or borrowing it.
    pub fn set_copy(&mut self, copy: bool) {
        self.copy = copy;
    }

    /// Copies the weights of products into huge pages of this process, in the background, while the mapping serves. Of no
    /// effect on a file that is copied as a whole.
    pub fn set_resident(&mut self, resident: bool) {
        self.resident = resident;
    }

    /// Splits text by default rules where the file names a pre-tokenizer that is not known, with a warning in the log,
    /// instead of refusing the file.
    pub fn set_default_pre_tokenizer(&mut self, default_pre_tokenizer: bool) {
        self.default_pre_tokenizer = default_pre_tokenizer;
    }

    /// The most bytes of private memory that the model and the sessions on it may take together, as plans count them; 0: no limit.
    pub fn set_memory_budget(&mut self, bytes: u64) {
        self.memory_budget = (bytes > 0).then(|| usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    /// The most bytes of mapped weights that are kept in memory, but no less than what three neighbouring products need: the others
    /// are read ahead of their use in every pass, and dropped behind it. 0: the system decides.
    pub fn set_mapped_limit(&mut self, bytes: u64) {
        self.mapped_limit = (bytes > 0).then(|| usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    /// The memory budget.
    #[must_use]
    pub fn memory_budget(&self) -> Option<usize> {
        self.memory_budget
    }

    /// Threads that will share the work.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.unwrap_or_else(cpu::cpu_budget)
    }

    /// The instruction-set level that will run.
    #[must_use]
    pub fn level(&self) -> Level {
        self.cpu_level.unwrap_or_else(cpu::detect)
    }

    /// Whether only metadata and tokenizer are opened.
    #[must_use]
    pub fn vocab_only(&self) -> bool {
        self.vocab_only
    }

    /// Has threads of the host do the work: the model then starts none; `None`: it has its own.
    pub fn set_runner(&mut self, runner: Option<Runner>) {
        self.runner = runner;
    }

    /// Gives the threads of the model another priority, as `nice` does: -20, the most urgent, to 19. What the system does not allow
    /// is not done; threads that make calls keep theirs.
    ///
    /// # Errors
    /// A value out of that range.
    pub fn set_thread_priority(&mut self, nice: i32) -> Result<()> {
        if !(-20..=19).contains(&nice) {
            return Err(Error::InvalidArgument(format!("a thread priority of {nice}: -20 to 19")));
        }
        self.priority = Some(nice);
        Ok(())
    }

    /// Who does the work.
    pub(super) fn staff(&self) -> Staff {
        self.runner.clone().map_or(Staff::Own { priority: self.priority }, Staff::Host)
    }

    /// Hears how far [`super::Model::open`] is, and may stop it; `None`: nobody does.
    pub fn set_progress(&mut self, progress: Option<ProgressSink>) {
        self.progress = progress;
    }

    /// Receives messages; `None`: nobody does.
    pub fn set_log(&mut self, log: Option<LogSink>) {
        self.log = log;
    }
}
