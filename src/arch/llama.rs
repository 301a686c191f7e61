//! LLaMA: pre-norm transformer, grouped-query attention with rotary positions, gated feed-forward or experts (Mixtral).
//!
//! Sources: LLaMA (Touvron et al. 2023), Llama 2 and 3, Mixtral (Jiang et al. 2024); tensor names as in converted GGUF files.
//! Also reads files of models with the same graph: optional biases, tied embeddings, heads of any size.

use super::builder::{Attention, Builder, block};
use super::experts::ExpertStyle;
use super::program::{Input, Register};
use crate::error::Result;
use crate::kernels::{Activation, RopeStyle};

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let rope = Some(b.rope(RopeStyle::Interleaved)?);
    let attention = |_| Attention { rope, ..Attention::default() };
    match b.keys.optional_dimension("expert_count")? {
        None => pre_norm(b, "ffn_norm", attention),
        Some(_) => pre_norm_experts(b, "ffn_norm", attention, ExpertStyle::SELECTED),
    }
}

/// `llama-embed`: every token sees what follows it, too.
pub(super) fn build_embedding(b: &mut Builder) -> Result<()> {
    b.params.causal = false;
    build(b)
}

/// The blocks that many later models share; their attention is up to each, and so is the name of the second norm.
pub(super) fn pre_norm(b: &mut Builder, second_norm: &str, attention: impl Fn(usize) -> Attention) -> Result<()> {
    let x = pre_norm_blocks(b, second_norm, attention)?;
    let norm = b.rms_norm("output_norm", x.width)?;
    b.logits(x, norm, 1.0, 0.0)
}

/// The same without an end.
pub(super) fn pre_norm_blocks(b: &mut Builder, second_norm: &str, attention: impl Fn(usize) -> Attention) -> Result<Register> {
    let width = b.params.width;
    let x = b.embed(1.0)?;
    for layer in 0..b.params.layers {
        let norm = b.rms_norm(&block(layer, "attn_norm"), width)?;
        b.attention(layer, Input::Norm(x, norm), attention(layer), x)?;
        let norm = b.rms_norm(&block(layer, second_norm), width)?;
        b.feed_forward(layer, Input::Norm(x, norm), b.gated(Activation::Silu), x)?;
    }
    Ok(x)
}

/// The same with experts in place of the feed-forward blocks.
pub(super) fn pre_norm_experts(
    b: &mut Builder,
    second_norm: &str,
    attention: impl Fn(usize) -> Attention,
    style: ExpertStyle,
) -> Result<()> {
    let width = b.params.width;
    let x = b.embed(1.0)?;
    for layer in 0..b.params.layers {
        let mark = b.mark();
        let norm = b.rms_norm(&block(layer, "attn_norm"), width)?;
        b.attention(layer, Input::Norm(x, norm), attention(layer), x)?;
        let norm = b.rms_norm(&block(layer, second_norm), width)?;
        let normalized = b.normalized(x, norm);
        b.experts(layer, normalized, style, x, 1.0)?;
        b.release(mark);
    }
    let norm = b.rms_norm("output_norm", width)?;
    b.logits(x, norm, 1.0, 0.0)
}
