//! From the vectors of a sequence's tokens to its embedding.
//!
//! Sources: Sentence-BERT (Reimers and Gurevych 2019) for pooling, BERT (Devlin et al. 2019) for the classifier on top. Sums
//! go through the tokens in ascending order, so that batches and threads never show.

use super::route::softmax;
use super::{LinearScratch, Machine, Norm, NormArgs, Part, Shared, Source, Weights, linear, norm};
use crate::error::{Error, Result};
use crate::kernels::Activation;
use crate::tensor::{Buffer, Memory};
use std::ops::Range;

/// How the vectors of tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// They do not: each token keeps its own.
    None,
    /// Their mean.
    Mean,
    /// That of the first token.
    Cls,
    /// That of the last token.
    Last,
    /// One of these, as the model has it, and a classifier behind it: a score for each of its labels.
    Rank,
}

/// What happens to an embedding in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Nothing.
    None,
    /// Its length becomes 1.
    UnitLength,
    /// Scores become probabilities.
    Softmax,
}

/// A layer behind the pooling.
pub struct Dense<'a> {
    /// A norm in front of the product.
    pub norm: Option<&'a Norm>,
    /// The matrix.
    pub weights: Weights<'a>,
    /// Added to the product.
    pub bias: Option<&'a [f32]>,
    /// What the sum goes through.
    pub activation: Option<Activation>,
}

/// The embedding of a sequence, gathered pass by pass.
pub struct Embedding {
    pooling: Pooling,
    /// What [`Pooling::Rank`] is in this model; otherwise the same.
    gathering: Pooling,
    finish: Finish,
    width: usize,
    /// One row, or a row for each position: sums and copies of the tokens' vectors.
    gathered: Buffer<f32>,
    /// The pooled vector, and what each layer behind the pooling makes of it.
    layers: Vec<Vec<f32>>,
}

impl Embedding {
    /// Room for sequences of up to `context` tokens whose vectors have a length of `width`, pooled in this way (`classified`
    /// stands for [`Pooling::Rank`]), and then go through layers with these many outputs.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(
        memory: &mut Memory,
        pooling: Pooling,
        classified: Pooling,
        finish: Finish,
        width: usize,
        layers: impl Iterator<Item = usize>,
        context: usize,
    ) -> Result<Embedding> {
        let rows = if pooling == Pooling::None { context } else { 1 };
        let gathered = memory.buffer(rows.checked_mul(width).ok_or(Error::OutOfMemory)?)?;
        let layers = std::iter::once(width).chain(layers).map(|width| memory.vec(width, 0.0)).collect::<Result<_>>()?;
        let gathering = if pooling == Pooling::Rank { classified } else { pooling };
        Ok(Embedding { pooling, gathering, finish, width, gathered, layers })
    }

    /// How vectors are pooled.
    #[must_use]
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// The values, after the last of `tokens` tokens.
    #[must_use]
    pub fn values(&self, tokens: usize) -> &[f32] {
        match self.pooling {
            Pooling::None => &self.gathered[..tokens * self.width],
            _ => self.layers.last().map_or(&[], Vec::as_slice),
        }
    }

    /// Whether every token shows in it, so that tokens that are taken back cannot be taken out.
    #[must_use]
    pub fn mixes(&self) -> bool {
        self.gathering == Pooling::Mean
    }

    /// Which of `tokens` tokens it looks at when the first of them is at position `start`.
    fn wanted(&self, start: usize, tokens: usize) -> Range<usize> {
        match self.gathering {
            Pooling::None | Pooling::Mean => 0..tokens,
            Pooling::Cls => 0..tokens.min(usize::from(start == 0)),
            Pooling::Last | Pooling::Rank => tokens.saturating_sub(1)..tokens,
        }
    }
}

/// Arguments of [`pool`].
pub struct PoolArgs<'a> {
    /// The vectors of consecutive tokens, `embedding`'s width each.
    pub x: &'a [f32],
    /// A norm that they go through before, and room for its results.
    pub norm: Option<(&'a Norm, &'a mut [f32])>,
    /// Position of the first token.
    pub start: usize,
    /// Whether the last token is the last of its sequence.
    pub last: bool,
}

