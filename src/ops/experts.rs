//! Feed-forward by routed experts: the tokens of a batch are gathered per expert, so that its weights are read once.

use super::blocks::Blocks;
use super::linear::{Cut, multiply};
use super::route::{Pick, Router};
use super::{Machine, Shared, Weights};
use crate::error::Result;
use crate::kernels::{Activation, Input, MatmulArgs, PAIRED_TOKENS};
use crate::quant::{ActBlock, BLOCK, Batch, PairBlock, Precision};
use crate::tensor::{Buffer, Memory};

/// One matrix of each expert, one below the other.
#[derive(Clone, Copy)]
pub struct Stack<'a> {
    /// All of them.
    pub weights: Weights<'a>,
    /// Multiplies the products: one value per expert.
    pub scales: Option<&'a [f32]>,
    /// Added to the products: as many values as `weights` has rows.
    pub bias: Option<&'a [f32]>,
}

/// Arguments of [`experts`].
pub struct ExpertsArgs<'a> {
    /// How experts are selected.
    pub router: &'a Router,
    /// `tokens` rows of one logit per expert.
    pub logits: &'a [f32],
    /// `tokens` rows of the input.
    pub x: &'a [f32],
    /// What is activated, and multiplies `up`; `None`: `up` is activated.
    pub gate: Option<Stack<'a>>,
    /// The way into the hidden layer.
    pub up: Stack<'a>,
    /// The way out.
    pub down: Stack<'a>,
    /// The function of the hidden layer.
    pub activation: Activation,
    /// `tokens` rows that the result is added to: `out = fma(weight, result, out)` in ascending order of experts.
    pub out: &'a mut [f32],
    /// Rows.
    pub tokens: usize,
}

/// Sizes of a layer of experts.
#[derive(Clone, Copy, Debug)]
pub struct ExpertsShape {
    /// Experts.
    pub experts: usize,
    /// Experts of a token.
    pub used: usize,
    /// Width of input and output.
    pub width: usize,
    /// Width of the hidden layer.
    pub hidden: usize,
    /// Whether some product takes activations in pairs.
    pub paired: bool,
}

/// A token at one of its experts.
#[derive(Clone, Copy, Debug, Default)]
struct Visit {
    token: u32,
    expert: u32,
}

/// Consecutive visits of one expert.
#[derive(Clone, Copy)]
struct Run {
    expert: usize,
    first: usize,
    count: usize,
}

/// Room for the tokens at their experts.
pub struct ExpertsScratch {
    scores: Buffer<f32>,
    /// Per token, ascending experts.
    picks: Vec<Pick>,
    /// All picks by ascending experts.
    visits: Vec<Visit>,
    /// The visit of each pick.
    places: Vec<u32>,
    /// Where the next visit of each expert goes.
    next: Vec<u32>,
    runs: Vec<Run>,
    blocks: Vec<ActBlock>,
    /// The same in pairs, for experts of many tokens.
    pairs: Vec<PairBlock>,
    gate: Buffer<f32>,
    up: Buffer<f32>,
    /// Inputs of products with float weights, and results.
    rows: Buffer<f32>,
    /// Visits that are computed at a time.
    capacity: usize,
}

impl ExpertsScratch {
    /// Room for batches of up to `batch` tokens through any one of the layers.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(
        memory: &mut Memory,
        threads: usize,
        layers: impl Iterator<Item = ExpertsShape>,
        batch: usize,
    ) -> Result<ExpertsScratch> {
        let none = ExpertsShape { experts: 0, used: 0, width: 0, hidden: 0, paired: false };
        let ExpertsShape { experts, used, width, hidden, paired } = layers.fold(none, |a, b| ExpertsShape {
            experts: a.experts.max(b.experts),
            used: a.used.max(b.used),
            width: a.width.max(b.width),
            hidden: a.hidden.max(b.hidden),
            paired: a.paired || b.paired,
        });
        // As many visits at a time as there are tokens: memory does not grow with the experts of a token.
        let capacity = if used > 0 { batch.max(used) } else { 0 };
        let blocks = capacity * width.max(hidden).div_ceil(BLOCK);
        Ok(ExpertsScratch {
            scores: memory.buffer(threads * experts)?,
            picks: memory.vec(batch * used, Pick::default())?,
            visits: memory.vec(batch * used, Visit::default())?,
            places: memory.vec(batch * used, 0)?,
            next: memory.vec(experts, 0)?,
            runs: memory.room(experts)?,
            blocks: memory.vec(blocks, ActBlock::ZERO)?,
            pairs: memory.vec(if paired && batch >= PAIRED_TOKENS { blocks } else { 0 }, PairBlock::ZERO)?,
            gate: memory.buffer(capacity * hidden)?,
            up: memory.buffer(capacity * hidden)?,
            rows: memory.buffer(capacity * width)?,
            capacity,
        })
    }

    /// Sorts the picks of all tokens by expert; the visits of an expert stay in the order of tokens.
    fn sort(&mut self, tokens: usize, router: &Router) {
        let picks = &self.picks[..tokens * router.used];
        let next = &mut self.next[..router.experts];
        next.fill(0);
        picks.iter().for_each(|pick| next[pick.expert as usize] += 1);
        let mut sum = 0;
        for next in &mut *next {
            sum += std::mem::replace(next, sum);
        }
        for (index, (pick, place)) in picks.iter().zip(&mut self.places).enumerate() {
            let next = &mut next[pick.expert as usize];
            self.visits[*next as usize] = Visit { token: (index / router.used) as u32, expert: pick.expert };
            *place = *next;
            *next += 1;
        }
    }

    /// Cuts these visits into runs.
    fn cut(&mut self, first: usize, count: usize) {
        self.runs.clear();
        for run in self.visits[first..first + count].chunk_by(|a, b| a.expert == b.expert) {
            let first = self.runs.last().map_or(0, |run| run.first + run.count);
            self.runs.push(Run { expert: run[0].expert as usize, first, count: run.len() });
        }
    }
}

