//! One run of a program over a batch of segments: prefill, decode and several sessions at once are the same path.

use super::program::{Input, Op, Program, Register, Rope};
use super::stream::Stream;
use crate::error::Result;
use crate::gguf::File;
use crate::kv::{Cache, LayerCache, Layers};
use crate::ops::{
    Angles, AttentionArgs, AttentionLayer, AttentionScratch, ChannelsArgs, ConvArgs, EmbedArgs, Embedding, ExpertsArgs,
    ExpertsScratch, Gate, HeadsArgs, KvBlocks, KvBlocksMut, KvElement, LinearScratch, Machine, NormArgs, Part, PerHeadArgs,
    PerHeadScratch, PoolArgs, Progress, RopeArgs, RopeParams, Rotation, Shared, Source, States, add_gated, attention, convolve,
    embed, experts, gate, linear, norm, per_head, place, pool, recur, rope, rope_and_store, scan, softcap,
};
use crate::tensor::{Buffer, Memory};
use std::ops::Range;

/// Consecutive tokens of one session.
pub struct Segment<'a> {
    /// Token ids, checked against the vocabulary; they follow what the cache holds.
    pub tokens: &'a [i32],
    /// The session's cache, with room for them.
    pub cache: &'a mut Cache,
    /// Whether they are the last ones of what the session holds.
    pub last: bool,
    /// Receives the logits after the last token, when wanted.
    pub logits: Option<&'a mut [f32]>,
    /// Receives the embedding, when wanted.
    pub embedding: Option<&'a mut Embedding>,
}

/// Scratch of a pass, sized once: a pass allocates nothing.
pub struct Scratch {
    registers: Buffer<f32>,
    angles: Vec<AngleRows>,
    rows: Buffer<f32>,
    linear: LinearScratch,
    attention: AttentionScratch,
    experts: ExpertsScratch,
    per_head: PerHeadScratch,
    batch: usize,
    context: usize,
}

/// Sines and cosines of one rotation for every token of the batch.
struct AngleRows {
    cos: Buffer<f32>,
    sin: Buffer<f32>,
}

impl Scratch {
    /// Room for batches of up to `batch` tokens and contexts of up to `context`.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(memory: &mut Memory, program: &Program, batch: usize, context: usize, threads: usize) -> Result<Scratch> {
        let mut angles = |rope: &RopeParams| {
            Ok(AngleRows { cos: memory.buffer(rope.pairs() * batch)?, sin: memory.buffer(rope.pairs() * batch)? })
        };
        let angles = program.ropes.iter().map(&mut angles).collect::<Result<_>>()?;
        Ok(Scratch {
            registers: memory.buffer(program.width * batch)?,
            angles,
            rows: memory.buffer(program.widest * threads)?,
            linear: LinearScratch::new(memory, batch, program.linear, threads)?,
            attention: AttentionScratch::new(memory, threads, &program.attention, context)?,
            experts: ExpertsScratch::new(memory, threads, program.experts.iter().copied(), batch)?,
            per_head: PerHeadScratch::new(memory, threads, program.head_depth, batch)?,
            batch,
            context,
        })
    }
}

