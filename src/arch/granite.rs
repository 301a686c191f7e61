//! Granite 3 (IBM 2024): LLaMA with multipliers on embeddings, scores, residual sums and logits; `granitemoe` has experts, and
//! some files of it one that every token visits. Granite 4 (IBM 2025), `granitehybrid`: most blocks have state spaces in place of
//! attention, which then knows no positions.

use super::builder::{Attention, Builder, Output, block};
use super::experts::ExpertStyle;
use super::mamba2::StateHeads;
use super::program::Input;
use crate::error::Result;
use crate::kernels::{Activation, RopeStyle};

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let width = b.params.width;
    let hybrid = b.params.kv_heads.contains(&0);
    let mixer = if hybrid { Some(StateHeads::read(b)?) } else { None };
    // The key that says whether there is a rotation was meant for something else.
    let rotates = !hybrid || b.keys.flag("rope.scaling.finetuned", false)?;
    let rope = if rotates { Some(b.rope(RopeStyle::Interleaved)?) } else { None };
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
        let input = Input::Norm(x, b.rms_norm(&block(layer, "attn_norm"), width)?);
        match mixer.as_ref().filter(|_| b.params.kv_heads[layer] == 0) {
            Some(mixer) => mixer.mix(b, layer, input, to.clone())?,
            None => b.attention(layer, input, Attention { rope, scale, ..Attention::default() }, to.clone())?,
        }
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
