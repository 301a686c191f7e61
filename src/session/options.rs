//! How a session is made.

use crate::error::{Error, Result};
use crate::kv::KvType;
use crate::model::ProgressSink;
use crate::ops::Pooling;
use crate::sampling::SamplerOptions;

/// Options of [`super::Session::new`].
#[derive(Clone)]
pub struct SessionOptions {
    pub(super) context_length: Option<usize>,
    pub(super) batch_size: usize,
    pub(super) kv_type: Option<KvType>,
    pub(super) max_tokens: Option<usize>,
    pub(super) stop: Vec<String>,
    pub(super) special_text: bool,
    /// Whether the session makes embeddings, and how it pools unless as the file says.
    pub(super) pooling: Option<Option<Pooling>>,
    pub(super) unit_length: bool,
    pub(super) prefault: bool,
    pub(super) progress: Option<ProgressSink>,
    /// The sampler chain.
    pub sampler: SamplerOptions,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            context_length: None,
            batch_size: Self::DEFAULT_BATCH,
            kv_type: None,
            max_tokens: None,
            stop: Vec::new(),
            special_text: false,
            pooling: None,
            unit_length: true,
            prefault: false,
            progress: None,
            sampler: SamplerOptions::default(),
        }
    }
}

/// Greatest context length: positions stay far from the range of 32 bits.
const MAX_CONTEXT: usize = 1 << 28;
/// Greatest batch: scratch memory grows with it.
const MAX_BATCH: usize = 1 << 16;
/// Most stop strings, and most bytes of one.
const MAX_STOPS: usize = 64;
const MAX_STOP_LEN: usize = 1024;

impl SessionOptions {
    /// Context length when none is set and the model was trained on more.
    pub const DEFAULT_CONTEXT: usize = 4096;
    /// Tokens evaluated at once when nothing is set.
    pub const DEFAULT_BATCH: usize = 512;

    /// Tokens that the session can hold; 0: what the model was trained on, at most [`Self::DEFAULT_CONTEXT`].
    ///
    /// # Errors
    /// More than 2^28.
    pub fn set_context_length(&mut self, length: usize) -> Result<()> {
        if length > MAX_CONTEXT {
            return Err(Error::InvalidArgument(format!("context length {length}: at most {MAX_CONTEXT}")));
        }
        self.context_length = (length > 0).then_some(length);
        Ok(())
    }

    /// Tokens evaluated at once; 0: [`Self::DEFAULT_BATCH`]. Scratch memory grows with it; results never change.
    ///
    /// # Errors
    /// More than 65536.
    pub fn set_batch_size(&mut self, size: usize) -> Result<()> {
        if size > MAX_BATCH {
            return Err(Error::InvalidArgument(format!("batch size {size}: at most {MAX_BATCH}")));
        }
        self.batch_size = if size == 0 { Self::DEFAULT_BATCH } else { size };
        Ok(())
    }

    /// Element type of the cache; `None`: what suits the model (see [`crate::arch::Program::kv_type`]).
    pub fn set_kv_type(&mut self, kv_type: Option<KvType>) {
        self.kv_type = kv_type;
    }

    /// Tokens sampled after each append before a step answers `Length`; 0: no limit but the context.
    pub fn set_max_tokens(&mut self, count: usize) {
        self.max_tokens = (count > 0).then_some(count);
    }

    /// Whether the text of special tokens is part of the output, as a [`crate::chat::Answer`] needs it.
    pub fn set_special_text(&mut self, special_text: bool) {
        self.special_text = special_text;
    }

    /// Makes a session for embeddings, which generates no text; `None`: pooled as the file says, or by the mean where it says
    /// nothing. Sessions on models that cannot generate are such sessions anyway.
    pub fn set_pooling(&mut self, pooling: Option<Pooling>) {
        self.pooling = Some(pooling);
    }

    /// Whether embeddings have a length of 1, so that their product is the cosine of their angle; the default is true. Scores
    /// of [`Pooling::Rank`] stay as they are.
    pub fn set_unit_length(&mut self, unit_length: bool) {
        self.unit_length = unit_length;
    }

    /// Whether all memory of the session is touched when it is made, so that no step waits for the system to hand a page out.
    pub fn set_prefault(&mut self, prefault: bool) {
        self.prefault = prefault;
    }

    /// Hears how many of the tokens that a call evaluates are done, of how many, and may stop it, which counts as cancelling;
    /// not for a single token. `None`: nobody does.
    pub fn set_progress(&mut self, progress: Option<ProgressSink>) {
        self.progress = progress;
    }

    /// Adds a text that ends the generation; it is matched across tokens and not part of the output.
    ///
    /// # Errors
    /// An empty text, one of more than 1024 bytes, more than 64 of them.
    pub fn add_stop(&mut self, stop: &str) -> Result<()> {
        if stop.is_empty() || stop.len() > MAX_STOP_LEN {
            return Err(Error::InvalidArgument(format!("a stop string of {} bytes: 1 to {MAX_STOP_LEN}", stop.len())));
        }
        if self.stop.len() == MAX_STOPS {
            return Err(Error::InvalidArgument(format!("more than {MAX_STOPS} stop strings")));
        }
        self.stop.push(stop.to_owned());
        Ok(())
    }
}
