//! Repetition, frequency and presence penalties, and the history they look at.

use super::SamplerOptions;
use crate::error::{Error, Result};
use crate::tensor::Memory;

/// The history of a session as far as penalties need it.
pub(super) struct Penalties {
    repetition: f32,
    frequency: f32,
    presence: f32,
    window: usize,
    /// Tokens accepted; all of them are kept only when a penalty is on, because rewinding may uncover any of them.
    position: usize,
    history: Vec<i32>,
    /// Occurrences in the window, per token: zero between calls. Empty when no penalty is on.
    counts: Vec<u32>,
}

impl Penalties {
    pub(super) fn new(memory: &mut Memory, options: &SamplerOptions, vocab: usize, tokens: usize) -> Result<Self> {
        let (vocab, tokens) = if options.penalizes() { (vocab, tokens) } else { (0, 0) };
        Ok(Self {
            repetition: options.repetition_penalty,
            frequency: options.frequency_penalty,
            presence: options.presence_penalty,
            window: options.penalty_window,
            position: 0,
            history: memory.room(tokens)?,
            counts: memory.vec(vocab, 0)?,
        })
    }

    pub(super) fn accept(&mut self, token: i32) -> Result<()> {
        if !self.counts.is_empty() {
            self.history.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
            self.history.push(token);
        }
        self.position += 1;
        Ok(())
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn rewind(&mut self, position: usize) {
        self.position = self.position.min(position);
        self.history.truncate(position);
    }

    /// Lowers the logits of the tokens in the window; tokens outside the vocabulary do not count.
    pub(super) fn apply(&mut self, logits: &mut [f32]) {
        let recent = &self.history[self.history.len().saturating_sub(self.window)..];
        let ids = || recent.iter().filter_map(|&token| usize::try_from(token).ok());
        for id in ids() {
            if let Some(count) = self.counts.get_mut(id) {
                *count += 1;
            }
        }
        for id in ids() {
            // The first visit takes the whole count and leaves zero for the others and for the next call.
            let Some(count @ 1..) = self.counts.get_mut(id).map(std::mem::take) else { continue };
            let logit = &mut logits[id];
            *logit = if *logit > 0.0 { *logit / self.repetition } else { *logit * self.repetition };
            *logit -= count as f32 * self.frequency + self.presence;
        }
    }
}
