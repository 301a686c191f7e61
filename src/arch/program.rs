//! The forward pass as data: a list of operations over registers. Written once when a model opens; executed, resumed and
//! measured by code that knows no architecture.

use super::params::Params;
use super::weights::Matrix;
use crate::error::{Error, Result};
use crate::gguf::File;
use crate::kernels::{Activation, Kernels};
use crate::kv::{KvShape, KvType};
use crate::ops::{
    AttentionLayer, Channels, Dense, Embedding, ExpertsShape, Finish, Heads, LinearShape, Norm, Pooling, RopeParams, Router,
    Stack, Taps,
};
use crate::quant::Precision;
use crate::tensor::Memory;
use std::iter;

/// A value of the pass: one row of `width` floats for each token of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// Where its rows start, in floats per token of the batch.
    pub offset: usize,
    /// Floats per token.
    pub width: usize,
}

/// What a product reads (see [`crate::ops::Source`]).
pub enum Input {
    /// The register.
    Plain(Register),
    /// The register, normalized.
    Norm(Register, Norm),
    /// The register through a function.
    Activated(Activation, Register),
    /// The first register through a function, times the second.
    Gated(Activation, Register, Register),
}

/// One product of an [`Op::Linear`].
pub struct Product {
    /// The matrix.
    pub matrix: Matrix,
    /// Added to every row.
    pub bias: Option<Vec<f32>>,
    /// Multiplies the result.
    pub scale: f32,
    /// Then multiplies it, too.
    pub gate: Option<Gate>,
    /// Receives the result; with `residual`, room for it.
    pub out: Register,
    /// The register that the result is added to.
    pub residual: Option<Register>,
}

/// What gates a product (see [`crate::ops::Gate`]).
pub struct Gate {
    /// The function.
    pub activation: Activation,
    /// The matrix.
    pub matrix: Matrix,
    /// Added to every row.
    pub bias: Option<Vec<f32>>,
}

impl Product {
    /// What the input is multiplied with.
    fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        iter::once(&self.matrix).chain(self.gate.as_ref().map(|gate| &gate.matrix))
    }
}

/// A layer of routed experts (see [`crate::ops::ExpertsArgs`]).
pub struct Experts {
    /// How they are selected.
    pub router: Router,
    /// The matrices into the hidden layer, the gating ones first, and out of it.
    pub gate: Option<Stacked>,
    /// See `gate`.
    pub up: Stacked,
    /// See `gate`.
    pub down: Stacked,
    /// The function of the hidden layer.
    pub activation: Activation,
}

/// One matrix of each expert.
pub struct Stacked {
    /// One below the other.
    pub matrix: Matrix,
    /// Multiplies the products, one value per expert.
    pub scales: Option<Vec<f32>>,
    /// Added to the products.
    pub bias: Option<Vec<f32>>,
}

impl Stacked {
    /// The matrices with their bytes.
    #[must_use]
    pub fn stack<'a>(&'a self, file: &'a File) -> Stack<'a> {
        Stack { weights: self.matrix.weights(file), scales: self.scales.as_deref(), bias: self.bias.as_deref() }
    }
}

impl Experts {
    fn shape(&self) -> ExpertsShape {
        let Router { experts, used, .. } = self.router;
        // See `Program::on`.
        let paired = false;
        ExpertsShape { experts, used, width: self.up.matrix.depth, hidden: self.down.matrix.depth, paired }
    }
}

/// What embeddings of a model go through behind the pooling.
pub struct Head {
    /// How the file says that vectors are pooled.
    pub pooling: Option<Pooling>,
    /// The layers of a classifier; none: the model has no classifier.
    pub classifier: Vec<HeadLayer>,
    /// How vectors are pooled in front of it.
    pub classified: Pooling,
    /// Whether its scores are logits of probabilities.
    pub softmax: bool,
    /// The layers of what is not classified.
    pub projection: Vec<HeadLayer>,
}

/// A layer of a [`Head`] (see [`Dense`]).
pub struct HeadLayer {
    /// In front of the product.
    pub norm: Option<Norm>,
    /// The matrix.
    pub matrix: Matrix,
    /// Added to the product.
    pub bias: Option<Vec<f32>>,
    /// What the sum goes through.
    pub activation: Option<Activation>,
}

