//! Phi-3 (Abdin et al. 2024): LLaMA with fused matrices, a sliding window, and LongRoPE (Ding et al. 2024) in the models of
//! long context.

use super::builder::{Attention, Builder};
use super::llama::pre_norm;
use crate::error::Result;
use crate::kernels::RopeStyle;

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let rope = Some(b.rope(RopeStyle::Halves)?);
    let window = b.keys.optional_dimension("attention.sliding_window")?;
    pre_norm(b, "ffn_norm", |_| Attention { rope, window, ..Attention::default() })
}
