//! Rotary position embedding, and the step that usually follows it: keys and values go into the cache.
//!
//! Sources: RoFormer (Su et al. 2021); linear scaling (Chen et al. 2023); YaRN (Peng et al. 2023, section 3); the
//! frequency smoothing of Llama 3.1, which files carry as one factor per frequency.

use super::{AttentionLayer, KvBlocksMut, KvElement, Machine, Shared};
use crate::kernels::{AttendArgs, KV_BLOCK, Kernels, RopeStyle};
use half::f16;

/// How a model stretches its context.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// All frequencies divided by the factor.
    Linear(f64),
    /// YaRN: high frequencies kept, low ones divided by `factor`, a ramp between, and a temperature on the result.
    Yarn {
        /// Context extension.
        factor: f64,
        /// Context length of the original training.
        original_context: f64,
        /// Rotations over the original context above which a frequency is kept.
        beta_fast: f64,
        /// Rotations below which a frequency is divided.
        beta_slow: f64,
        /// Multiplies the temperature.
        attention_factor: f64,
        /// Whether the ramp begins and ends at whole pairs.
        whole: bool,
    },
    /// Llama 3: frequencies of long wavelength divided by `factor`, a smooth step between.
    Llama3 {
        /// Context extension.
        factor: f64,
        /// Context length of the original training.
        original_context: f64,
        /// Wavelengths longer than `original_context / low` are divided.
        low: f64,
        /// Wavelengths shorter than `original_context / high` are kept.
        high: f64,
    },
    /// LongRoPE: frequencies as the file's factors have them, and a temperature on the result.
    Long {
        /// The temperature.
        attention_factor: f64,
    },
}

/// The rotation of a model: one angle per position and pair of elements.
#[derive(Clone, Debug)]
pub struct RopeParams {
    /// Which elements form a pair.
    pub style: RopeStyle,
    /// Radians per position, one for each pair.
    frequencies: Vec<f64>,
    /// What replaces them in contexts longer than a length.
    long: Option<(usize, Vec<f64>)>,
    /// Multiplies sine and cosine.
    magnitude: f64,
}

impl RopeParams {
    /// Frequencies `base^(-2i/dims)` for `dims / 2` pairs, scaled; `factors` (one per pair) divide them.
    #[must_use]
    pub fn new(style: RopeStyle, dims: usize, base: f64, scaling: Scaling, factors: Option<&[f32]>) -> RopeParams {
        let pairs = dims / 2;
        let magnitude = match scaling {
            Scaling::Yarn { factor, attention_factor, .. } => attention_factor * (1.0 + 0.1 * libm::log(factor.max(1.0))),
            Scaling::Long { attention_factor } => attention_factor,
            _ => 1.0,
        };
        let frequencies = (0..pairs)
            .map(|pair| {
                let original = libm::pow(base, -2.0 * pair as f64 / dims as f64);
                let original = original / factors.and_then(|factors| factors.get(pair)).map_or(1.0, |&factor| f64::from(factor));
                match scaling {
                    Scaling::None | Scaling::Long { .. } => original,
                    Scaling::Linear(factor) => original / factor,
                    Scaling::Yarn { factor, original_context, beta_fast, beta_slow, whole, .. } => {
                        // The pair that makes `rotations` turns over the original context.
                        let pair_of = |rotations: f64| {
                            dims as f64 * libm::log(original_context / (rotations * std::f64::consts::TAU))
                                / (2.0 * libm::log(base))
                        };
                        let (first, last) = (pair_of(beta_fast), pair_of(beta_slow));
                        let (first, last) = if whole { (libm::floor(first), libm::ceil(last)) } else { (first, last) };
                        let (first, last) = (first.max(0.0), last.min(dims as f64 - 1.0));
                        let ramp = ((pair as f64 - first) / (last - first).max(0.001)).clamp(0.0, 1.0);
                        original / factor * ramp + original * (1.0 - ramp)
                    }
                    Scaling::Llama3 { factor, original_context, low, high } => {
                        let turns = original_context * original / std::f64::consts::TAU;
                        let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                        original / factor * (1.0 - smooth) + original * smooth
                    }
                }
            })
            .collect();
        RopeParams { style, frequencies, long: None, magnitude }
    }

    /// The same, but with the frequencies of `long` in contexts of more than `context` positions.
    #[must_use]
    pub fn with_long(self, context: usize, long: RopeParams) -> RopeParams {
        RopeParams { long: Some((context, long.frequencies)), ..self }
    }

    fn frequencies(&self, context: usize) -> &[f64] {
        match &self.long {
            Some((limit, frequencies)) if context > *limit => frequencies,
            _ => &self.frequencies,
        }
    }

    /// Pairs that rotate: half of the rotated dimensions.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.frequencies.len()
    }
}

