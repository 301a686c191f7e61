//! Falcon (Almazrouei et al. 2023): attention and feed-forward side by side, each behind a norm of its own in the larger
//! models.

use super::builder::{Attention, Builder, block};
use super::program::Input;
use crate::error::Result;
use crate::kernels::{Activation, RopeStyle};

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let width = b.params.width;
    let rope = Some(b.rope(RopeStyle::Halves)?);
    let x = b.embed(1.0)?;
    for layer in 0..b.params.layers {
        let mark = b.mark();
        let norm = b.layer_norm(&block(layer, "attn_norm"), width)?;
        let normalized = b.normalized(x, norm);
        let attention = if b.bind.has(&block(layer, "attn_norm_2.weight")) {
            Input::Norm(x, b.layer_norm(&block(layer, "attn_norm_2"), width)?)
        } else {
            Input::Plain(normalized)
        };
        b.attention(layer, attention, Attention { rope, ..Attention::default() }, x)?;
        b.feed_forward(layer, Input::Plain(normalized), b.ungated(Activation::GeluErf), x)?;
        b.release(mark);
    }
    let norm = b.layer_norm("output_norm", width)?;
    b.logits(x, norm, 1.0, 0.0)
}
