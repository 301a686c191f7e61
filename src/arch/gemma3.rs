//! Gemma 3 (Gemma team 2025): five blocks with a window and a rotation of their own, then one that sees everything; queries and
//! keys are normalized head by head.

use super::builder::{Attention, Builder, QkNorm};
use super::gemma2::{Style, blocks, normalized_blocks, score_scale};
use crate::error::Result;
use crate::kernels::RopeStyle;
use crate::ops::{RopeParams, Scaling};

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let (style, attention) = (Style::gemma(b), attention(b)?);
    blocks(b, style, attention)
}

/// EmbeddingGemma (Schechter Vera et al. 2025): every token sees what follows it, too.
pub(super) fn build_embedding(b: &mut Builder) -> Result<()> {
    b.params.causal = false;
    let (style, attention) = (Style::gemma(b), attention(b)?);
    let (x, norm) = normalized_blocks(b, style, attention)?;
    b.pool(x, Some(norm));
    Ok(())
}

fn attention(b: &mut Builder) -> Result<impl Fn(usize) -> Attention + use<>> {
    let window = b.keys.dimension("attention.sliding_window")?;
    let period = b.keys.dimension_or("attention.sliding_window_pattern", 6)?;
    let global = b.rope(RopeStyle::Halves)?;
    let base = b.keys.positive("rope.freq_base_swa", Some(10_000.0))?;
    let local = b.add_rope(RopeParams::new(RopeStyle::Halves, b.params.rope_dims, base, Scaling::None, None));
    let scale = Some(score_scale(b, 62)?);
    Ok(move |layer: usize| {
        let (rope, window) = if layer % period == period - 1 { (global, None) } else { (local, Some(window)) };
        Attention { rope: Some(rope), window, scale, qk_norm: QkNorm::Rms, ..Attention::default() }
    })
}