impl HeadLayer {
    /// The layer with its bytes.
    #[must_use]
    pub fn dense<'a>(&'a self, file: &'a File) -> Dense<'a> {
        let (norm, bias) = (self.norm.as_ref(), self.bias.as_deref());
        Dense { norm, weights: self.matrix.plain(file), bias, activation: self.activation }
    }
}

impl Head {
    /// The layers behind this pooling.
    #[must_use]
    pub fn layers(&self, pooling: Pooling) -> &[HeadLayer] {
        match pooling {
            Pooling::None => &[],
            Pooling::Rank => &self.classifier,
            _ => &self.projection,
        }
    }
}

/// Parts of the heads of a register: those that begin `offset` elements into each `head` elements.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// The register.
    pub register: Register,
    /// Elements of a head.
    pub head: usize,
    /// Elements in front of the part.
    pub offset: usize,
}

/// Which rotation an operation applies.
#[derive(Clone, Copy, Debug)]
pub struct Rope {
    /// Index in [`Program::ropes`].
    pub index: usize,
    /// Elements of a head in front of those that rotate.
    pub offset: usize,
}

/// A step of the pass.
pub enum Op {
    /// Token ids -> rows of the table.
    Embed {
        /// One row per token id.
        table: Matrix,
        /// One row per position, added.
        positions: Option<Matrix>,
        /// Added to every row: the type of the tokens.
        each: Option<Vec<f32>>,
        /// Multiplies the rows of `table`.
        scale: f32,
        /// Receives the rows.
        out: Register,
    },
    /// One input times one or several matrices.
    Linear {
        /// The input.
        input: Input,
        /// The products.
        products: Vec<Product>,
    },
    /// Normalizes rows.
    Norm {
        /// The rows; `None`: those of `out`.
        x: Option<Register>,
        /// The norm.
        norm: Norm,
        /// Receives the result.
        out: Register,
        /// The result is added to this register, too.
        residual: Option<Register>,
    },
    /// Rotates heads in place, where that does not happen on the way to the cache.
    Rope {
        /// The heads.
        x: Register,
        /// Elements of one.
        head_dim: usize,
        /// The rotation.
        rope: Rope,
    },
    /// Rotates queries and keys; stores keys and values.
    RopeStore {
        /// Queries.
        query: Register,
        /// Keys.
        key: Register,
        /// Values.
        value: Register,
        /// The rotation, unless there is none.
        rope: Option<Rope>,
        /// Index in [`Program::attention`] and of the layer in the cache.
        layer: usize,
    },
    /// Attention over the cache.
    Attend {
        /// Queries.
        query: Register,
        /// Receives the heads' outputs.
        out: Register,
        /// As in [`Op::RopeStore`].
        layer: usize,
    },
    /// Multiplies each head with a matrix of its own.
    PerHead {
        /// The matrices, one below the other.
        weights: Matrix,
        /// How many.
        heads: usize,
        /// What is multiplied.
        x: Slots,
        /// Receives the results.
        out: Slots,
    },
    /// Copies a part of each head, or of the only one to all.
    Place {
        /// From here.
        x: Slots,
        /// To here.
        out: Slots,
        /// Elements of the part.
        len: usize,
    },
    /// Short convolution along the sequence.
    Conv {
        /// The input.
        x: Register,
        /// Receives the result.
        out: Register,
        /// The weights.
        taps: Taps,
        /// What the result goes through.
        activation: Activation,
        /// Index in [`Program::states`].
        state: usize,
    },
    /// Recurrence of heads that decay as a whole (see [`crate::ops::HeadsArgs`]).
    Recur {
        /// Queries.
        query: Register,
        /// Keys.
        key: Register,
        /// Values.
        value: Register,
        /// Steps.
        step: Register,
        /// Rates of the delta rule.
        rate: Option<Register>,
        /// Receives the results.
        out: Register,
        /// The layer.
        layer: Box<Heads>,
        /// Index in [`Program::states`].
        state: usize,
    },
    /// Recurrence of channels that decay by elements (see [`crate::ops::ChannelsArgs`]).
    Scan {
        /// Queries.
        query: Register,
        /// Keys.
        key: Register,
        /// Values.
        value: Register,
        /// Steps.
        step: Register,
        /// Receives the results.
        out: Register,
        /// The layer.
        layer: Channels,
        /// Index in [`Program::states`].
        state: usize,
    },
    /// Multiplies `x` with what the function makes of the gate.
    Gate {
        /// The gate, and what receives the result.
        gate: Register,
        /// The other factor.
        x: Register,
        /// The function.
        activation: Activation,
    },
    /// Adds `sigmoid(weight) * x` to `out`.
    AddGated {
        /// What is added.
        x: Register,
        /// One value per token.
        weight: Register,
        /// What it is added to.
        out: Register,
    },
    /// Adds what routed experts make of the rows.
    Experts {
        /// The input.
        x: Register,
        /// One logit per expert.
        logits: Register,
        /// What the result is added to.
        out: Register,
        /// The layer.
        experts: Box<Experts>,
    },
    /// Adds the vectors of tokens to the embeddings of the segments that want one.
    Pool {
        /// The residual stream.
        x: Register,
        /// The last norm, and room for its results; `None`: the stream is normalized.
        norm: Option<(Norm, Register)>,
    },
    /// Final norm and vocabulary product, for the last token of the segments that want logits.
    Logits {
        /// The residual stream.
        x: Register,
        /// The norm.
        norm: Norm,
        /// One row per token id.
        table: Matrix,
        /// Added to the logits.
        bias: Option<Vec<f32>>,
        /// Multiplies the logits.
        scale: f32,
        /// Logits become `cap * tanh(logit / cap)`; 0: they do not.
        cap: f32,
    },
}