/// Sines and cosines of a batch: `tokens` rows of one value per pair.
pub struct Angles<'a> {
    /// Cosines.
    pub cos: &'a mut [f32],
    /// Sines.
    pub sin: &'a mut [f32],
}

impl Angles<'_> {
    /// Fills the rows for the positions from `start` on, in a session of up to `context` positions. In f64 and rounded
    /// once, so that every machine gets the same bits.
    pub fn fill(&mut self, machine: Machine, params: &RopeParams, context: usize, start: usize) {
        let (pairs, frequencies) = (params.pairs(), params.frequencies(context));
        let tokens = self.cos.len().checked_div(pairs).unwrap_or(0);
        let (cos, sin) = (Shared::new(self.cos), Shared::new(self.sin));
        // A sine takes about as long as a hundred multiplications.
        machine.run(tokens, tokens * pairs * 100, &|_, token| {
            // SAFETY: one row per unit.
            let (cos, sin) = unsafe { (cos.part(token * pairs, pairs), sin.part(token * pairs, pairs)) };
            let position = (start + token) as f64;
            for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(frequencies) {
                let (s, c) = libm::sincos(position * frequency);
                *cos = (c * params.magnitude) as f32;
                *sin = (s * params.magnitude) as f32;
            }
        });
    }
}

/// The angles of some tokens, and what they turn.
#[derive(Clone, Copy)]
pub struct Rotation<'a> {
    /// Which elements form a pair.
    pub style: RopeStyle,
    /// Pairs that turn.
    pub pairs: usize,
    /// A row of cosines per token.
    pub cos: &'a [f32],
    /// A row of sines per token.
    pub sin: &'a [f32],
    /// Elements in front of the first pair that stay.
    pub offset: usize,
}

impl Rotation<'_> {
    /// Turns nothing.
    pub const NONE: Rotation<'static> = Rotation { style: RopeStyle::Halves, pairs: 0, cos: &[], sin: &[], offset: 0 };

    fn apply(&self, kernels: &Kernels, token: usize, head: &mut [f32]) {
        if self.pairs > 0 {
            let row = token * self.pairs..(token + 1) * self.pairs;
            kernels.rope(&mut head[self.offset..], &self.cos[row.clone()], &self.sin[row], self.style);
        }
    }
}

/// Rotates the heads of `tokens` rows.
///
/// # Panics
/// When shapes disagree.
pub fn rope(machine: Machine, x: &mut [f32], head_dim: usize, tokens: usize, rotation: Rotation) {
    let width = x.len() / tokens;
    let rows = Shared::new(x);
    machine.run(tokens, tokens * width, &|_, token| {
        // SAFETY: one row per unit.
        let row = unsafe { rows.part(token * width, width) };
        row.chunks_exact_mut(head_dim).for_each(|head| rotation.apply(machine.kernels, token, head));
    });
}

/// Arguments of [`rope_and_store`].
pub struct RopeArgs<'a, T> {
    /// `tokens` rows of `heads * head_dim`; rotated in place.
    pub query: &'a mut [f32],
    /// `tokens` rows of `kv_heads * head_dim`; rotated in place.
    pub key: &'a mut [f32],
    /// `tokens` rows of `kv_heads * value_dim`.
    pub value: &'a [f32],
    /// What turns queries and keys.
    pub rotation: Rotation<'a>,
    /// The layer.
    pub layer: &'a AttentionLayer,
    /// Receives keys and values.
    pub cache: KvBlocksMut<'a, T>,
    /// Position of the first token.
    pub start: usize,
    /// Rows.
    pub tokens: usize,
}

/// Greatest head size: heads pass through the stack on their way to the cache.
pub const MAX_HEAD_DIM: usize = 1024;

