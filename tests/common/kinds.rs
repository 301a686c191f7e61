//! Small models with random weights of the kinds that differ in more than sizes: one architecture for each way of attention,
//! experts and memory.

use super::synth::{Random, fill};
use chord::gguf::{Item, Writer};
use chord::tensor::Dtype;
use std::path::PathBuf;

/// The tensors of one block.
type Block = &'static [(&'static str, &'static [u64])];

/// An architecture in small.
pub struct Kind {
    pub architecture: &'static str,
    numbers: &'static [(&'static str, u32)],
    /// The blocks, in turn.
    blocks: &'static [Block],
    /// Where the last norm is.
    norm: &'static str,
}

const WIDTH: u64 = 256;
const VOCAB: u64 = 256;
/// Positions of the window of the kinds that have one.
pub const WINDOW: usize = 100;

const GEMMA: Block = &[
    ("attn_norm", &[256]),
    ("attn_q", &[256, 256]),
    ("attn_k", &[256, 128]),
    ("attn_v", &[256, 128]),
    ("attn_output", &[256, 256]),
    ("post_attention_norm", &[256]),
    ("ffn_norm", &[256]),
    ("ffn_gate", &[256, 256]),
    ("ffn_up", &[256, 256]),
    ("ffn_down", &[256, 256]),
    ("post_ffw_norm", &[256]),
];

const GPT_OSS: Block = &[
    ("attn_norm", &[256]),
    ("attn_q", &[256, 256]),
    ("attn_k", &[256, 128]),
    ("attn_v", &[256, 128]),
    ("attn_sinks", &[4]),
    ("attn_output", &[256, 256]),
    ("post_attention_norm", &[256]),
    ("ffn_gate_inp", &[256, 8]),
    ("ffn_gate_exps", &[256, 256, 8]),
    ("ffn_up_exps", &[256, 256, 8]),
    ("ffn_down_exps", &[256, 256, 8]),
];

const DEEPSEEK: Block = &[
    ("attn_norm", &[256]),
    ("attn_q_a", &[256, 96]),
    ("attn_q_a_norm", &[96]),
    ("attn_q_b", &[96, 256]),
    ("attn_kv_a_mqa", &[256, 96]),
    ("attn_kv_a_norm", &[64]),
    ("attn_k_b", &[32, 64, 4]),
    ("attn_v_b", &[64, 32, 4]),
    ("attn_output", &[128, 256]),
    ("ffn_norm", &[256]),
    ("ffn_gate_inp", &[256, 8]),
    ("ffn_gate_exps", &[256, 96, 8]),
    ("ffn_up_exps", &[256, 96, 8]),
    ("ffn_down_exps", &[96, 256, 8]),
    ("ffn_gate_shexp", &[256, 96]),
    ("ffn_up_shexp", &[256, 96]),
    ("ffn_down_shexp", &[96, 256]),
];

const CONVOLUTION: Block = &[
    ("attn_norm", &[256]),
    ("shortconv.in_proj", &[256, 768]),
    ("shortconv.conv", &[3, 256]),
    ("shortconv.out_proj", &[256, 256]),
    ("ffn_norm", &[256]),
    ("ffn_gate", &[256, 256]),
    ("ffn_up", &[256, 256]),
    ("ffn_down", &[256, 256]),
];

const LFM2_ATTENTION: Block = &[
    ("attn_norm", &[256]),
    ("attn_q", &[256, 256]),
    ("attn_q_norm", &[64]),
    ("attn_k", &[256, 128]),
    ("attn_k_norm", &[64]),
    ("attn_v", &[256, 128]),
    ("attn_output", &[256, 256]),
    ("ffn_norm", &[256]),
    ("ffn_gate", &[256, 256]),
    ("ffn_up", &[256, 256]),
    ("ffn_down", &[256, 256]),
];

const BLOOM: Block = &[
    ("attn_norm", &[256]),
    ("attn_qkv", &[256, 512]),
    ("attn_output", &[256, 256]),
    ("ffn_norm", &[256]),
    ("ffn_up", &[256, 512]),
    ("ffn_down", &[512, 256]),
];

const MAMBA: Block = &[
    ("attn_norm", &[256]),
    ("ssm_in", &[256, 1024]),
    ("ssm_conv1d", &[4, 512]),
    ("ssm_conv1d.bias", &[512]),
    ("ssm_x", &[512, 64]),
    ("ssm_dt", &[32, 512]),
    ("ssm_dt.bias", &[512]),
    ("ssm_a", &[16, 512]),
    ("ssm_d", &[512]),
    ("ssm_out", &[512, 256]),
];

const MAMBA2: Block = &[
    ("attn_norm", &[256]),
    ("ssm_in", &[256, 1160]),
    ("ssm_conv1d", &[4, 640]),
    ("ssm_conv1d.bias", &[640]),
    ("ssm_dt.bias", &[8]),
    ("ssm_a", &[1, 8]),
    ("ssm_d", &[1, 8]),
    ("ssm_norm", &[256, 2]),
    ("ssm_out", &[512, 256]),
];

