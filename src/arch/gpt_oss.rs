//! gpt-oss (OpenAI 2025): experts with biases and a clamped gate; every other block sees a window only; a learned sink takes
//! its share of each head's softmax.

use super::builder::{Attention, Builder};
use super::experts::ExpertStyle;
use super::llama::pre_norm_experts;
use crate::error::Result;
use crate::kernels::{Activation, RopeStyle};
use crate::ops::Scaling;

pub(super) fn build(b: &mut Builder) -> Result<()> {
    // The one model that does not round YaRN's ramp to whole pairs.
    if let Scaling::Yarn { whole, .. } = &mut b.params.rope_scaling {
        *whole = false;
    }
    let rope = Some(b.rope(RopeStyle::Halves)?);
    let window = b.keys.dimension("attention.sliding_window")?;
    let attention =
        |layer: usize| Attention { rope, window: layer.is_multiple_of(2).then_some(window), sinks: true, ..Attention::default() };
    let style = ExpertStyle { activation: Activation::ClampedSilu, ..ExpertStyle::SELECTED };
    pre_norm_experts(b, "post_attention_norm", attention, style)
}
