//! Granite 3 (IBM 2024): LLaMA with multipliers on embeddings, scores, residual sums and logits.

use super::builder::{Attention, Builder, Output, block};
use super::program::Input;
use crate::error::Result;
use crate::kernels::{Activation, RopeStyle};

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let width = b.params.width;
    let rope = Some(b.rope(RopeStyle::Interleaved)?);
    let factor = |key: &str| Ok(b.keys.positive(key, Some(1.0))? as f32);
    let (embedding, residual) = (factor("embedding_scale")?, factor("residual_scale")?);
    // The file gives what logits are divided by.
    let logits = (1.0 / b.keys.positive("logit_scale", None)?) as f32;
    let default = 1.0 / (b.params.head_dim as f64).sqrt();
    let scale = Some(b.keys.positive("attention.scale", Some(default))? as f32);

    let x = b.embed(embedding)?;
    let to = Output { scale: residual, ..x.into() };
    for layer in 0..b.params.layers {
        let norm = b.rms_norm(&block(layer, "attn_norm"), width)?;
        let attention = Attention { rope, scale, ..Attention::default() };
        b.attention(layer, Input::Norm(x, norm), attention, to.clone())?;
        let norm = b.rms_norm(&block(layer, "ffn_norm"), width)?;
        b.feed_forward(layer, Input::Norm(x, norm), b.gated(Activation::Silu), to.clone())?;
    }
    let norm = b.rms_norm("output_norm", width)?;
    b.logits(x, norm, logits, 0.0)
}