/// Sends every token through its experts and adds the weighted results.
///
/// # Panics
/// When shapes disagree.
pub fn experts(machine: Machine, args: ExpertsArgs, scratch: &mut ExpertsScratch) {
    let ExpertsArgs { router, logits, x, gate, up, down, activation, tokens, .. } = args;
    let (width, used) = (up.weights.depth, router.used);
    let hidden = down.weights.depth;
    assert!(x.len() == tokens * width && args.out.len() == x.len(), "expert rows");
    assert!(gate.is_none_or(|gate| gate.weights.rows == up.weights.rows), "gate and up");
    assert!(up.weights.rows == router.experts * hidden && down.weights.rows == router.experts * width, "expert weights");

    let (scores, picks) = (Shared::new(&mut scratch.scores), Shared::new(&mut scratch.picks));
    machine.run(tokens, tokens * router.experts * 16, &|thread, token| {
        // SAFETY: one row of scores per thread, the picks of one token per unit.
        let (scores, picks) = unsafe { (scores.part(thread * router.experts, router.experts), picks.part(token * used, used)) };
        router.route(&logits[token * router.experts..(token + 1) * router.experts], scores, picks);
    });
    if machine.pace.stopped() {
        return;
    }
    scratch.sort(tokens, router);
    let out = Shared::new(args.out);
    let visits = tokens * used;
    for first in (0..visits).step_by(scratch.capacity) {
        let count = scratch.capacity.min(visits - first);
        scratch.cut(first, count);
        let ExpertsScratch { picks, visits, places, runs, blocks, pairs, gate: gates, up: ups, rows, .. } = &mut *scratch;
        let (visits, runs) = (&visits[first..first + count], runs.as_slice());
        // The visits of one expert are a batch of their own; only many of them are multiplied by pairs.
        let batch = |visit: usize, depth: usize, reach: Option<u16>| {
            let run = &runs[runs.partition_point(|run| run.first + run.count <= visit)];
            let place = (run.first * depth.div_ceil(BLOCK), visit - run.first, run.count);
            (place, reach.filter(|_| run.count >= PAIRED_TOKENS))
        };
        let can_pair = machine.precision == Precision::High && !pairs.is_empty();
        let reach = |stacks: &[Option<Stack>]| {
            let reaches = stacks.iter().flatten().filter_map(|stack| machine.kernels.pairs(stack.weights.dtype, usize::MAX));
            reaches.max().filter(|_| can_pair)
        };

        // The inputs, in the order of visits.
        let into = [gate, Some(up)];
        let float = into.iter().flatten().any(|stack| stack.weights.is_float());
        let quantized = into.iter().flatten().any(|stack| !stack.weights.is_float());
        let paired = reach(&into);
        let (made, shared_rows) = (Blocks::new(machine.precision, blocks, pairs), Shared::new(rows));
        machine.run(count, count * width, &|_, visit| {
            let token = visits[visit].token as usize;
            let x = &x[token * width..(token + 1) * width];
            if float {
                // SAFETY: the row of one visit per unit.
                unsafe { shared_rows.part(visit * width, width) }.copy_from_slice(x);
            }
            if quantized {
                let (place, reach) = batch(visit, width, paired);
                // SAFETY: one visit per unit.
                unsafe { made.fill(machine.kernels, x, place, reach) };
            }
        });
        let stacks = [gate.map(|gate| (gate, Shared::new(gates))), Some((up, Shared::new(ups)))];
        let pairs_made = if paired.is_some() { &pairs[..] } else { &[] };
        products(machine, &stacks, router.experts, runs, (blocks, pairs_made, &rows[..count * width]));

        let (middle, gated) = if gate.is_some() { (&mut *gates, Some(&*ups)) } else { (&mut *ups, None) };
        let paired = reach(&[Some(down)]);
        let (made, shared_middle) = (Blocks::new(machine.precision, blocks, pairs), Shared::new(middle));
        machine.run(count, 4 * count * hidden, &|_, visit| {
            // SAFETY: the row of one visit per unit.
            let row = unsafe { shared_middle.part(visit * hidden, hidden) };
            match gated {
                Some(up) => machine.kernels.gate(row, &up[visit * hidden..(visit + 1) * hidden], activation),
                None => machine.kernels.activate(row, activation),
            }
            if !down.weights.is_float() {
                let (place, reach) = batch(visit, hidden, paired);
                // SAFETY: one visit per unit.
                unsafe { made.fill(machine.kernels, row, place, reach) };
            }
        });
        let stacks = [Some((down, Shared::new(rows)))];
        let pairs_made = if paired.is_some() { &pairs[..] } else { &[] };
        products(machine, &stacks, router.experts, runs, (blocks, pairs_made, &middle[..count * hidden]));

        machine.run(tokens, count * width, &|_, token| {
            // SAFETY: one row per unit.
            let out = unsafe { out.part(token * width, width) };
            let own = token * used..(token + 1) * used;
            for (pick, &place) in picks[own.clone()].iter().zip(&places[own]) {
                if let Some(row) = (place as usize).checked_sub(first).filter(|row| *row < count) {
                    machine.kernels.add_scaled(out, &rows[row * width..(row + 1) * width], pick.weight);
                }
            }
        });
    }
}

