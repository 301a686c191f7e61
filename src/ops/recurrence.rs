//! Linear recurrences: state-space layers and linear attention. Tokens are taken one by one in ascending order, so that neither
//! the batch nor a split of the prompt shows in the result; threads share the heads.

use super::{Machine, Shared, copy_or_clear};
use crate::kernels::{Activation, RecurArgs, ScanArgs};

/// Which key head belongs to a value head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyHeads {
    /// Neighbours share a key head.
    Grouped,
    /// Key heads take turns.
    Tiled,
}

/// What a recurrence adds to its state.
#[derive(Clone, Debug)]
pub enum Rule {
    /// The values times the step (Mamba-2), and beside the state each value times the gain of its head.
    Step {
        /// One per head.
        gains: Vec<f32>,
    },
    /// What the values differ in from what the state holds for the key, times a rate (delta rule).
    Delta,
}

/// A layer of heads with a state each, as matrices of `key_dim` times `value_dim`.
#[derive(Clone, Debug)]
pub struct Heads {
    /// Heads of the values.
    pub heads: usize,
    /// Heads of keys and queries; a divisor of `heads`.
    pub key_heads: usize,
    /// How they are shared.
    pub sharing: KeyHeads,
    /// Elements of a key or query head.
    pub key_dim: usize,
    /// Elements of a value head.
    pub value_dim: usize,
    /// Logarithm of what one unit of the step leaves of the state, per head.
    pub decay: Vec<f32>,
    /// Added to the steps before their softplus, per head.
    pub step_bias: Vec<f32>,
    /// What is added.
    pub rule: Rule,
}

impl Heads {
    /// Floats of the states.
    #[must_use]
    pub fn state(&self) -> usize {
        self.heads * self.key_dim * self.value_dim
    }
}

/// The state of a layer in front of the first token and behind the last one.
pub struct States<'a> {
    /// `None`: zeros.
    pub before: Option<&'a [f32]>,
    /// Receives the other.
    pub after: &'a mut [f32],
}

/// Arguments of [`recur`]: a row per token each.
pub struct HeadsArgs<'a> {
    /// The layer.
    pub layer: &'a Heads,
    /// `key_heads * key_dim` wide: what states are read by.
    pub query: &'a [f32],
    /// `key_heads * key_dim` wide: what states are reached by.
    pub key: &'a [f32],
    /// `heads * value_dim` wide.
    pub value: &'a [f32],
    /// One per head: steps, before bias and softplus.
    pub step: &'a [f32],
    /// One per head, for the delta rule: rates, before the sigmoid.
    pub rate: Option<&'a [f32]>,
    /// As wide as `value`.
    pub out: &'a mut [f32],
    /// The states.
    pub states: States<'a>,
}

/// Runs tokens through states that decay as a whole.
///
/// # Panics
/// When shapes disagree.
pub fn recur(machine: Machine, args: HeadsArgs) {
    let HeadsArgs { layer, query, key, value, step, rate, states, .. } = args;
    let Heads { heads, key_heads, key_dim, value_dim, .. } = *layer;
    let tokens = step.len() / heads;
    assert!(step.len() == tokens * heads && rate.is_none_or(|rate| rate.len() == step.len()), "steps");
    assert!(query.len() == tokens * key_heads * key_dim && key.len() == query.len(), "keys");
    assert!(value.len() == tokens * heads * value_dim && args.out.len() == value.len(), "values");
    let size = key_dim * value_dim;
    let (out, after) = (Shared::new(args.out), Shared::new(states.after));
    machine.run(heads, tokens * heads * size, &|_, head| {
        // SAFETY: one state per unit.
        let state = unsafe { after.part(head * size, size) };
        copy_or_clear(state, states.before.map(|before| &before[head * size..(head + 1) * size]));
        let key_head = match layer.sharing {
            KeyHeads::Grouped => head / (heads / key_heads),
            KeyHeads::Tiled => head % key_heads,
        };
        let kernels = machine.kernels;
        for token in 0..tokens {
            let mut scalars = [step[token * heads + head] + layer.step_bias[head]];
            kernels.activate(&mut scalars, Activation::Softplus);
            let [step] = scalars;
            let mut rates = [rate.map_or(0.0, |rate| rate[token * heads + head])];
            kernels.activate(&mut rates, Activation::Sigmoid);
            let [rate] = rates;
            let own = (token * heads + head) * value_dim..(token * heads + head + 1) * value_dim;
            let shared = (token * key_heads + key_head) * key_dim..(token * key_heads + key_head + 1) * key_dim;
            // SAFETY: one head per unit.
            let out = unsafe { out.part(own.start, value_dim) };
            let (value, decay) = (&value[own], step * layer.decay[head]);
            let (rate, delta) = if let Rule::Delta = layer.rule { (rate, true) } else { (step, false) };
            let (query, key) = (&query[shared.clone()], &key[shared]);
            kernels.recur(&mut RecurArgs { state: &mut *state, key, query, value, decay, rate, delta, out: &mut *out });
            if let Rule::Step { gains } = &layer.rule {
                kernels.add_scaled(out, value, gains[head]);
            }
        }
    });
}

