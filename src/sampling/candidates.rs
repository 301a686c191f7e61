//! The tokens still in the running, and how to cut them down without sorting the vocabulary.

use crate::error::{Error, Result};
use crate::tensor::Memory;

/// Logits per chunk of the survey: small enough that the chunks of the best tokens hold little else.
const CHUNK: usize = 64;

/// A token with its place in the ranking: ascending order of ranks is descending order of logits, and ascending ids among
/// equal logits. The upper half is the logit, its bits mapped to that order; the lower half is the id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(u64);

impl Rank {
    fn new(id: usize, logit: f32) -> Self {
        // Adding zero makes one zero of the two.
        let bits = (logit + 0.0).to_bits();
        let ascending = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
        Self(u64::from(!ascending) << 32 | id as u64)
    }

    pub(super) fn id(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }
}

/// The candidates of one call. At first all tokens, implicitly; the first cut makes a list of them.
pub(super) struct Candidates {
    logits: Vec<f32>,
    /// The largest logit of every chunk.
    peaks: Vec<f32>,
    /// The largest logit.
    max: f32,
    /// The candidates, in no order, once `listed`. Holds capacity for all tokens.
    list: Vec<Rank>,
    listed: bool,
}

impl Candidates {
    pub(super) fn new(memory: &mut Memory, vocab: usize) -> Result<Self> {
        Ok(Self {
            logits: memory.vec(vocab, 0.0)?,
            peaks: memory.vec(vocab.div_ceil(CHUNK), 0.0)?,
            max: 0.0,
            list: memory.room(vocab)?,
            listed: false,
        })
    }

    /// Starts over with all tokens. [`survey`](Self::survey) must follow, when the logits are final.
    pub(super) fn load(&mut self, logits: &[f32]) -> Result<()> {
        let (vocab, given) = (self.logits.len(), logits.len());
        if given != vocab {
            return Err(Error::InvalidArgument(format!("{given} logits for a vocabulary of {vocab} tokens")));
        }
        self.logits.copy_from_slice(logits);
        self.listed = false;
        Ok(())
    }

    pub(super) fn logits_mut(&mut self) -> &mut [f32] {
        &mut self.logits
    }

    /// Finds the largest logit of every chunk and of all, and refuses values that cannot be ranked.
    pub(super) fn survey(&mut self) -> Result<()> {
        for (chunk, peak) in self.logits.chunks(CHUNK).zip(&mut self.peaks) {
            *peak = largest(chunk);
        }
        self.max = largest(&self.peaks);
        if self.max.is_nan() || self.max == f32::INFINITY {
            let wrong = |logit: &f32| logit.is_nan() || *logit == f32::INFINITY;
            let id = self.logits.iter().position(wrong).unwrap_or_default();
            return Err(Error::InvalidModel(format!("the logit of token {id} is {}", self.logits[id])));
        }
        if self.max == f32::NEG_INFINITY {
            return Err(Error::InvalidModel("every token is excluded: all logits are minus infinity".to_owned()));
        }
        Ok(())
    }

    /// The first token of the ranking.
    pub(super) fn best(&self) -> i32 {
        self.logits.iter().position(|&logit| logit == self.max).unwrap_or_default() as i32
    }

    /// The largest logit.
    pub(super) fn max(&self) -> f32 {
        self.max
    }

    /// How many candidates there are.
    pub(super) fn len(&self) -> usize {
        if self.listed { self.list.len() } else { self.logits.len() }
    }

    /// Cuts to the `count` best, at least one.
    pub(super) fn keep_best(&mut self, count: usize) {
        let count = count.max(1);
        if count >= self.len() {
            return;
        }
        if !self.listed {
            // As many chunks reach the count-th highest peak as tokens are wanted, so no wanted token is below it.
            let bound = if count <= self.peaks.len() {
                self.list.clear();
                self.list.extend(self.peaks.iter().enumerate().map(|(id, &peak)| Rank::new(id, peak)));
                let (_, rank, _) = self.list.select_nth_unstable(count - 1);
                self.peaks[rank.id()]
            } else {
                f32::NEG_INFINITY
            };
            self.keep_above(bound);
        }
        if count < self.list.len() {
            self.list.select_nth_unstable(count - 1);
            self.list.truncate(count);
        }
    }

