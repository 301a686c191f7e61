//! Flash attention over the cache: blocks of 256 absolute positions, online softmax, memory linear in the context.
//!
//! Sources: FlashAttention-2 (Dao 2023), flash-decoding (Dao et al. 2023); the fixed blocks make the result independent
//! of batch and threads.

use super::{Machine, Shared};
use crate::error::Result;
use crate::kernels::{Adjust, AttendArgs, BlockMask, KV_BLOCK, Kernels, Partial, score_scratch};
use crate::tensor::{Buffer, Memory, Zeroed};
use std::ops::Range;

/// What a cache is made of.
pub trait KvElement: Zeroed + Send + Sync + 'static {
    /// Zero.
    const ZERO: Self;
    /// The value.
    fn widen(self) -> f32;
    /// Converts from f32.
    fn narrow(kernels: &Kernels, x: &[f32], out: &mut [Self]);
    /// The attention kernel for this type.
    fn attend(kernels: &Kernels, args: &mut AttendArgs<Self>);
}

/// One layer of a cache.
#[derive(Clone, Copy)]
pub struct KvBlocks<'a, T> {
    /// `[block][kv_head][head_dim][256]`.
    pub keys: &'a [T],
    /// `[block][kv_head][256][value_dim]`.
    pub values: &'a [T],
    /// Block of the storage that holds each 256 positions.
    pub table: &'a [u32],
}

/// One layer of a cache, to be written.
pub struct KvBlocksMut<'a, T> {
    /// As in [`KvBlocks`].
    pub keys: &'a mut [T],
    /// As in [`KvBlocks`].
    pub values: &'a mut [T],
    /// As in [`KvBlocks`].
    pub table: &'a [u32],
}

/// What an attention layer computes.
#[derive(Clone, Debug)]
pub struct AttentionLayer {
    /// Heads of the queries, a multiple of `kv_heads`.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Elements of a query or key head.
    pub head_dim: usize,
    /// Elements of a value head.
    pub value_dim: usize,
    /// Multiplies the scores.
    pub scale: f32,
    /// Positions that a token sees, itself included: the last ones up to itself or, where attention is bidirectional, half of
    /// them (rounded down) on each side. `None`: no limit.
    pub window: Option<usize>,
    /// Whether a token sees what follows it, too: the tokens of a call are then a whole sequence.
    pub bidirectional: bool,
    /// Scores become `cap * tanh(score / cap)`; 0: they do not.
    pub cap: f32,
    /// Subtracted from scores per position of distance (ALiBi, Press et al. 2021), one per head; empty: nothing is.
    pub slopes: Vec<f32>,
    /// A score per head that takes its share of the softmax and has no value; empty: there is none.
    pub sinks: Vec<f32>,
}

impl AttentionLayer {
    /// The positions that the token at `position` sees, of a sequence that ends at `end`.
    fn sees(&self, position: usize, end: usize) -> Range<usize> {
        match self.window {
            None if self.bidirectional => 0..end,
            Some(window) if self.bidirectional => position.saturating_sub(window / 2)..end.min(position + window / 2 + 1),
            window => (position + 1).saturating_sub(window.unwrap_or(usize::MAX))..position + 1,
        }
    }
}

/// Arguments of [`attention`].
pub struct AttentionArgs<'a, T> {
    /// `tokens` rows of `heads * head_dim`.
    pub query: &'a [f32],
    /// Receives `tokens` rows of `heads * value_dim`.
    pub out: &'a mut [f32],
    /// The layer's cache, the tokens themselves included.
    pub cache: KvBlocks<'a, T>,
    /// The layer.
    pub layer: &'a AttentionLayer,
    /// Position of the first token.
    pub start: usize,
    /// Rows.
    pub tokens: usize,
}

/// The most queries that a kernel call serves at once.
pub(super) const TILE: usize = 32;
/// Queries of a tile times the positions that they see: what a thread does before it asks whether to stop. Beyond that tiles
/// get smaller.
const TILE_WORK: usize = TILE * 8192;

/// Room for the softmax states.
pub struct AttentionScratch {
    tiles: Buffer<f32>,
    per_tile: usize,
    masks: Buffer<u64>,
    partials: Buffer<f32>,
}

