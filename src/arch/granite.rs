//! Granite 3 (IBM 2024): LLaMA with multipliers on embeddings, scores, residual sums and logits; `granitemoe` has experts, and
//! some files of it one that every token visits.

use super::builder::{Attention, Builder, Output, block};
use super::experts::ExpertStyle;
use super::program::Input;
use crate::error::Result;
use crate::kernels::{Activation, RopeStyle};

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let width = b.params.width;
    let rope = Some(b.rope(RopeStyle::Interleaved)?);
    let factor = |key: &str| b.keys.positive(key, Some(1.0)).map(|factor| factor as f32);
    let (embedding, residual) = (factor("embedding_scale")?, factor("residual_scale")?);
    // The file gives what logits are divided by.
    let logits = (1.0 / b.keys.positive("logit_scale", None)?) as f32;
    let default = 1.0 / (b.params.head_dim as f64).sqrt();
    let scale = Some(b.keys.positive("attention.scale", Some(default))? as f32);
    let experts = b.keys.optional_dimension("expert_count")?.is_some();
    let shared = b.keys.optional_dimension("expert_shared_feed_forward_length")?;

    let x = b.embed(embedding)?;
    let to = Output { scale: residual, ..x.into() };
    for layer in 0..b.params.layers {
        let mark = b.mark();
        let norm = b.rms_norm(&block(layer, "attn_norm"), width)?;
        let attention = Attention { rope, scale, ..Attention::default() };
        b.attention(layer, Input::Norm(x, norm), attention, to.clone())?;
        let norm = b.rms_norm(&block(layer, "ffn_norm"), width)?;
        let normalized = b.normalized(x, norm);
        if experts {
            b.experts(layer, normalized, ExpertStyle::SELECTED, x, residual)?;
        } else {
            b.feed_forward(layer, Input::Plain(normalized), b.gated(Activation::Silu), to.clone())?;
        }
        if let Some(shared) = shared {
            b.shared_expert(layer, normalized, shared, to.clone())?;
        }
        b.release(mark);
    }
    let norm = b.rms_norm("output_norm", width)?;
    b.logits(x, norm, logits, 0.0)
}
