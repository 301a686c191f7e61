//! Qwen2 (Yang et al. 2024): LLaMA with biases on queries, keys and values, and pairs half a head apart.

use super::builder::{Attention, Builder};
use super::llama::pre_norm;
use crate::error::Result;
use crate::kernels::RopeStyle;

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let rope = Some(b.rope(RopeStyle::Halves)?);
    pre_norm(b, "ffn_norm", |_| Attention { rope, ..Attention::default() })
}
