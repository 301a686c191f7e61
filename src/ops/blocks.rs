//! Rows of activations become the blocks that products take.

use super::Shared;
use crate::kernels::Kernels;
use crate::quant::{ActBlock, BLOCK, Batch, PairBlock, Precision};

/// Room for the blocks of batches, each token of which is one thread's.
pub(super) struct Blocks<'a> {
    precision: Precision,
    blocks: Shared<'a, ActBlock>,
    pairs: Shared<'a, PairBlock>,
}

impl<'a> Blocks<'a> {
    /// Takes the room; that for pairs may be empty.
    pub fn new(precision: Precision, blocks: &'a mut [ActBlock], pairs: &'a mut [PairBlock]) -> Blocks<'a> {
        Blocks { precision, blocks: Shared::new(blocks), pairs: Shared::new(pairs) }
    }

    /// Quantizes the row of a token, given where its batch begins, its place there, and how many tokens there are; also makes pairs
    /// of it, for weights that reach so far.
    ///
    /// # Safety
    /// Nobody else reads or writes the blocks of this token meanwhile.
    pub unsafe fn fill(&self, kernels: &Kernels, x: &[f32], (first, token, tokens): (usize, usize, usize), reach: Option<u16>) {
        for (unit, x) in x.chunks(BLOCK).enumerate() {
            let place = first + <Batch>::place(tokens, token, unit);
            // SAFETY: the caller's promise.
            let block = unsafe { &mut self.blocks.part(place, 1)[0] };
            kernels.quantize(x, block, self.precision);
            if let Some(reach) = reach {
                // SAFETY: as above.
                kernels.pair(block, unsafe { &mut self.pairs.part(place, 1)[0] }, reach);
            }
        }
    }
}
