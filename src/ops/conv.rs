//! Short convolution along the sequence, channel by channel.
//!
//! Sources: Mamba (Gu and Dao 2023), LFM2 (Liquid AI 2025).

use super::{Machine, Shared, States, copy_or_clear};
use crate::kernels::Activation;

/// The weights of a convolution.
#[derive(Clone, Debug)]
pub struct Taps {
    /// Positions that an output sees, its own included.
    pub count: usize,
    /// `count` rows of one weight per channel, oldest position first.
    pub weights: Vec<f32>,
    /// Added, one per channel.
    pub bias: Option<Vec<f32>>,
}

impl Taps {
    /// Channels.
    #[must_use]
    pub fn width(&self) -> usize {
        self.weights.len() / self.count
    }

    /// Floats that the next tokens need of those before: the last rows of the input.
    #[must_use]
    pub fn state(&self) -> usize {
        self.weights.len() - self.width()
    }
}

/// Arguments of [`convolve`]: rows of one value per channel, one per token.
pub struct ConvArgs<'a> {
    /// The input.
    pub x: &'a [f32],
    /// Receives the result.
    pub out: &'a mut [f32],
    /// The weights.
    pub taps: &'a Taps,
    /// What the result goes through.
    pub activation: Activation,
    /// Position of the first token.
    pub start: usize,
    /// The `count - 1` input rows in front of the first token, and the last ones.
    pub states: States<'a>,
}

/// `out = activation(bias + sum over taps of weight * x)`, one fma chain per channel ascending over positions; what lies in front
/// of position 0 is left out.
///
/// # Panics
/// When shapes disagree.
pub fn convolve(machine: Machine, args: ConvArgs) {
    let ConvArgs { x, taps, activation, start, states: States { before, after }, .. } = args;
    let (width, kept) = (taps.width(), taps.count - 1);
    let tokens = x.len() / width;
    assert!(x.len() == tokens * width && args.out.len() == x.len(), "convolution rows");
    assert!(after.len() == kept * width && before.is_none_or(|before| before.len() == kept * width), "convolution state");
    // The input row of an index that counts from the first one of `before`.
    let row = |index: usize| match (index.checked_sub(kept), before) {
        (Some(token), _) => Some(&x[token * width..(token + 1) * width]),
        (None, Some(before)) => Some(&before[index * width..(index + 1) * width]),
        (None, None) => None,
    };
    let (out, after) = (Shared::new(args.out), Shared::new(after));
    // One unit more: the rows that are kept.
    machine.run(tokens + 1, tokens * width * taps.count, &|_, token| {
        if token == tokens {
            for index in 0..kept {
                // SAFETY: this unit alone writes the kept rows.
                copy_or_clear(unsafe { after.part(index * width, width) }, row(tokens + index));
            }
            return;
        }
        // SAFETY: one row per unit.
        let out = unsafe { out.part(token * width, width) };
        copy_or_clear(out, taps.bias.as_deref());
        let missing = kept.saturating_sub(start + token);
        for (tap, weights) in taps.weights.chunks_exact(width).enumerate().skip(missing) {
            if let Some(row) = row(token + tap) {
                machine.kernels.multiply_add(out, weights, row);
            }
        }
        machine.kernels.activate(out, activation);
    });
}