/// Channels of a unit of [`scan`], in whose parts states and decays stand.
pub const CHANNELS: usize = 64;

/// A layer of channels with a column of `key_dim` elements each, all of which decay by themselves (Mamba).
#[derive(Clone, Debug)]
pub struct Channels {
    /// Elements of a key or query, which all channels share.
    pub key_dim: usize,
    /// Logarithm of what one unit of the step leaves of an element: for every [`CHANNELS`] channels, of which the last may be
    /// fewer, one row of channels per element of a key. The state is laid out alike.
    pub decay: Vec<f32>,
    /// Beside the state, each value counts this much; one per channel.
    pub gains: Vec<f32>,
}

/// Arguments of [`scan`]: a row per token each.
pub struct ChannelsArgs<'a> {
    /// The layer.
    pub layer: &'a Channels,
    /// `key_dim` wide: what states are read by.
    pub query: &'a [f32],
    /// `key_dim` wide: what states are reached by.
    pub key: &'a [f32],
    /// One per channel.
    pub value: &'a [f32],
    /// One per channel: steps, before softplus.
    pub step: &'a [f32],
    /// One per channel.
    pub out: &'a mut [f32],
    /// The states.
    pub states: States<'a>,
}

/// Runs tokens through states that decay by elements.
///
/// # Panics
/// When shapes disagree.
pub fn scan(machine: Machine, args: ChannelsArgs) {
    let ChannelsArgs { layer, query, key, value, step, states, .. } = args;
    let (width, key_dim) = (layer.gains.len(), layer.key_dim);
    let tokens = key.len() / key_dim;
    assert!(key.len() == tokens * key_dim && query.len() == key.len(), "keys");
    assert!(value.len() == tokens * width && step.len() == value.len() && args.out.len() == value.len(), "channels");
    let (out, after) = (Shared::new(args.out), Shared::new(states.after));
    // An exponential takes about as long as ten multiplications.
    machine.run(width.div_ceil(CHANNELS), 10 * tokens * layer.decay.len(), &|_, part| {
        let (first, channels) = (part * CHANNELS, CHANNELS.min(width - part * CHANNELS));
        let own = first * key_dim..(first + channels) * key_dim;
        // SAFETY: one part of the state per unit.
        let state = unsafe { after.part(own.start, own.len()) };
        copy_or_clear(state, states.before.map(|before| &before[own.clone()]));
        let (decay, kernels) = (&layer.decay[own], machine.kernels);
        for token in 0..tokens {
            let (at, keys) = (token * width + first, token * key_dim..(token + 1) * key_dim);
            let mut steps = [0.0; CHANNELS];
            let steps = &mut steps[..channels];
            steps.copy_from_slice(&step[at..at + channels]);
            kernels.activate(steps, Activation::Softplus);
            // SAFETY: one part of a row per unit.
            let out = unsafe { out.part(at, channels) };
            let (query, key, value) = (&query[keys.clone()], &key[keys], &value[at..at + channels]);
            kernels.scan(&mut ScanArgs { state: &mut *state, decay, step: steps, key, query, value, out: &mut *out });
            kernels.multiply_add(out, value, &layer.gains[first..first + channels]);
        }
    });
}