impl AttentionScratch {
    /// Room for `threads` threads, any one of the layers, and contexts of up to `context` positions.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(memory: &mut Memory, threads: usize, layers: &[AttentionLayer], context: usize) -> Result<AttentionScratch> {
        let greatest = |size: &dyn Fn(&AttentionLayer) -> usize| layers.iter().map(size).max().unwrap_or(0);
        let per_tile = greatest(&|layer| Room::size(layer));
        let queries = greatest(&|layer| tile_queries(layer.heads / layer.kv_heads));
        let state = greatest(&|layer| layer.heads * (layer.value_dim + 2));
        Ok(AttentionScratch {
            tiles: memory.buffer(threads * per_tile)?,
            per_tile,
            masks: memory.buffer(threads * queries * size_of::<BlockMask>() / size_of::<u64>())?,
            partials: memory.buffer(context.div_ceil(KV_BLOCK) * state)?,
        })
    }
}

/// The most queries of a tile: whole tokens with all heads of a group.
fn tile_queries(group: usize) -> usize {
    (TILE / group).max(1) * group
}

/// Tokens of a tile of at most `queries` queries that sees so many positions; `small`: there is a deadline to keep.
fn tile_tokens(queries: usize, group: usize, seen: usize, small: bool) -> usize {
    let work = if small { TILE_WORK / 2 } else { TILE_WORK };
    (queries.min(TILE).min(work / seen.max(1)) / group).max(1)
}

