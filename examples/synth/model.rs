//! Models of real shapes with random weights; also what tests run when they need a model of some type.

use chord::gguf::{Item, Writer};
use chord::quant::{FileType, MixModel, encode};
use chord::tensor::Dtype;
use std::collections::HashSet;
use std::io::Write;

/// The dimensions of a model.
pub struct Shape {
    pub name: &'static str,
    pub layers: u32,
    pub width: u32,
    pub feed_forward: u32,
    pub heads: u32,
    pub kv_heads: u32,
    pub vocab: u32,
    pub context: u32,
    pub rope_base: f32,
}

impl Shape {
    /// The known ones; the first is the default.
    pub const ALL: &[Shape] = &[
        Shape::new("tinyllama", 22, 2048, 5632, [32, 4], 32_000, 2048, 1e4),
        Shape::new("llama-7b", 32, 4096, 11_008, [32, 32], 32_000, 4096, 1e4),
        Shape::new("mistral-7b", 32, 4096, 14_336, [32, 8], 32_000, 32_768, 1e6),
        Shape::new("llama3-8b", 32, 4096, 14_336, [32, 8], 128_256, 8192, 5e5),
        Shape::new("llama3-1b", 16, 2048, 8192, [32, 8], 128_256, 131_072, 5e5),
        Shape::new("short", 2, 1024, 2816, [16, 4], 32_000, 8192, 1e4),
        Shape::new("deep", 12, 512, 1536, [8, 2], 512, 512, 1e4),
        Shape::new("tiny", 2, 256, 512, [4, 2], 512, 512, 1e4),
        Shape::new("odd", 2, 160, 224, [5, 1], 389, 512, 1e4),
    ];

    #[allow(clippy::too_many_arguments)]
    const fn new(
        name: &'static str,
        layers: u32,
        width: u32,
        feed_forward: u32,
        [heads, kv_heads]: [u32; 2],
        vocab: u32,
        context: u32,
        rope_base: f32,
    ) -> Shape {
        Shape { name, layers, width, feed_forward, heads, kv_heads, vocab, context, rope_base }
    }

    fn head_dim(&self) -> u32 {
        self.width / self.heads
    }
}

/// Which tensor gets which type.
#[derive(Clone, Copy)]
pub enum Types {
    /// A mix as users know it.
    Mix(FileType),
    /// One type for all matrices.
    Pure(Dtype),
}

impl Types {
    /// A mix or a type.
    pub fn by_name(name: &str) -> Result<Types, String> {
        if let Ok(mix) = FileType::by_name(name) {
            return Ok(Types::Mix(mix));
        }
        let dtype = Dtype::ALL.iter().copied().find(|dtype| dtype.name().eq_ignore_ascii_case(name));
        dtype.map(Types::Pure).ok_or(format!("unknown type {name}"))
    }

    fn dtype(self, name: &str, dims: &[u64], shape: &Shape) -> Dtype {
        let model =
            MixModel { layers: shape.layers as usize, heads_per_kv: (shape.heads / shape.kv_heads) as usize, tied: false };
        match self {
            _ if dims.len() < 2 => Dtype::F32,
            Types::Pure(dtype) => dtype,
            Types::Mix(mix) => mix.dtype(name, dims, &model).unwrap_or(Dtype::F32),
        }
    }
}

/// Writes the model; `progress` hears how many tensors are done, and of how many.
pub fn write(out: impl Write, shape: &Shape, types: Types, seed: u64, progress: impl Fn(usize, usize)) -> Result<(), String> {
    let text = |error: chord::error::Error| error.to_string();
    let mut writer = Writer::new();
    metadata(&mut writer, shape, types).map_err(text)?;
    let tensors = tensors(shape);
    for (name, dims) in &tensors {
        writer.tensor(name, types.dtype(name, dims, shape), dims).map_err(text)?;
    }
    let mut random = Random(seed);
    writer
        .write(out, |index, out| {
            let (name, dims) = &tensors[index];
            progress(index + 1, tensors.len());
            fill(out, dims, types.dtype(name, dims, shape), &mut random).map_err(std::io::Error::other)
        })
        .map_err(|error| error.to_string())
}

/// Names and sizes of a llama model's tensors, fastest-running size first.
fn tensors(shape: &Shape) -> Vec<(String, Vec<u64>)> {
    let [width, feed_forward, vocab] = [shape.width, shape.feed_forward, shape.vocab].map(u64::from);
    let kv = u64::from(shape.head_dim() * shape.kv_heads);
    let mut tensors = vec![("token_embd.weight".to_owned(), vec![width, vocab])];
    for layer in 0..shape.layers {
        let parts: [(&str, &[u64]); 9] = [
            ("attn_norm", &[width]),
            ("attn_q", &[width, width]),
            ("attn_k", &[width, kv]),
            ("attn_v", &[width, kv]),
            ("attn_output", &[width, width]),
            ("ffn_norm", &[width]),
            ("ffn_gate", &[width, feed_forward]),
            ("ffn_up", &[width, feed_forward]),
            ("ffn_down", &[feed_forward, width]),
        ];
        tensors.extend(parts.map(|(name, dims)| (format!("blk.{layer}.{name}.weight"), dims.to_vec())));
    }
    tensors.push(("output_norm.weight".into(), vec![width]));
    tensors.push(("output.weight".into(), vec![width, vocab]));
    tensors
}