const DELTA_RULE: Block = &[
    ("attn_norm", &[256]),
    ("attn_qkv", &[256, 512]),
    ("attn_gate", &[256, 256]),
    ("ssm_ba", &[256, 16]),
    ("ssm_conv1d", &[4, 512]),
    ("ssm_dt.bias", &[8]),
    ("ssm_a", &[8]),
    ("ssm_norm", &[32]),
    ("ssm_out", &[256, 256]),
    ("post_attention_norm", &[256]),
    ("ffn_gate_inp", &[256, 8]),
    ("ffn_gate_exps", &[256, 96, 8]),
    ("ffn_up_exps", &[256, 96, 8]),
    ("ffn_down_exps", &[96, 256, 8]),
    ("ffn_gate_inp_shexp", &[256, 1]),
    ("ffn_gate_shexp", &[256, 96]),
    ("ffn_up_shexp", &[256, 96]),
    ("ffn_down_shexp", &[96, 256]),
];

const GATED_ATTENTION: Block = &[
    ("attn_norm", &[256]),
    ("attn_q", &[256, 512]),
    ("attn_q_norm", &[64]),
    ("attn_k", &[256, 128]),
    ("attn_k_norm", &[64]),
    ("attn_v", &[256, 128]),
    ("attn_output", &[256, 256]),
    ("post_attention_norm", &[256]),
    ("ffn_gate_inp", &[256, 8]),
    ("ffn_gate_exps", &[256, 96, 8]),
    ("ffn_up_exps", &[256, 96, 8]),
    ("ffn_down_exps", &[96, 256, 8]),
    ("ffn_gate_inp_shexp", &[256, 1]),
    ("ffn_gate_shexp", &[256, 96]),
    ("ffn_up_shexp", &[256, 96]),
    ("ffn_down_shexp", &[96, 256]),
];

/// Windows with caps; windows with sinks, and experts; latent attention, and experts beside one for all; convolutions;
/// slopes; states that decay by elements, as a whole, and by the delta rule. Two blocks each.
pub const KINDS: &[Kind] = &[
    Kind { architecture: "gemma2", numbers: &[("attention.sliding_window", 100)], blocks: &[GEMMA], norm: "output_norm" },
    Kind {
        architecture: "gpt-oss",
        numbers: &[("attention.sliding_window", 100), ("expert_count", 8), ("expert_used_count", 3)],
        blocks: &[GPT_OSS],
        norm: "output_norm",
    },
    Kind {
        architecture: "deepseek2",
        numbers: &[
            ("attention.key_length_mla", 64),
            ("attention.value_length_mla", 32),
            ("attention.kv_lora_rank", 64),
            ("attention.q_lora_rank", 96),
            ("rope.dimension_count", 32),
            ("expert_count", 8),
            ("expert_used_count", 2),
            ("expert_shared_count", 1),
            ("expert_feed_forward_length", 96),
            ("expert_group_count", 4),
            ("expert_group_used_count", 2),
        ],
        blocks: &[DEEPSEEK],
        norm: "output_norm",
    },
    Kind {
        architecture: "lfm2",
        numbers: &[("shortconv.l_cache", 3)],
        blocks: &[CONVOLUTION, LFM2_ATTENTION],
        norm: "token_embd_norm",
    },
    Kind { architecture: "bloom", numbers: &[], blocks: &[BLOOM], norm: "output_norm" },
    Kind {
        architecture: "mamba",
        numbers: &[("ssm.conv_kernel", 4), ("ssm.inner_size", 512), ("ssm.state_size", 16), ("ssm.time_step_rank", 32)],
        blocks: &[MAMBA],
        norm: "output_norm",
    },
    Kind {
        architecture: "mamba2",
        numbers: &[
            ("ssm.conv_kernel", 4),
            ("ssm.inner_size", 512),
            ("ssm.state_size", 32),
            ("ssm.time_step_rank", 8),
            ("ssm.group_count", 2),
        ],
        blocks: &[MAMBA2],
        norm: "output_norm",
    },
    Kind {
        architecture: "qwen3next",
        numbers: &[
            ("ssm.conv_kernel", 4),
            ("ssm.inner_size", 256),
            ("ssm.state_size", 32),
            ("ssm.time_step_rank", 8),
            ("ssm.group_count", 4),
            ("full_attention_interval", 2),
            ("rope.dimension_count", 16),
            ("expert_count", 8),
            ("expert_used_count", 2),
            ("expert_feed_forward_length", 96),
            ("expert_shared_feed_forward_length", 96),
        ],
        blocks: &[DELTA_RULE, GATED_ATTENTION],
        norm: "output_norm",
    },
];

