//! OLMoE (Muennighoff et al. 2024): experts weighted by probabilities over all; queries and keys are normalized whole.

use super::builder::{Attention, Builder, QkNorm};
use super::experts::ExpertStyle;
use super::llama::pre_norm_experts;
use crate::error::Result;
use crate::kernels::RopeStyle;

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let rope = Some(b.rope(RopeStyle::Halves)?);
    let attention = |_| Attention { rope, qk_norm: QkNorm::Rms, ..Attention::default() };
    pre_norm_experts(b, "ffn_norm", attention, ExpertStyle::ALL)
}
