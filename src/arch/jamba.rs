//! Jamba (AI21 2024): selective state spaces with attention in between, which knows no positions; every other block has experts.

use super::builder::{Attention, Builder, block};
use super::experts::ExpertStyle;
use super::mamba::{InputNorm, Selective};
use super::program::Input;
use crate::error::Result;
use crate::kernels::Activation;

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let width = b.params.width;
    let mixer = Selective::read(b, InputNorm::Gains)?;
    let x = b.embed(1.0)?;
    for layer in 0..b.params.layers {
        let mark = b.mark();
        let input = Input::Norm(x, b.rms_norm(&block(layer, "attn_norm"), width)?);
        if b.params.kv_heads[layer] > 0 {
            b.attention(layer, input, Attention::default(), x)?;
        } else {
            mixer.mix(b, layer, input, x.into())?;
        }
        let norm = b.rms_norm(&block(layer, "ffn_norm"), width)?;
        if b.bind.has(&block(layer, "ffn_gate.weight")) {
            b.feed_forward(layer, Input::Norm(x, norm), b.gated(Activation::Silu), x)?;
        } else {
            let normalized = b.normalized(x, norm);
            b.experts(layer, normalized, ExpertStyle::ALL, x, 1.0)?;
        }
        b.release(mark);
    }
    let norm = b.rms_norm("output_norm", width)?;
    b.logits(x, norm, 1.0, 0.0)
}
