//! Matrix products: one input, prepared once, times one or several weight matrices.

use super::Norm;
use super::blocks::Blocks;
use super::{Machine, Shared};
use crate::error::Result;
use crate::kernels::{Activation, FEW_TOKENS, Input, MatmulArgs, PAIRED_TOKENS, Portion, Room, UNPACKED, Window};
use crate::quant::{ActBlock, BLOCK, Batch, INTERLEAVED_ROWS, Layout, PairBlock, Precision};
use crate::tensor::{Buffer, Dtype, Memory};

/// A weight matrix: `rows` outputs, `depth` inputs.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    /// Type of the elements.
    pub dtype: Dtype,
    /// `rows` rows of `dtype.row_bytes(depth)` bytes.
    pub bytes: &'a [u8],
    /// How they lie there.
    pub layout: Layout,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub depth: usize,
    /// Multiplies what the elements say.
    pub scale: f32,
}

impl<'a> Weights<'a> {
    /// The bytes of one row.
    ///
    /// # Panics
    /// When there is no such row, or rows are interleaved.
    #[must_use]
    pub fn row(&self, row: usize) -> &'a [u8] {
        assert_eq!(self.layout, Layout::Rows, "a row by itself");
        let bytes = self.bytes.len() / self.rows;
        &self.bytes[row * bytes..(row + 1) * bytes]
    }

    /// `rows` rows from `first` on; of interleaved ones, whole groups.
    ///
    /// # Panics
    /// When there are fewer.
    #[must_use]
    pub fn part(&self, first: usize, rows: usize) -> Weights<'a> {
        let per_row = self.bytes.len() / self.rows;
        Weights { bytes: &self.bytes[first * per_row..(first + rows) * per_row], rows, ..*self }
    }

    /// Whether the elements are floats: products then take float inputs.
    #[must_use]
    pub fn is_float(&self) -> bool {
        self.dtype.block_len() == 1
    }
}

/// Where the input of a product comes from, `tokens` rows of `depth`. What stands in front of the product is fused into
/// its preparation, which walks over the rows anyway.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// The rows as they are.
    Plain(&'a [f32]),
    /// The rows, normalized.
    Norm(&'a [f32], &'a Norm),
    /// The rows through a function.
    Activated(Activation, &'a [f32]),
    /// The first rows through a function, times the second.
    Gated(Activation, &'a [f32], &'a [f32]),
}

/// What the outputs of a [`Part`] are multiplied with: a product with the same input, through a function.
pub struct Gate<'a> {
    /// The function.
    pub activation: Activation,
    /// The matrix: as many rows as that of the part.
    pub weights: Weights<'a>,
    /// Added to every row of the product.
    pub bias: Option<&'a [f32]>,
}

/// One product of a [`linear`] call.
pub struct Part<'a> {
    /// The matrix.
    pub weights: Weights<'a>,
    /// Added to every output row.
    pub bias: Option<&'a [f32]>,
    /// Receives `tokens` rows of `weights.rows`; with `residual`, room for them.
    pub out: &'a mut [f32],
    /// Multiplies the result.
    pub scale: f32,
    /// Then multiplies it, too.
    pub gate: Option<Gate<'a>>,
    /// The result is added to these rows: the residual stream.
    pub residual: Option<&'a mut [f32]>,
}

/// Room for prepared inputs.
pub struct LinearScratch {
    blocks: Vec<ActBlock>,
    pairs: Vec<PairBlock>,
    rows: Buffer<f32>,
    /// Outputs of a work unit per thread, while they are added up.
    sums: Buffer<f32>,
    /// Outputs of a work unit per thread, while what gates them is computed.
    gated: Buffer<f32>,
    threads: usize,
}

/// What products need room for.
#[derive(Clone, Copy, Debug)]
pub struct LinearShape {
    /// Greatest width of an input.
    pub depth: usize,
    /// Whether some product has float weights.
    pub float: bool,
    /// Whether some product takes activations in pairs.
    pub paired: bool,
    /// Outputs of a work unit that many tokens share.
    pub unit_rows: usize,
    /// Whether some product has a gate.
    pub gated: bool,
}

/// Outputs of a work unit with a gate, at most, where that is more than some rows of all tokens.
const GATED: usize = 4096;

