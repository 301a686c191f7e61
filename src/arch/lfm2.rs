//! LFM2 (Liquid AI 2025): most blocks have a short gated convolution in place of attention.

use super::builder::{Attention, Builder, Output, QkNorm, block};
use super::program::{Input, Op};
use crate::error::Result;
use crate::kernels::{Activation, RopeStyle};

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let width = b.params.width;
    let rope = Some(b.rope(RopeStyle::Halves)?);
    let taps = b.keys.dimension("shortconv.l_cache")?;
    let x = b.embed(1.0)?;
    for layer in 0..b.params.layers {
        let input = Input::Norm(x, b.rms_norm(&block(layer, "attn_norm"), width)?);
        if b.params.kv_heads[layer] > 0 {
            let attention = Attention { rope, qk_norm: QkNorm::Rms, ..Attention::default() };
            b.attention(layer, input, attention, x)?;
        } else {
            convolution(b, layer, input, taps, x.into())?;
        }
        let norm = b.rms_norm(&block(layer, "ffn_norm"), width)?;
        b.feed_forward(layer, Input::Norm(x, norm), b.gated(Activation::Silu), x)?;
    }
    // Files keep the name that the model itself uses.
    let norm = b.rms_norm("token_embd_norm", width)?;
    b.logits(x, norm, 1.0, 0.0)
}

fn convolution(b: &mut Builder, layer: usize, input: Input, taps: usize, to: Output) -> Result<()> {
    let (width, mark) = (b.params.width, b.mark());
    let products = b.split(layer, "shortconv.in_proj", [width; 3], width)?;
    let [before, behind, x] = [0, 1, 2].map(|index| products[index].out);
    b.ops.push(Op::Linear { input, products });
    b.ops.push(Op::Gate { gate: x, x: before, activation: Activation::Identity });
    let [out] = b.convolve(layer, "shortconv.conv", taps, [x], Activation::Identity)?;
    b.output(layer, "shortconv.out_proj", Input::Gated(Activation::Identity, behind, out), width, to)?;
    b.release(mark);
    Ok(())
}
