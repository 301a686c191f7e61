//! Whole operations: check shapes, split outputs over threads, call kernels. One file per operation.
//!
//! Work is always split by outputs, never along a summed index, so thread counts never change a result.

mod attention;
mod blocks;
mod conv;
mod embed;
mod experts;
mod linear;
mod norm;
mod pace;
mod per_head;
mod pool;
mod recurrence;
mod rope;
mod route;
mod tiling;

pub use attention::{AttentionArgs, AttentionLayer, AttentionScratch, KvBlocks, KvBlocksMut, KvElement, attention};
pub use conv::{ConvArgs, Taps, convolve};
pub use embed::{EmbedArgs, embed};
pub use experts::{ExpertsArgs, ExpertsScratch, ExpertsShape, Stack, experts};
pub use linear::{Gate, LinearScratch, LinearShape, Part, Source, Weights, linear, softcap};
pub use norm::{Norm, NormArgs, add_gated, gate, norm};
pub use pace::{Pace, Progress};
pub use per_head::{PerHeadArgs, PerHeadScratch, per_head, place};
pub use pool::{Dense, Embedding, Finish, PoolArgs, Pooling, pool};
pub use recurrence::{CHANNELS, Channels, ChannelsArgs, Heads, HeadsArgs, KeyHeads, Rule, States, recur, scan};
pub use rope::{Angles, MAX_HEAD_DIM, RopeArgs, RopeParams, Rotation, Scaling, rope, rope_and_store};
pub use route::{Pick, Router, Scoring};
pub use tiling::Tiling;

use crate::kernels::{Kernels, Window};
use crate::quant::Precision;
use crate::threads::Pool;
use std::marker::PhantomData;

/// What an operation runs on.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    /// The inner loops.
    pub kernels: &'a Kernels,
    /// The threads.
    pub pool: &'a Pool,
    /// How far to go.
    pub pace: &'a Pace<'a>,
    /// How activations are quantized.
    pub precision: Precision,
    /// How large pieces of work are.
    pub tiling: Tiling,
}

impl Machine<'_> {
    /// One region of an operation: runs the units on the pool, or right here when there are fewer than `worthwhile`
    /// elements to touch, because handing work to another core costs about a microsecond.
    ///
    /// Everything that an operation changes it changes in regions: one that was stopped is called again with the same
    /// arguments, and what its regions have done already is skipped (see [`Pace`]).
    fn run(&self, units: usize, elements: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        const WORTHWHILE: usize = 16 * 1024;
        let Some(first) = self.pace.enter() else { return };
        let reached = if elements < WORTHWHILE {
            (first..units).for_each(|unit| task(0, unit));
            units
        } else {
            self.pool.run(first..units, &|| self.pace.is_over(), task)
        };
        self.pace.leave(reached, units);
    }
}

/// Copies the values, or zeros where there are none.
fn copy_or_clear(out: &mut [f32], from: Option<&[f32]>) {
    match from {
        Some(from) => out.copy_from_slice(from),
        None => out.fill(0.0),
    }
}

impl Shared<'_, f32> {
    /// A window from element `start` on, for rows `stride` apart.
    fn window(&self, start: usize, stride: usize) -> Window {
        Window { ptr: self.ptr.wrapping_add(start), stride }
    }
}

/// A slice that several threads write, each its own parts: what `&mut` cannot express.
#[derive(Clone, Copy)]
pub struct Shared<'a, T> {
    ptr: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: parts are handed out only by `part`, whose contract is that they do not overlap.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    /// Takes the slice over for as long as it is borrowed.
    #[must_use]
    pub fn new(slice: &'a mut [T]) -> Self {
        Shared { ptr: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// The elements `start..start + len`.
    ///
    /// # Safety
    /// While the part lives, nobody else may hold a part that overlaps it.
    #[allow(clippy::mut_from_ref)]
    #[must_use]
    pub unsafe fn part(&self, start: usize, len: usize) -> &'a mut [T] {
        assert!(start.checked_add(len).is_some_and(|end| end <= self.len), "part within the slice");
        // SAFETY: in bounds by the assertion; exclusive by the contract.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(start), len) }
    }
}
