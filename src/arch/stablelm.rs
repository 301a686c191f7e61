//! StableLM 2 (Bellagente et al. 2024): layer norm, partial rotation. The 12B model runs attention and feed-forward side by
//! side and normalizes heads.

use super::builder::{Attention, Builder, QkNorm, block};
use super::program::Input;
use crate::error::Result;
use crate::kernels::{Activation, RopeStyle};

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let width = b.params.width;
    let rope = Some(b.rope(RopeStyle::Halves)?);
    let parallel = b.keys.flag("use_parallel_residual", false)?;
    let x = b.embed(1.0)?;
    for layer in 0..b.params.layers {
        let mark = b.mark();
        let norm = b.layer_norm(&block(layer, "attn_norm"), width)?;
        let normalized = b.normalized(x, norm);
        let attention = Attention { rope, qk_norm: QkNorm::OptionalLayer, ..Attention::default() };
        b.attention(layer, Input::Plain(normalized), attention, x)?;
        let input =
            if parallel { Input::Plain(normalized) } else { Input::Norm(x, b.layer_norm(&block(layer, "ffn_norm"), width)?) };
        b.feed_forward(layer, input, b.gated(Activation::Silu), x)?;
        b.release(mark);
    }
    let norm = b.layer_norm("output_norm", width)?;
    b.logits(x, norm, 1.0, 0.0)
}
