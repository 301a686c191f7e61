//! SmolLM3 (Hugging Face 2025): LLaMA in which every fourth block knows no positions (NoPE).

use super::builder::{Attention, Builder};
use super::llama::pre_norm;
use crate::error::Result;
use crate::kernels::RopeStyle;

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let rope = b.rope(RopeStyle::Interleaved)?;
    pre_norm(b, "ffn_norm", |layer| Attention { rope: (layer % 4 != 3).then_some(rope), ..Attention::default() })
}