impl Kind {
    /// A model of this kind with a context of `context` positions, made once and kept among the build outputs.
    pub fn model(&self, context: u32) -> PathBuf {
        let text = |error: chord::error::Error| error.to_string();
        super::written(&format!("{}-{context}", self.architecture), |out| {
            let (writer, tensors) = self.header(context).map_err(text)?;
            let mut random = Random(1);
            let fill = |index: usize, out: &mut dyn std::io::Write| {
                let (name, dims) = &tensors[index];
                if name.ends_with("ssm_a") {
                    // What is left of a state is never more than there was.
                    let rates = (0..dims.iter().product::<u64>()).map(|i| -((i % 7 + 1) as f32) / 8.0);
                    return rates.map(f32::to_le_bytes).try_for_each(|bytes| out.write_all(&bytes));
                }
                fill(out, dims, dtype(name, dims), &mut random).map_err(std::io::Error::other)
            };
            writer.write(out, fill).map_err(|error| error.to_string())
        })
    }

    /// What stands in front of the weights, and the names and sizes of these.
    pub fn header(&self, context: u32) -> chord::error::Result<(Writer, Vec<(String, Vec<u64>)>)> {
        let mut writer = Writer::new();
        self.metadata(&mut writer, context)?;
        let tensors = self.tensors();
        for (name, dims) in &tensors {
            writer.tensor(name, dtype(name, dims), dims)?;
        }
        Ok((writer, tensors))
    }

    fn metadata(&self, writer: &mut Writer, context: u32) -> chord::error::Result<()> {
        let key = |name: &str| format!("{}.{name}", self.architecture);
        writer.pair("general.architecture", Item::Str(self.architecture))?;
        let common = [
            ("block_count", 2),
            ("context_length", context),
            ("embedding_length", WIDTH as u32),
            ("feed_forward_length", if self.architecture == "bloom" { 512 } else { 256 }),
            ("attention.head_count", 4),
        ];
        for (name, value) in common.iter().chain(self.numbers) {
            writer.pair(&key(name), Item::U32(*value))?;
        }
        // Blocks without keys and values say so.
        let kv_heads: Vec<i32> = self.blocks.iter().cycle().take(2).map(|block| self.kv_heads(block)).collect();
        writer.pair(&key("attention.head_count_kv"), Item::I32s(&kv_heads))?;
        writer.pair(&key("attention.layer_norm_rms_epsilon"), Item::F32(1e-5))?;
        writer.pair(&key("attention.layer_norm_epsilon"), Item::F32(1e-5))
    }

    fn kv_heads(&self, block: Block) -> i32 {
        let rows = |part: &str| block.iter().find(|(name, _)| *name == part).map(|(_, dims)| dims[1]);
        match (rows("attn_k"), rows("attn_qkv"), rows("attn_kv_a_mqa")) {
            (Some(rows), ..) => (rows / 64) as i32,
            (_, Some(rows), _) => ((rows - WIDTH) / 128) as i32,
            (.., Some(_)) => 1,
            _ => 0,
        }
    }

    fn tensors(&self) -> Vec<(String, Vec<u64>)> {
        let mut tensors = vec![("token_embd.weight".to_owned(), vec![WIDTH, VOCAB])];
        let mut norm = |name: &str| tensors.push((name.to_owned(), vec![WIDTH]));
        norm(&format!("{}.weight", self.norm));
        if self.architecture == "bloom" {
            norm("token_embd_norm.weight");
        }
        for (layer, block) in self.blocks.iter().cycle().take(2).enumerate() {
            let suffix = |name: &str| if matches!(name, "ssm_a" | "ssm_d") || name.ends_with(".bias") { "" } else { ".weight" };
            let named = |(name, dims): &(&str, &[u64])| (format!("blk.{layer}.{name}{}", suffix(name)), dims.to_vec());
            tensors.extend(block.iter().map(named));
            // Everything that may have a bias has one here, in some kinds.
            let biased =
                |name: &str| matches!(self.architecture, "gpt-oss" | "bloom") && name.contains("attn_") && name != "attn_sinks";
            let biases = block.iter().filter(|(name, dims)| biased(name) && (dims.len() == 2 || self.architecture == "bloom"));
            let bias = |(name, dims): &(&str, &[u64])| (format!("blk.{layer}.{name}.bias"), vec![dims[dims.len() - 1]]);
            tensors.extend(biases.map(bias));
            let experts =
                block.iter().filter(|(name, dims)| self.architecture == "gpt-oss" && dims.len() == 3 && name.ends_with("_exps"));
            tensors.extend(experts.map(|(name, dims)| (format!("blk.{layer}.{name}.bias"), dims[1..].to_vec())));
        }
        tensors
    }
}

/// Quantized where rows are whole blocks, of both sizes; what files keep in F32 is F32.
pub fn dtype(name: &str, dims: &[u64]) -> Dtype {
    match dims {
        [_] => Dtype::F32,
        _ if ["ffn_gate_inp", "shortconv.conv", "ssm_conv1d", "ssm_norm"].iter().any(|part| name.contains(part)) => Dtype::F32,
        _ if ["bias", "ssm_a", "ssm_d"].iter().any(|part| name.ends_with(part)) => Dtype::F32,
        [row, ..] if row % 256 == 0 => Dtype::Q4_K,
        [row, ..] if row % 32 == 0 => Dtype::Q8_0,
        _ => Dtype::F16,
    }
}
