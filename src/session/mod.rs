//! The mutable heart: tokens, cache, scratch and sampler over one model.
//!
//! A session is a sequence of tokens. Some of its tail may not be evaluated yet; the cache holds the rest. Every call
//! leaves it at a whole token, whatever happens.

mod options;
mod parts;
mod plan;
mod text;

pub use options::SessionOptions;
pub use plan::Plan;

use crate::arch::{Pass, Scratch, Segment};
use crate::error::{Error, Result};
use crate::kv::Cache;
use crate::model::{Engine, Grant, LogLevel, Model, ProgressSink};
use crate::ops::{Embedding, Machine, Pace, Progress};
use crate::sampling::Sampler;
use crate::tensor::Memory;
use crate::tokenizer::TextFlags;
use parts::{Parts, Size};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use text::TextStream;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Sampled a token and added it.
    Token,
    /// Sampled an end-of-generation token; it is not added.
    End,
    /// Sampled nothing: the context is full or the limit of tokens is reached.
    Length,
    /// Sampled a token that completed a stop string. The text ends before the stop string.
    Stop,
    /// Was cancelled; the next step goes on.
    Cancelled,
    /// Ran out of time; the next step goes on.
    Pending,
}

/// A sequence of tokens over a model.
pub struct Session {
    model: Arc<Model>,
    /// Every token, evaluated or not. Capacity for the whole context is reserved.
    tokens: Vec<i32>,
    cache: Cache,
    scratch: Scratch,
    /// The pass that was stopped: where its tokens end and how much of it is done; the rest of it is in the scratch.
    stopped: Option<(usize, Progress)>,
    sampler: Sampler,
    /// Empty where there is an embedding.
    logits: Vec<f32>,
    /// What is made in place of logits.
    embedding: Option<Embedding>,
    /// Whether logits, or the embedding, belong to the last token of the cache.
    has_result: bool,
    cancel: Arc<AtomicBool>,
    text: TextStream,
    progress: Option<ProgressSink>,
    last: Option<i32>,
    /// Tokens sampled since the last append.
    generated: usize,
    max_tokens: usize,
    batch: usize,
    /// Where the conversation starts that `append_chat` maintains.
    chat_start: Option<usize>,
    /// What of the model's memory budget the session takes; the last to go.
    #[expect(dead_code, reason = "held for what it stands for")]
    grant: Grant,
}

