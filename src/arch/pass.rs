//! One run of a program over a batch of segments: prefill, decode and several sessions at once are the same path.

use super::program::{Heads, Input, Op, Program, Register};
use crate::error::Result;
use crate::gguf::File;
use crate::kernels::RopeStyle;
use crate::kv::{Cache, KvShape, LayerCache, Layers};
use crate::ops::{
    Angles, AttentionArgs, AttentionScratch, KvBlocks, KvBlocksMut, KvElement, LinearScratch, Machine, Part, Progress, RopeArgs,
    Shared, Source, attention, embed, linear, rope_and_store,
};
use crate::tensor::Buffer;
use std::ops::Range;

/// Consecutive tokens of one session.
pub struct Segment<'a> {
    /// Token ids, checked against the vocabulary; they follow what the cache holds.
    pub tokens: &'a [i32],
    /// The session's cache, with room for them.
    pub cache: &'a mut Cache,
    /// Receives the logits after the last token, when wanted.
    pub logits: Option<&'a mut [f32]>,
}

/// Scratch of a pass, sized once: a pass allocates nothing.
pub struct Scratch {
    registers: Buffer<f32>,
    cos: Buffer<f32>,
    sin: Buffer<f32>,
    linear: LinearScratch,
    attention: AttentionScratch,
    batch: usize,
}

impl Scratch {
    /// Room for batches of up to `batch` tokens and contexts of up to `context`.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(program: &Program, batch: usize, context: usize, threads: usize) -> Result<Scratch> {
        let p = &program.params;
        Ok(Scratch {
            registers: Buffer::new(program.width * batch)?,
            cos: Buffer::new(program.rope.pairs() * batch)?,
            sin: Buffer::new(program.rope.pairs() * batch)?,
            linear: LinearScratch::new(batch, program.depth, program.float, threads)?,
            attention: AttentionScratch::new(threads, p.heads, p.kv_heads, p.head_dim, p.value_dim, context)?,
            batch,
        })
    }
}

/// A pass over a batch.
pub struct Pass<'a> {
    /// What to run.
    pub program: &'a Program,
    /// Where the weights are.
    pub file: &'a File,
    /// What to run on.
    pub machine: Machine<'a>,
    /// Where to compute.
    pub scratch: &'a mut Scratch,
}

impl Pass<'_> {
    /// Runs the segments, together at most as many tokens as the scratch has room for, from where the machine's pace says;
    /// `Some` when it was stopped, and then the caches still hold what they held. To go on, run the same segments with the
    /// same scratch from that progress.
    ///
    /// # Panics
    /// When the tokens do not fit the scratch or a cache.
    pub fn run(mut self, segments: &mut [Segment]) -> Option<Progress> {
        let tokens: usize = segments.iter().map(|segment| segment.tokens.len()).sum();
        assert!(tokens <= self.scratch.batch, "batch size");
        assert!(segments.iter().all(|segment| segment.cache.len() + segment.tokens.len() <= segment.cache.capacity()), "context");
        // The angles are the first step, each operation is one more.
        let (pace, ops) = (self.machine.pace, &self.program.ops);
        while pace.step() <= ops.len() {
            match pace.step().checked_sub(1) {
                None => self.angles(segments),
                Some(op) => self.step(&ops[op], segments, tokens),
            }
            if pace.stopped() {
                return Some(pace.progress());
            }
            pace.next_step();
        }
        segments.iter_mut().for_each(|segment| segment.cache.advance(segment.tokens.len()));
        None
    }

    /// The sines and cosines of every position of the batch.
    fn angles(&mut self, segments: &[Segment]) {
        let pairs = self.program.rope.pairs();
        let mut row = 0;
        for segment in segments {
            let rows = row * pairs..(row + segment.tokens.len()) * pairs;
            row += segment.tokens.len();
            let start = segment.cache.len();
            let mut angles = Angles { cos: &mut self.scratch.cos[rows.clone()], sin: &mut self.scratch.sin[rows] };
            angles.fill(self.machine, &self.program.rope, &|token| start + token, segment.tokens.len());
        }
    }

    fn step(&mut self, op: &Op, segments: &mut [Segment], tokens: usize) {
        let (machine, file, eps) = (self.machine, self.file, self.program.params.eps);
        let Scratch { registers, cos, sin, linear: linear_scratch, attention: attention_scratch, batch } = &mut *self.scratch;
        let registers = Registers { values: Shared::new(registers), batch: *batch };
        match op {
            Op::Embed { table, out } => {
                for (segment, rows) in each(segments) {
                    embed(machine, table.weights(file), segment.tokens, registers.rows(*out, rows));
                }
            }
            Op::Linear { input, products } => {
                let all = |register: &Register| &*registers.rows(*register, 0..tokens);
                let source = match input {
                    Input::Plain(x) => Source::Plain(all(x)),
                    Input::RmsNorm(x, weight) => Source::RmsNorm { x: all(x), weight, eps },
                    Input::SwiGlu(gate, up) => Source::SwiGlu { gate: all(gate), up: all(up) },
                };
                let parts = products.iter().map(|product| Part {
                    weights: product.matrix.weights(file),
                    bias: product.bias.as_deref(),
                    out: registers.rows(product.out, 0..tokens),
                    residual: product.residual.map(|residual| registers.rows(residual, 0..tokens)),
                });
                linear(machine, source, tokens, parts, linear_scratch);
            }
            Op::RopeStore { query, key, value, heads } => {
                let pairs = self.program.rope.pairs();
                for (segment, rows) in each(segments) {
                    let angles = rows.start * pairs..rows.end * pairs;
                    let angles = (self.program.rope.style, &cos[angles.clone()], &sin[angles]);
                    let tensors = [*query, *key, *value].map(|register| registers.rows(register, rows.clone()));
                    let start = segment.cache.len();
                    let Cache { layers, table, .. } = &mut *segment.cache;
                    match layers {
                        Layers::F16(layers) => {
                            rope_store(machine, tensors, angles, *heads, &mut layers[heads.layer], table, start)
                        }
                        Layers::F32(layers) => {
                            rope_store(machine, tensors, angles, *heads, &mut layers[heads.layer], table, start)
                        }
                    }
                }
            }
            Op::Attend { query, out, heads } => {
                for (segment, rows) in each(segments) {
                    let tensors = [*query, *out].map(|register| registers.rows(register, rows.clone()));
                    let (start, table) = (segment.cache.len(), segment.cache.table.as_slice());
                    match &segment.cache.layers {
                        Layers::F16(layers) => {
                            attend(machine, tensors, *heads, &layers[heads.layer], table, start, attention_scratch)
                        }
                        Layers::F32(layers) => {
                            attend(machine, tensors, *heads, &layers[heads.layer], table, start, attention_scratch)
                        }
                    }
                }
            }
            Op::Logits { x, norm, table } => {
                for (segment, rows) in each(segments) {
                    let Some(logits) = segment.logits.as_deref_mut() else { continue };
                    let source = Source::RmsNorm { x: registers.rows(*x, rows.end - 1..rows.end), weight: norm, eps };
                    linear(
                        machine,
                        source,
                        1,
                        [Part { weights: table.weights(file), bias: None, out: logits, residual: None }],
                        linear_scratch,
                    );
                }
            }
        }
    }
}

