//! BERT (Devlin et al. 2019) and encoders with its blocks: tokens see each other, norms stand behind what they normalize.
//!
//! nomic-bert (Nussbaum et al. 2024) rotates and gates, its second version has experts in every other block; Jina's second
//! version (Günther et al. 2023) has slopes, its third (Sturua et al. 2024) rotates. All tokens are of the first type.

use super::bloom::alibi;
use super::builder::{Attention, Builder, FeedForward, QkNorm, block};
use super::experts::ExpertStyle;
use super::program::{Input, Register};
use crate::error::Result;
use crate::kernels::{Activation, RopeStyle};
use crate::ops::Norm;

/// `bert`: learned positions.
pub(super) fn build(b: &mut Builder) -> Result<()> {
    let feed_forward = b.ungated(Activation::GeluErf);
    encoder(b, Some("position_embd.weight"), Attention::default(), feed_forward)
}

/// `nomic-bert`.
pub(super) fn build_nomic(b: &mut Builder) -> Result<()> {
    let feed_forward = b.gated(Activation::Silu);
    rotating(b, feed_forward)
}

/// `nomic-bert-moe` and `jina-bert-v3`.
pub(super) fn build_rotating(b: &mut Builder) -> Result<()> {
    let feed_forward = b.ungated(Activation::GeluErf);
    rotating(b, feed_forward)
}

/// `jina-bert-v2`: with a gate of its own, with one in the upper half of another matrix, or with none.
pub(super) fn build_jina(b: &mut Builder) -> Result<()> {
    let (width, hidden) = (b.params.width, b.params.feed_forward);
    let up = b.bind.rows(&block(0, "ffn_up.weight"), width)?;
    let gated = up == 2 * hidden || (0..b.params.layers).any(|layer| b.bind.has(&block(layer, "ffn_gate.weight")));
    let feed_forward = FeedForward { gated, ..b.gated(Activation::GeluErf) };
    let slopes = alibi(b.params.heads, 8.0);
    encoder(b, None, Attention { slopes, qk_norm: QkNorm::OptionalWhole, ..Attention::default() }, feed_forward)
}

fn rotating(b: &mut Builder, feed_forward: FeedForward) -> Result<()> {
    let rope = Some(b.rope(RopeStyle::Halves)?);
    encoder(b, None, Attention { rope, ..Attention::default() }, feed_forward)
}

fn encoder(b: &mut Builder, positions: Option<&str>, attention: Attention, feed_forward: FeedForward) -> Result<()> {
    b.params.causal = false;
    let width = b.params.width;
    let norm = |b: &Builder, layer: usize, part: &str| -> Result<Norm> { b.layer_norm(&block(layer, part), width) };
    let every = b.keys.dimension_or("moe_every_n_layers", 0)?;
    let x = b.embed_with_types(positions)?;
    let first = b.layer_norm("token_embd_norm", width)?;
    b.normalize(x, first);
    for layer in 0..b.params.layers {
        let mark = b.mark();
        let after = norm(b, layer, "attn_output_norm")?;
        if b.bind.has(&block(layer, "attn_norm_2.weight")) {
            // The input of the block comes in twice, with a norm after each time.
            let sum = b.copied(x);
            b.attention(layer, Input::Plain(x), attention.clone(), sum)?;
            b.add_normalized(sum, after, x);
            let second = norm(b, layer, "attn_norm_2")?;
            b.normalize(x, second);
        } else {
            b.attention(layer, Input::Plain(x), attention.clone(), x)?;
            b.normalize(x, after);
        }
        if every > 0 && layer % every == 1 {
            experts(b, layer, x)?;
        } else {
            b.feed_forward(layer, Input::Plain(x), feed_forward, x)?;
        }
        let after = norm(b, layer, "layer_output_norm")?;
        b.normalize(x, after);
        b.release(mark);
    }
    b.pool(x, None);
    Ok(())
}

fn experts(b: &mut Builder, layer: usize, x: Register) -> Result<()> {
    let input = b.copied(x);
    b.experts(layer, input, ExpertStyle { activation: Activation::GeluErf, gated: false, ..ExpertStyle::ALL }, x, 1.0)
}
