//! DeepSeek-V2 and V3 (DeepSeek-AI 2024): multi-head latent attention, experts behind some dense blocks.
//!
//! Attention runs on the latent vectors themselves: the matrix that would expand them to keys is applied to the queries, and
//! the one for values to the result. The cache holds one latent vector and one rotated key per position, for all heads.
//! Older files have both matrices in one that can only expand: there, the cache holds keys and values of every head.

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
    /// Whether keys and values are made before the cache rather than behind it.
    expands: bool,
}

impl Latent {
    fn read(b: &mut Builder) -> Result<Latent> {
        // Keys that are expanded are what the file calls keys.
        let has = |part: &str| b.bind.has(&block(0, part));
        let expands = has("attn_kv_b.weight") && !has("attn_k_b.weight");
        let [key, value] = ["key", "value"].map(|part| format!("attention.{part}_length{}", if expands { "" } else { "_mla" }));
        let (key, value) = (b.keys.dimension(&key)?, b.keys.dimension(&value)?);
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
            value,
            expands,
        })
    }

    fn attention(&self, b: &mut Builder, layer: usize, x: Register) -> Result<()> {
        let &Latent { rank, plain, rotated, .. } = self;
        let (heads, width, head) = (b.params.heads, b.params.width, plain + rotated);
        let mark = b.mark();

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

        let values = if self.expands {
            self.expanded(b, layer, queries, latent, turning)?
        } else {
            self.absorbed(b, layer, queries, latent, turning)?
        };
        b.output(layer, "attn_output", Input::Plain(values), values.width, Output::from(x))?;
        b.release(mark);
        Ok(())
    }

    /// Attention on latent vectors; what comes out of it is expanded to values.
    fn absorbed(
        &self,
        b: &mut Builder,
        layer: usize,
        queries: Register,
        latent: Register,
        turning: Register,
    ) -> Result<Register> {
        let &Latent { rank, plain, rotated, value, .. } = self;
        let (heads, head) = (b.params.heads, plain + rotated);
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
        let index = b.attention_layer(self.layer(heads, 1, joint, rank));
        let rope = Some(Rope { index: self.rope, offset: rank });
        b.ops.push(Op::RopeStore { query, key, value: latent, rope, layer: index });
        let attended = b.register(heads * rank);
        b.ops.push(Op::Attend { query, out: attended, layer: index });

        let values = b.register(heads * value);
        let weights = b.bind.stack(&block(layer, "attn_v_b.weight"), heads, value, rank)?;
        let x_slots = Slots { register: attended, head: rank, offset: 0 };
        b.ops.push(Op::PerHead { weights, heads, x: x_slots, out: Slots { register: values, head: value, offset: 0 } });
        Ok(values)
    }

    /// Attention on keys and values that are expanded first.
    fn expanded(
        &self,
        b: &mut Builder,
        layer: usize,
        queries: Register,
        latent: Register,
        turning: Register,
    ) -> Result<Register> {
        let &Latent { rank, plain, rotated, value, .. } = self;
        let (heads, head) = (b.params.heads, plain + rotated);
        let product = b.product(layer, "attn_kv_b", heads * (plain + value), rank)?;
        let both = product.out;
        b.ops.push(Op::Linear { input: Input::Plain(latent), products: vec![product] });
        let (key, values) = (b.register(heads * head), b.register(heads * value));
        let from = |offset: usize| Slots { register: both, head: plain + value, offset };
        let slots = |offset: usize| Slots { register: key, head, offset };
        b.ops.push(Op::Place { x: from(0), out: slots(0), len: plain });
        b.ops.push(Op::Place { x: whole(turning), out: slots(plain), len: rotated });
        b.ops.push(Op::Place { x: from(plain), out: Slots { register: values, head: value, offset: 0 }, len: value });
        let index = b.attention_layer(self.layer(heads, heads, head, value));
        let rope = Some(Rope { index: self.rope, offset: plain });
        b.ops.push(Op::RopeStore { query: queries, key, value: values, rope, layer: index });
        let attended = b.register(heads * value);
        b.ops.push(Op::Attend { query: queries, out: attended, layer: index });
        Ok(attended)
    }

    fn layer(&self, heads: usize, kv_heads: usize, head_dim: usize, value_dim: usize) -> AttentionLayer {
        AttentionLayer {
            heads,
            kv_heads,
            head_dim,
            value_dim,
            scale: self.scale,
            window: None,
            bidirectional: false,
            cap: 0.0,
            slopes: Vec::new(),
            sinks: Vec::new(),
        }
    }
}

/// All elements of a register as one head.
fn whole(register: Register) -> Slots {
    Slots { register, head: register.width, offset: 0 }
}