impl LinearScratch {
    /// Room for products of up to `tokens` rows.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(memory: &mut Memory, tokens: usize, shape: LinearShape, threads: usize) -> Result<LinearScratch> {
        let LinearShape { depth, float, paired, unit_rows, gated } = shape;
        // Products with quantized weights need a row of floats per thread only while they quantize it.
        let rows = if float { tokens } else { 0 }.max(threads);
        let per_row = depth.div_ceil(BLOCK);
        let blocks = memory.vec(tokens * per_row, ActBlock::ZERO)?;
        let pairs = memory.vec(if paired && tokens >= PAIRED_TOKENS { tokens * per_row } else { 0 }, PairBlock::ZERO)?;
        let sums = if tokens > FEW_TOKENS { threads * (tokens * unit_rows + UNPACKED) } else { 0 };
        let gated = if gated { threads * (tokens * unit_rows.max(ROW_STEP)).max(GATED) } else { 0 };
        let (rows, sums, gated) = (memory.buffer(rows * depth)?, memory.buffer(sums)?, memory.buffer(gated)?);
        Ok(LinearScratch { blocks, pairs, rows, sums, gated, threads })
    }
}

/// Kernels work on several rows at once; units are multiples of this.
const ROW_STEP: usize = INTERLEAVED_ROWS;

/// Multiplications of a small work unit, at most.
const SMALL_WORK: usize = 6 << 20;
/// Kernels work on several tokens at once, too.
const TOKEN_STEP: usize = 16;

/// Tokens that a work unit serves.
fn unit_tokens(machine: Machine, tokens: usize, depth: usize) -> usize {
    let small = machine.pace.small_units();
    let Portion { rows, work } = if small { Portion { rows: ROW_STEP, work: SMALL_WORK } } else { machine.tiling.unit };
    (work / (rows * depth.max(1)) / TOKEN_STEP).max(1).saturating_mul(TOKEN_STEP).min(tokens.max(1))
}

/// Multiplies, some tokens after others.
///
/// # Safety
/// As [`Kernels::matmul`].
///
/// [`Kernels::matmul`]: crate::kernels::Kernels::matmul
pub(super) unsafe fn multiply(machine: Machine, dtype: Dtype, args: &MatmulArgs) {
    let (tokens, depth) = (args.tokens, args.depth);
    let step = match args.input {
        Input::Quantized(..) => machine.tiling.quantized_tokens(tokens),
        Input::Float(_) => machine.tiling.float_tokens(tokens, depth),
    };
    for first in (0..tokens).step_by(step) {
        let part = first..tokens.min(first + step);
        let pairs = args.pairs.map(|pairs| pairs.skip(first));
        let input = match args.input {
            Input::Quantized(blocks, precision) => Input::Quantized(blocks.skip(first), precision),
            Input::Float(x) => Input::Float(&x[part.start * depth..part.end * depth]),
        };
        // SAFETY: the caller's promise.
        unsafe {
            let out = Window { ptr: args.out.at(first, 0), ..args.out };
            machine.kernels.matmul(dtype, &MatmulArgs { tokens: part.len(), input, pairs, out, ..*args });
        }
    }
}

/// Elements of a unit of [`softcap`].
const SOFTCAP_UNIT: usize = 4096;

/// Output rows, cut into work units.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    rows: usize,
    /// Rows of the smallest units.
    least: usize,
    /// Rows of the largest ones.
    most: usize,
    /// What part of the rows that are left a unit takes; `None`: all units are alike.
    share: Option<usize>,
}

impl Cut {
    /// Cuts `rows` rows of `row_bytes` that `tokens` tokens share.
    pub(super) fn new(machine: Machine, rows: usize, row_bytes: usize, tokens: usize) -> Cut {
        let small = machine.pace.small_units();
        // Every thread shall find some.
        let fair = rows / (4 * machine.pool.at_once());
        if tokens > FEW_TOKENS {
            let fair = fair.max(2 * ROW_STEP).next_multiple_of(ROW_STEP);
            return Cut {
                rows,
                least: if small { ROW_STEP } else { fair.min(machine.tiling.unit.rows.next_multiple_of(ROW_STEP)) },
                most: usize::MAX,
                share: None,
            };
        }
        // Memory is read fastest in long runs, and kernels fetch ahead what they will work on next: large units first.
        let least = fair.min(machine.tiling.unit_bytes / row_bytes.max(1)).next_multiple_of(ROW_STEP).max(ROW_STEP);
        Cut { rows, least, most: usize::MAX, share: (!small).then_some(2 * machine.pool.at_once()) }
    }

    /// The same with so many rows at most in a unit, but with one step of them.
    fn at_most(self, rows: usize) -> Cut {
        let most = (rows / ROW_STEP * ROW_STEP).max(ROW_STEP);
        Cut { least: self.least.min(most), most, ..self }
    }

