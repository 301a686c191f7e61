//! Qwen3 (Yang et al. 2025): queries and keys are normalized head by head.

use super::builder::{Attention, Builder, QkNorm};
use super::llama::pre_norm;
use crate::error::Result;
use crate::kernels::RopeStyle;

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let rope = Some(b.rope(RopeStyle::Halves)?);
    pre_norm(b, "ffn_norm", |_| Attention { rope, qk_norm: QkNorm::Rms, ..Attention::default() })
}