impl Op {
    /// Every register that the operation reads or writes.
    fn registers(&self) -> Vec<Register> {
        match self {
            Op::Embed { out, .. } => vec![*out],
            Op::Linear { input, products } => {
                let mut registers = match input {
                    Input::Plain(x) | Input::Norm(x, _) | Input::Activated(_, x) => vec![*x],
                    Input::Gated(_, gate, up) => vec![*gate, *up],
                };
                registers.extend(products.iter().flat_map(|product| [Some(product.out), product.residual]).flatten());
                registers
            }
            Op::Norm { x, out, residual, .. } => [*x, Some(*out), *residual].into_iter().flatten().collect(),
            Op::PerHead { x, out, .. } | Op::Place { x, out, .. } => vec![x.register, out.register],
            Op::Conv { x, out, .. } => vec![*x, *out],
            Op::Recur { query, key, value, step, rate, out, .. } => {
                [Some(*query), Some(*key), Some(*value), Some(*step), *rate, Some(*out)].into_iter().flatten().collect()
            }
            Op::Scan { query, key, value, step, out, .. } => vec![*query, *key, *value, *step, *out],
            Op::Gate { gate, x, .. } => vec![*gate, *x],
            Op::AddGated { x, weight, out } => vec![*x, *weight, *out],
            Op::Experts { x, logits, out, .. } => vec![*x, *logits, *out],
            Op::Rope { x, .. } => vec![*x],
            Op::RopeStore { query, key, value, .. } => vec![*query, *key, *value],
            Op::Attend { query, out, .. } => vec![*query, *out],
            Op::Pool { x, norm } => [Some(*x), norm.as_ref().map(|(_, out)| *out)].into_iter().flatten().collect(),
            Op::Logits { x, .. } => vec![*x],
        }
    }

    /// Whether other tokens, or later passes, see what the operation makes of a token.
    fn is_seen(&self) -> bool {
        matches!(self, Op::RopeStore { .. } | Op::Conv { .. } | Op::Recur { .. } | Op::Scan { .. })
    }

    /// Whether no two registers of the operation share memory: what lets it hold slices of all of them at once.
    fn registers_are_disjoint(&self) -> bool {
        let registers = self.registers();
        let disjoint = |a: &Register, b: &Register| a.offset + a.width <= b.offset || b.offset + b.width <= a.offset;
        registers.iter().enumerate().all(|(index, a)| registers[..index].iter().all(|b| disjoint(a, b)))
    }

