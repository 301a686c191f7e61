//! Gemma (Gemma team 2024): embeddings multiplied by the root of the width, GELU in the gate. Gains hold their 1 already.

use super::builder::{Attention, Builder, block};
use super::program::Input;
use crate::error::Result;
use crate::kernels::{Activation, RopeStyle};

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let width = b.params.width;
    let rope = Some(b.rope(RopeStyle::Halves)?);
    let x = b.embed((width as f32).sqrt())?;
    for layer in 0..b.params.layers {
        let norm = b.rms_norm(&block(layer, "attn_norm"), width)?;
        b.attention(layer, Input::Norm(x, norm), Attention { rope, ..Attention::default() }, x)?;
        let norm = b.rms_norm(&block(layer, "ffn_norm"), width)?;
        b.feed_forward(layer, Input::Norm(x, norm), b.gated(Activation::GeluTanh), x)?;
    }
    let norm = b.rms_norm("output_norm", width)?;
    b.logits(x, norm, 1.0, 0.0)
}
