//! Falcon-H1 (TII 2025): state spaces and attention side by side in every block. Its many multipliers are in the weights of files.

use super::builder::{Attention, Builder, block};
use super::mamba2::StateHeads;
use super::program::Input;
use crate::error::Result;
use crate::kernels::{Activation, RopeStyle};

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let width = b.params.width;
    let mut mixer = StateHeads::read(b)?;
    mixer.optional_norm = true;
    let rope = Some(b.rope(RopeStyle::Halves)?);
    let x = b.embed(1.0)?;
    for layer in 0..b.params.layers {
        let mark = b.mark();
        let norm = b.rms_norm(&block(layer, "attn_norm"), width)?;
        let normalized = b.normalized(x, norm);
        b.attention(layer, Input::Plain(normalized), Attention { rope, ..Attention::default() }, x)?;
        mixer.mix(b, layer, Input::Plain(normalized), x.into())?;
        b.release(mark);
        // Most files leave the usual end of the name out.
        let name = block(layer, "ffn_norm");
        let name = if b.bind.has(&name) { name } else { format!("{name}.weight") };
        let norm = b.rms_norm_by(b.bind.vector(&name, width)?, width)?;
        b.feed_forward(layer, Input::Norm(x, norm), b.gated(Activation::Silu), x)?;
    }
    let norm = b.rms_norm("output_norm", width)?;
    b.logits(x, norm, 1.0, 0.0)
}
