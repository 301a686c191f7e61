//! OLMo 2 (OLMo team 2025): blocks normalize what they add, not what they read; queries and keys are normalized whole.

use super::builder::{Attention, Builder, Output, QkNorm, block};
use super::program::Input;
use crate::error::Result;
use crate::kernels::{Activation, RopeStyle};

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let rope = Some(b.rope(RopeStyle::Halves)?);
    post_norm(b, |_| Attention { rope, qk_norm: QkNorm::Rms, ..Attention::default() })
}

/// Blocks that normalize what they add, and not what they read.
pub(super) fn post_norm(b: &mut Builder, attention: impl Fn(usize) -> Attention) -> Result<()> {
    let width = b.params.width;
    let x = b.embed(1.0)?;
    for layer in 0..b.params.layers {
        let after = |b: &Builder, name: &str| Ok(Output { norm: Some(b.rms_norm(&block(layer, name), width)?), ..x.into() });
        b.attention(layer, Input::Plain(x), attention(layer), after(b, "post_attention_norm")?)?;
        b.feed_forward(layer, Input::Plain(x), b.gated(Activation::Silu), after(b, "post_ffw_norm")?)?;
    }
    let norm = b.rms_norm("output_norm", width)?;
    b.logits(x, norm, 1.0, 0.0)
}
