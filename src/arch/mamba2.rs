//! Mamba-2 (Dao and Gu 2024): heads of state spaces that decay as a whole.

use super::builder::{Builder, Output, block};
use super::program::{Input, Op};
use crate::error::Result;
use crate::kernels::Activation;
use crate::ops::{Heads, KeyHeads, Rule};

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let width = b.params.width;
    let mixer = StateHeads::read(b)?;
    let x = b.embed(1.0)?;
    for layer in 0..b.params.layers {
        let norm = b.rms_norm(&block(layer, "attn_norm"), width)?;
        mixer.mix(b, layer, Input::Norm(x, norm), x.into())?;
    }
    let norm = b.rms_norm("output_norm", width)?;
    b.logits(x, norm, 1.0, 0.0)
}

/// Sizes of heads of state spaces.
pub(super) struct StateHeads {
    taps: usize,
    /// Width of all heads.
    inner: usize,
    /// Elements of a key.
    state: usize,
    /// Heads that share a key.
    groups: usize,
    heads: usize,
    /// Whether files may lack the norm of the results: then they are gated alone.
    pub(super) optional_norm: bool,
}

impl StateHeads {
    pub(super) fn read(b: &Builder) -> Result<StateHeads> {
        let (inner, heads) = (b.keys.dimension("ssm.inner_size")?, b.keys.dimension("ssm.time_step_rank")?);
        if inner % heads != 0 {
            return Err(b.keys.invalid("ssm.time_step_rank", format!("{heads} heads in a width of {inner}")));
        }
        let groups = b.keys.dimension("ssm.group_count")?;
        if heads % groups != 0 {
            return Err(b.keys.invalid("ssm.group_count", format!("{heads} heads in {groups} groups")));
        }
        Ok(StateHeads {
            taps: b.keys.dimension("ssm.conv_kernel")?,
            inner,
            state: b.keys.dimension("ssm.state_size")?,
            groups,
            heads,
            optional_norm: false,
        })
    }

    pub(super) fn mix(&self, b: &mut Builder, layer: usize, input: Input, to: Output) -> Result<()> {
        let &StateHeads { taps, inner, state: size, groups, heads, .. } = self;
        let mark = b.mark();
        let rows = [inner, inner, groups * size, groups * size, heads];
        let products = b.split(layer, "ssm_in", rows, b.params.width)?;
        let [z, x, key, query, step] = [0, 1, 2, 3, 4].map(|index| products[index].out);
        b.ops.push(Op::Linear { input, products });
        let [value, key, query] = b.convolve(layer, "ssm_conv1d", taps, [x, key, query], Activation::Silu)?;

        let per_head = |part: &str| b.bind.vectors(&block(layer, part), heads, 1);
        let layer_heads = Heads {
            heads,
            key_heads: groups,
            sharing: KeyHeads::Grouped,
            key_dim: size,
            value_dim: inner / heads,
            decay: per_head("ssm_a")?,
            step_bias: b.bind.vector(&block(layer, "ssm_dt.bias"), heads)?,
            rule: Rule::Step { gains: per_head("ssm_d")? },
        };
        let (out, state) = (b.register(inner), b.state(layer_heads.state()));
        b.ops.push(Op::Recur { query, key, value, step, rate: None, out, layer: Box::new(layer_heads), state });

        let norm = block(layer, "ssm_norm.weight");
        let input = if !self.optional_norm || b.bind.has(&norm) {
            let norm = b.rms_norm_by(b.bind.vectors(&norm, groups, inner / groups)?, inner / groups)?;
            b.ops.push(Op::Gate { gate: z, x: out, activation: Activation::Silu });
            Input::Norm(z, norm)
        } else {
            Input::Gated(Activation::Silu, z, out)
        };
        b.output(layer, "ssm_out", input, inner, to)?;
        b.release(mark);
        Ok(())
    }
}
