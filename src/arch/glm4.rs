//! GLM-4 (Zhipu AI 2025): blocks normalize what they read and what they add; half of each head rotates.

use super::builder::{Attention, Builder};
use super::gemma2::{Style, blocks};
use crate::error::Result;
use crate::kernels::{Activation, RopeStyle};

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let rope = Some(b.rope(RopeStyle::Interleaved)?);
    let style = Style { embedding: 1.0, activation: Activation::Silu, logit_cap: 0.0 };
    blocks(b, style, |_| Attention { rope, ..Attention::default() })
}