/// Attention of consecutive positions over everything that they see.
///
/// # Panics
/// When shapes disagree.
pub fn attention<T: KvElement>(machine: Machine, args: AttentionArgs<T>, scratch: &mut AttentionScratch) {
    let AttentionArgs { query, layer, start, tokens, .. } = args;
    let AttentionLayer { heads, kv_heads, head_dim, value_dim, .. } = *layer;
    assert_eq!(query.len(), tokens * heads * head_dim, "query size");
    assert_eq!(args.out.len(), tokens * heads * value_dim, "attention output");
    let group = heads / kv_heads;
    // Where all that a token sees takes a unit too long, tokens are taken one by one, and their blocks are the units.
    let deep = |seen: usize| machine.pace.small_units() && seen.saturating_mul(head_dim + value_dim) > machine.tiling.reach;
    let seen = layer.window.map_or(usize::MAX, |window| window.saturating_add(tokens)).min(start + tokens);
    if tokens > 1 && !layer.bidirectional && deep(seen) {
        let rows = query.chunks_exact(heads * head_dim).zip(args.out.chunks_exact_mut(heads * value_dim));
        for ((query, out), start) in rows.zip(start..) {
            attention(machine, AttentionArgs { query, out, cache: args.cache, layer, start, tokens: 1 }, scratch);
        }
        return;
    }
    let tile_tokens = tile_tokens(machine.tiling.queries, group, seen, machine.pace.small_units());
    let tiles = tokens.div_ceil(tile_tokens);
    // The blocks that the tokens first..first + count see at least a part of.
    let end = start + tokens;
    let blocks = |first: usize, count: usize| {
        let (from, to) = (layer.sees(start + first, end).start, layer.sees(start + first + count - 1, end).end);
        from / KV_BLOCK..to.div_ceil(KV_BLOCK)
    };
    let adjusted = layer.cap > 0.0 || !layer.slopes.is_empty();
    let per_tile = scratch.per_tile;
    let mask_words = scratch.masks.len() / machine.pool.threads();
    let (rooms, masks) = (Shared::new(&mut scratch.tiles), Shared::new(&mut scratch.masks));
    let out = Shared::new(args.out);
    let cost = tokens * heads * (head_dim + value_dim) * (start + tokens);

    // Gathers the queries of a tile: `count` tokens with the heads of one group.
    let gather = |room: &mut [f32], kv_head: usize, first: usize, count: usize| {
        for (index, row) in room.chunks_exact_mut(group * head_dim).take(count).enumerate() {
            let from = ((first + index) * heads + kv_head * group) * head_dim;
            row.copy_from_slice(&query[from..from + group * head_dim]);
        }
    };
    // Attends to one block; `state` is overwritten.
    let attend = |room: &mut Room, kv_head: usize, first: usize, count: usize, block: usize, state: Partial| {
        for (index, mask) in room.masks.chunks_exact_mut(group).take(count).enumerate() {
            mask.fill(visible(block, layer.sees(start + first + index, end)));
        }
        if adjusted {
            let slopes = layer.slopes.get(kv_head * group..(kv_head + 1) * group);
            for (index, slope) in room.slopes.chunks_exact_mut(group).take(count).enumerate() {
                match slopes {
                    Some(slopes) => slope.copy_from_slice(slopes),
                    None => slope.fill(0.0),
                }
                let offset = (block * KV_BLOCK) as f32 - (start + first + index) as f32;
                room.offsets[index * group..(index + 1) * group].fill(offset);
            }
        }
        let at = args.cache.table[block] as usize * kv_heads + kv_head;
        let queries = count * group;
        T::attend(
            machine.kernels,
            &mut AttendArgs {
                queries,
                head_dim,
                value_dim,
                query: &room.query[..queries * head_dim],
                keys: &args.cache.keys[at * head_dim * KV_BLOCK..(at + 1) * head_dim * KV_BLOCK],
                values: &args.cache.values[at * value_dim * KV_BLOCK..(at + 1) * value_dim * KV_BLOCK],
                masks: &room.masks[..queries],
                scale: layer.scale,
                adjust: adjusted.then(|| Adjust {
                    cap: layer.cap,
                    slopes: &room.slopes[..queries],
                    offsets: &room.offsets[..queries],
                }),
                scores: room.scores,
                out: state,
            },
        );
    };
    // Adds what the sinks take, divides by the sums and puts the rows where they belong.
    let finish = |mut state: Partial, next: &mut [f32], kv_head: usize, first: usize, count: usize| {
        let queries = count * group;
        if let Some(sinks) = layer.sinks.get(kv_head * group..(kv_head + 1) * group) {
            let sink = partial(next, queries, value_dim);
            sink.max.chunks_exact_mut(group).for_each(|max| max.copy_from_slice(sinks));
            sink.sum.fill(1.0);
            sink.acc.fill(0.0);
            machine.kernels.merge(&mut state, &sink, value_dim);
        }
        let normal = &mut next[..queries * value_dim];
        machine.kernels.normalize(&state, value_dim, normal);
        for (index, row) in normal.chunks_exact(group * value_dim).take(count).enumerate() {
            let at = ((first + index) * heads + kv_head * group) * value_dim;
            // SAFETY: these heads of these tokens are this unit's.
            unsafe { out.part(at, group * value_dim) }.copy_from_slice(row);
        }
    };
    let room = |thread: usize| {
        // SAFETY: one room and one set of masks per thread.
        let (all, masks) = unsafe { (rooms.part(thread * per_tile, per_tile), masks.part(thread * mask_words, mask_words)) };
        Room::new(all, masks, layer)
    };

    // Few tiles and a long context: the blocks are the units, and their states are folded afterwards in ascending order.
    if tokens == 1 && blocks(0, 1).len() > 1 && (kv_heads < 4 * machine.pool.at_once() || deep(seen)) {
        let seen = blocks(0, 1);
        let blocks = seen.len();
        let per_state = group * (value_dim + 2);
        let states = Shared::new(&mut scratch.partials);
        machine.run(kv_heads * blocks, cost, &|thread, unit| {
            let (kv_head, block) = (unit / blocks, seen.start + unit % blocks);
            let mut room = room(thread);
            gather(room.query, kv_head, 0, 1);
            // SAFETY: one state per unit.
            let state = partial(unsafe { states.part(unit * per_state, per_state) }, group, value_dim);
            attend(&mut room, kv_head, 0, 1, block, state);
        });
        machine.run(kv_heads, heads * blocks * value_dim, &|thread, kv_head| {
            let room = room(thread);
            // SAFETY: the states of one KV head per unit; each is borrowed once.
            let state =
                |block| partial(unsafe { states.part((kv_head * blocks + block) * per_state, per_state) }, group, value_dim);
            let mut total = state(0);
            for block in 1..blocks {
                machine.kernels.merge(&mut total, &state(block), value_dim);
            }
            finish(total, room.next, kv_head, 0, 1);
        });
        return;
    }

    // One KV head after the other, so that keys and values of one are in use at a time. The last tiles see the longest context: they
    // go first, so that no thread is left with one at the end.
    machine.run(tiles * kv_heads, cost, &|thread, unit| {
        let (kv_head, tile) = (unit / tiles, tiles - 1 - unit % tiles);
        let first = tile * tile_tokens;
        let count = tile_tokens.min(tokens - first);
        let queries = count * group;
        let mut room = room(thread);
        gather(room.query, kv_head, first, count);
        let (total, next) = (std::mem::take(&mut room.total), std::mem::take(&mut room.next));
        let state = queries * (value_dim + 2);
        let mut total = partial(&mut total[..state], queries, value_dim);
        let blocks = blocks(first, count);
        for block in blocks.clone() {
            if block == blocks.start {
                attend(&mut room, kv_head, first, count, block, total.reborrow());
            } else {
                attend(&mut room, kv_head, first, count, block, partial(&mut next[..state], queries, value_dim));
                machine.kernels.merge(&mut total, &partial(&mut next[..state], queries, value_dim), value_dim);
            }
        }
        finish(total, next, kv_head, first, count);
    });
}

