//! Qwen1.5 and Qwen2 with experts (Yang et al. 2024): one more expert sees every token, and a gate says how much it counts.

use super::builder::{Attention, Builder, Output, block};
use super::experts::ExpertStyle;
use super::program::{Input, Op, Register};
use crate::error::Result;
use crate::kernels::RopeStyle;

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let width = b.params.width;
    let rope = Some(b.rope(RopeStyle::Halves)?);
    let x = b.embed(1.0)?;
    for layer in 0..b.params.layers {
        let norm = b.rms_norm(&block(layer, "attn_norm"), width)?;
        b.attention(layer, Input::Norm(x, norm), Attention { rope, ..Attention::default() }, x)?;
        gated_experts(b, layer, "ffn_norm", ExpertStyle::ALL, x)?;
    }
    let norm = b.rms_norm("output_norm", width)?;
    b.logits(x, norm, 1.0, 0.0)
}

/// Routed experts and the gated one.
pub(super) fn gated_experts(b: &mut Builder, layer: usize, norm: &str, style: ExpertStyle, x: Register) -> Result<()> {
    let (width, mark) = (b.params.width, b.mark());
    let shared = b.keys.dimension("expert_shared_feed_forward_length")?;
    let norm = b.rms_norm(&block(layer, norm), width)?;
    let normalized = b.normalized(x, norm);
    b.experts(layer, normalized, style, x, 1.0)?;
    let gate = b.product(layer, "ffn_gate_inp_shexp", 1, width)?;
    let to = Output { gate: Some(gate.out), ..x.into() };
    b.ops.push(Op::Linear { input: Input::Plain(normalized), products: vec![gate] });
    b.shared_expert(layer, normalized, shared, to)?;
    b.release(mark);
    Ok(())
}
