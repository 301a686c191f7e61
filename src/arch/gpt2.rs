//! GPT-2 (Radford et al. 2019): learned positions, layer norm, biases everywhere.

use super::builder::{Attention, Builder, block};
use super::program::Input;
use crate::error::Result;
use crate::kernels::Activation;

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let width = b.params.width;
    let x = b.embed_with_positions("position_embd.weight")?;
    for layer in 0..b.params.layers {
        let norm = b.layer_norm(&block(layer, "attn_norm"), width)?;
        b.attention(layer, Input::Norm(x, norm), Attention::default(), x)?;
        let norm = b.layer_norm(&block(layer, "ffn_norm"), width)?;
        b.feed_forward(layer, Input::Norm(x, norm), b.ungated(Activation::GeluTanh), x)?;
    }
    let norm = b.layer_norm("output_norm", width)?;
    b.logits(x, norm, 1.0, 0.0)
}
