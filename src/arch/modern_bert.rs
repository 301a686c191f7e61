//! ModernBERT (Warner et al. 2024): norms in front, gates, and a window on both sides in two of three blocks, each kind of block
//! with a rotation of its own.

use super::builder::{Attention, Builder, block};
use super::program::Input;
use crate::error::Result;
use crate::kernels::{Activation, RopeStyle};
use crate::ops::{RopeParams, Scaling};

pub(super) fn build(b: &mut Builder) -> Result<()> {
    b.params.causal = false;
    let width = b.params.width;
    let window = b.keys.optional_dimension("attention.sliding_window")?;
    let period = b.keys.dimension_or("attention.sliding_window_pattern", 3)?;
    let activation = match b.keys.text("hidden_activation")? {
        Some("silu") => Activation::Silu,
        _ => Activation::GeluErf,
    };
    let global = b.rope(RopeStyle::Halves)?;
    let base = b.keys.positive("rope.freq_base_swa", Some(b.params.rope_base))?;
    let local = b.add_rope(RopeParams::new(RopeStyle::Halves, b.params.rope_dims, base, Scaling::None, None));
    let x = b.embed(1.0)?;
    let norm = b.layer_norm("token_embd_norm", width)?;
    b.normalize(x, norm);
    for layer in 0..b.params.layers {
        let (rope, window) = if layer % period == 0 { (global, None) } else { (local, window) };
        // The norm behind the embeddings is that of the first block.
        let name = block(layer, "attn_norm");
        let has_norm = layer > 0 || b.bind.has(&format!("{name}.weight"));
        let input = if has_norm { Input::Norm(x, b.layer_norm(&name, width)?) } else { Input::Plain(x) };
        b.attention(layer, input, Attention { rope: Some(rope), window, ..Attention::default() }, x)?;
        let norm = b.layer_norm(&block(layer, "ffn_norm"), width)?;
        b.feed_forward(layer, Input::Norm(x, norm), b.gated(activation), x)?;
    }
    let norm = b.layer_norm("output_norm", width)?;
    b.pool(x, Some(norm));
    Ok(())
}