    /// The matrices of its products.
    pub fn matrices(&self) -> Vec<&Matrix> {
        match self {
            Op::Linear { products, .. } => products.iter().flat_map(Product::matrices).collect(),
            Op::Logits { table, .. } => vec![table],
            _ => Vec::new(),
        }
    }

    /// All matrices that it multiplies by, also those of which a token needs a part, and how many rows of each are multiplied
    /// together.
    pub fn weights(&self) -> Vec<(&Matrix, usize)> {
        match self {
            Op::Experts { experts, .. } => {
                let Experts { gate, up, down, router, .. } = &**experts;
                let stacks = gate.iter().chain([up, down]).map(|stack| &stack.matrix);
                stacks.map(|matrix| (matrix, matrix.rows / router.experts)).collect()
            }
            Op::PerHead { weights, heads, .. } => vec![(weights, weights.rows / heads)],
            _ => self.matrices().into_iter().map(|matrix| (matrix, matrix.rows)).collect(),
        }
    }
}

/// The forward pass of a model and what it needs to run.
pub struct Program {
    /// The operations, in order.
    pub ops: Vec<Op>,
    /// The first of those that tokens do without of which nothing is wanted: later tokens do not see what they compute.
    pub tail: usize,
    /// The hyper-parameters.
    pub params: Params,
    /// The rotations of queries and keys.
    pub ropes: Vec<RopeParams>,
    /// The attention layers.
    pub attention: Vec<AttentionLayer>,
    /// What they cache.
    pub kv: Vec<KvShape>,
    /// Index in `kv` of what each of them caches.
    pub storage: Vec<usize>,
    /// Floats of the state of each recurrent operation.
    pub states: Vec<usize>,
    /// Token ids: rows of the embedding table, or of the vocabulary product.
    pub vocab: usize,
    /// Whether tokens see what follows them, so that a sequence has to be evaluated as a whole.
    pub bidirectional: bool,
    /// Whether there are logits: what else there is are embeddings.
    pub generates: bool,
    /// What embeddings go through.
    pub head: Head,
    /// Floats per token of the batch that registers take.
    pub width: usize,
    /// Width of the widest register.
    pub widest: usize,
    /// What products need room for.
    pub linear: LinearShape,
    /// Sizes of the layers of experts.
    pub experts: Vec<ExpertsShape>,
    /// Greatest input width of a product per head.
    pub head_depth: usize,
    /// Bytes of vectors that were decoded from the file: gains, biases.
    pub decoded: usize,
    /// Positions that the model knows at all: rows of a table of learned positions.
    pub positions: Option<usize>,
}

