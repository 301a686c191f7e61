//! Seed-OSS (ByteDance 2025): the graph of Qwen2, the second norm named after the attention that it follows.

use super::builder::{Attention, Builder};
use super::llama::pre_norm;
use crate::error::Result;
use crate::kernels::RopeStyle;

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let rope = Some(b.rope(RopeStyle::Halves)?);
    pre_norm(b, "post_attention_norm", |_| Attention { rope, ..Attention::default() })
}
