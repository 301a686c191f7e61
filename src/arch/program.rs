//! The forward pass as data: a list of operations over registers. Written once when a model opens; executed, resumed and
//! measured by code that knows no architecture.

use super::params::Params;
use super::weights::{Binder, Matrix};
use crate::error::{Error, Result};
use crate::gguf::File;
use crate::kernels::Kernels;
use crate::kv::KvShape;
use crate::ops::RopeParams;

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
    /// The register, RMS-normalized with these gains.
    RmsNorm(Register, Vec<f32>),
    /// `silu(first) * second`.
    SwiGlu(Register, Register),
}

/// One product of an [`Op::Linear`].
pub struct Product {
    /// The matrix.
    pub matrix: Matrix,
    /// Added to every row.
    pub bias: Option<Vec<f32>>,
    /// Receives the result.
    pub out: Register,
    /// The result is added to this register, too.
    pub residual: Option<Register>,
}

/// Heads of an attention layer.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Index of the layer in the cache.
    pub layer: usize,
    /// Query heads.
    pub heads: usize,
    /// What is cached.
    pub kv: KvShape,
    /// Multiplies the scores.
    pub scale: f32,
}

/// A step of the pass.
pub enum Op {
    /// Token ids -> rows of the table.
    Embed {
        /// One row per token id.
        table: Matrix,
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
    /// Rotates queries and keys; stores keys and values.
    RopeStore {
        /// Queries.
        query: Register,
        /// Keys.
        key: Register,
        /// Values.
        value: Register,
        /// The layer.
        heads: Heads,
    },
    /// Attention over the cache.
    Attend {
        /// Queries.
        query: Register,
        /// Receives the heads' outputs.
        out: Register,
        /// The layer.
        heads: Heads,
    },
    /// Final norm and vocabulary product, for the last token of the segments that want logits.
    Logits {
        /// The residual stream.
        x: Register,
        /// Gains of the norm.
        norm: Vec<f32>,
        /// One row per token id.
        table: Matrix,
    },
}

impl Op {
    /// Whether no two registers of the operation share memory: what lets it hold slices of all of them at once.
    fn registers_are_disjoint(&self) -> bool {
        let mut registers = Vec::new();
        match self {
            Op::Embed { out, .. } => registers.push(*out),
            Op::Linear { input, products } => {
                match input {
                    Input::Plain(x) | Input::RmsNorm(x, _) => registers.push(*x),
                    Input::SwiGlu(gate, up) => registers.extend([*gate, *up]),
                }
                registers.extend(products.iter().flat_map(|product| [Some(product.out), product.residual]).flatten());
            }
            Op::RopeStore { query, key, value, .. } => registers.extend([*query, *key, *value]),
            Op::Attend { query, out, .. } => registers.extend([*query, *out]),
            Op::Logits { x, .. } => registers.push(*x),
        }
        let disjoint = |a: &Register, b: &Register| a.offset + a.width <= b.offset || b.offset + b.width <= a.offset;
        registers.iter().enumerate().all(|(index, a)| registers[..index].iter().all(|b| disjoint(a, b)))
    }
}

/// The forward pass of a model and what it needs to run.
pub struct Program {
    /// The operations, in order.
    pub ops: Vec<Op>,
    /// The hyper-parameters.
    pub params: Params,
    /// The rotation of queries and keys.
    pub rope: RopeParams,
    /// What each layer caches.
    pub kv: Vec<KvShape>,
    /// Token ids: rows of the vocabulary product.
    pub vocab: usize,
    /// Floats per token of the batch that registers take.
    pub width: usize,
    /// Greatest input width of a product.
    pub depth: usize,
    /// Whether some product has float weights.
    pub float: bool,
}

/// Writes a program down.
pub struct Builder<'a> {
    /// The hyper-parameters.
    pub params: Params,
    /// Finds tensors.
    pub bind: Binder<'a>,
    /// The rotation; set by the architecture.
    pub rope: Option<RopeParams>,
    /// Operations so far.
    pub ops: Vec<Op>,
    kv: Vec<KvShape>,
    top: usize,
    width: usize,
}

impl<'a> Builder<'a> {
    /// An empty program.
    #[must_use]
    pub fn new(file: &'a File, kernels: &'a Kernels, params: Params) -> Builder<'a> {
        Builder { params, bind: Binder::new(file, kernels), rope: None, ops: Vec::new(), kv: Vec::new(), top: 0, width: 0 }
    }

    /// A new register. Registers are a stack: see [`Builder::release`].
    pub fn register(&mut self, width: usize) -> Register {
        // Rows start on cache lines whatever the width.
        let register = Register { offset: self.top, width };
        self.top += width.next_multiple_of(32);
        self.width = self.width.max(self.top);
        register
    }

    /// Gives `register` and all registers taken after it back; their room is used again.
    pub fn release(&mut self, register: Register) {
        self.top = register.offset;
    }

    /// Declares the next attention layer.
    pub fn attention_layer(&mut self, heads: usize, kv: KvShape) -> Heads {
        self.kv.push(kv);
        Heads { layer: self.kv.len() - 1, heads, kv, scale: (1.0 / (kv.head_dim as f64).sqrt()) as f32 }
    }

    /// The finished program.
    ///
    /// # Errors
    /// When the architecture wrote nonsense: a defect, not a property of the file.
    pub fn finish(self) -> Result<Program> {
        let mut vocab = None;
        let (mut depth, mut float) = (0, false);
        for op in &self.ops {
            if !op.registers_are_disjoint() {
                return Err(Error::Internal(format!(
                    "architecture {} uses a register twice in one operation",
                    self.params.architecture
                )));
            }
            match op {
                Op::Linear { products, .. } => {
                    for product in products {
                        depth = depth.max(product.matrix.depth);
                        float |= product.matrix.is_float();
                    }
                }
                Op::Logits { table, .. } => {
                    vocab = Some(table.rows);
                    depth = depth.max(table.depth);
                    float |= table.is_float();
                }
                Op::Embed { .. } | Op::RopeStore { .. } | Op::Attend { .. } => {}
            }
        }
        let (Some(vocab), Some(rope)) = (vocab, self.rope) else {
            return Err(Error::Internal(format!("architecture {} wrote no logits or no rotation", self.params.architecture)));
        };
        Ok(Program { ops: self.ops, params: self.params, rope, kv: self.kv, vocab, width: self.width, depth, float })
    }
}