/// The segments with the rows of the batch that are theirs.
fn each<'s, 'a>(segments: &'s mut [Segment<'a>]) -> impl Iterator<Item = (&'s mut Segment<'a>, Range<usize>)> {
    let mut end = 0;
    segments.iter_mut().map(move |segment| {
        let start = end;
        end += segment.tokens.len();
        (segment, start..end)
    })
}

/// The memory of registers: those of one operation can be held at once, because they never overlap.
struct Registers<'a> {
    values: Shared<'a, f32>,
    batch: usize,
}

impl<'a> Registers<'a> {
    /// The rows of a register.
    #[allow(clippy::mut_from_ref)]
    fn rows(&self, register: Register, rows: Range<usize>) -> &'a mut [f32] {
        // SAFETY: registers of one operation are disjoint, which the builder checked, and no operation takes the same rows
        // of a register twice.
        unsafe { self.values.part(register.offset * self.batch + rows.start * register.width, rows.len() * register.width) }
    }
}

fn rope_store<T: KvElement>(
    machine: Machine,
    [query, key, value]: [&mut [f32]; 3],
    angles: (RopeStyle, &[f32], &[f32]),
    heads: Heads,
    layer: &mut LayerCache<T>,
    table: &[u32],
    start: usize,
) {
    let KvShape { heads: kv_heads, head_dim, value_dim } = heads.kv;
    let tokens = query.len() / (heads.heads * head_dim);
    let LayerCache { keys, values } = layer;
    let cache = KvBlocksMut { keys, values, table };
    rope_and_store(
        machine,
        RopeArgs { query, key, value, angles, cache, heads: heads.heads, kv_heads, head_dim, value_dim, start, tokens },
    );
}

fn attend<T: KvElement>(
    machine: Machine,
    [query, out]: [&mut [f32]; 2],
    heads: Heads,
    layer: &LayerCache<T>,
    table: &[u32],
    start: usize,
    scratch: &mut AttentionScratch,
) {
    let KvShape { heads: kv_heads, head_dim, value_dim } = heads.kv;
    let tokens = query.len() / (heads.heads * head_dim);
    let cache = KvBlocks { keys: &layer.keys, values: &layer.values, table };
    let args =
        AttentionArgs { query, out, cache, heads: heads.heads, kv_heads, head_dim, value_dim, scale: heads.scale, start, tokens };
    attention(machine, args, scratch);
}
