//! Flash attention over the cache: blocks of 256 absolute positions, online softmax, memory linear in the context.
//!
//! Sources: FlashAttention-2 (Dao 2023), flash-decoding (Dao et al. 2023); the fixed blocks make the result independent
//! of batch and threads.

use super::{Machine, Shared};
use crate::error::Result;
use crate::kernels::{AttendArgs, BlockMask, KV_BLOCK, Kernels, Partial};
use crate::tensor::{Buffer, Zeroed};

/// What a cache is made of.
pub trait KvElement: Zeroed + Send + Sync + 'static {
    /// Zero.
    const ZERO: Self;
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

/// Arguments of [`attention`].
pub struct AttentionArgs<'a, T> {
    /// `tokens` rows of `heads * head_dim`.
    pub query: &'a [f32],
    /// Receives `tokens` rows of `heads * value_dim`.
    pub out: &'a mut [f32],
    /// The layer's cache, the tokens themselves included.
    pub cache: KvBlocks<'a, T>,
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
    /// Position of the first token; the token at position p sees positions `0..=p`.
    pub start: usize,
    /// Rows.
    pub tokens: usize,
}

/// Queries that a kernel call serves at once: keys and values are read once for all of them.
const TILE: usize = 32;

/// Room for the softmax states.
pub struct AttentionScratch {
    tiles: Buffer<f32>,
    per_tile: usize,
    masks: Buffer<u64>,
    partials: Buffer<f32>,
}

impl AttentionScratch {
    /// Room for `threads` threads, heads in groups of `group`, and contexts of up to `context` positions.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(
        threads: usize,
        heads: usize,
        kv_heads: usize,
        head_dim: usize,
        value_dim: usize,
        context: usize,
    ) -> Result<AttentionScratch> {
        let queries = tile_queries(heads / kv_heads);
        let per_tile = queries * (head_dim + KV_BLOCK + 2 * (value_dim + 2));
        Ok(AttentionScratch {
            tiles: Buffer::new(threads * per_tile)?,
            per_tile,
            masks: Buffer::new(threads * queries * size_of::<BlockMask>() / size_of::<u64>())?,
            partials: Buffer::new(context.div_ceil(KV_BLOCK) * heads * (value_dim + 2))?,
        })
    }
}

/// Queries of a tile: whole tokens with all heads of a group.
fn tile_queries(group: usize) -> usize {
    (TILE / group).max(1) * group
}

/// Attention of consecutive positions over everything up to themselves.
///
/// # Panics
/// When shapes disagree.
pub fn attention<T: KvElement>(machine: Machine, args: AttentionArgs<T>, scratch: &mut AttentionScratch) {
    let AttentionArgs { query, heads, kv_heads, head_dim, value_dim, start, tokens, .. } = args;
    assert_eq!(query.len(), tokens * heads * head_dim, "query size");
    assert_eq!(args.out.len(), tokens * heads * value_dim, "attention output");
    let group = heads / kv_heads;
    let tile_tokens = tile_queries(group) / group;
    let tiles = tokens.div_ceil(tile_tokens);
    let blocks = (start + tokens).div_ceil(KV_BLOCK);
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
            mask.fill(causal(block, start + first + index));
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
                scale: args.scale,
                adjust: None,
                scores: room.scores,
                out: state,
            },
        );
    };
    // Divides by the sums and puts the rows where they belong.
    let finish = |state: &Partial, normal: &mut [f32], kv_head: usize, first: usize, count: usize| {
        machine.kernels.normalize(state, value_dim, normal);
        for (index, row) in normal.chunks_exact(group * value_dim).take(count).enumerate() {
            let at = ((first + index) * heads + kv_head * group) * value_dim;
            // SAFETY: these heads of these tokens are this unit's.
            unsafe { out.part(at, group * value_dim) }.copy_from_slice(row);
        }
    };
    let room = |thread: usize| {
        // SAFETY: one room and one set of masks per thread.
        let (all, masks) = unsafe { (rooms.part(thread * per_tile, per_tile), masks.part(thread * mask_words, mask_words)) };
        Room::new(all, masks, tile_tokens * group, head_dim, value_dim)
    };

    // Few tiles and a long context: the blocks are the units, and their states are folded afterwards in ascending order.
    if tiles == 1 && tokens == 1 && blocks > 1 && kv_heads < 4 * machine.pool.threads() {
        let per_state = group * (value_dim + 2);
        let states = Shared::new(&mut scratch.partials);
        machine.run(kv_heads * blocks, cost, &|thread, unit| {
            let (kv_head, block) = (unit / blocks, unit % blocks);
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
            finish(&total, &mut room.next[..group * value_dim], kv_head, 0, 1);
        });
        return;
    }

    // The last tiles see the longest context: they go first, so that no thread is left with one at the end.
    machine.run(tiles * kv_heads, cost, &|thread, unit| {
        let (tile, kv_head) = (tiles - 1 - unit / kv_heads, unit % kv_heads);
        let first = tile * tile_tokens;
        let count = tile_tokens.min(tokens - first);
        let queries = count * group;
        let mut room = room(thread);
        gather(room.query, kv_head, first, count);
        let (total, next) = (std::mem::take(&mut room.total), std::mem::take(&mut room.next));
        let state = queries * (value_dim + 2);
        let mut total = partial(&mut total[..state], queries, value_dim);
        for block in 0..(start + first + count).div_ceil(KV_BLOCK) {
            if block == 0 {
                attend(&mut room, kv_head, first, count, block, total.reborrow());
            } else {
                attend(&mut room, kv_head, first, count, block, partial(&mut next[..state], queries, value_dim));
                machine.kernels.merge(&mut total, &partial(&mut next[..state], queries, value_dim), value_dim);
            }
        }
        finish(&total, &mut next[..queries * value_dim], kv_head, first, count);
    });
}

