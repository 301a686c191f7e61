//! Command R (Cohere 2024): attention and feed-forward side by side, layer norm without bias, scaled logits; the largest model
//! normalizes heads.

use super::builder::{Attention, Builder, QkNorm, block};
use super::program::Input;
use crate::error::Result;
use crate::kernels::{Activation, RopeStyle};

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let rope = Some(b.rope(RopeStyle::Interleaved)?);
    parallel_blocks(b, |_| Attention { rope, qk_norm: QkNorm::OptionalLayer, ..Attention::default() })
}

/// The blocks of Command R and its successors.
pub(super) fn parallel_blocks(b: &mut Builder, attention: impl Fn(usize) -> Attention) -> Result<()> {
    let width = b.params.width;
    let scale = b.keys.positive("logit_scale", None)? as f32;
    let x = b.embed(1.0)?;
    for layer in 0..b.params.layers {
        let mark = b.mark();
        let norm = b.layer_norm(&block(layer, "attn_norm"), width)?;
        let normalized = b.normalized(x, norm);
        b.attention(layer, Input::Plain(normalized), attention(layer), x)?;
        b.feed_forward(layer, Input::Plain(normalized), b.gated(Activation::Silu), x)?;
        b.release(mark);
    }
    let norm = b.layer_norm("output_norm", width)?;
    b.logits(x, norm, scale, 0.0)
}