/// Multiplies the rows of every run, given as blocks, in pairs where that was possible, or as floats, with its expert's matrix of
/// every stack.
fn products<const N: usize>(
    machine: Machine,
    stacks: &[Option<(Stack, Shared<f32>)>; N],
    experts: usize,
    runs: &[Run],
    (blocks, pairs, rows): (&[ActBlock], &[PairBlock], &[f32]),
) {
    let Some((first, _)) = stacks.iter().flatten().next() else { return };
    let (total, depth) = (first.weights.rows / experts, first.weights.depth);
    let visits: usize = runs.iter().map(|run| run.count).sum();
    let row_bytes = first.weights.bytes.len() / first.weights.rows;
    let cut = Cut::new(machine, total, row_bytes, visits.div_ceil(runs.len().max(1)));
    let units = cut.units();
    let count = stacks.iter().flatten().count();
    machine.run(count * runs.len() * units, count * visits * total * depth, &|_, unit| {
        let (run, unit) = (runs[unit / (count * units)], unit % (count * units));
        let Some((stack, out)) = stacks.iter().flatten().nth(unit / units) else { return };
        let (first, part) = cut.unit(unit % units);
        let weights = stack.weights.part(run.expert * total + first, part);
        let visits = run.first..run.first + run.count;
        let blocks_from = visits.start * depth.div_ceil(BLOCK);
        let input = if weights.is_float() {
            Input::Float(&rows[visits.start * depth..visits.end * depth])
        } else {
            Input::Quantized(Batch::new(&blocks[blocks_from..], run.count), machine.precision)
        };
        let paired = !pairs.is_empty() && machine.kernels.pairs(weights.dtype, run.count).is_some();
        let pairs = paired.then(|| Batch::new(&pairs[blocks_from..], run.count));
        let window = out.window(run.first * total + first, total);
        let (layout, tokens) = (weights.layout, run.count);
        let args = MatmulArgs {
            weights: weights.bytes,
            layout,
            rows: part,
            depth,
            tokens,
            input,
            pairs,
            out: window,
            sums: None,
            add: false,
        };
        // SAFETY: `out` holds a row of `total` per visit, and these columns of these rows belong to this unit alone.
        unsafe { multiply(machine, weights.dtype, &args) };
        if stack.scales.is_none() && stack.bias.is_none() {
            return;
        }
        for visit in visits {
            // SAFETY: as above.
            let out = unsafe { out.part(visit * total + first, part) };
            if let Some(scales) = stack.scales {
                machine.kernels.scale(out, scales[run.expert]);
            }
            if let Some(bias) = stack.bias {
                machine.kernels.add(out, &bias[run.expert * total + first..][..part]);
            }
        }
    });
}
