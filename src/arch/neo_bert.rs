//! NeoBERT (Le Breton et al. 2025) and EuroBERT (Boizard et al. 2025): encoders with the blocks of LLaMA.

use super::builder::{Attention, Builder};
use super::llama::pre_norm_blocks;
use crate::error::Result;
use crate::kernels::RopeStyle;

/// `neo-bert`.
pub(super) fn build(b: &mut Builder) -> Result<()> {
    encoder(b, RopeStyle::Interleaved, "enc.output_norm")
}

/// `eurobert`.
pub(super) fn build_euro(b: &mut Builder) -> Result<()> {
    encoder(b, RopeStyle::Halves, "output_norm")
}

fn encoder(b: &mut Builder, style: RopeStyle, last_norm: &str) -> Result<()> {
    b.params.causal = false;
    let rope = Some(b.rope(style)?);
    let x = pre_norm_blocks(b, "ffn_norm", |_| Attention { rope, ..Attention::default() })?;
    let norm = b.rms_norm(last_norm, x.width)?;
    b.pool(x, Some(norm));
    Ok(())
}
