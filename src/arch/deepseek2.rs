//! DeepSeek-V2 and V3 (DeepSeek-AI 2024): multi-head latent attention, experts behind some dense blocks.
//!
//! Attention runs on the latent vectors themselves: the matrix that would expand them to keys is applied to the queries, and
//! the one for values to the result. The cache holds one latent vector and one rotated key per position, for all heads.

use super::builder::{Builder, Output, block};
use super::experts::ExpertStyle;
use super::program::{Input, Op, Register, Rope, Slots};
use crate::error::Result;
use crate::kernels::{Activation, RopeStyle};
use crate::ops::{AttentionLayer, MAX_HEAD_DIM, Scaling};

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let width = b.params.width;
    let latent = Latent::read(b)?;
    let dense = b.keys.dimension_or("leading_dense_block_count", 0)?;
    let hidden = b.keys.dimension("expert_feed_forward_length")?;
    let shared = b.keys.optional_dimension("expert_shared_count")?;
    let x = b.embed(1.0)?;
    for layer in 0..b.params.layers {
        let mark = b.mark();
        latent.attention(b, layer, x)?;
        let norm = b.rms_norm(&block(layer, "ffn_norm"), width)?;
        if layer < dense {
            b.feed_forward(layer, Input::Norm(x, norm), b.gated(Activation::Silu), x)?;
        } else {
            let normalized = b.normalized(x, norm);
            b.experts(layer, normalized, ExpertStyle::ALL, x, 1.0)?;
            if let Some(shared) = shared {
                b.shared_expert(layer, normalized, shared * hidden, x)?;
            }
        }
        b.release(mark);
    }
    let norm = b.rms_norm("output_norm", width)?;
    b.logits(x, norm, 1.0, 0.0)
}

/// Sizes of latent attention.
struct Latent {
    rope: usize,
    scale: f32,
    /// Elements of the latent vector of a position, and of that of the queries.
    rank: usize,
    query_rank: Option<usize>,
    /// Elements of a head that know no position, and that rotate.
    plain: usize,
    rotated: usize,
    /// Elements of a value head.
    value: usize,
}

impl Latent {
    fn read(b: &mut Builder) -> Result<Latent> {
        let key = b.keys.dimension("attention.key_length_mla")?;
        let (rank, rotated) = (b.keys.dimension("attention.kv_lora_rank")?, b.params.rope_dims);
        if rotated >= key || rank + rotated > MAX_HEAD_DIM {
            let message = format!("{rotated} of {key} elements beside a latent vector of {rank}");
            return Err(b.keys.invalid("rope.dimension_count", message));
        }
        // YaRN's temperature goes into the scores, as the model has it, not into sines and cosines.
        let mut temperature = 1.0;
        if let Scaling::Yarn { factor, attention_factor, .. } = &mut b.params.rope_scaling {
            let log = libm::log(factor.max(1.0));
            temperature = *attention_factor * (1.0 + b.keys.number("rope.scaling.yarn_log_multiplier", 0.0)? * log);
            *attention_factor = 1.0 / (1.0 + 0.1 * log);
        }
        Ok(Latent {
            rope: b.rope(RopeStyle::Interleaved)?,
            scale: (temperature * temperature / (key as f64).sqrt()) as f32,
            rank,
            query_rank: b.keys.optional_dimension("attention.q_lora_rank")?,
            plain: key - rotated,
            rotated,
            value: b.keys.dimension("attention.value_length_mla")?,
        })
    }

    fn attention(&self, b: &mut Builder, layer: usize, x: Register) -> Result<()> {
        let &Latent { rank, plain, rotated, value, .. } = self;
        let (heads, width, head) = (b.params.heads, b.params.width, plain + rotated);
        let mark = b.mark();
        let whole = |register: Register| Slots { register, head: register.width, offset: 0 };

        let norm = b.rms_norm(&block(layer, "attn_norm"), width)?;
        let (first, size) = self.query_rank.map_or(("attn_q", heads * head), |rank| ("attn_q_a", rank));
        let mut query = b.product(layer, first, size, width)?;
        let mut products = b.products(layer, Some("attn_kv_a_mqa"), ["attn_kv_a", "attn_k_pe"], [rank, rotated], width)?;
        let (latent, turning) = (products[0].out, products[1].out);
        let mut queries = query.out;
        products.push(query);
        b.ops.push(Op::Linear { input: Input::Norm(x, norm), products });
        if let Some(rank) = self.query_rank {
            let norm = b.rms_norm(&block(layer, "attn_q_a_norm"), rank)?;
            query = b.product(layer, "attn_q_b", heads * head, rank)?;
            let input = Input::Norm(queries, norm);
            queries = query.out;
            b.ops.push(Op::Linear { input, products: vec![query] });
        }
        let norm = b.rms_norm(&block(layer, "attn_kv_a_norm"), rank)?;
        b.ops.push(Op::Norm { x: None, norm, out: latent, residual: None });

        // Heads of queries and keys: what the latent vector is compared with, then what rotates.
        let joint = rank + rotated;
        let (query, key) = (b.register(heads * joint), b.register(joint));
        let slots = |register: Register, offset: usize| Slots { register, head: joint, offset };
        let from = |offset: usize| Slots { register: queries, head, offset };
        let weights = b.bind.stack(&block(layer, "attn_k_b.weight"), heads, rank, plain)?;
        b.ops.push(Op::PerHead { weights, heads, x: from(0), out: slots(query, 0) });
        b.ops.push(Op::Place { x: from(plain), out: slots(query, rank), len: rotated });
        b.ops.push(Op::Place { x: whole(latent), out: slots(key, 0), len: rank });
        b.ops.push(Op::Place { x: whole(turning), out: slots(key, rank), len: rotated });
        let index = b.attention_layer(AttentionLayer {
            heads,
            kv_heads: 1,
            head_dim: joint,
            value_dim: rank,
            scale: self.scale,
            window: None,
            bidirectional: false,
            cap: 0.0,
            slopes: Vec::new(),
            sinks: Vec::new(),
        });
        let rope = Some(Rope { index: self.rope, offset: rank });
        b.ops.push(Op::RopeStore { query, key, value: latent, rope, layer: index });
        let attended = b.register(heads * rank);
        b.ops.push(Op::Attend { query, out: attended, layer: index });

        let values = b.register(heads * value);
        let weights = b.bind.stack(&block(layer, "attn_v_b.weight"), heads, value, rank)?;
        let x_slots = Slots { register: attended, head: rank, offset: 0 };
        b.ops.push(Op::PerHead { weights, heads, x: x_slots, out: Slots { register: values, head: value, offset: 0 } });
        b.output(layer, "attn_output", Input::Plain(values), values.width, Output::from(x))?;
        b.release(mark);
        Ok(())
    }
}