/// A pass over a batch.
pub struct Pass<'a> {
    /// What to run.
    pub program: &'a Program,
    /// Where the weights are.
    pub file: &'a File,
    /// How they come through memory that does not hold them all.
    pub stream: Option<&'a Stream>,
    /// What to run on.
    pub machine: Machine<'a>,
    /// Where to compute.
    pub scratch: &'a mut Scratch,
    /// Hears before each step how many are done, of how many, and says whether to go on.
    pub watch: Option<&'a dyn Fn(usize, usize) -> bool>,
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
        segments.iter_mut().for_each(|segment| segment.cache.prepare(segment.tokens.len()));
        // The angles are the first step, each operation is one more.
        let (pace, ops) = (self.machine.pace, &self.program.ops);
        while pace.step() <= ops.len() {
            if self.watch.is_some_and(|watch| !watch(pace.step(), ops.len() + 1)) {
                return Some(pace.progress());
            }
            match pace.step().checked_sub(1) {
                None => self.angles(segments),
                Some(op) => {
                    if let Some(stream) = self.stream.filter(|_| !pace.begun()) {
                        stream.enter(self.file, self.machine.pool, op);
                    }
                    let first = if op < self.program.tail { 0 } else { wanted(segments) };
                    if first < tokens {
                        self.step(&ops[op], segments, first..tokens);
                    }
                }
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
    fn angles(&mut self, segments: &mut [Segment]) {
        let context = self.scratch.context;
        for (params, AngleRows { cos, sin }) in self.program.ropes.iter().zip(&mut self.scratch.angles) {
            let pairs = params.pairs();
            for (segment, rows) in each(segments) {
                let rows = rows.start * pairs..rows.end * pairs;
                let mut angles = Angles { cos: &mut cos[rows.clone()], sin: &mut sin[rows] };
                angles.fill(self.machine, params, context, segment.cache.len());
            }
        }
    }

    /// Runs an operation for these rows of the batch.
    fn step(&mut self, op: &Op, segments: &mut [Segment], batch_rows: Range<usize>) {
        let (machine, file, program) = (self.machine, self.file, self.program);
        let Scratch {
            registers,
            angles,
            rows: scratch_rows,
            linear: linear_scratch,
            attention: attention_scratch,
            experts: experts_scratch,
            per_head: per_head_scratch,
            batch,
            ..
        } = &mut *self.scratch;
        let registers = Registers { values: Shared::new(registers), batch: *batch };
        let tokens = batch_rows.len();
        let all = |register: &Register| registers.rows(*register, batch_rows.clone());
        let rotation = |rope: &Option<Rope>, rows: &Range<usize>| match rope {
            None => Rotation::NONE,
            Some(Rope { index, offset }) => {
                let (params, AngleRows { cos, sin }) = (&program.ropes[*index], &angles[*index]);
                let (style, pairs) = (params.style, params.pairs());
                let rows = rows.start * pairs..rows.end * pairs;
                Rotation { style, pairs, cos: &cos[rows.clone()], sin: &sin[rows], offset: *offset }
            }
        };
        match op {
            Op::Embed { table, positions, each: added, scale, out } => {
                for (segment, rows) in each(segments) {
                    let args = EmbedArgs {
                        table: table.plain(file),
                        positions: positions.as_ref().map(|positions| positions.plain(file)),
                        each: added.as_deref(),
                        scale: *scale,
                        tokens: segment.tokens,
                        start: segment.cache.len(),
                    };
                    embed(machine, args, registers.rows(*out, rows), scratch_rows);
                }
            }
            Op::Linear { input, products } => {
                let source = match input {
                    Input::Plain(x) => Source::Plain(all(x)),
                    Input::Norm(x, norm) => Source::Norm(all(x), norm),
                    Input::Activated(activation, x) => Source::Activated(*activation, all(x)),
                    Input::Gated(activation, gate, up) => Source::Gated(*activation, all(gate), all(up)),
                };
                let parts = products.iter().map(|product| Part {
                    weights: product.matrix.weights(file),
                    bias: product.bias.as_deref(),
                    scale: product.scale,
                    gate: product.gate.as_ref().map(|gate| Gate {
                        activation: gate.activation,
                        weights: gate.matrix.weights(file),
                        bias: gate.bias.as_deref(),
                    }),
                    out: all(&product.out),
                    residual: product.residual.as_ref().map(all),
                });
                linear(machine, source, tokens, parts, linear_scratch);
            }
            Op::Norm { x, norm: params, out, residual } => {
                let x = x.as_ref().map(|x| &*all(x));
                let args = NormArgs { x, norm: params, out: all(out), residual: residual.as_ref().map(all), tokens };
                norm(machine, args, scratch_rows);
            }
            Op::Rope { x, head_dim, rope: index } => {
                rope(machine, all(x), *head_dim, tokens, rotation(&Some(*index), &batch_rows));
            }
            Op::RopeStore { query, key, value, rope, layer } => {
                for (segment, rows) in each(segments) {
                    let rotation = rotation(rope, &rows);
                    let tensors = [*query, *key, *value].map(|register| registers.rows(register, rows.clone()));
                    let (start, attention) = (segment.cache.len(), &program.attention[*layer]);
                    let slot = program.storage[*layer];
                    match &mut segment.cache.layers {
                        Layers::F16(layers) => store(machine, tensors, rotation, attention, &mut layers[slot], start),
                        Layers::F32(layers) => store(machine, tensors, rotation, attention, &mut layers[slot], start),
                    }
                }
            }
            Op::Attend { query, out, layer } => {
                for (segment, rows) in each(segments) {
                    let skipped = batch_rows.start.clamp(rows.start, rows.end) - rows.start;
                    let rows = rows.start + skipped..rows.end;
                    let tensors = [*query, *out].map(|register| registers.rows(register, rows.clone()));
                    let (start, attention) = (segment.cache.len() + skipped, &program.attention[*layer]);
                    let slot = program.storage[*layer];
                    let scratch = &mut *attention_scratch;
                    match &segment.cache.layers {
                        Layers::F16(layers) => attend(machine, tensors, attention, &layers[slot], start, scratch),
                        Layers::F32(layers) => attend(machine, tensors, attention, &layers[slot], start, scratch),
                    }
                }
            }
            Op::PerHead { weights, heads, x, out } => {
                let args = PerHeadArgs {
                    weights: weights.weights(file),
                    heads: *heads,
                    x: (all(&x.register), x.head, x.offset),
                    out: (all(&out.register), out.head, out.offset),
                    tokens,
                };
                per_head(machine, args, per_head_scratch);
            }
            Op::Place { x, out, len } => {
                let from = (&*all(&x.register), x.head, x.offset);
                place(machine, from, (all(&out.register), out.head, out.offset), *len, tokens);
            }
            Op::Conv { x, out, taps, activation, state } => {
                for (segment, rows) in each(segments) {
                    let [x, out] = [*x, *out].map(|register| registers.rows(register, rows.clone()));
                    let (start, activation) = (segment.cache.len(), *activation);
                    convolve(machine, ConvArgs { x, out, taps, activation, start, states: states(segment.cache, *state) });
                }
            }
            Op::Recur { query, key, value, step, rate, out, layer, state } => {
                for (segment, rows) in each(segments) {
                    let part = |register: Register| registers.rows(register, rows.clone());
                    let [query, key, value, step, out] = [*query, *key, *value, *step, *out].map(part);
                    let (rate, states) = (rate.map(|rate| &*part(rate)), states(segment.cache, *state));
                    recur(machine, HeadsArgs { layer, query, key, value, step, rate, out, states });
                }
            }
            Op::Scan { query, key, value, step, out, layer, state } => {
                for (segment, rows) in each(segments) {
                    let part = |register: Register| registers.rows(register, rows.clone());
                    let [query, key, value, step, out] = [*query, *key, *value, *step, *out].map(part);
                    let states = states(segment.cache, *state);
                    scan(machine, ChannelsArgs { layer, query, key, value, step, out, states });
                }
            }
            Op::Gate { gate: register, x, activation } => gate(machine, all(register), all(x), *activation, tokens),
            Op::AddGated { x, weight, out } => add_gated(machine, all(x), all(weight), all(out)),
            Op::Experts { x, logits, out, experts: layer } => {
                let args = ExpertsArgs {
                    router: &layer.router,
                    logits: all(logits),
                    x: all(x),
                    gate: layer.gate.as_ref().map(|gate| gate.stack(file)),
                    up: layer.up.stack(file),
                    down: layer.down.stack(file),
                    activation: layer.activation,
                    out: all(out),
                    tokens,
                };
                experts(machine, args, experts_scratch);
            }
            Op::Pool { x, norm } => {
                for (segment, rows) in each(segments) {
                    let Some(embedding) = segment.embedding.as_deref_mut() else { continue };
                    let args = PoolArgs {
                        x: registers.rows(*x, rows.clone()),
                        norm: norm.as_ref().map(|(norm, out)| (norm, registers.rows(*out, rows))),
                        start: segment.cache.len(),
                        last: segment.last,
                    };
                    let head = program.head.layers(embedding.pooling()).iter().map(|layer| layer.dense(file));
                    pool(machine, args, head, embedding, (scratch_rows, linear_scratch));
                }
            }
            Op::Logits { x, norm, table, bias, scale, cap } => {
                for (segment, rows) in each(segments) {
                    let Some(logits) = segment.logits.as_deref_mut() else { continue };
                    let source = Source::Norm(registers.rows(*x, rows.end - 1..rows.end), norm);
                    let (weights, bias) = (table.weights(file), bias.as_deref());
                    let part = Part { weights, bias, scale: *scale, gate: None, out: &mut *logits, residual: None };
                    linear(machine, source, 1, [part], linear_scratch);
                    if *cap > 0.0 {
                        softcap(machine, logits, *cap);
                    }
                }
            }
        }
    }
}

/// The first row of the batch whose token the caller wants to hear about; behind the last one when there is none.
fn wanted(segments: &mut [Segment]) -> usize {
    let mut tokens = 0;
    for (segment, rows) in each(segments) {
        match (&segment.embedding, &segment.logits) {
            (Some(_), _) => return rows.start,
            (None, Some(_)) => return rows.end - 1,
            (None, None) => tokens = rows.end,
        }
    }
    tokens
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

fn store<T: KvElement>(
    machine: Machine,
    [query, key, value]: [&mut [f32]; 3],
    rotation: Rotation,
    layer: &AttentionLayer,
    LayerCache { keys, values, table }: &mut LayerCache<T>,
    start: usize,
) {
    let tokens = query.len() / (layer.heads * layer.head_dim);
    let cache = KvBlocksMut { keys, values, table };
    rope_and_store(machine, RopeArgs { query, key, value, rotation, layer, cache, start, tokens });
}

fn attend<T: KvElement>(
    machine: Machine,
    [query, out]: [&mut [f32]; 2],
    layer: &AttentionLayer,
    LayerCache { keys, values, table }: &LayerCache<T>,
    start: usize,
    scratch: &mut AttentionScratch,
) {
    let tokens = query.len() / (layer.heads * layer.head_dim);
    let cache = KvBlocks { keys, values, table };
    attention(machine, AttentionArgs { query, out, cache, layer, start, tokens }, scratch);
}

/// The states of a recurrent operation.
fn states(cache: &mut Cache, index: usize) -> States<'_> {
    let len = cache.len();
    let (before, after) = cache.states.layer(index, len);
    States { before, after }
}