fn metadata(writer: &mut Writer, shape: &Shape, types: Types) -> chord::error::Result<()> {
    writer.pair("general.architecture", Item::Str("llama"))?;
    writer.pair("general.name", Item::Str(&format!("synthetic {}", shape.name)))?;
    writer.pair("general.quantization_version", Item::U32(2))?;
    if let Types::Mix(mix) = types {
        writer.pair("general.file_type", Item::U32(mix.id()))?;
    }
    for (key, value) in [
        ("block_count", shape.layers),
        ("context_length", shape.context),
        ("embedding_length", shape.width),
        ("feed_forward_length", shape.feed_forward),
        ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.kv_heads),
        ("rope.dimension_count", shape.head_dim()),
        ("vocab_size", shape.vocab),
    ] {
        writer.pair(&format!("llama.{key}"), Item::U32(value))?;
    }
    writer.pair("llama.attention.layer_norm_rms_epsilon", Item::F32(1e-5))?;
    writer.pair("llama.rope.freq_base", Item::F32(shape.rope_base))?;

    let tokens = vocabulary(shape.vocab as usize);
    let texts: Vec<&[u8]> = tokens.iter().map(|token| token.text.as_bytes()).collect();
    let scores: Vec<f32> = (0..tokens.len()).map(|id| -(id as f32)).collect();
    let kinds: Vec<i32> = tokens.iter().map(|token| token.kind).collect();
    writer.pair("tokenizer.ggml.model", Item::Str("llama"))?;
    writer.pair("tokenizer.ggml.pre", Item::Str("default"))?;
    writer.pair("tokenizer.ggml.tokens", Item::Strs(&texts))?;
    writer.pair("tokenizer.ggml.scores", Item::F32s(&scores))?;
    writer.pair("tokenizer.ggml.token_type", Item::I32s(&kinds))?;
    writer.pair("tokenizer.ggml.unknown_token_id", Item::U32(0))?;
    writer.pair("tokenizer.ggml.bos_token_id", Item::U32(1))?;
    writer.pair("tokenizer.ggml.eos_token_id", Item::U32(2))?;
    writer.pair("tokenizer.ggml.add_bos_token", Item::Bool(true))
}

struct Token {
    text: String,
    kind: i32,
}

/// A SentencePiece-like vocabulary: control tokens, bytes, then pieces of growing length, with and without a space.
fn vocabulary(size: usize) -> Vec<Token> {
    const NORMAL: i32 = 1;
    let special = [("<unk>", 2), ("<s>", 3), ("</s>", 3)].map(|(text, kind)| Token { text: text.into(), kind });
    let bytes = (0..=255u8).map(|byte| Token { text: format!("<0x{byte:02X}>"), kind: 6 });
    let mut tokens: Vec<Token> = special.into_iter().chain(bytes).collect();
    let mut seen = HashSet::new();
    let letters = || ('a'..='z').chain('A'..='Z').chain('0'..='9').chain("▁.,;:!?'\"()-+*/=".chars());
    let mut last: Vec<String> = vec![String::new()];
    while tokens.len() < size {
        let next: Vec<String> = last.iter().flat_map(|start| letters().map(move |letter| format!("{start}{letter}"))).collect();
        tokens.extend(
            next.iter().filter(|text| seen.insert((*text).clone())).map(|text| Token { text: text.clone(), kind: NORMAL }),
        );
        last = next;
    }
    tokens.truncate(size);
    tokens
}

/// Rows that are really random; a tensor is made of these, in random order, because encoding is slow.
const POOL: usize = 64;

/// Random weights: vectors are gains around 1, matrices keep the size of what they multiply.
pub fn fill(out: &mut dyn Write, dims: &[u64], dtype: Dtype, random: &mut Random) -> Result<(), String> {
    let row = dims[0] as usize;
    let rows = dims[1..].iter().product::<u64>() as usize;
    let mut pool = Vec::new();
    for _ in 0..POOL.min(rows) {
        let weights: Vec<f32> = match dims.len() {
            1 => (0..row).map(|_| 1.0 + 0.1 * random.normal()).collect(),
            _ => (0..row).map(|_| random.normal() / (row as f32).sqrt()).collect(),
        };
        let mut bytes = vec![0; dtype.row_bytes(row).ok_or("rows are not whole blocks")?];
        encode(dtype, &weights, None, &mut bytes).map_err(|error| error.to_string())?;
        pool.push(bytes);
    }
    for _ in 0..rows {
        out.write_all(&pool[random.next() as usize % pool.len()]).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// SplitMix64 (Steele et al. 2014).
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Nearly normal: the sum of twelve uniform numbers.
    fn normal(&mut self) -> f32 {
        let sum: f64 = (0..12).map(|_| (self.next() >> 11) as f64 / (1u64 << 53) as f64).sum();
        (sum - 6.0) as f32
    }
}