impl Program {
    /// A program of these operations.
    ///
    /// # Errors
    /// When the architecture wrote nonsense: a defect, not a property of the file.
    pub fn new(
        params: Params,
        ops: Vec<Op>,
        width: usize,
        ropes: Vec<RopeParams>,
        attention: Vec<AttentionLayer>,
        states: Vec<usize>,
        head: Head,
        decoded: usize,
    ) -> Result<Program> {
        let nonsense = |what: &str| Error::Internal(format!("architecture {} {what}", params.architecture));
        if !ops.iter().all(Op::registers_are_disjoint) {
            return Err(nonsense("uses a register twice in one operation"));
        }
        // The vocabulary product comes after the table of embeddings.
        let table = |op: &Op| if let Op::Embed { table, .. } | Op::Logits { table, .. } = op { Some(table.rows) } else { None };
        let (Some(vocab), Some(Op::Pool { .. } | Op::Logits { .. })) = (ops.iter().rev().find_map(table), ops.last()) else {
            return Err(nonsense("wrote neither logits nor embeddings"));
        };
        let bidirectional = attention.iter().any(|layer| layer.bidirectional);
        let heads = || head.classifier.iter().chain(&head.projection).map(|layer| &layer.matrix);
        let matrices = || ops.iter().flat_map(Op::matrices).chain(heads());
        let positions =
            |op: &Op| if let Op::Embed { positions, .. } = op { positions.as_ref().map(|table| table.rows) } else { None };
        let products = || {
            let products = ops.iter().filter_map(|op| if let Op::Linear { products, .. } = op { Some(products) } else { None });
            products.flatten()
        };
        let (mut kv, mut storage) = (Vec::new(), Vec::new());
        for shape in attention.iter().map(KvShape::of) {
            // Where a pass holds a whole sequence, layers are done with keys and values before the next one begins.
            let shared = kv.iter().position(|other| bidirectional && *other == shape);
            storage.push(shared.unwrap_or(kv.len()));
            kv.extend(shared.is_none().then_some(shape));
        }
        Ok(Program {
            kv,
            storage,
            states,
            vocab,
            bidirectional,
            generates: !bidirectional && matches!(ops.last(), Some(Op::Logits { .. })),
            width,
            widest: ops.iter().flat_map(Op::registers).map(|register| register.width).max().unwrap_or(0),
            linear: LinearShape {
                depth: matrices().map(|matrix| matrix.depth).max().unwrap_or(0),
                float: matrices().any(Matrix::is_float),
                // See `on`.
                paired: false,
                unit_rows: 0,
                gated: products().any(|product| product.gate.is_some()),
            },
            experts: ops
                .iter()
                .filter_map(|op| if let Op::Experts { experts, .. } = op { Some(experts.shape()) } else { None })
                .collect(),
            head_depth: ops
                .iter()
                .map(|op| if let Op::PerHead { weights, .. } = op { weights.depth } else { 0 })
                .max()
                .unwrap_or(0),
            decoded,
            tail: ops.iter().rposition(Op::is_seen).map_or(0, |last| last + 1),
            positions: ops.iter().find_map(positions),
            ops,
            params,
            ropes,
            attention,
            head,
        })
    }

    /// The program as it runs on these kernels.
    pub(super) fn on(self, kernels: &Kernels, precision: Precision) -> Program {
        let pairs = |matrix: &Matrix| precision == Precision::High && kernels.pairs(matrix.tensor().dtype, usize::MAX).is_some();
        let paired = self.ops.iter().flat_map(Op::matrices).any(pairs);
        let of_experts = self.ops.iter().filter(|op| matches!(op, Op::Experts { .. })).flat_map(Op::weights);
        let experts_paired = of_experts.map(|(matrix, _)| matrix).any(pairs);
        let experts = self.experts.into_iter().map(|shape| ExpertsShape { paired: experts_paired, ..shape }).collect();
        Program { linear: LinearShape { paired, unit_rows: kernels.portion().rows, ..self.linear }, experts, ..self }
    }

    /// Room for an embedding of up to `context` tokens, of length 1 if so wished; `None` in place of the pooling: what the
    /// file says, or the mean.
    ///
    /// # Errors
    /// A model without a classifier where one is asked for; out of memory.
    pub fn embedding(
        &self,
        memory: &mut Memory,
        pooling: Option<Pooling>,
        unit_length: bool,
        context: usize,
    ) -> Result<Embedding> {
        let pooling = pooling.or(self.head.pooling).unwrap_or(Pooling::Mean);
        let layers = self.head.layers(pooling);
        if pooling == Pooling::Rank && layers.is_empty() {
            return Err(Error::Unsupported("the model cannot rank: it has no tensor cls.weight or cls.output.weight".into()));
        }
        let finish = match pooling {
            Pooling::Rank if self.head.softmax => Finish::Softmax,
            Pooling::Rank => Finish::None,
            _ if unit_length => Finish::UnitLength,
            _ => Finish::None,
        };
        let outputs = layers.iter().map(|layer| layer.matrix.rows);
        Embedding::new(memory, pooling, self.head.classified, finish, self.params.width, outputs, context)
    }

    /// The element type of the cache that suits the model: halves, but not for routed experts. A router that is in two minds
    /// about a token may answer a rounding error of 1e-4 with another expert, and then logits are off by 1e-2.
    #[must_use]
    pub fn kv_type(&self) -> KvType {
        if self.experts.is_empty() { KvType::F16 } else { KvType::F32 }
    }
}