/// The scratch of one thread.
struct Room<'a> {
    query: &'a mut [f32],
    scores: &'a mut [f32],
    total: &'a mut [f32],
    next: &'a mut [f32],
    masks: &'a mut [BlockMask],
    slopes: &'a mut [f32],
    offsets: &'a mut [f32],
}

impl<'a> Room<'a> {
    /// Floats that a layer needs.
    fn size(layer: &AttentionLayer) -> usize {
        let queries = tile_queries(layer.heads / layer.kv_heads);
        queries * (layer.head_dim + 2 * (layer.value_dim + 2) + 2) + score_scratch(queries)
    }

    fn new(all: &'a mut [f32], masks: &'a mut [u64], layer: &AttentionLayer) -> Room<'a> {
        let queries = tile_queries(layer.heads / layer.kv_heads);
        let (query, rest) = all.split_at_mut(queries * layer.head_dim);
        let (scores, rest) = rest.split_at_mut(score_scratch(queries));
        let (total, rest) = rest.split_at_mut(queries * (layer.value_dim + 2));
        let (next, rest) = rest.split_at_mut(queries * (layer.value_dim + 2));
        let (slopes, rest) = rest.split_at_mut(queries);
        Room { query, scores, total, next, masks: masks.as_chunks_mut().0, slopes, offsets: &mut rest[..queries] }
    }
}

/// Cuts a softmax state out of `2 + value_dim` values per query.
fn partial(values: &mut [f32], queries: usize, value_dim: usize) -> Partial<'_> {
    let (max, rest) = values.split_at_mut(queries);
    let (sum, acc) = rest.split_at_mut(queries);
    Partial { max, sum, acc: &mut acc[..queries * value_dim] }
}

