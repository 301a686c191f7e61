//! Hunyuan, the dense models (Tencent 2025): queries and keys are normalized after they are rotated.

use super::builder::{Attention, Builder, QkNorm};
use super::llama::pre_norm;
use crate::error::Result;
use crate::kernels::RopeStyle;

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let rope = Some(b.rope(RopeStyle::Halves)?);
    pre_norm(b, "ffn_norm", |_| Attention { rope, qk_norm: QkNorm::RmsAfterRope, ..Attention::default() })
}