impl Session {
    /// An empty session. Everything a step needs is allocated here.
    ///
    /// # Errors
    /// Out of memory or over the model's memory budget, a vocabulary-only model, an option out of the model's range.
    pub fn new(model: Arc<Model>, options: &SessionOptions) -> Result<Session> {
        let engine = model.engine()?;
        model.file().check()?;
        let program = &engine.program;
        let (trained, size) = (program.params.context, Size::new(program, options)?);
        if size.context > trained {
            let context = size.context;
            model.log(LogLevel::Warn, || format!("a context of {context} is longer than the {trained} the model was trained on"));
        }
        let parts = |memory: &mut Memory| Parts::new(memory, program, engine.pool.threads(), size, options);
        let mut plan = Memory::plan();
        parts(&mut plan)?;
        let grant = model.grant("a session", plan.bytes())?;
        let mut memory = if options.prefault { Memory::touched() } else { Memory::system() };
        let Parts { cache, scratch, sampler, tokens, logits, embedding, text } = parts(&mut memory)?;
        debug_assert_eq!(memory.bytes(), plan.bytes(), "what was planned is what is taken");
        Ok(Session {
            tokens,
            cache,
            scratch,
            stopped: None,
            sampler,
            logits,
            embedding,
            has_result: false,
            cancel: Arc::new(AtomicBool::new(false)),
            text,
            progress: options.progress.clone(),
            last: None,
            generated: 0,
            max_tokens: options.max_tokens.unwrap_or(usize::MAX),
            batch: size.batch,
            chat_start: None,
            grant,
            model,
        })
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Adds tokens; nothing is evaluated yet.
    ///
    /// # Errors
    /// A token outside the vocabulary or more tokens than the context holds: then nothing is added.
    pub fn append(&mut self, tokens: &[i32]) -> Result<()> {
        let vocab = self.model.vocab_size();
        if let Some((index, token)) =
            tokens.iter().enumerate().find(|(_, token)| usize::try_from(**token).map_or(true, |id| id >= vocab))
        {
            return Err(Error::OutOfRange(format!("token {token} at index {index} is not below the vocabulary size {vocab}")));
        }
        self.check_room(self.tokens.len(), tokens.len())?;
        self.tokens.extend_from_slice(tokens);
        for &token in tokens {
            self.sampler.accept(token)?;
        }
        if self.model.engine()?.program.bidirectional && !tokens.is_empty() {
            // What was evaluated did not see these tokens.
            self.evaluate_again();
        }
        self.generated = 0;
        self.text.clear();
        Ok(())
    }

    /// Forgets what was evaluated, but not the tokens.
    fn evaluate_again(&mut self) {
        self.cache.truncate(0);
        self.stopped = None;
        self.has_result = false;
    }

    /// Tokenizes text and adds the tokens.
    ///
    /// # Errors
    /// As [`Session::append`]; a model without a tokenizer.
    pub fn append_text(&mut self, text: &str, flags: TextFlags) -> Result<()> {
        let mut tokens = Vec::new();
        self.model.tokenizer()?.encode(text, flags, &mut tokens)?;
        self.append(&tokens)
    }

    /// Makes the session hold a rendered conversation: what it has in common with the one given before stays evaluated,
    /// the rest is replaced. The conversation starts where the session stood at the first call. Special-token text in it
    /// becomes tokens; a model that wants BOS gets exactly one, at the start of the session.
    ///
    /// # Errors
    /// As [`Session::append`], and then the session is unchanged.
    pub fn append_chat(&mut self, rendered: &str) -> Result<()> {
        let tokenizer = self.model.tokenizer()?;
        let start = self.chat_start.unwrap_or(self.tokens.len()).min(self.tokens.len());
        let mut tokens = Vec::new();
        tokenizer.encode(rendered, TextFlags { add_special: false, parse_special: true }, &mut tokens)?;
        if let Some(bos) = tokenizer.bos().filter(|_| tokenizer.adds_bos()) {
            let has_bos = tokens.first() == Some(&bos);
            if start == 0 && !has_bos {
                tokens.insert(0, bos);
            } else if start > 0 && has_bos {
                tokens.remove(0);
            }
        }
        self.check_room(start, tokens.len())?;
        let common = self.tokens[start..].iter().zip(&tokens).take_while(|(old, new)| old == new).count();
        self.rewind(start + common)?;
        self.append(&tokens[common..])?;
        self.chat_start = Some(start);
        Ok(())
    }

    fn check_room(&self, used: usize, more: usize) -> Result<()> {
        let (needed, capacity) = (used.saturating_add(more), self.cache.capacity());
        if needed > capacity { Err(Error::ContextFull { needed, capacity }) } else { Ok(()) }
    }

    /// Evaluates what was added.
    ///
    /// # Errors
    /// [`Error::Cancelled`]: the next call goes on where this one stopped. An empty session.
    pub fn eval(&mut self) -> Result<()> {
        self.eval_until(None).map(drop)
    }

    /// Evaluates what was added, or as much of it as fits the time; says whether that is all.
    fn eval_until(&mut self, deadline: Option<Instant>) -> Result<bool> {
        if self.tokens.is_empty() {
            return Err(Error::InvalidState("the session is empty: append tokens first".into()));
        }
        if self.cache.len() == self.tokens.len() && !self.has_result {
            // A rewind took the result of the last token: it is evaluated again.
            self.cache.truncate(self.tokens.len() - 1);
        }
        let model = Arc::clone(&self.model);
        let engine = model.engine()?;
        model.file().check()?;
        let first = self.cache.len();
        let all = self.tokens.len() - first;
        let sink = self.progress.clone().filter(|_| all > 1);
        let refused = Cell::new(false);
        while self.cache.len() < self.tokens.len() {
            let start = self.cache.len();
            let (end, progress) = self.stopped.take().unwrap_or((self.tokens.len().min(start + self.batch), Progress::default()));
            let last = end == self.tokens.len();
            let logits = (last && self.embedding.is_none()).then_some(self.logits.as_mut_slice());
            self.has_result = false;
            let pace = Pace::new(&self.cancel, deadline, progress);
            let Engine { kernels, pool, precision, tiling, .. } = engine;
            let machine = Machine { kernels, pool, pace: &pace, precision: *precision, tiling: *tiling };
            let tell = |step: usize, of: usize| {
                let done = start - first + (end - start) * step / of;
                refused.set(!sink.as_ref().is_none_or(|sink| sink(done as u64, all as u64)));
                !refused.get()
            };
            let watch = sink.is_some().then_some(&tell as &dyn Fn(usize, usize) -> bool);
            let (program, stream) = (&engine.program, engine.stream.as_ref());
            let pass = Pass { program, file: model.file(), stream, machine, scratch: &mut self.scratch, watch };
            let (tokens, cache, embedding) = (&self.tokens[start..end], &mut self.cache, self.embedding.as_mut());
            if let Some(progress) = pass.run(&mut [Segment { tokens, cache, last, logits, embedding }]) {
                self.stopped = Some((end, progress));
                let cancelled = self.cancel.swap(false, Ordering::Relaxed) || refused.get();
                return if cancelled { Err(Error::Cancelled) } else { Ok(false) };
            }
        }
        sink.inspect(|sink| _ = sink(all as u64, all as u64));
        self.has_result = true;
        Ok(true)
    }

    /// Evaluates what was added, then samples one token.
    ///
    /// # Errors
    /// An empty session; logits that cannot be sampled from. The session stays at the last whole token.
    pub fn step(&mut self) -> Result<Event> {
        self.step_until(None)
    }

    /// As [`Session::step`], but when the time is over before the token is there, it says [`Event::Pending`], and the next
    /// step goes on at the unit of work where this one stopped.
    ///
    /// # Errors
    /// As [`Session::step`].
    pub fn step_for(&mut self, budget: Duration) -> Result<Event> {
        self.step_until(Instant::now().checked_add(budget))
    }

    fn step_until(&mut self, deadline: Option<Instant>) -> Result<Event> {
        if self.embedding.is_some() {
            return Err(Error::InvalidState(match &self.model.engine()?.program {
                program if program.generates => "the session makes embeddings: it generates no text".into(),
                program => {
                    format!("a model of architecture {} makes embeddings: it generates no text", program.params.architecture)
                }
            }));
        }
        self.text.begin_step();
        if self.cancel.swap(false, Ordering::Relaxed) {
            return Ok(Event::Cancelled);
        }
        match self.eval_until(deadline) {
            Err(Error::Cancelled) => return Ok(Event::Cancelled),
            Ok(false) => return Ok(Event::Pending),
            other => other?,
        };
        if self.tokens.len() >= self.cache.capacity() || self.generated >= self.max_tokens {
            self.text.flush();
            return Ok(Event::Length);
        }
        let token = self.sampler.sample(&self.logits)?;
        self.last = Some(token);
        let model = Arc::clone(&self.model);
        if let Some(tokenizer) = model.optional_tokenizer() {
            if tokenizer.is_end_of_generation(token) {
                self.text.flush();
                return Ok(Event::End);
            }
            self.text.push(tokenizer, token)?;
        }
        self.tokens.push(token);
        self.sampler.accept(token)?;
        self.generated += 1;
        Ok(if self.text.stopped() { Event::Stop } else { Event::Token })
    }

    /// Logits after the last evaluated token, one per token of the vocabulary; `None` before anything was evaluated and
    /// after a rewind.
    #[must_use]
    pub fn logits(&self) -> Option<&[f32]> {
        (self.has_result && self.embedding.is_none()).then_some(&self.logits)
    }

    /// The embedding of what was evaluated: one vector, or one for each token, or the scores of a classifier; `None` before
    /// anything was evaluated, after a rewind, and in sessions that generate.
    #[must_use]
    pub fn embedding(&self) -> Option<&[f32]> {
        self.embedding.as_ref().filter(|_| self.has_result).map(|embedding| embedding.values(self.cache.len()))
    }

    /// The token that the last step sampled.
    #[must_use]
    pub fn token(&self) -> Option<i32> {
        self.last
    }

    /// The text that the last step completed: whole UTF-8 sequences, possibly none.
    #[must_use]
    pub fn piece(&self) -> &str {
        self.text.piece()
    }

    /// Tokens in the session, evaluated or not.
    #[must_use]
    pub fn position(&self) -> usize {
        self.tokens.len()
    }

    /// The tokens themselves.
    #[must_use]
    pub fn tokens(&self) -> &[i32] {
        &self.tokens
    }

    /// Tokens that fit.
    #[must_use]
    pub fn context_length(&self) -> usize {
        self.cache.capacity()
    }

    /// Forgets the tokens from `position` on.
    ///
    /// # Errors
    /// A position after the end.
    pub fn rewind(&mut self, position: usize) -> Result<()> {
        let len = self.tokens.len();
        if position > len {
            return Err(Error::OutOfRange(format!("position {position} is after the end of the session at {len}")));
        }
        if position < len {
            self.tokens.truncate(position);
            self.stopped = None;
            self.sampler.rewind(position);
            if self.model.engine()?.program.bidirectional || self.embedding.as_ref().is_some_and(Embedding::mixes) {
                self.evaluate_again();
            } else if position <= self.cache.len() {
                self.cache.truncate(position);
                self.has_result = false;
            }
        }
        self.generated = 0;
        self.last = None;
        self.text.clear();
        Ok(())
    }

    /// What another thread sets to stop the call in progress, or the next one.
    #[must_use]
    pub fn cancel_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancel)
    }
}

#[cfg(test)]
mod tests;