/// The positions of `block` among these.
fn visible(block: usize, positions: Range<usize>) -> BlockMask {
    // The first `count` positions of all.
    let first = |count: usize| -> BlockMask {
        let count = count.saturating_sub(block * KV_BLOCK);
        std::array::from_fn(|word| match count.saturating_sub(word * 64) {
            0 => 0,
            count if count >= 64 => u64::MAX,
            count => (1 << count) - 1,
        })
    };
    let (upto, before) = (first(positions.end), first(positions.start));
    std::array::from_fn(|word| upto[word] & !before[word])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Level;
    use crate::ops::{KvBlocksMut, Pace, Progress, RopeArgs, Rotation, Tiling, rope_and_store};
    use crate::quant::Precision;
    use crate::threads::Pool;
    use half::f16;
    use std::sync::atomic::AtomicBool;
    use std::time::{Duration, Instant};

    #[test]
    fn masks_show_exactly_what_is_seen() {
        for (block, position) in [(0, 0), (0, 63), (0, 64), (0, 255), (1, 255), (1, 256), (1, 300), (0, 1000)] {
            for window in [None, Some(1), Some(40), Some(256), Some(300), Some(2000)] {
                for (bidirectional, end) in [(false, position + 1), (true, position + 1), (true, position + 150)] {
                    let mask = visible(block, AttentionLayer { window, bidirectional, ..layer() }.sees(position, end));
                    for lane in 0..KV_BLOCK {
                        let at = block * KV_BLOCK + lane;
                        let reach = window.map_or(usize::MAX, |window| if bidirectional { window / 2 } else { window - 1 });
                        let want = at < end && at.abs_diff(position) <= reach;
                        let got = mask[lane / 64] >> (lane % 64) & 1 == 1;
                        assert_eq!(got, want, "block {block}, position {position} of {end}, lane {lane}, window {window:?}");
                    }
                }
            }
        }
    }

    const HEADS: usize = 6;
    const KV_HEADS: usize = 2;
    const HEAD_DIM: usize = 24;
    const VALUE_DIM: usize = 16;
    /// A table that is not the identity.
    const TABLE: [u32; 3] = [2, 0, 1];

    fn layer() -> AttentionLayer {
        AttentionLayer {
            heads: HEADS,
            kv_heads: KV_HEADS,
            head_dim: HEAD_DIM,
            value_dim: VALUE_DIM,
            scale: 0.2,
            window: None,
            bidirectional: false,
            cap: 0.0,
            slopes: Vec::new(),
            sinks: Vec::new(),
        }
    }

    /// Values in -1..1 that look random and are the same everywhere.
    fn noise(len: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    /// Stores `tokens` positions in pieces of `batch` and attends with each piece.
    fn flash<T: KvElement>(layer: &AttentionLayer, level: Level, threads: usize, batch: usize, tokens: usize) -> Vec<f32> {
        let never = AtomicBool::new(false);
        let (kernels, pool) = (Kernels::for_level(level), Pool::new(threads).unwrap());
        // Far enough away.
        let deadline = (batch % 2 == 1).then(|| Instant::now() + Duration::from_secs(3600));
        let pace = Pace::new(&never, deadline, Progress::default());
        let tiling = Tiling { queries: 1 + batch % 40, reach: 200 * batch, ..Tiling::new(kernels.portion(), 1 << 20) };
        let machine = Machine { kernels: &kernels, pool: &pool, pace: &pace, precision: Precision::High, tiling };
        let (mut query, mut key) = (noise(tokens * HEADS * HEAD_DIM, 1), noise(tokens * KV_HEADS * HEAD_DIM, 2));
        let value = noise(tokens * KV_HEADS * VALUE_DIM, 3);
        let mut keys = vec![T::ZERO; TABLE.len() * KV_HEADS * HEAD_DIM * KV_BLOCK];
        let mut values = vec![T::ZERO; TABLE.len() * KV_HEADS * VALUE_DIM * KV_BLOCK];
        let (layers, context) = (std::slice::from_ref(layer), TABLE.len() * KV_BLOCK);
        let mut scratch = AttentionScratch::new(&mut Memory::system(), threads, layers, context).unwrap();
        let mut out = vec![0.0; tokens * HEADS * VALUE_DIM];
        for start in (0..tokens).step_by(batch) {
            let tokens = batch.min(tokens - start);
            let rows = |width: usize| start * width..(start + tokens) * width;
            let cache = KvBlocksMut { keys: &mut keys, values: &mut values, table: &TABLE };
            let (query, key) = (&mut query[rows(HEADS * HEAD_DIM)], &mut key[rows(KV_HEADS * HEAD_DIM)]);
            let (value, rotation) = (&value[rows(KV_HEADS * VALUE_DIM)], Rotation::NONE);
            rope_and_store(machine, RopeArgs { query, key, value, rotation, layer, cache, start, tokens });
            let cache = KvBlocks { keys: &keys, values: &values, table: &TABLE };
            let out = &mut out[rows(HEADS * VALUE_DIM)];
            attention(machine, AttentionArgs { query, out, cache, layer, start, tokens }, &mut scratch);
        }
        out
    }

    /// Attention as the textbook has it, in f64.
    fn reference(layer: &AttentionLayer, tokens: usize) -> Vec<f64> {
        let (query, key) = (noise(tokens * HEADS * HEAD_DIM, 1), noise(tokens * KV_HEADS * HEAD_DIM, 2));
        let value = noise(tokens * KV_HEADS * VALUE_DIM, 3);
        let (scale, cap) = (f64::from(layer.scale), f64::from(layer.cap));
        let mut out = Vec::new();
        for token in 0..tokens {
            for head in 0..HEADS {
                let kv_head = head * KV_HEADS / HEADS;
                let query = &query[(token * HEADS + head) * HEAD_DIM..][..HEAD_DIM];
                let (before, behind) = match layer.window {
                    Some(window) if layer.bidirectional => (window / 2, window / 2),
                    None if layer.bidirectional => (tokens, tokens),
                    window => (window.map_or(tokens, |window| window - 1), 0),
                };
                let (first, last) = (token.saturating_sub(before), (tokens - 1).min(token + behind));
                let weights: Vec<f64> = (first..=last)
                    .map(|position| {
                        let key = &key[(position * KV_HEADS + kv_head) * HEAD_DIM..][..HEAD_DIM];
                        let dot: f64 = query.iter().zip(key).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum();
                        let score = if cap > 0.0 { cap * (dot * scale / cap).tanh() } else { dot * scale };
                        let slope = layer.slopes.get(head).map_or(0.0, |&slope| f64::from(slope));
                        (score - slope * token.abs_diff(position) as f64).exp()
                    })
                    .collect();
                let sum = weights.iter().sum::<f64>() + layer.sinks.get(head).map_or(0.0, |&sink| f64::from(sink).exp());
                out.extend((0..VALUE_DIM).map(|dim| {
                    let at = |position: usize| f64::from(value[(position * KV_HEADS + kv_head) * VALUE_DIM + dim]);
                    weights.iter().zip(first..).map(|(weight, position)| weight * at(position)).sum::<f64>() / sum
                }));
            }
        }
        out
    }

    fn error(got: &[f32], want: &[f64]) -> f64 {
        let difference: f64 = got.iter().zip(want).map(|(&got, want)| (f64::from(got) - want).powi(2)).sum();
        (difference / want.iter().map(|want| want * want).sum::<f64>()).sqrt()
    }

    #[test]
    fn equals_the_textbook_and_does_not_depend_on_batch_threads_or_level() {
        let tokens = 600;
        let slopes: Vec<f32> = (0..HEADS).map(|head| 0.5 / (1 << head) as f32).collect();
        let all: &[(usize, usize)] = &[(1, 1), (3, 1), (2, 7), (3, 32), (1, 33), (2, 256), (2, 600)];
        // A whole sequence at once.
        let whole: &[(usize, usize)] = &[(1, 600), (3, 600)];
        let encoder = AttentionLayer { bidirectional: true, ..layer() };
        let variants = [
            (layer(), all),
            (AttentionLayer { window: Some(40), sinks: vec![0.3, -0.1, 1.0, 0.0, 2.0, -3.0], ..layer() }, &[(3, 1), (2, 33)]),
            (AttentionLayer { window: Some(300), cap: 1.5, ..layer() }, &[(2, 1), (3, 100)]),
            (AttentionLayer { slopes: slopes.clone(), ..layer() }, &[(2, 1), (2, 33)]),
            (encoder.clone(), whole),
            (AttentionLayer { window: Some(128), ..encoder.clone() }, whole),
            (AttentionLayer { slopes, ..encoder }, whole),
        ];
        for (layer, runs) in &variants {
            let half = flash::<f16>(layer, Level::Scalar, 1, tokens, tokens);
            let single = flash::<f32>(layer, Level::Scalar, 1, tokens, tokens);
            let want = reference(layer, tokens);
            assert!(error(&single, &want) < 2e-6, "{layer:?}, f32 cache: {}", error(&single, &want));
            assert!(error(&half, &want) < 1e-3, "{layer:?}, f16 cache: {}", error(&half, &want));
            for level in Level::ALL.iter().copied().filter(|level| level.available()) {
                for &(threads, batch) in *runs {
                    let what = format!("{layer:?}, {level}, {threads} threads, batch {batch}");
                    assert!(flash::<f16>(layer, level, threads, batch, tokens) == half, "{what}, f16");
                    assert!(flash::<f32>(layer, level, threads, batch, tokens) == single, "{what}, f32");
                }
            }
        }
    }
}
