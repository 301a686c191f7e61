//! What a session is made of, sized by model and options before anything is allocated.

use super::SessionOptions;
use super::text::TextStream;
use crate::arch::{Program, Scratch};
use crate::error::{Error, Result};
use crate::kv::Cache;
use crate::sampling::Sampler;
use crate::tensor::Memory;

/// How much a session holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Tokens.
    pub context: usize,
    /// Tokens that are evaluated at once.
    pub batch: usize,
}

impl Size {
    /// The size that the options ask for, or the default.
    ///
    /// # Errors
    /// A context that the model cannot have.
    pub fn new(program: &Program, options: &SessionOptions) -> Result<Size> {
        let trained = program.params.context;
        let context = options.context_length.unwrap_or(trained.min(SessionOptions::DEFAULT_CONTEXT));
        if let Some(positions) = program.positions.filter(|&positions| context > positions) {
            return Err(Error::OutOfRange(format!("a context of {context}: the model has {positions} learned positions")));
        }
        Ok(Size::of(context, options))
    }

    /// The size with this context.
    pub fn of(context: usize, options: &SessionOptions) -> Size {
        Size { context, batch: options.batch_size.min(context) }
    }
}

/// All memory of a session.
pub(super) struct Parts {
    pub cache: Cache,
    pub scratch: Scratch,
    pub sampler: Sampler,
    pub tokens: Vec<i32>,
    pub logits: Vec<f32>,
    pub text: TextStream,
}

impl Parts {
    /// Takes the memory, or plans to (see [`Memory::plan`]).
    ///
    /// # Errors
    /// Out of memory; a vocabulary that cannot be sampled from.
    pub fn new(memory: &mut Memory, program: &Program, threads: usize, size: Size, options: &SessionOptions) -> Result<Parts> {
        Ok(Parts {
            cache: Parts::cache(memory, program, size, options)?,
            scratch: Scratch::new(memory, program, size.batch, size.context, threads)?,
            sampler: Sampler::new(memory, &options.sampler, program.vocab, size.context)?,
            tokens: memory.room(size.context)?,
            logits: memory.vec(program.vocab, 0.0)?,
            text: TextStream::new(memory, &options.stop, options.special_text)?,
        })
    }

    /// The part that grows with the context.
    pub fn cache(memory: &mut Memory, program: &Program, size: Size, options: &SessionOptions) -> Result<Cache> {
        Cache::new(memory, &program.kv, size.context, size.batch, options.kv_type)
    }
}
