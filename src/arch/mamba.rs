//! Mamba (Gu and Dao 2023): blocks of one selective state space; FalconMamba (Zuo et al. 2024), which normalizes its inputs.

use super::builder::{Builder, Output, block};
use super::program::{Input, Op, Register};
use super::recurrent::turned_by_channels;
use crate::error::Result;
use crate::kernels::Activation;
use crate::ops::Channels;

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let width = b.params.width;
    let norm = if b.keys.flag("ssm.dt_b_c_rms", false)? { InputNorm::Plain } else { InputNorm::None };
    let mixer = Selective::read(b, norm)?;
    let x = b.embed(1.0)?;
    for layer in 0..b.params.layers {
        let norm = b.rms_norm(&block(layer, "attn_norm"), width)?;
        mixer.mix(b, layer, Input::Norm(x, norm), x.into())?;
    }
    let norm = b.rms_norm("output_norm", width)?;
    b.logits(x, norm, 1.0, 0.0)
}

/// What steps, keys and queries go through.
#[derive(Clone, Copy)]
pub(super) enum InputNorm {
    /// Nothing.
    None,
    /// An RMS norm.
    Plain,
    /// An RMS norm with gains.
    Gains,
}

/// Sizes of selective state spaces.
pub(super) struct Selective {
    taps: usize,
    /// Channels.
    inner: usize,
    /// Elements of a channel's state.
    state: usize,
    /// Elements that the steps are made of.
    rank: usize,
    norm: InputNorm,
}

impl Selective {
    pub(super) fn read(b: &Builder, norm: InputNorm) -> Result<Selective> {
        Ok(Selective {
            taps: b.keys.dimension("ssm.conv_kernel")?,
            inner: b.keys.dimension("ssm.inner_size")?,
            state: b.keys.dimension("ssm.state_size")?,
            rank: b.keys.dimension("ssm.time_step_rank")?,
            norm,
        })
    }

    pub(super) fn mix(&self, b: &mut Builder, layer: usize, input: Input, to: Output) -> Result<()> {
        let &Selective { taps, inner, state: size, rank, .. } = self;
        let mark = b.mark();
        let products = b.split(layer, "ssm_in", [inner; 2], b.params.width)?;
        let [x, z] = [0, 1].map(|index| products[index].out);
        b.ops.push(Op::Linear { input, products });
        let [value] = b.convolve(layer, "ssm_conv1d", taps, [x], Activation::Silu)?;

        let products = b.split(layer, "ssm_x", [rank, size, size], inner)?;
        let [low, key, query] = [0, 1, 2].map(|index| products[index].out);
        b.ops.push(Op::Linear { input: Input::Plain(value), products });
        for (part, out) in [("ssm_dt_norm", low), ("ssm_b_norm", key), ("ssm_c_norm", query)] {
            self.normalize(b, layer, part, out)?;
        }
        let product = b.product(layer, "ssm_dt", inner, rank)?;
        let step = product.out;
        b.ops.push(Op::Linear { input: Input::Plain(low), products: vec![product] });

        let decay = b.bind.vectors(&block(layer, "ssm_a"), inner, size)?;
        let decay = turned_by_channels(&decay, size)?;
        let channels = Channels { key_dim: size, decay, gains: b.bind.vector(&block(layer, "ssm_d"), inner)? };
        let (out, state) = (b.register(inner), b.state(inner * size));
        b.ops.push(Op::Scan { query, key, value, step, out, layer: channels, state });
        b.output(layer, "ssm_out", Input::Gated(Activation::Silu, z, out), inner, to)?;
        b.release(mark);
        Ok(())
    }

    fn normalize(&self, b: &mut Builder, layer: usize, part: &str, out: Register) -> Result<()> {
        let norm = match self.norm {
            InputNorm::None => return Ok(()),
            InputNorm::Plain => b.rms_norm_by(b.bind.constant(out.width, 1.0)?, out.width)?,
            InputNorm::Gains => b.rms_norm(&block(layer, part), out.width)?,
        };
        b.ops.push(Op::Norm { x: None, norm, out, residual: None });
        Ok(())
    }
}