/// Adds tokens to an embedding and, behind the last one, completes it; `head` are the layers behind the pooling, `scratch`
/// has room for one row per thread.
///
/// # Panics
/// When shapes disagree.
pub fn pool<'a>(
    machine: Machine,
    args: PoolArgs,
    head: impl IntoIterator<Item = Dense<'a>>,
    embedding: &mut Embedding,
    (rows_scratch, linear_scratch): (&mut [f32], &mut LinearScratch),
) {
    let PoolArgs { x, norm: normalize, start, last } = args;
    let (width, count) = (embedding.width, args.x.len() / embedding.width);
    let wanted = embedding.wanted(start, count);
    let (first, tokens) = (start + wanted.start, wanted.len());
    let x = &x[wanted.start * width..wanted.end * width];
    let x = match normalize {
        Some((params, out)) if tokens > 0 => {
            let out = &mut out[..tokens * width];
            norm(machine, NormArgs { x: Some(x), norm: params, out: &mut *out, residual: None, tokens }, rows_scratch);
            out
        }
        _ => x,
    };
    if tokens > 0 {
        gather(machine, x, first, embedding);
    }
    if last && embedding.pooling != Pooling::None {
        complete(machine, start + count, head, embedding, linear_scratch);
    }
}

/// Columns of a unit.
const UNIT: usize = 64;

fn gather(machine: Machine, x: &[f32], first: usize, embedding: &mut Embedding) {
    let Embedding { width, gathering, finish, .. } = *embedding;
    let elements = x.len();
    let gathered = Shared::new(&mut embedding.gathered);
    if gathering == Pooling::None {
        machine.run(elements / width, elements, &|_, token| {
            // SAFETY: one row per unit.
            let row = unsafe { gathered.part((first + token) * width, width) };
            row.copy_from_slice(&x[token * width..(token + 1) * width]);
            finish.apply(row);
        });
        return;
    }
    machine.run(width.div_ceil(UNIT), elements, &|_, unit| {
        let columns = unit * UNIT..width.min((unit + 1) * UNIT);
        // SAFETY: these columns are this unit's.
        let sum = unsafe { gathered.part(columns.start, columns.len()) };
        for (token, row) in x.chunks_exact(width).enumerate() {
            let row = &row[columns.clone()];
            if gathering == Pooling::Mean && first + token > 0 {
                machine.kernels.add(sum, row);
            } else {
                sum.copy_from_slice(row);
            }
        }
    });
}

/// Every step is a region: what an earlier run has done is not done twice.
fn complete<'a>(
    machine: Machine,
    tokens: usize,
    head: impl IntoIterator<Item = Dense<'a>>,
    embedding: &mut Embedding,
    scratch: &mut LinearScratch,
) {
    let Embedding { gathering, finish, gathered, layers, .. } = embedding;
    let whole = |values: &mut Vec<f32>, change: &(dyn Fn(&mut [f32]) + Sync)| {
        let len = values.len();
        let values = Shared::new(values);
        // SAFETY: there is one unit, and nobody else holds the values.
        machine.run(1, len, &|_, _| change(unsafe { values.part(0, len) }));
    };
    let Some((pooled, mut rest)) = layers.split_first_mut() else { return };
    let divisor = if *gathering == Pooling::Mean { tokens as f32 } else { 1.0 };
    whole(pooled, &|pooled| pooled.iter_mut().zip(gathered.iter()).for_each(|(out, sum)| *out = sum / divisor));
    let mut values = pooled;
    for Dense { norm, weights, bias, activation } in head {
        let Some((out, others)) = rest.split_first_mut() else { break };
        let source = norm.map_or(Source::Plain(values), |norm| Source::Norm(values, norm));
        linear(machine, source, 1, [Part { weights, bias, out: &mut *out, scale: 1.0, gate: None, residual: None }], scratch);
        if let Some(activation) = activation {
            whole(out, &|out| machine.kernels.activate(out, activation));
        }
        (values, rest) = (out, others);
    }
    whole(values, &|values| finish.apply(values));
}

impl Finish {
    fn apply(self, values: &mut [f32]) {
        match self {
            Finish::None => {}
            Finish::Softmax => softmax(values, |value| value),
            Finish::UnitLength => {
                let length = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
                if length > 0.0 {
                    values.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
                }
            }
        }
    }
}
