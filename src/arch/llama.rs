//! LLaMA: pre-norm transformer, grouped-query attention with rotary positions, SwiGLU feed-forward.
//!
//! Sources: LLaMA (Touvron et al. 2023), Llama 2 and 3; tensor names as in converted GGUF files. Also reads files of
//! models with the same graph: optional biases, tied embeddings, heads of any size.

use super::program::{Builder, Input, Op, Product};
use crate::error::{Error, Result};
use crate::kernels::RopeStyle;
use crate::kv::KvShape;
use crate::ops::RopeParams;

pub(super) fn build(b: &mut Builder) -> Result<()> {
    let p = b.params.clone();
    if p.experts > 0 {
        return Err(Error::Unsupported(format!("llama.expert_count: models with experts ({}) are not supported", p.experts)));
    }
    let factors = b.bind.optional_vector("rope_freqs.weight", p.rope_dims / 2)?;
    b.rope = Some(RopeParams::new(RopeStyle::Interleaved, p.rope_dims, p.rope_base, p.rope_scaling, factors.as_deref()));

    let vocab = b.bind.rows("token_embd.weight", p.width)?;
    let embedding = b.bind.matrix("token_embd.weight", vocab, p.width)?;
    let x = b.register(p.width);
    b.ops.push(Op::Embed { table: embedding.clone(), out: x });

    let kv = KvShape { heads: p.kv_heads, head_dim: p.head_dim, value_dim: p.value_dim };
    for layer in 0..p.layers {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let product = |b: &mut Builder, part: &str, rows: usize, depth: usize| -> Result<Product> {
            let matrix = b.bind.matrix(&name(&format!("{part}.weight")), rows, depth)?;
            let bias = b.bind.optional_vector(&name(&format!("{part}.bias")), rows)?;
            Ok(Product { matrix, bias, out: b.register(rows), residual: None })
        };

        let q = product(b, "attn_q", p.heads * p.head_dim, p.width)?;
        let k = product(b, "attn_k", p.kv_heads * p.head_dim, p.width)?;
        let v = product(b, "attn_v", p.kv_heads * p.value_dim, p.width)?;
        let heads = b.attention_layer(p.heads, kv);
        let (query, key, value) = (q.out, k.out, v.out);
        let norm = b.bind.vector(&name("attn_norm.weight"), p.width)?;
        b.ops.push(Op::Linear { input: Input::RmsNorm(x, norm), products: vec![q, k, v] });
        b.ops.push(Op::RopeStore { query, key, value, heads });
        let attended = b.register(p.heads * p.value_dim);
        b.ops.push(Op::Attend { query, out: attended, heads });
        let output = Product { residual: Some(x), ..product(b, "attn_output", p.width, p.heads * p.value_dim)? };
        b.ops.push(Op::Linear { input: Input::Plain(attended), products: vec![output] });
        b.release(query);

        let gate = product(b, "ffn_gate", p.feed_forward, p.width)?;
        let up = product(b, "ffn_up", p.feed_forward, p.width)?;
        let hidden = (gate.out, up.out);
        let norm = b.bind.vector(&name("ffn_norm.weight"), p.width)?;
        b.ops.push(Op::Linear { input: Input::RmsNorm(x, norm), products: vec![gate, up] });
        let down = Product { residual: Some(x), ..product(b, "ffn_down", p.width, p.feed_forward)? };
        b.ops.push(Op::Linear { input: Input::SwiGlu(hidden.0, hidden.1), products: vec![down] });
        b.release(hidden.0);
    }

    let norm = b.bind.vector("output_norm.weight", p.width)?;
    // Without a matrix of its own, the output is tied to the embedding.
    let table = b.bind.optional_matrix("output.weight", vocab, p.width)?.unwrap_or(embedding);
    b.ops.push(Op::Logits { x, norm, table });
    Ok(())
}