/// The scratch of one thread.
struct Room<'a> {
    query: &'a mut [f32],
    scores: &'a mut [f32],
    total: &'a mut [f32],
    next: &'a mut [f32],
    masks: &'a mut [BlockMask],
}

impl<'a> Room<'a> {
    fn new(all: &'a mut [f32], masks: &'a mut [u64], queries: usize, head_dim: usize, value_dim: usize) -> Room<'a> {
        let (query, rest) = all.split_at_mut(queries * head_dim);
        let (scores, rest) = rest.split_at_mut(queries * KV_BLOCK);
        let (total, next) = rest.split_at_mut(queries * (value_dim + 2));
        Room { query, scores, total, next, masks: masks.as_chunks_mut().0 }
    }
}

/// Cuts a softmax state out of `2 + value_dim` values per query.
fn partial(values: &mut [f32], queries: usize, value_dim: usize) -> Partial<'_> {
    let (max, rest) = values.split_at_mut(queries);
    let (sum, acc) = rest.split_at_mut(queries);
    Partial { max, sum, acc: &mut acc[..queries * value_dim] }
}

/// The positions of `block` that the token at `position` sees: all up to itself.
fn causal(block: usize, position: usize) -> BlockMask {
    let visible = (position + 1).saturating_sub(block * KV_BLOCK);
    std::array::from_fn(|word| match visible.saturating_sub(word * 64) {
        0 => 0,
        count if count >= 64 => u64::MAX,
        count => (1 << count) - 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Level;
    use crate::kernels::RopeStyle;
    use crate::ops::{KvBlocksMut, Pace, Progress, RopeArgs, rope_and_store};
    use crate::quant::Precision;
    use crate::threads::Pool;
    use half::f16;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn causal_masks_show_exactly_what_is_past() {
        for (block, position) in [(0, 0), (0, 63), (0, 64), (0, 255), (1, 255), (1, 256), (1, 300), (0, 1000)] {
            let mask = causal(block, position);
            for lane in 0..KV_BLOCK {
                let visible = mask[lane / 64] >> (lane % 64) & 1 == 1;
                assert_eq!(visible, block * KV_BLOCK + lane <= position, "block {block}, position {position}, lane {lane}");
            }
        }
    }

    const HEADS: usize = 6;
    const KV_HEADS: usize = 2;
    const HEAD_DIM: usize = 24;
    const VALUE_DIM: usize = 16;
    const SCALE: f32 = 0.2;
    /// A table that is not the identity.
    const TABLE: [u32; 3] = [2, 0, 1];

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
    fn flash<T: KvElement>(level: Level, threads: usize, batch: usize, tokens: usize) -> Vec<f32> {
        let never = AtomicBool::new(false);
        let (kernels, pool) = (Kernels::for_level(level), Pool::new(threads).unwrap());
        let pace = Pace::new(&never, None, Progress::default());
        let machine = Machine { kernels: &kernels, pool: &pool, pace: &pace, precision: Precision::High };
        let (mut query, mut key) = (noise(tokens * HEADS * HEAD_DIM, 1), noise(tokens * KV_HEADS * HEAD_DIM, 2));
        let value = noise(tokens * KV_HEADS * VALUE_DIM, 3);
        let mut keys = vec![T::ZERO; TABLE.len() * KV_HEADS * HEAD_DIM * KV_BLOCK];
        let mut values = vec![T::ZERO; TABLE.len() * KV_HEADS * VALUE_DIM * KV_BLOCK];
        let mut scratch = AttentionScratch::new(threads, HEADS, KV_HEADS, HEAD_DIM, VALUE_DIM, TABLE.len() * KV_BLOCK).unwrap();
        let mut out = vec![0.0; tokens * HEADS * VALUE_DIM];
        for start in (0..tokens).step_by(batch) {
            let tokens = batch.min(tokens - start);
            let rows = |width: usize| start * width..(start + tokens) * width;
            let cache = KvBlocksMut { keys: &mut keys, values: &mut values, table: &TABLE };
            rope_and_store(
                machine,
                RopeArgs {
                    query: &mut query[rows(HEADS * HEAD_DIM)],
                    key: &mut key[rows(KV_HEADS * HEAD_DIM)],
                    value: &value[rows(KV_HEADS * VALUE_DIM)],
                    angles: (RopeStyle::Halves, &[], &[]),
                    cache,
                    heads: HEADS,
                    kv_heads: KV_HEADS,
                    head_dim: HEAD_DIM,
                    value_dim: VALUE_DIM,
                    start,
                    tokens,
                },
            );
            let cache = KvBlocks { keys: &keys, values: &values, table: &TABLE };
            let (query, out) = (&query[rows(HEADS * HEAD_DIM)], &mut out[rows(HEADS * VALUE_DIM)]);
            let shape = (HEADS, KV_HEADS, HEAD_DIM, VALUE_DIM);
            let (heads, kv_heads, head_dim, value_dim) = shape;
            let args = AttentionArgs { query, out, cache, heads, kv_heads, head_dim, value_dim, scale: SCALE, start, tokens };
            attention(machine, args, &mut scratch);
        }
        out
    }

    /// Attention as the textbook has it, in f64.
    fn reference(tokens: usize) -> Vec<f64> {
        let (query, key) = (noise(tokens * HEADS * HEAD_DIM, 1), noise(tokens * KV_HEADS * HEAD_DIM, 2));
        let value = noise(tokens * KV_HEADS * VALUE_DIM, 3);
        let mut out = Vec::new();
        for token in 0..tokens {
            for head in 0..HEADS {
                let kv_head = head * KV_HEADS / HEADS;
                let query = &query[(token * HEADS + head) * HEAD_DIM..][..HEAD_DIM];
                let weights: Vec<f64> = (0..=token)
                    .map(|position| {
                        let key = &key[(position * KV_HEADS + kv_head) * HEAD_DIM..][..HEAD_DIM];
                        let dot: f64 = query.iter().zip(key).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum();
                        (dot * f64::from(SCALE)).exp()
                    })
                    .collect();
                let sum: f64 = weights.iter().sum();
                out.extend((0..VALUE_DIM).map(|dim| {
                    let at = |position: usize| f64::from(value[(position * KV_HEADS + kv_head) * VALUE_DIM + dim]);
                    weights.iter().enumerate().map(|(position, weight)| weight * at(position)).sum::<f64>() / sum
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
        let (half, single) = (flash::<f16>(Level::Scalar, 1, tokens, tokens), flash::<f32>(Level::Scalar, 1, tokens, tokens));
        let want = reference(tokens);
        assert!(error(&single, &want) < 1e-6, "f32 cache: {}", error(&single, &want));
        assert!(error(&half, &want) < 1e-3, "f16 cache: {}", error(&half, &want));
        for level in Level::ALL.iter().copied().filter(|level| level.available()) {
            for (threads, batch) in [(1, 1), (3, 1), (2, 7), (3, 32), (1, 33), (2, 256), (2, 600)] {
                assert!(flash::<f16>(level, threads, batch, tokens) == half, "{level}, {threads} threads, batch {batch}, f16");
                assert!(flash::<f32>(level, threads, batch, tokens) == single, "{level}, {threads} threads, batch {batch}, f32");
            }
        }
    }
}
