//! What a caller can choose about sampling.

use crate::error::{Error, Result};

/// The settings of a [`Sampler`](super::Sampler). Each setter checks its value and leaves the settings as they were on error.
#[derive(Clone, Debug)]
pub struct SamplerOptions {
    pub(super) temperature: f32,
    pub(super) top_k: usize,
    pub(super) top_p: f32,
    pub(super) min_p: f32,
    pub(super) repetition_penalty: f32,
    pub(super) frequency_penalty: f32,
    pub(super) presence_penalty: f32,
    pub(super) penalty_window: usize,
    pub(super) seed: u64,
}

impl Default for SamplerOptions {
    /// Temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, no penalties (window 64), seed 0.
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            penalty_window: 64,
            seed: 0,
        }
    }
}

impl SamplerOptions {
    /// Divides the logits before the draw: below 1 the likely tokens become likelier, above 1 less so. 0 always takes the
    /// best token (greedy).
    ///
    /// # Errors
    /// Negative, infinite or not a number.
    pub fn set_temperature(&mut self, value: f32) -> Result<()> {
        self.temperature = checked("temperature", value, (0.0..=f32::MAX).contains(&value), "at least 0")?;
        Ok(())
    }

    /// Keeps the `value` best tokens; 0 or more than the vocabulary keeps all.
    pub fn set_top_k(&mut self, value: usize) {
        self.top_k = value;
    }

    /// Keeps the fewest best tokens whose probabilities reach `value` together, at least one; 1 keeps all. (Nucleus
    /// sampling, Holtzman et al. 2019.)
    ///
    /// # Errors
    /// Outside 0 to 1.
    pub fn set_top_p(&mut self, value: f32) -> Result<()> {
        self.top_p = checked("top_p", value, (0.0..=1.0).contains(&value), "from 0 to 1")?;
        Ok(())
    }

    /// Keeps the tokens that are at least `value` times as probable as the best one; 0 keeps all. (Nguyen et al. 2024.)
    ///
    /// # Errors
    /// Outside 0 to 1.
    pub fn set_min_p(&mut self, value: f32) -> Result<()> {
        self.min_p = checked("min_p", value, (0.0..=1.0).contains(&value), "from 0 to 1")?;
        Ok(())
    }

    /// Positive logits of tokens in the window are divided by `value`, negative ones multiplied; 1 is off, above 1
    /// discourages. (Keskar et al. 2019.)
    ///
    /// # Errors
    /// Not above 0, infinite or not a number.
    pub fn set_repetition_penalty(&mut self, value: f32) -> Result<()> {
        let valid = value > 0.0 && value.is_finite();
        self.repetition_penalty = checked("repetition_penalty", value, valid, "above 0")?;
        Ok(())
    }

    /// Subtracted from a token's logit as often as the token stands in the window; 0 is off, negative encourages.
    ///
    /// # Errors
    /// Infinite or not a number.
    pub fn set_frequency_penalty(&mut self, value: f32) -> Result<()> {
        self.frequency_penalty = checked("frequency_penalty", value, value.is_finite(), "finite")?;
        Ok(())
    }

    /// Subtracted once from the logit of every token in the window; 0 is off, negative encourages.
    ///
    /// # Errors
    /// Infinite or not a number.
    pub fn set_presence_penalty(&mut self, value: f32) -> Result<()> {
        self.presence_penalty = checked("presence_penalty", value, value.is_finite(), "finite")?;
        Ok(())
    }

    /// How many of the last tokens, prompt included, the penalties look at: 0 none, more than there are means all.
    pub fn set_penalty_window(&mut self, value: usize) {
        self.penalty_window = value;
    }

    /// Chooses the random numbers: same seed, same model, same prompt give the same text. The default is fixed, too;
    /// a caller who wants variety passes a number of its own.
    pub fn set_seed(&mut self, value: u64) {
        self.seed = value;
    }

    /// Whether any penalty has an effect.
    pub(super) fn penalizes(&self) -> bool {
        self.penalty_window > 0
            && (self.repetition_penalty != 1.0 || self.frequency_penalty != 0.0 || self.presence_penalty != 0.0)
    }
}

/// `value`, or an error that names it.
fn checked(name: &str, value: f32, valid: bool, range: &str) -> Result<f32> {
    if valid { Ok(value) } else { Err(Error::InvalidArgument(format!("{name} must be {range}, not {value}"))) }
}
