//! BLOOM (BigScience 2022): positions by slopes on the scores (ALiBi, Press et al. 2021), normalized embeddings.

use super::builder::{Attention, Builder, block};
use super::program::{Input, Op};
use crate::error::Result;
use crate::kernels::Activation;

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let width = b.params.width;
    let x = b.embed(1.0)?;
    let slopes = alibi(b.params.heads, 8.0);
    let norm = b.layer_norm("token_embd_norm", width)?;
    b.ops.push(Op::Norm { x: None, norm, out: x, residual: None });
    for layer in 0..b.params.layers {
        let norm = b.layer_norm(&block(layer, "attn_norm"), width)?;
        b.attention(layer, Input::Norm(x, norm), Attention { slopes: slopes.clone(), ..Attention::default() }, x)?;
        let norm = b.layer_norm(&block(layer, "ffn_norm"), width)?;
        b.feed_forward(layer, Input::Norm(x, norm), b.ungated(Activation::GeluTanh), x)?;
    }
    let norm = b.layer_norm("output_norm", width)?;
    b.logits(x, norm, 1.0, 0.0)
}

/// Slopes `2^(-max i / n)` for the greatest power of two n up to the number of heads; heads beyond n take every other slope
/// of `2n` heads.
pub(super) fn alibi(heads: usize, max: f64) -> Vec<f32> {
    let n = 1 << heads.ilog2();
    let slope = |index: usize, n: usize| libm::exp2(-max * index as f64 / n as f64) as f32;
    (1..=n).map(|index| slope(index, n)).chain((1..=heads - n).map(|index| slope(2 * index - 1, 2 * n))).collect()
}
