//! GPT-NeoX (Black et al. 2022) and Pythia: attention and feed-forward side by side, each behind a norm of its own.

use super::builder::{Attention, Builder, block};
use super::program::Input;
use crate::error::Result;
use crate::kernels::{Activation, RopeStyle};

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let width = b.params.width;
    let rope = Some(b.rope(RopeStyle::Halves)?);
    let parallel = b.keys.flag("use_parallel_residual", true)?;
    let x = b.embed(1.0)?;
    for layer in 0..b.params.layers {
        let mark = b.mark();
        let (first, second) = (b.layer_norm(&block(layer, "attn_norm"), width)?, b.layer_norm(&block(layer, "ffn_norm"), width)?);
        let attention = Attention { rope, ..Attention::default() };
        let input = if parallel {
            // Both read what the block began with.
            let normalized = b.normalized(x, second);
            b.attention(layer, Input::Norm(x, first), attention, x)?;
            Input::Plain(normalized)
        } else {
            b.attention(layer, Input::Norm(x, first), attention, x)?;
            Input::Norm(x, second)
        };
        b.feed_forward(layer, input, b.ungated(Activation::GeluErf), x)?;
        b.release(mark);
    }
    let norm = b.layer_norm("output_norm", width)?;
    b.logits(x, norm, 1.0, 0.0)
}
