//! StarCoder2 (Lozhkov et al. 2024): layer norm, biases everywhere, a feed-forward without a gate.

use super::builder::{Attention, Builder, block};
use super::program::Input;
use crate::error::Result;
use crate::kernels::{Activation, RopeStyle};

pub(super) fn build(b: &mut Builder) -> Result<()> {
    layer_norm_blocks(b, Activation::GeluTanh)
}

/// Blocks of layer norm, attention with rotary positions, and a feed-forward without a gate.
pub(super) fn layer_norm_blocks(b: &mut Builder, activation: Activation) -> Result<()> {
    let width = b.params.width;
    let rope = Some(b.rope(RopeStyle::Halves)?);
    let window = b.keys.optional_dimension("attention.sliding_window")?;
    let x = b.embed(1.0)?;
    for layer in 0..b.params.layers {
        let norm = b.layer_norm(&block(layer, "attn_norm"), width)?;
        b.attention(layer, Input::Norm(x, norm), Attention { rope, window, ..Attention::default() }, x)?;
        let norm = b.layer_norm(&block(layer, "ffn_norm"), width)?;
        b.feed_forward(layer, Input::Norm(x, norm), b.ungated(activation), x)?;
    }
    let norm = b.layer_norm("output_norm", width)?;
    b.logits(x, norm, 1.0, 0.0)
}