    /// Rows of the unit that starts with the row `first`.
    fn take(self, first: usize) -> usize {
        let left = self.rows - first;
        let share = self.share.map_or(0, |share| (left / share).next_multiple_of(ROW_STEP));
        share.clamp(self.least, self.most).min(left)
    }

    /// How many units there are.
    pub(super) fn units(self) -> usize {
        if self.share.is_none() {
            return self.rows.div_ceil(self.least);
        }
        let (mut first, mut units) = (0, 0);
        while first < self.rows {
            first += self.take(first);
            units += 1;
        }
        units
    }

    /// First row and number of rows of the `unit`-th unit.
    pub(super) fn unit(self, unit: usize) -> (usize, usize) {
        let first = match self.share {
            Some(_) => (0..unit).fold(0, |first, _| first + self.take(first)),
            None => unit * self.least,
        };
        (first, self.take(first))
    }
}

/// A part, ready to be shared by threads.
struct Job<'a> {
    weights: Weights<'a>,
    bias: Option<&'a [f32]>,
    scale: f32,
    gate: Option<Gate<'a>>,
    out: Shared<'a, f32>,
    residual: Option<Shared<'a, f32>>,
    cut: Cut,
    first_unit: usize,
}

impl<'a> Job<'a> {
    /// What the input is multiplied with; one matrix twice where there is no gate.
    fn matrices(&self) -> [Weights<'a>; 2] {
        [self.weights, self.gate.as_ref().map_or(self.weights, |gate| gate.weights)]
    }
}

/// Where outputs of some tokens go.
#[derive(Clone, Copy)]
struct Target<'a> {
    values: Shared<'a, f32>,
    /// Those of the first token.
    start: usize,
    /// From there to those of the next one.
    stride: usize,
}

impl<'a> Target<'a> {
    /// So many outputs of a token.
    ///
    /// # Safety
    /// As [`Shared::part`].
    unsafe fn row(&self, token: usize, rows: usize) -> &'a mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { self.values.part(self.start + token * self.stride, rows) }
    }
}

/// Products that share an input, at most: queries, keys, values, an output gate, rates and steps.
const MAX_PARTS: usize = 6;

