//! Gemma 2 (Gemma team 2024): every other block sees a window only; scores and logits are capped; blocks normalize what they
//! read and what they add.

use super::builder::{Attention, Builder, Output, block};
use super::program::{Input, Register};
use crate::error::Result;
use crate::kernels::{Activation, RopeStyle};
use crate::ops::Norm;

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let rope = Some(b.rope(RopeStyle::Halves)?);
    let window = b.keys.dimension("attention.sliding_window")?;
    let cap = b.keys.positive("attn_logit_softcapping", Some(50.0))? as f32;
    // The 27B model divides by the width per head where the others divide by the size of one.
    let scale = score_scale(b, 46)?;
    let logit_cap = b.keys.positive("final_logit_softcapping", Some(30.0))? as f32;
    let style = Style { logit_cap, ..Style::gemma(b) };
    blocks(b, style, |layer| {
        let window = (layer % 2 == 0).then_some(window);
        Attention { rope, window, cap, scale: Some(scale), ..Attention::default() }
    })
}

/// What multiplies scores; the model of this many blocks is the odd one of its family.
pub(super) fn score_scale(b: &Builder, odd: usize) -> Result<f32> {
    let p = &b.params;
    let size = if p.layers == odd { p.width / p.heads } else { p.head_dim };
    Ok(b.keys.positive("attention.scale", Some(1.0 / (size as f64).sqrt()))? as f32)
}

/// What models with these blocks differ in, apart from attention.
#[derive(Clone, Copy)]
pub(super) struct Style {
    /// Multiplies embeddings.
    pub embedding: f32,
    /// The function of the gate.
    pub activation: Activation,
    /// Cap of the logits; 0: none.
    pub logit_cap: f32,
}

impl Style {
    /// As all Gemma models have it.
    pub(super) fn gemma(b: &Builder) -> Style {
        Style { embedding: (b.params.width as f32).sqrt(), activation: Activation::GeluTanh, logit_cap: 0.0 }
    }
}

/// Blocks that normalize what they read and what they add, and logits.
pub(super) fn blocks(b: &mut Builder, style: Style, attention: impl Fn(usize) -> Attention) -> Result<()> {
    let (x, norm) = normalized_blocks(b, style, attention)?;
    b.logits(x, norm, 1.0, style.logit_cap)
}

/// The blocks alone, and the norm behind them.
pub(super) fn normalized_blocks(
    b: &mut Builder,
    style: Style,
    attention: impl Fn(usize) -> Attention,
) -> Result<(Register, Norm)> {
    let width = b.params.width;
    let x = b.embed(style.embedding)?;
    for layer in 0..b.params.layers {
        let norm = |b: &Builder, name: &str| b.rms_norm(&block(layer, name), width);
        let after = |b: &Builder, name: &str| Ok(Output { norm: Some(norm(b, name)?), ..x.into() });
        let input = Input::Norm(x, norm(b, "attn_norm")?);
        b.attention(layer, input, attention(layer), after(b, "post_attention_norm")?)?;
        let input = Input::Norm(x, norm(b, "ffn_norm")?);
        b.feed_forward(layer, input, b.gated(style.activation), after(b, "post_ffw_norm")?)?;
    }
    Ok((x, b.rms_norm("output_norm", width)?))
}