/// Rotates queries and keys of consecutive positions and stores keys and values.
///
/// # Panics
/// When shapes disagree.
pub fn rope_and_store<T: KvElement>(machine: Machine, args: RopeArgs<T>) {
    let RopeArgs { start, tokens, rotation, value, .. } = args;
    let AttentionLayer { heads, kv_heads, head_dim, value_dim, .. } = *args.layer;
    let table = args.cache.table;
    assert!(head_dim <= MAX_HEAD_DIM && value_dim <= MAX_HEAD_DIM, "head size");
    assert_eq!(args.query.len(), tokens * heads * head_dim, "query size");
    assert_eq!(args.key.len(), tokens * kv_heads * head_dim, "key size");
    assert_eq!(value.len(), tokens * kv_heads * value_dim, "value size");
    let (query, key) = (Shared::new(args.query), Shared::new(args.key));
    let (keys, values) = (Shared::new(args.cache.keys), Shared::new(args.cache.values));
    let group = heads / kv_heads;
    // Split by heads: neighbouring positions of a key block share cache lines.
    machine.run(kv_heads, tokens * (heads + kv_heads) * head_dim, &|_, kv_head| {
        let mut narrow = [T::ZERO; MAX_HEAD_DIM];
        for token in 0..tokens {
            let position = start + token;
            // SAFETY: the heads of this KV head are this unit's, in every token.
            let (query, key) = unsafe {
                (
                    query.part((token * heads + kv_head * group) * head_dim, group * head_dim),
                    key.part((token * kv_heads + kv_head) * head_dim, head_dim),
                )
            };
            query.chunks_exact_mut(head_dim).for_each(|head| rotation.apply(machine.kernels, token, head));
            rotation.apply(machine.kernels, token, key);
            let block = table[position / KV_BLOCK] as usize * kv_heads + kv_head;
            let lane = position % KV_BLOCK;
            T::narrow(machine.kernels, key, &mut narrow[..head_dim]);
            // SAFETY: blocks of this KV head are this unit's.
            let keys = unsafe { keys.part(block * head_dim * KV_BLOCK, head_dim * KV_BLOCK) };
            for (row, &element) in keys.chunks_exact_mut(KV_BLOCK).zip(&narrow[..head_dim]) {
                row[lane] = element;
            }
            // SAFETY: as above.
            let row = unsafe { values.part((block * KV_BLOCK + lane) * value_dim, value_dim) };
            let from = (token * kv_heads + kv_head) * value_dim;
            T::narrow(machine.kernels, &value[from..from + value_dim], row);
        }
    });
}

impl KvElement for f16 {
    const ZERO: f16 = f16::ZERO;
    fn widen(self) -> f32 {
        self.to_f32()
    }
    fn narrow(kernels: &Kernels, x: &[f32], out: &mut [f16]) {
        kernels.narrow(x, out);
    }
    fn attend(kernels: &Kernels, args: &mut AttendArgs<f16>) {
        kernels.attend_f16(args);
    }
}

impl KvElement for f32 {
    const ZERO: f32 = 0.0;
    fn widen(self) -> f32 {
        self
    }
    fn narrow(_: &Kernels, x: &[f32], out: &mut [f32]) {
        out.copy_from_slice(x);
    }
    fn attend(kernels: &Kernels, args: &mut AttendArgs<f32>) {
        kernels.attend_f32(args);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(scaling: Scaling) -> Vec<f64> {
        RopeParams::new(RopeStyle::Interleaved, 64, 10_000.0, scaling, None).frequencies
    }

    #[test]
    fn scalings_keep_the_fast_pairs_and_divide_the_slow_ones() {
        let plain = frequencies(Scaling::None);
        assert_eq!(plain[0], 1.0);
        assert!((plain[16] - 0.01).abs() < 1e-12);
        let linear = frequencies(Scaling::Linear(4.0));
        assert!(linear.iter().zip(&plain).all(|(scaled, plain)| (scaled * 4.0 - plain).abs() < 1e-15));

        let yarn = Scaling::Yarn {
            factor: 4.0,
            original_context: 2048.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: 1.0,
            whole: true,
        };
        let llama3 = Scaling::Llama3 { factor: 4.0, original_context: 2048.0, low: 1.0, high: 4.0 };
        for scaling in [yarn, llama3] {
            let scaled = frequencies(scaling);
            let ratios: Vec<f64> = plain.iter().zip(&scaled).map(|(plain, scaled)| plain / scaled).collect();
            assert!((ratios[0] - 1.0).abs() < 1e-12 && (ratios[31] - 4.0).abs() < 1e-12, "{scaling:?}: {ratios:?}");
            assert!(ratios.is_sorted(), "{scaling:?}: {ratios:?}");
        }
        // YaRN, by hand: 32 turns over 2048 positions happen at pair 64 ln(2048 / (32 tau)) / (2 ln 10000) = 8.06, one turn at
        // 20.1, so the ramp runs from pair 8 to pair 21.
        let scaled = frequencies(yarn);
        assert_eq!(scaled[8], plain[8]);
        assert!((scaled[9] / plain[9] - (1.0 - 0.75 / 13.0)).abs() < 1e-12);
        assert!((scaled[21] - plain[21] / 4.0).abs() < 1e-15);
        let magnitude = RopeParams::new(RopeStyle::Interleaved, 64, 10_000.0, yarn, None).magnitude;
        assert!((magnitude - 1.138_629_436_111_989).abs() < 1e-12);
    }

    #[test]
    fn factors_divide_frequencies() {
        let factors: Vec<f32> = (0..32).map(|pair| 1.0 + pair as f32).collect();
        let divided = RopeParams::new(RopeStyle::Interleaved, 64, 10_000.0, Scaling::None, Some(&factors)).frequencies;
        let plain = frequencies(Scaling::None);
        assert!((0..32).all(|pair| (divided[pair] * (1.0 + pair as f64) - plain[pair]).abs() < 1e-15));
    }
}
