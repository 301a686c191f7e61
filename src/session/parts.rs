//! What a session is made of, sized by model and options before anything is allocated.

use super::SessionOptions;
use super::text::TextStream;
use crate::arch::{Program, Scratch};
use crate::error::{Error, Result};
use crate::kv::Cache;
use crate::ops::Embedding;
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
        Ok(Size::of(program, context, options))
    }

    /// The size with this context.
    pub fn of(program: &Program, context: usize, options: &SessionOptions) -> Size {
        // Tokens that see what follows them are evaluated at once.
        let batch = if program.bidirectional { context } else { options.batch_size };
        Size { context, batch: batch.min(context) }
    }
}

/// All memory of a session.
pub(super) struct Parts {
    pub cache: Cache,
    pub scratch: Scratch,
    pub sampler: Sampler,
    pub tokens: Vec<i32>,
    /// Empty where there is an embedding.
    pub logits: Vec<f32>,
    pub embedding: Option<Embedding>,
    pub text: TextStream,
}

impl Parts {
    /// Takes the memory, or plans to (see [`Memory::plan`]).
    ///
    /// # Errors
    /// Out of memory; a vocabulary that cannot be sampled from; a pooling that the model does not have.
    pub fn new(memory: &mut Memory, program: &Program, threads: usize, size: Size, options: &SessionOptions) -> Result<Parts> {
        let pools = !program.generates || options.pooling.is_some();
        let pooling = options.pooling.flatten();
        let embedding = if pools { Some(program.embedding(memory, pooling, options.unit_length, size.context)?) } else { None };
        Ok(Parts {
            cache: Parts::cache(memory, program, size, options)?,
            scratch: Scratch::new(memory, program, size.batch, size.context, threads)?,
            sampler: Sampler::new(memory, &options.sampler, program.vocab, size.context)?,
            tokens: memory.room(size.context)?,
            logits: memory.vec(if pools { 0 } else { program.vocab }, 0.0)?,
            embedding,
            text: TextStream::new(memory, &options.stop, options.special_text)?,
        })
    }

    /// The part that grows with the context.
    pub fn cache(memory: &mut Memory, program: &Program, size: Size, options: &SessionOptions) -> Result<Cache> {
        let kv_type = options.kv_type.unwrap_or_else(|| program.kv_type());
        Cache::new(memory, &program.kv, &program.states, size.context, size.batch, kv_type)
    }
}