/// Multiplies `tokens` input rows with every part's matrix.
///
/// # Panics
/// When shapes disagree.
pub fn linear<'a>(
    machine: Machine,
    source: Source,
    tokens: usize,
    parts: impl IntoIterator<Item = Part<'a>>,
    scratch: &mut LinearScratch,
) {
    let (sums_each, gated_each) = (scratch.sums.len() / scratch.threads, scratch.gated.len() / scratch.threads);
    // An array, because a pass allocates nothing.
    let mut jobs = [const { None::<Job> }; MAX_PARTS];
    let mut parts = parts.into_iter();
    let (mut units, mut elements, mut together) = (0, 0, tokens);
    for (job, part) in jobs.iter_mut().zip(&mut parts) {
        let Part { weights, bias, scale, gate, out, residual } = part;
        let rows = weights.rows;
        assert_eq!(out.len(), tokens * rows, "product output");
        assert!(bias.is_none_or(|bias| bias.len() == rows), "bias width");
        let (mut row_bytes, mut work) = (weights.bytes.len() / rows, tokens * rows * weights.depth);
        // Units take their parts of a gate, and find out if it is too small. Asked here, compilers ask before they know whether
        // there is one, and valgrind reports that.
        if let Some(gate) = &gate {
            (row_bytes, work) = (row_bytes + gate.weights.bytes.len() / rows, 2 * work);
        }
        assert!(residual.as_ref().is_none_or(|residual| residual.len() == out.len()), "residual width");
        together = unit_tokens(machine, tokens, weights.depth);
        let cut = Cut::new(machine, rows, row_bytes, tokens);
        let cut = if gate.is_some() { cut.at_most(gated_each / together) } else { cut };
        elements += work;
        let (out, residual) = (Shared::new(out), residual.map(Shared::new));
        *job = Some(Job { weights, bias, scale, gate, out, residual, cut, first_unit: units });
        units += cut.units() * tokens.div_ceil(together);
    }
    assert!(parts.next().is_none(), "at most {MAX_PARTS} products share an input");
    let jobs = &jobs;
    let Some(depth) = jobs.iter().flatten().next().map(|job| job.weights.depth) else { return };
    // What the activations in pairs are for, if that is faster for some product.
    let (mut float, mut quantized, mut reach) = (false, false, 0);
    for job in jobs.iter().flatten() {
        for weights in job.matrices() {
            assert_eq!(weights.depth, depth, "input widths of products that share an input");
            float |= weights.is_float();
            quantized |= !weights.is_float();
            reach = reach.max(machine.kernels.pairs(weights.dtype, tokens).unwrap_or(0));
        }
    }
    let high = machine.precision == Precision::High && !scratch.pairs.is_empty();
    let paired = Some(reach).filter(|&reach| high && reach > 0);

    prepare(machine, source, tokens, depth, scratch, (float, quantized, paired));
    let blocks = Batch::new(&scratch.blocks, tokens);
    let pairs = paired.map(|_| Batch::new(&scratch.pairs, tokens));
    let (sums, gated) = (Shared::new(&mut scratch.sums), Shared::new(&mut scratch.gated));
    let inputs = match source {
        Source::Plain(x) => x,
        _ if float => &scratch.rows[..tokens * depth],
        _ => &[],
    };
    machine.run(units, elements, &|thread, unit| {
        let Some(job) = jobs.iter().rev().flatten().find(|job| job.first_unit <= unit) else { return };
        let all_rows = job.weights.rows;
        let parts = tokens.div_ceil(together);
        let (unit, part) = ((unit - job.first_unit) / parts, (unit - job.first_unit) % parts);
        let (first, rows) = job.cut.unit(unit);
        let served = part * together..tokens.min((part + 1) * together);
        let elsewhere = tokens > FEW_TOKENS && rows * served.len() <= sums_each;
        let room = || Room { ptr: sums.window(thread * sums_each, rows).ptr, len: sums_each };
        let product = |weights: &Weights, to: Target, add: bool| {
            let args = MatmulArgs {
                weights: weights.part(first, rows).bytes,
                layout: weights.layout,
                rows,
                depth,
                tokens: served.len(),
                input: if weights.is_float() {
                    Input::Float(&inputs[served.start * depth..served.end * depth])
                } else {
                    Input::Quantized(blocks.skip(served.start), machine.precision)
                },
                pairs: pairs.map(|pairs| pairs.skip(served.start)),
                out: to.values.window(to.start, to.stride),
                sums: elsewhere.then(room),
                add,
            };
            // SAFETY: all targets have room for the tokens that are served. In outputs and residuals, columns
            // `first..first + rows` of these belong to this unit alone. So do parts of threads in `sums` and `gated`, which have
            // been seen to be large enough.
            unsafe { multiply(machine, weights.dtype, &args) };
        };
        let finish = |out: &mut [f32], scales: [f32; 2], bias: Option<&[f32]>| {
            let scale = |out: &mut [f32], scale| {
                if scale != 1.0 {
                    machine.kernels.scale(out, scale)
                }
            };
            scale(out, scales[0]);
            if let Some(bias) = bias {
                machine.kernels.add(out, &bias[first..first + rows]);
            }
            scale(out, scales[1]);
        };
        let out = Target { values: job.out, start: served.start * all_rows + first, stride: all_rows };
        let plain = job.bias.is_none() && job.scale == 1.0 && job.weights.scale == 1.0 && job.gate.is_none();
        if let Some(residual) = job.residual.filter(|_| plain && elsewhere) {
            return product(&job.weights, Target { values: residual, ..out }, true);
        }
        let gated = job.gate.as_ref().map(|gate| (gate, Target { values: gated, start: thread * gated_each, stride: rows }));
        assert!(gated.is_none() || rows * served.len() <= gated_each, "room for what is gated");
        product(&job.weights, gated.as_ref().map_or(out, |(_, room)| *room), false);
        if let Some((gate, _)) = &gated {
            product(&gate.weights, out, false);
        }
        if plain && job.residual.is_none() {
            return;
        }
        for token in 0..served.len() {
            // SAFETY: as above: these columns are this unit's, and the room is its thread's.
            let result = unsafe { out.row(token, rows) };
            let scales = [job.weights.scale, job.scale];
            match &gated {
                None => finish(result, scales, job.bias),
                Some((gate, room)) => {
                    // SAFETY: as above.
                    let x = unsafe { room.row(token, rows) };
                    finish(x, scales, job.bias);
                    finish(result, [gate.weights.scale, 1.0], gate.bias);
                    machine.kernels.gate(result, x, gate.activation);
                }
            }
            if let Some(values) = job.residual {
                // SAFETY: the same columns of a matrix of the same shape.
                machine.kernels.add(unsafe { Target { values, ..out }.row(token, rows) }, result);
            }
        }
    });
}

