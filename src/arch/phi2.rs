//! Phi-2 (Microsoft 2023): attention and feed-forward side by side behind one norm, partial rotation, biases everywhere.

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
        b.attention(layer, Input::Plain(normalized), Attention { rope, ..Attention::default() }, x)?;
        b.feed_forward(layer, Input::Plain(normalized), b.ungated(Activation::GeluTanh), x)?;
        b.release(mark);
    }
    let norm = b.layer_norm("output_norm", width)?;
    b.logits(x, norm, 1.0, 0.0)
}
