//! LLaMA: pre-norm transformer, grouped-query attention with rotary positions, gated feed-forward.
//!
//! Sources: LLaMA (Touvron et al. 2023), Llama 2 and 3; tensor names as in converted GGUF files. Also reads files of
//! models with the same graph: optional biases, tied embeddings, heads of any size.

use super::builder::{Attention, Builder, block};
use super::program::Input;
use crate::error::Result;
use crate::kernels::{Activation, RopeStyle};

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let rope = Some(b.rope(RopeStyle::Interleaved)?);
    pre_norm(b, "ffn_norm", |_| Attention { rope, ..Attention::default() })
}

/// The blocks that many later models share; their attention is up to each, and so is the name of the second norm.
pub(super) fn pre_norm(b: &mut Builder, second_norm: &str, attention: impl Fn(usize) -> Attention) -> Result<()> {
    let width = b.params.width;
    let x = b.embed(1.0)?;
    for layer in 0..b.params.layers {
        let norm = b.rms_norm(&block(layer, "attn_norm"), width)?;
        b.attention(layer, Input::Norm(x, norm), attention(layer), x)?;
        let norm = b.rms_norm(&block(layer, second_norm), width)?;
        b.feed_forward(layer, Input::Norm(x, norm), b.gated(Activation::Silu), x)?;
    }
    let norm = b.rms_norm("output_norm", width)?;
    b.logits(x, norm, 1.0, 0.0)
}
