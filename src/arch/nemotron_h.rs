//! Nemotron-H (NVIDIA 2025): every block is one thing alone, state spaces, attention that knows no positions, or a feed-forward
//! layer, which in `nemotron_h_moe` has experts.

use super::builder::{Attention, Builder, FeedForward, block};
use super::experts::ExpertStyle;
use super::mamba2::StateHeads;
use super::program::Input;
use crate::error::Result;
use crate::kernels::Activation;
use crate::ops::Scoring;

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let width = b.params.width;
    let mixer = StateHeads::read(b)?;
    let widths = b.keys.per_layer("feed_forward_length", b.keys.dimension("block_count")?, b.params.feed_forward)?;
    let experts = b.keys.optional_dimension("expert_count")?.is_some();
    let activation = Activation::ReluSquared;
    let style = ExpertStyle { scoring: Scoring::Sigmoid, normalize: true, activation, gated: false };
    let x = b.embed(1.0)?;
    for layer in 0..b.params.layers {
        let mark = b.mark();
        let norm = b.rms_norm(&block(layer, "attn_norm"), width)?;
        match (widths[layer], b.params.kv_heads[layer]) {
            (0, 0) => mixer.mix(b, layer, Input::Norm(x, norm), x.into())?,
            (0, _) => b.attention(layer, Input::Norm(x, norm), Attention::default(), x)?,
            _ if experts => {
                let normalized = b.normalized(x, norm);
                b.experts(layer, normalized, style, x, 1.0)?;
                let shared = b.keys.dimension("expert_shared_feed_forward_length")?;
                let shared = FeedForward { width: shared, suffix: "_shexp", ..b.ungated(activation) };
                b.feed_forward(layer, Input::Plain(normalized), shared, x)?;
            }
            (hidden, _) => {
                let style = FeedForward { width: hidden, ..b.ungated(activation) };
                b.feed_forward(layer, Input::Norm(x, norm), style, x)?;
            }
        }
        b.release(mark);
    }
    let norm = b.rms_norm("output_norm", width)?;
    b.logits(x, norm, 1.0, 0.0)
}