    /// Cuts to the tokens whose logit is at least `bound`.
    pub(super) fn keep_above(&mut self, bound: f32) {
        let Self { logits, peaks, list, listed, .. } = self;
        if *listed {
            list.retain(|rank| logits[rank.id()] >= bound);
            return;
        }
        list.clear();
        for (index, (chunk, &peak)) in logits.chunks(CHUNK).zip(peaks.iter()).enumerate() {
            if peak >= bound {
                let first = index * CHUNK;
                let ranked = chunk.iter().enumerate().filter(|&(_, &logit)| logit >= bound);
                list.extend(ranked.map(|(offset, &logit)| Rank::new(first + offset, logit)));
            }
        }
        *listed = true;
    }

    /// Cuts to the fewest best, at least one, whose weights reach `mass`. The candidates must be listed.
    pub(super) fn keep_mass(&mut self, mass: f64) {
        let (mut start, mut end, mut missing) = (0, self.list.len(), mass);
        // A quickselect by weight: the cut lies in start..end, and what stands before start is in.
        while end - start > 32 {
            let middle = (end - start) / 2;
            self.list[start..end].select_nth_unstable(middle);
            let head: f64 = self.list[start..start + middle].iter().map(|&rank| self.weight(rank)).sum();
            if head >= missing {
                end = start + middle;
            } else {
                (start, missing) = (start + middle, missing - head);
            }
        }
        self.list[start..end].sort_unstable();
        while start < end && (missing > 0.0 || start == 0) {
            missing -= self.weight(self.list[start]);
            start += 1;
        }
        self.list.truncate(start);
    }

    /// The sum of the weights of all candidates.
    pub(super) fn mass(&mut self) -> f64 {
        let max = self.max;
        if self.listed {
            self.list.sort_unstable_by_key(|rank| rank.id());
            self.list.iter().map(|&rank| self.weight(rank)).sum()
        } else {
            self.logits.iter().map(|&logit| weight(logit, max)).sum()
        }
    }

    fn weight(&self, rank: Rank) -> f64 {
        weight(self.logits[rank.id()], self.max)
    }

    /// Calls `visit` with the id and the logit of every candidate in ascending order of ids, until it answers true.
    pub(super) fn find(&mut self, mut visit: impl FnMut(usize, &mut f32) -> bool) {
        let Self { logits, list, listed, .. } = self;
        if *listed {
            list.sort_unstable_by_key(|rank| rank.id());
            list.iter().any(|rank| visit(rank.id(), &mut logits[rank.id()]));
        } else {
            logits.iter_mut().enumerate().any(|(id, logit)| visit(id, logit));
        }
    }
}

/// The largest value; not a number if any is not.
fn largest(values: &[f32]) -> f32 {
    let larger = |max: &mut f32, value: f32| {
        // False for NaN on either side, so NaN gets in and stays.
        let keep = (value <= *max) | max.is_nan();
        *max = if keep { *max } else { value };
    };
    // Independent lanes, for the compiler to make vectors of.
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (groups, rest) = values.as_chunks::<16>();
    for group in groups {
        lanes.iter_mut().zip(group).for_each(|(lane, &value)| larger(lane, value));
    }
    let mut max = f32::NEG_INFINITY;
    lanes.iter().chain(rest).for_each(|&value| larger(&mut max, value));
    max
}

/// The probability of a token, times what makes that of the best one 1.
fn weight(logit: f32, max: f32) -> f64 {
    f64::from(libm::expf(logit - max))
}
