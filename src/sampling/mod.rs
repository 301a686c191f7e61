//! Logits -> token.
//!
//! One chain, in this order, each link optional (see [`SamplerOptions`]):
//!
//! 1. penalties (repetition, frequency, presence) on the tokens of the recent history,
//! 2. top-k, 3. top-p, 4. min-p, each on what the one before left over,
//! 5. temperature, then one draw; temperature 0 takes the best token after the penalties.
//!
//! Truncation stands before temperature, as is usual among GGUF engines: which tokens are plausible is the model's own
//! judgement, temperature only spreads the choice among them, so a hot setting does not let nonsense in. Every truncation keeps
//! the head of one ranking (higher logit first, lower token id among equals), which is what makes them cheap: nothing is
//! ever sorted but the few tokens at the cut.
//!
//! Reproducible everywhere: weights are f32 and their sums f64 in ascending token order, exponentials come from `libm`, and
//! the draw at position *p* is word pair *p* of the `ChaCha8` stream of the seed. A position therefore always sees the same
//! random number, whether it was reached at once or after rewinding.

mod candidates;
mod min_p;
mod options;
mod penalties;
mod temperature;
#[cfg(test)]
mod tests;
mod top_k;
mod top_p;

pub use options::SamplerOptions;

use crate::error::{Error, Result};
use crate::tensor::Memory;
use candidates::Candidates;
use penalties::Penalties;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Picks tokens of one session: the chain with its scratch memory, and the tokens seen so far.
pub struct Sampler {
    options: SamplerOptions,
    candidates: Candidates,
    penalties: Penalties,
    random: ChaCha8Rng,
}

impl Sampler {
    /// A sampler for logits of `vocab` tokens. All scratch memory (about 12 bytes per token of the vocabulary) is taken here, and
    /// so is that for a history of `tokens`: up to there [`accept`](Self::accept) allocates nothing.
    ///
    /// # Errors
    /// A vocabulary that is empty or larger than token ids can count; out of memory.
    pub fn new(memory: &mut Memory, options: &SamplerOptions, vocab: usize, tokens: usize) -> Result<Self> {
        if vocab == 0 || i32::try_from(vocab).is_err() {
            return Err(Error::InvalidArgument(format!("cannot sample from a vocabulary of {vocab} tokens")));
        }
        // The seed is the low end of the key: stated here, so that no release of a dependency can change the stream.
        let mut key = [0; 32];
        key[..8].copy_from_slice(&options.seed.to_le_bytes());
        Ok(Self {
            options: options.clone(),
            candidates: Candidates::new(memory, vocab)?,
            penalties: Penalties::new(memory, options, vocab, tokens)?,
            random: ChaCha8Rng::from_seed(key),
        })
    }

    /// The token for the position after the last accepted one. `logits` holds one value per token of the vocabulary;
    /// minus infinity excludes a token. Changes nothing: asked again, it answers the same. Allocates nothing.
    ///
    /// # Errors
    /// Another number of logits than the vocabulary has; a logit that is not a number or plus infinity; every token excluded.
    pub fn sample(&mut self, logits: &[f32]) -> Result<i32> {
        let Self { options, candidates, penalties, random } = self;
        candidates.load(logits)?;
        penalties.apply(candidates.logits_mut());
        candidates.survey()?;
        if options.temperature == 0.0 {
            return Ok(candidates.best());
        }
        top_k::keep(candidates, options.top_k);
        top_p::keep(candidates, options.top_p);
        min_p::keep(candidates, options.min_p);
        random.set_word_pos(2 * penalties.position() as u128);
        Ok(temperature::draw(candidates, options.temperature, unit(random.next_u64())))
    }

    /// Appends a token of the session, given or sampled, to the history.
    ///
    /// # Errors
    /// Out of memory, only beyond the history of [`Sampler::new`] and only with penalties on.
    pub fn accept(&mut self, token: i32) -> Result<()> {
        self.penalties.accept(token)
    }

    /// Tokens accepted so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.penalties.position()
    }

    /// Forgets all but the first `position` tokens, and with them the random numbers they took. Nothing to forget: no effect.
    pub fn rewind(&mut self, position: usize) {
        self.penalties.rewind(position);
    }

    /// Back to the state of a new sampler.
    pub fn reset(&mut self) {
        self.rewind(0);
    }
}

/// Uniform in [0, 1), from the upper 53 bits.
fn unit(word: u64) -> f64 {
    (word >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}