/// `x = cap * tanh(x / cap)`.
pub fn softcap(machine: Machine, x: &mut [f32], cap: f32) {
    let (len, x) = (x.len(), Shared::new(x));
    // A hyperbolic tangent takes about as long as ten multiplications.
    machine.run(len.div_ceil(SOFTCAP_UNIT), 10 * len, &|_, unit| {
        let start = unit * SOFTCAP_UNIT;
        // SAFETY: units do not overlap.
        machine.kernels.softcap(unsafe { x.part(start, SOFTCAP_UNIT.min(len - start)) }, cap);
    });
}

/// Applies what the source fuses and quantizes the rows.
fn prepare(
    machine: Machine,
    source: Source,
    tokens: usize,
    depth: usize,
    scratch: &mut LinearScratch,
    (float, quantized, paired): (bool, bool, Option<u16>),
) {
    if !quantized && matches!(source, Source::Plain(_)) {
        return;
    }
    let rows = Shared::new(&mut scratch.rows);
    let blocks = Blocks::new(machine.precision, &mut scratch.blocks, &mut scratch.pairs);
    machine.run(tokens, tokens * depth, &|thread, token| {
        let range = token * depth..(token + 1) * depth;
        // SAFETY: a row per token where float products read them later, else a row per thread.
        let row = unsafe { rows.part(if float { token } else { thread } * depth, depth) };
        let input = match source {
            Source::Plain(x) => &x[range],
            Source::Norm(x, norm) => {
                norm.apply(machine.kernels, &x[range], row);
                row
            }
            Source::Activated(activation, x) => {
                row.copy_from_slice(&x[range]);
                machine.kernels.activate(row, activation);
                row
            }
            Source::Gated(activation, gate, up) => {
                row.copy_from_slice(&gate[range.clone()]);
                machine.kernels.gate(row, &up[range], activation);
                row
            }
        };
        if quantized {
            // SAFETY: one token per unit.
            unsafe { blocks.fill(machine.kernels, input, (0, token, tokens), paired) };
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu;
    use crate::kernels::Kernels;
    use crate::ops::{Pace, Progress, Tiling};
    use crate::quant::testing::Random;
    use crate::threads::Pool;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn a_gate_multiplies_what_its_product_gives() {
        let (rows, depth, most) = (819, 512, 75);
        let mut random = Random::new(5);
        let (never, x) = (AtomicBool::new(false), random.normals(depth * most));
        let biases = [random.normals(rows), random.normals(rows)];
        let (kernels, pool) = (Kernels::for_level(cpu::detect()), Pool::new(2).unwrap());
        let pace = Pace::new(&never, None, Progress::default());
        let usual = Tiling::new(kernels.portion(), cpu::private_cache());
        // Also units that are larger than what there is room for.
        let large = Tiling { unit_bytes: usize::MAX / 2, unit: Portion { rows: 1000, work: usize::MAX }, ..usual };
        let shape = LinearShape { depth, float: true, paired: true, unit_rows: 32, gated: true };
        let mut scratch = LinearScratch::new(&mut Memory::system(), most, shape, 2).unwrap();
        for dtype in [Dtype::Q4_K, Dtype::Q4_0, Dtype::F16] {
            let bytes = [(); 2].map(|()| (0..rows).flat_map(|_| random.row(dtype, depth)).collect::<Vec<u8>>());
            let [gate, up] =
                [0, 1].map(|i| Weights { dtype, bytes: &bytes[i], layout: Layout::Rows, rows, depth, scale: 0.5 + i as f32 });
            for (tokens, tiling) in [1, FEW_TOKENS, FEW_TOKENS + 1, most].iter().flat_map(|&n| [(n, usual), (n, large)]) {
                let machine = Machine { kernels: &kernels, pool: &pool, pace: &pace, precision: Precision::High, tiling };
                let [mut want, mut factor, mut got] = [(); 3].map(|()| vec![0.0; rows * tokens]);
                let source = Source::Plain(&x[..depth * tokens]);
                let [gate_bias, bias] = [0, 1].map(|i| Some(&biases[i][..]));
                let first = Part { weights: gate, bias: gate_bias, out: &mut want, scale: 1.0, gate: None, residual: None };
                let second = Part { weights: up, bias, out: &mut factor, scale: 3.0, gate: None, residual: None };
                linear(machine, source, tokens, [first, second], &mut scratch);
                kernels.gate(&mut want, &factor, Activation::Silu);
                let gate = Some(Gate { activation: Activation::Silu, weights: gate, bias: gate_bias });
                let both = Part { weights: up, bias, out: &mut got, scale: 3.0, gate, residual: None };
                linear(machine, source, tokens, [both], &mut scratch);
                assert!(want.iter().any(|&x| x != 0.0) && got == want, "{dtype}, {tokens} tokens");
            }
        }
    }
}
