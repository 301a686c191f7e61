//! Qwen3-Next (Qwen team 2025) and Qwen3.5 (Qwen team 2026): three of four blocks have a gated delta rule in place of attention,
//! whose results are gated, too; with experts or without.

use super::builder::{Attention, Builder, Output, QkNorm, block};
use super::experts::ExpertStyle;
use super::program::{Input, Op, Register};
use super::qwen2moe::gated_experts;
use crate::error::Result;
use crate::kernels::{Activation, RopeStyle};
use crate::ops::{Heads, KeyHeads, Norm, Rule};

pub(super) fn build(b: &mut Builder) -> Result<()> {
    blocks(b, KeyHeads::Grouped)
}

/// Qwen3.5: files have the value heads in another order.
pub(super) fn build_tiled(b: &mut Builder) -> Result<()> {
    blocks(b, KeyHeads::Tiled)
}

fn blocks(b: &mut Builder, sharing: KeyHeads) -> Result<()> {
    let width = b.params.width;
    let rope = Some(b.rope(RopeStyle::Halves)?);
    let style = ExpertStyle { normalize: true, ..ExpertStyle::ALL };
    let interval = b.keys.dimension_or("full_attention_interval", 4)?;
    let linear = DeltaHeads::read(b, sharing)?;
    let experts = b.keys.optional_dimension("expert_count")?.is_some();
    let x = b.embed(1.0)?;
    for layer in 0..b.params.layers {
        let input = Input::Norm(x, b.rms_norm(&block(layer, "attn_norm"), width)?);
        if (layer + 1) % interval == 0 {
            b.attention(layer, input, Attention { rope, qk_norm: QkNorm::Rms, gated: true, ..Attention::default() }, x)?;
        } else {
            linear.mix(b, layer, input, x.into())?;
        }
        if experts {
            gated_experts(b, layer, "post_attention_norm", style, x)?;
        } else {
            let norm = b.rms_norm(&block(layer, "post_attention_norm"), width)?;
            b.feed_forward(layer, Input::Norm(x, norm), b.gated(Activation::Silu), x)?;
        }
    }
    let norm = b.rms_norm("output_norm", width)?;
    b.logits(x, norm, 1.0, 0.0)
}

/// Sizes of heads with a gated delta rule (Yang et al. 2024).
struct DeltaHeads {
    taps: usize,
    /// Elements of a key head.
    key: usize,
    /// Elements of a value head.
    value: usize,
    key_heads: usize,
    heads: usize,
    sharing: KeyHeads,
}

/// Added to the sum of squares that keys and queries are normalized by.
const L2_EPS: f32 = 1e-6;

impl DeltaHeads {
    fn read(b: &Builder, sharing: KeyHeads) -> Result<DeltaHeads> {
        let (inner, heads) = (b.keys.dimension("ssm.inner_size")?, b.keys.dimension("ssm.time_step_rank")?);
        if inner % heads != 0 {
            return Err(b.keys.invalid("ssm.time_step_rank", format!("{heads} heads in a width of {inner}")));
        }
        let key_heads = b.keys.dimension("ssm.group_count")?;
        if heads % key_heads != 0 {
            return Err(b.keys.invalid("ssm.group_count", format!("{heads} heads share {key_heads} keys")));
        }
        Ok(DeltaHeads {
            taps: b.keys.dimension("ssm.conv_kernel")?,
            key: b.keys.dimension("ssm.state_size")?,
            value: inner / heads,
            key_heads,
            heads,
            sharing,
        })
    }

    fn mix(&self, b: &mut Builder, layer: usize, input: Input, to: Output) -> Result<()> {
        let &DeltaHeads { taps, key: key_dim, value: value_dim, key_heads, heads, sharing } = self;
        let mark = b.mark();
        let ([query, key, value, z], rate, step) = self.inputs(b, layer, input)?;
        let [query, key, value] = b.convolve(layer, "ssm_conv1d", taps, [query, key, value], Activation::Silu)?;
        // To length 1, and the queries to that of the scores' scale: an RMS norm is the length over the root of the size.
        let size = key_dim as f32;
        for (out, gain) in [(query, 1.0 / size), (key, 1.0 / size.sqrt())] {
            let norm = Norm { weight: b.bind.constant(key_dim, gain)?, bias: None, eps: L2_EPS / size, group: key_dim };
            b.ops.push(Op::Norm { x: None, norm, out, residual: None });
        }
        let layer_heads = Heads {
            heads,
            key_heads,
            sharing,
            key_dim,
            value_dim,
            decay: b.bind.vector(&block(layer, "ssm_a"), heads)?,
            step_bias: b.bind.vector(&block(layer, "ssm_dt.bias"), heads)?,
            rule: Rule::Delta,
        };
        let (out, state) = (b.register(heads * value_dim), b.state(layer_heads.state()));
        b.ops.push(Op::Recur { query, key, value, step, rate: Some(rate), out, layer: Box::new(layer_heads), state });
        let norm = b.rms_norm(&block(layer, "ssm_norm"), value_dim)?;
        b.ops.push(Op::Norm { x: None, norm, out, residual: None });
        b.output(layer, "ssm_out", Input::Gated(Activation::Silu, z, out), heads * value_dim, to)?;
        b.release(mark);
        Ok(())
    }

    /// Queries, keys, values and output gates; rates; steps.
    fn inputs(&self, b: &mut Builder, layer: usize, input: Input) -> Result<([Register; 4], Register, Register)> {
        let &DeltaHeads { key, value, key_heads, heads, .. } = self;
        let (width, shared) = (b.params.width, heads / key_heads);
        let apart = self.sharing == KeyHeads::Tiled;
        let (parts, rows): (&[_], _) = if apart { (&["ssm_beta", "ssm_alpha"], heads) } else { (&["ssm_ba"], 2 * heads) };
        let gates: Vec<_> = parts.iter().map(|part| b.product(layer, part, rows, width)).collect::<Result<_>>()?;
        let (first, last) = (gates[0].out, gates[gates.len() - 1].out);
        // Older files have everything of a key head side by side.
        let by_head = b.bind.has(&block(layer, "ssm_in.weight"));
        let mut products = if by_head {
            vec![b.product(layer, "ssm_in", key_heads * 2 * key + 2 * heads * value, width)?]
        } else {
            let mut products = b.split(layer, "attn_qkv", [key_heads * key, key_heads * key, heads * value], width)?;
            products.push(b.product(layer, "attn_gate", heads * value, width)?);
            products
        };
        let mut registers = [products[0].out; 4];
        registers.iter_mut().zip(&products).for_each(|(register, product)| *register = product.out);
        products.extend(gates);
        b.ops.push(Op::Linear { input, products });
        if by_head {
            let lens = [key, key, shared * value, shared * value];
            let mut offset = 0;
            for (register, len) in registers.iter_mut().zip(lens) {
                *register = b.part_of_heads(*register, key_heads, offset, len);
                offset += len;
            }
        }
        if apart {
            return Ok((registers, first, last));
        }
        let [rate, step] = [0, shared].map(|offset| b.part_of_heads(first, key_heads, offset, shared));
        Ok((registers, rate, step))
    }
}
