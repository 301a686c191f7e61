//! Writes programs down: registers, norms, and the blocks that transformers are made of.

use super::params::{Keys, Params};
use super::program::{Gate, Head, HeadLayer, Input, Op, Product, Program, Register, Rope, Slots};
use super::weights::{Binder, Matrix};
use crate::error::Result;
use crate::gguf::File;
use crate::kernels::{Activation, RopeStyle};
use crate::ops::{AttentionLayer, Norm, Pooling, RopeParams};

/// A matrix, and what is added to the products.
type Map = (Matrix, Option<Vec<f32>>);

/// Writes a program down.
pub struct Builder<'a> {
    /// The hyper-parameters.
    pub params: Params,
    /// Metadata under the architecture's name.
    pub keys: Keys<'a>,
    /// Finds tensors.
    pub bind: Binder<'a>,
    /// Operations so far.
    pub ops: Vec<Op>,
    ropes: Vec<RopeParams>,
    attention: Vec<AttentionLayer>,
    states: Vec<usize>,
    top: usize,
    width: usize,
}

/// How queries and keys are normalized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QkNorm {
    /// Not at all.
    #[default]
    None,
    /// RMS norm, of heads or of all heads at once, as the tensors say.
    Rms,
    /// RMS norm of heads that are rotated already.
    RmsAfterRope,
    /// Layer norm of heads, each with gains of its own, where the file has them.
    OptionalLayer,
    /// Layer norm of all heads at once, where the file has it.
    OptionalWhole,
}

/// What makes an attention block differ from the plain one.
#[derive(Clone, Debug, Default)]
pub struct Attention {
    /// The rotation, unless there is none.
    pub rope: Option<usize>,
    /// The norm of queries and keys.
    pub qk_norm: QkNorm,
    /// See [`AttentionLayer::window`].
    pub window: Option<usize>,
    /// Multiplies the scores; `None`: one over the root of the head size.
    pub scale: Option<f32>,
    /// See [`AttentionLayer::cap`].
    pub cap: f32,
    /// See [`AttentionLayer::slopes`].
    pub slopes: Vec<f32>,
    /// Whether the block has sinks (see [`AttentionLayer::sinks`]).
    pub sinks: bool,
    /// Whether behind each query head stands a gate, whose sigmoid multiplies the head's result.
    pub gated: bool,
}

/// A feed-forward block.
#[derive(Clone, Copy, Debug)]
pub struct FeedForward {
    /// The function in its middle.
    pub activation: Activation,
    /// Whether what goes through it multiplies a second product.
    pub gated: bool,
    /// Width of the middle.
    pub width: usize,
    /// What follows `ffn_gate`, `ffn_up` and `ffn_down` in the names of its tensors.
    pub suffix: &'static str,
}

/// Where the result of a block goes.
#[derive(Clone, Debug)]
pub struct Output {
    /// The residual stream that it is added to.
    pub stream: Register,
    /// Multiplies it before.
    pub scale: f32,
    /// Normalizes it before.
    pub norm: Option<Norm>,
    /// One value per token, whose sigmoid multiplies it before.
    pub gate: Option<Register>,
}

impl From<Register> for Output {
    fn from(stream: Register) -> Output {
        Output { stream, scale: 1.0, norm: None, gate: None }
    }
}

/// The name of a tensor of a block.
pub fn block(layer: usize, part: &str) -> String {
    format!("blk.{layer}.{part}")
}

