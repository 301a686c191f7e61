//! Command R7B and its like (Cohere 2024): three blocks with a window and positions, then one that sees everything and knows
//! none.

use super::builder::{Attention, Builder};
use super::command_r::parallel_blocks;
use crate::error::Result;
use crate::kernels::RopeStyle;

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let rope = b.rope(RopeStyle::Interleaved)?;
    let window = b.keys.dimension("attention.sliding_window")?;
    let period = b.keys.dimension_or("attention.sliding_window_pattern", 4)?;
    parallel_blocks(b, |layer| {
        let local = layer % period != period - 1;
        Attention { rope: local.then_some(rope), window: local.then_some(window), ..Attention::default() }
    })
}