impl<'a> Builder<'a> {
    /// An empty program.
    ///
    /// # Errors
    /// Hyper-parameters that are missing or wrong.
    pub fn new(file: &'a File, bind: Binder<'a>) -> Result<Builder<'a>> {
        Ok(Builder {
            params: Params::read(file)?,
            keys: Keys::new(file.metadata())?,
            bind,
            ops: Vec::new(),
            ropes: Vec::new(),
            attention: Vec::new(),
            states: Vec::new(),
            top: 0,
            width: 0,
        })
    }

    /// The finished program.
    ///
    /// # Errors
    /// See [`Program::new`].
    pub fn finish(self) -> Result<Program> {
        let head = self.head()?;
        let decoded = self.bind.decoded();
        Program::new(self.params, self.ops, self.width, self.ropes, self.attention, self.states, head, decoded)
    }

    /// What embeddings go through behind the pooling. Two layers are what most classifiers have; models made from decoders
    /// have the second one only, and their labels are answers.
    fn head(&self) -> Result<Head> {
        let architecture = self.params.architecture.as_str();
        let modern = architecture == "modern-bert";
        let layers = |names: [&str; 2]| -> Result<Vec<HeadLayer>> {
            let mut depth = self.params.width;
            let named = names.iter().filter(|name| self.bind.has(&format!("{name}.weight")));
            named.map(|name| self.head_layer(name, &mut depth)).collect()
        };
        let mut classifier = layers(["cls", "cls.output"])?;
        if let Some(first) = classifier.first_mut().filter(|_| self.bind.has("cls.weight")) {
            first.activation = Some(if modern { Activation::GeluErf } else { Activation::Tanh });
        }
        if let [first, second] = &mut *classifier
            && self.bind.has("cls.norm.weight")
        {
            second.norm = Some(self.layer_norm("cls.norm", first.matrix.rows)?);
        }
        let classified = match self.keys.pooling("classifier.pooling_type")? {
            Some(pooling @ (Pooling::Mean | Pooling::Cls | Pooling::Last)) => pooling,
            _ if self.params.causal => Pooling::Last,
            _ if modern => Pooling::Mean,
            _ => Pooling::Cls,
        };
        Ok(Head {
            pooling: self.keys.pooling("pooling_type")?,
            classifier,
            classified,
            softmax: architecture == "qwen3",
            projection: layers(["dense_2", "dense_3"])?,
        })
    }

    /// A layer of `depth` inputs; `depth` becomes the number of its outputs.
    fn head_layer(&self, name: &str, depth: &mut usize) -> Result<HeadLayer> {
        let weight = format!("{name}.weight");
        let rows = self.bind.rows(&weight, *depth)?;
        let matrix = self.bind.matrix(&weight, rows, *depth)?;
        let bias = self.bind.optional_vector(&format!("{name}.bias"), rows)?;
        *depth = rows;
        Ok(HeadLayer { norm: None, matrix, bias, activation: None })
    }

    /// A new register. Registers are a stack: see [`Builder::release`].
    pub fn register(&mut self, width: usize) -> Register {
        // Rows start on cache lines whatever the width.
        let register = Register { offset: self.top, width };
        self.top += width.next_multiple_of(32);
        self.width = self.width.max(self.top);
        register
    }

    /// The height of the stack of registers.
    pub fn mark(&self) -> usize {
        self.top
    }

    /// Gives all registers taken since the mark back; their room is used again.
    pub fn release(&mut self, mark: usize) {
        self.top = mark;
    }

    /// The RMS norm `name`.
    ///
    /// # Errors
    /// A missing tensor or key, as in all that bind.
    pub fn rms_norm(&self, name: &str, width: usize) -> Result<Norm> {
        self.rms_norm_by(self.bind.vector(&format!("{name}.weight"), width)?, width)
    }

    /// The RMS norm of groups of elements with these gains.
    ///
    /// # Errors
    /// As [`Builder::rms_norm`].
    pub fn rms_norm_by(&self, weight: Vec<f32>, group: usize) -> Result<Norm> {
        // Files of models that do not tell one norm from the other may have only the other's key.
        let default = self.keys.positive("attention.layer_norm_epsilon", None).ok();
        let eps = self.keys.positive("attention.layer_norm_rms_epsilon", default)? as f32;
        Ok(Norm { weight, bias: None, eps, group })
    }

    /// The layer norm `name`, with a bias or without.
    ///
    /// # Errors
    /// As [`Builder::rms_norm`].
    pub fn layer_norm(&self, name: &str, width: usize) -> Result<Norm> {
        let weight = self.bind.vector(&format!("{name}.weight"), width)?;
        let bias = match self.bind.optional_vector(&format!("{name}.bias"), width)? {
            Some(bias) => bias,
            None => self.bind.constant(width, 0.0)?,
        };
        let eps = self.keys.positive("attention.layer_norm_epsilon", None)? as f32;
        Ok(Norm { weight, bias: Some(bias), eps, group: width })
    }

    /// Declares the rotation that the hyper-parameters describe.
    ///
    /// # Errors
    /// Frequency factors of a wrong shape.
    pub fn rope(&mut self, style: RopeStyle) -> Result<usize> {
        let p = &self.params;
        let make =
            |factors: Option<Vec<f32>>| RopeParams::new(style, p.rope_dims, p.rope_base, p.rope_scaling, factors.as_deref());
        let factors = |name: &str| self.bind.optional_vector(name, p.rope_dims / 2);
        let rope = match (factors("rope_factors_short.weight")?, factors("rope_factors_long.weight")?) {
            (Some(short), Some(long)) => {
                let original = self.keys.dimension_or("rope.scaling.original_context_length", p.context)?;
                make(Some(short)).with_long(original, make(Some(long)))
            }
            _ => make(factors("rope_freqs.weight")?),
        };
        Ok(self.add_rope(rope))
    }

    /// Declares a rotation.
    pub fn add_rope(&mut self, rope: RopeParams) -> usize {
        self.ropes.push(rope);
        self.ropes.len() - 1
    }

    /// Embedded tokens, multiplied by `scale`: the start of the residual stream.
    ///
    /// # Errors
    /// As [`Builder::rms_norm`].
    pub fn embed(&mut self, scale: f32) -> Result<Register> {
        self.embedding(scale, None, None)
    }

    fn embedding(&mut self, scale: f32, positions: Option<&str>, each: Option<Vec<f32>>) -> Result<Register> {
        let width = self.params.width;
        let positions = positions.map(|name| self.bind.matrix(name, self.bind.rows(name, width)?, width)).transpose()?;
        let (table, out) = (self.vocabulary("token_embd.weight")?, self.register(width));
        let scale = scale * table.scale;
        self.ops.push(Op::Embed { table, positions, each, scale, out });
        Ok(out)
    }

    /// Embedded tokens plus the rows of their positions in the table `name`.
    ///
    /// # Errors
    /// As [`Builder::rms_norm`].
    pub fn embed_with_positions(&mut self, name: &str) -> Result<Register> {
        self.embedding(1.0, Some(name), None)
    }

    /// Embedded tokens plus the first row of the table of types, where the file has one, and the rows of their positions in
    /// the table `positions`, if it is given.
    ///
    /// # Errors
    /// As [`Builder::rms_norm`].
    pub fn embed_with_types(&mut self, positions: Option<&str>) -> Result<Register> {
        let (name, width) = ("token_types.weight", self.params.width);
        let types = if self.bind.has(name) { Some(self.bind.vectors(name, self.bind.rows(name, width)?, width)?) } else { None };
        let first = types.map(|mut types| {
            types.truncate(width);
            types
        });
        self.embedding(1.0, positions, first)
    }

    /// A table of one row per token.
    fn vocabulary(&self, name: &str) -> Result<Matrix> {
        let vocab = self.bind.rows("token_embd.weight", self.params.width)?;
        self.bind.matrix(name, vocab, self.params.width)
    }

    /// The end of a model that makes embeddings: a last norm, where there is one, and pooling.
    pub fn pool(&mut self, x: Register, norm: Option<Norm>) {
        let norm = norm.map(|norm| (norm, self.register(x.width)));
        self.ops.push(Op::Pool { x, norm });
    }

    /// Final norm and logits, multiplied by `scale`, then capped unless `cap` is 0. Without a matrix of its own, the output
    /// is tied to the embedding.
    ///
    /// # Errors
    /// As [`Builder::rms_norm`].
    pub fn logits(&mut self, x: Register, norm: Norm, scale: f32, cap: f32) -> Result<()> {
        let name = if self.bind.has("output.weight") { "output.weight" } else { "token_embd.weight" };
        let table = self.vocabulary(name)?;
        let bias = self.bind.optional_vector("output.bias", table.rows)?;
        self.pool(x, Some(norm.clone()));
        self.ops.push(Op::Logits { x, norm, table, bias, scale, cap });
        Ok(())
    }

    /// `x`, normalized, for several readers.
    pub fn normalized(&mut self, x: Register, norm: Norm) -> Register {
        let out = self.register(x.width);
        self.ops.push(Op::Norm { x: Some(x), norm, out, residual: None });
        out
    }

    /// The product with the matrix of a block, into a new register; with a bias where the file has one.
    ///
    /// # Errors
    /// As [`Builder::rms_norm`].
    pub fn product(&mut self, layer: usize, part: &str, rows: usize, depth: usize) -> Result<Product> {
        let map = self.map(layer, part, rows, depth)?;
        Ok(self.product_of(map))
    }

    /// Products with matrices of their own or, where the file has it, with parts of one that holds all of them.
    ///
    /// # Errors
    /// As [`Builder::rms_norm`].
    pub fn products<const N: usize>(
        &mut self,
        layer: usize,
        fused: Option<&str>,
        parts: [&str; N],
        rows: [usize; N],
        depth: usize,
    ) -> Result<Vec<Product>> {
        let maps = self.maps(layer, fused, parts, rows, depth)?;
        Ok(maps.into_iter().map(|map| self.product_of(map)).collect())
    }

    /// Products with parts of a matrix.
    ///
    /// # Errors
    /// As [`Builder::rms_norm`].
    pub fn split<const N: usize>(&mut self, layer: usize, part: &str, rows: [usize; N], depth: usize) -> Result<Vec<Product>> {
        let maps = self.parts_of(layer, part, rows, depth)?;
        Ok(maps.into_iter().map(|map| self.product_of(map)).collect())
    }

    /// The product of a map, into a new register.
    fn product_of(&mut self, (matrix, bias): Map) -> Product {
        let out = self.register(matrix.rows);
        Product { matrix, bias, scale: 1.0, gate: None, out, residual: None }
    }

    /// A matrix of a block, with the bias where the file has one.
    fn map(&self, layer: usize, part: &str, rows: usize, depth: usize) -> Result<Map> {
        let matrix = self.bind.matrix(&block(layer, &format!("{part}.weight")), rows, depth)?;
        Ok((matrix, self.bind.optional_vector(&block(layer, &format!("{part}.bias")), rows)?))
    }

    /// Matrices of their own or, where the file has it, parts of one that holds all of them.
    fn maps<const N: usize>(
        &self,
        layer: usize,
        fused: Option<&str>,
        parts: [&str; N],
        rows: [usize; N],
        depth: usize,
    ) -> Result<Vec<Map>> {
        match fused.filter(|fused| self.bind.has(&block(layer, &format!("{fused}.weight")))) {
            Some(fused) => self.parts_of(layer, fused, rows, depth),
            None => parts.iter().zip(rows).map(|(part, rows)| self.map(layer, part, rows, depth)).collect(),
        }
    }

    /// Parts of a matrix, with those of its bias.
    fn parts_of<const N: usize>(&self, layer: usize, part: &str, rows: [usize; N], depth: usize) -> Result<Vec<Map>> {
        let (matrix, bias) = self.map(layer, part, rows.iter().sum(), depth)?;
        let mut bias = bias.as_deref();
        let maps = matrix.split(rows).map(|matrix| {
            let part = bias.and_then(|bias| bias.split_at_checked(matrix.rows));
            bias = part.map(|(_, rest)| rest);
            (matrix, part.map(|(bias, _)| bias.to_vec()))
        });
        Ok(maps.into())
    }

    /// The last product of a block, on its way into the residual stream.
    ///
    /// # Errors
    /// As [`Builder::rms_norm`].
    pub fn output(&mut self, layer: usize, part: &str, input: Input, depth: usize, to: Output) -> Result<()> {
        let Output { stream, scale, norm, gate } = to;
        let product = self.product(layer, part, stream.width, depth)?;
        let out = product.out;
        let residual = if norm.is_some() || gate.is_some() { None } else { Some(stream) };
        self.ops.push(Op::Linear { input, products: vec![Product { scale, residual, ..product }] });
        if let Some(norm) = norm {
            let residual = if gate.is_some() { None } else { Some(stream) };
            self.ops.push(Op::Norm { x: None, norm, out, residual });
        }
        if let Some(weight) = gate {
            self.ops.push(Op::AddGated { x: out, weight, out: stream });
        }
        Ok(())
    }

    /// Multi-head attention with grouped keys and values.
    ///
    /// # Errors
    /// As [`Builder::rms_norm`].
    pub fn attention(&mut self, layer: usize, input: Input, style: Attention, to: impl Into<Output>) -> Result<()> {
        let Params { width, heads, head_dim, value_dim, ref kv_heads, .. } = self.params;
        let kv_heads = kv_heads[layer];
        if kv_heads == 0 {
            return Err(self.keys.invalid("attention.head_count_kv", format!("0 in block {layer}, which has attention")));
        }
        let mark = self.mark();
        let query_rows = heads * (head_dim + if style.gated { value_dim } else { 0 });
        let rows = [query_rows, kv_heads * head_dim, kv_heads * value_dim];
        let products = self.products(layer, Some("attn_qkv"), ["attn_q", "attn_k", "attn_v"], rows, width)?;
        let [mut query, key, value] = [0, 1, 2].map(|index| products[index].out);
        self.ops.push(Op::Linear { input, products });
        let mut gate = None;
        if style.gated {
            let both = query;
            query = self.part_of_heads(both, heads, 0, head_dim);
            gate = Some(self.part_of_heads(both, heads, head_dim, value_dim));
        }

        let rope = style.rope.map(|index| Rope { index, offset: 0 });
        let (early, late) = if style.qk_norm == QkNorm::RmsAfterRope { (rope, None) } else { (None, rope) };
        if let Some(rope) = early {
            self.ops.extend([query, key].map(|x| Op::Rope { x, head_dim, rope }));
        }
        for (part, out) in [("attn_q_norm", query), ("attn_k_norm", key)] {
            if let Some(norm) = self.head_norm(layer, part, style.qk_norm, out.width)? {
                self.ops.push(Op::Norm { x: None, norm, out, residual: None });
            }
        }
        let sinks = if style.sinks { self.bind.vector(&block(layer, "attn_sinks.weight"), heads)? } else { Vec::new() };
        let index = self.attention_layer(AttentionLayer {
            heads,
            kv_heads,
            head_dim,
            value_dim,
            scale: style.scale.unwrap_or_else(|| (1.0 / (head_dim as f64).sqrt()) as f32),
            window: style.window,
            bidirectional: !self.params.causal,
            cap: style.cap,
            slopes: style.slopes,
            sinks,
        });
        self.ops.push(Op::RopeStore { query, key, value, rope: late, layer: index });
        let attended = self.register(heads * value_dim);
        self.ops.push(Op::Attend { query, out: attended, layer: index });
        let result = gate.map_or(Input::Plain(attended), |gate| Input::Gated(Activation::Sigmoid, gate, attended));
        self.output(layer, "attn_output", result, attended.width, to.into())?;
        self.release(mark);
        Ok(())
    }

    /// The elements `offset..offset + len` of each of the heads that `x` consists of.
    pub fn part_of_heads(&mut self, x: Register, heads: usize, offset: usize, len: usize) -> Register {
        let out = self.register(heads * len);
        let from = Slots { register: x, head: x.width / heads, offset };
        self.ops.push(Op::Place { x: from, out: Slots { register: out, head: len, offset: 0 }, len });
        out
    }

    /// Declares an attention layer.
    pub fn attention_layer(&mut self, layer: AttentionLayer) -> usize {
        self.attention.push(layer);
        self.attention.len() - 1
    }

    /// Declares a state of this many floats.
    pub fn state(&mut self, size: usize) -> usize {
        self.states.push(size);
        self.states.len() - 1
    }

    /// The norm of queries or keys, `width` elements a row.
    fn head_norm(&self, layer: usize, part: &str, kind: QkNorm, width: usize) -> Result<Option<Norm>> {
        let (name, head_dim) = (block(layer, part), self.params.head_dim);
        match kind {
            QkNorm::None => Ok(None),
            QkNorm::Rms | QkNorm::RmsAfterRope => {
                let len = self.bind.len(&format!("{name}.weight"))?;
                self.rms_norm(&name, if len == head_dim { head_dim } else { width }).map(Some)
            }
            _ if !self.bind.has(&format!("{name}.weight")) => Ok(None),
            QkNorm::OptionalWhole => self.layer_norm(&name, width).map(Some),
            QkNorm::OptionalLayer => {
                let weight = self.bind.vectors(&format!("{name}.weight"), width / head_dim, head_dim)?;
                let eps = self.keys.positive("attention.layer_norm_epsilon", None)? as f32;
                Ok(Some(Norm { weight, bias: Some(self.bind.constant(width, 0.0)?), eps, group: head_dim }))
            }
        }
    }

    /// A feed-forward block of one hidden layer.
    ///
    /// # Errors
    /// As [`Builder::rms_norm`].
    pub fn feed_forward(&mut self, layer: usize, input: Input, style: FeedForward, to: impl Into<Output>) -> Result<()> {
        let FeedForward { activation, gated, width, suffix } = style;
        let [gate, up, down] = ["gate", "up", "down"].map(|part| format!("ffn_{part}{suffix}"));
        let (mark, depth) = (self.mark(), self.params.width);
        let hidden = if !gated {
            let up = self.product(layer, &up, width, depth)?;
            let hidden = Input::Activated(activation, up.out);
            self.ops.push(Op::Linear { input, products: vec![up] });
            hidden
        } else {
            // Without a gate of its own, the upper half of `up` is the gate.
            let both =
                |b: &Self| -> Result<bool> { Ok(b.bind.rows(&block(layer, &format!("{up}.weight")), depth)? == 2 * width) };
            let fused = (!self.bind.has(&block(layer, &format!("{gate}.weight"))) && both(self)?).then_some(up.as_str());
            let mut maps = self.maps(layer, fused, [&gate, &up], [width; 2], depth)?;
            let (matrix, bias) = maps.remove(0);
            let up = Product { gate: Some(Gate { activation, matrix, bias }), ..self.product_of(maps.remove(0)) };
            let hidden = Input::Plain(up.out);
            self.ops.push(Op::Linear { input, products: vec![up] });
            hidden
        };
        self.output(layer, &down, hidden, width, to.into())?;
        self.release(mark);
        Ok(())
    }

    /// Normalizes a register in place.
    pub fn normalize(&mut self, out: Register, norm: Norm) {
        self.ops.push(Op::Norm { x: None, norm, out, residual: None });
    }

    /// Adds `x`, normalized, to `stream`.
    pub fn add_normalized(&mut self, x: Register, norm: Norm, stream: Register) {
        self.ops.push(Op::Norm { x: None, norm, out: x, residual: Some(stream) });
    }

    /// A copy of a register.
    pub fn copied(&mut self, register: Register) -> Register {
        let out = self.register(register.width);
        let whole = |register: Register| Slots { register, head: register.width, offset: 0 };
        self.ops.push(Op::Place { x: whole(register), out: whole(out), len: register.width });
        out
    }

    /// The plain feed-forward block with this function.
    #[must_use]
    pub fn gated(&self, activation: Activation) -> FeedForward {
        FeedForward { activation, gated: true, width: self.params.feed_forward, suffix: "" }
    }

    /// The same without a gate.
    #[must_use]
    pub fn ungated(&self, activation: Activation) -> FeedForward {
        FeedForward { gated: false, ..self.gated(activation) }
    }
}
