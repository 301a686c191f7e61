//! Unpacking of blocks of 32 weights into tiles.

use super::lanes::{Column, Rows, chunk_bits, each, eightfold, high_f16, low_f16, or, pairs, turn, whole};
use super::matmul::Tiled;
use super::tile::{Chunk, Small};
use crate::quant::{CODEBOOK, E2M1, IQ4_NL, MXFP4, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
use std::arch::aarch64::*;
use std::array::from_fn;
use std::mem::offset_of;
use std::ops::Range;

/// What one block of four rows unpacks into: weights, scales and offsets (formats without offset: anything).
type Numbers = ([Chunk; 2], [float32x4_t; 2]);

/// Fills a tile with what `numbers` unpacks.
#[inline]
#[target_feature(enable = "neon")]
fn each_block<B, const MINS: bool, const WIDE: bool>(
    rows: Rows<B>,
    blocks: Range<usize>,
    tile: &mut Small<MINS, WIDE>,
    numbers: impl Fn(&Column<B>) -> Numbers,
) {
    tile.blocks = blocks.len();
    let columns = tile.weights.as_chunks_mut().0.iter_mut().zip(&mut tile.d).zip(&mut tile.min);
    for (((weights, d), min), block) in columns.zip(blocks) {
        (*weights, [*d, *min]) = numbers(&rows.column(block));
    }
}

impl Tiled for Q4_0 {
    type Tile = Small<false, false>;

    #[target_feature(enable = "neon")]
    unsafe fn fill(rows: Rows<Q4_0>, blocks: Range<usize>, tile: &mut Self::Tile) {
        each_block(rows, blocks, tile, |column| {
            let q = halves(column, offset_of!(Q4_0, qs));
            (q.map(|q| subtract(8, q)), halves_f16(turn(column, 0)[0]))
        });
    }
}

impl Tiled for Q4_1 {
    type Tile = Small<true, false>;

    #[target_feature(enable = "neon")]
    unsafe fn fill(rows: Rows<Q4_1>, blocks: Range<usize>, tile: &mut Self::Tile) {
        each_block(rows, blocks, tile, |column| (halves(column, offset_of!(Q4_1, qs)), halves_f16(turn(column, 0)[0])));
    }
}

impl Tiled for Q5_0 {
    type Tile = Small<false, false>;

    #[target_feature(enable = "neon")]
    unsafe fn fill(rows: Rows<Q5_0>, blocks: Range<usize>, tile: &mut Self::Tile) {
        each_block(rows, blocks, tile, |column| {
            // d stands in two bytes, so the fifth bits of a row share two lanes.
            let [head, next, ..] = turn(column, 0);
            let q = add_fifth(whole(head, next), halves(column, offset_of!(Q5_0, qs)));
            (q.map(|q| subtract(16, q)), halves_f16(head))
        });
    }
}

impl Tiled for Q5_1 {
    type Tile = Small<true, false>;

    #[target_feature(enable = "neon")]
    unsafe fn fill(rows: Rows<Q5_1>, blocks: Range<usize>, tile: &mut Self::Tile) {
        each_block(rows, blocks, tile, |column| {
            let [head, fifth, ..] = turn(column, 0);
            (add_fifth(fifth, halves(column, offset_of!(Q5_1, qs))), halves_f16(head))
        });
    }
}

impl Tiled for Q8_0 {
    type Tile = Small<false, true>;

    #[target_feature(enable = "neon")]
    unsafe fn fill(rows: Rows<Q8_0>, blocks: Range<usize>, tile: &mut Self::Tile) {
        each_block(rows, blocks, tile, |column| {
            let q = [0, 16].map(|at| pairs(column, offset_of!(Q8_0, qs) + at));
            (q, halves_f16(turn(column, 0)[0]))
        });
    }
}

impl Tiled for IQ4_NL {
    type Tile = Small<false, true>;

    #[target_feature(enable = "neon")]
    unsafe fn fill(rows: Rows<IQ4_NL>, blocks: Range<usize>, tile: &mut Self::Tile) {
        each_block(rows, blocks, tile, |column| {
            let q = halves(column, offset_of!(IQ4_NL, qs));
            (q.map(|q| levels(&CODEBOOK, q)), halves_f16(turn(column, 0)[0]))
        });
    }
}

impl Tiled for MXFP4 {
    type Tile = Small<false, false>;

    #[target_feature(enable = "neon")]
    unsafe fn fill(rows: Rows<MXFP4>, blocks: Range<usize>, tile: &mut Self::Tile) {
        each_block(rows, blocks, tile, |column| {
            let q = halves(column, offset_of!(MXFP4, qs));
            let e = vandq_u32(vreinterpretq_u32_u8(turn(column, 0)[0]), vdupq_n_u32(255));
            let normal = vshlq_n_u32::<23>(vsubq_u32(e, vdupq_n_u32(1)));
            let subnormal = vshlq_u32(vdupq_n_u32(0x0020_0000), vreinterpretq_s32_u32(e));
            let scale = vreinterpretq_f32_u32(vbslq_u32(vcgtq_u32(e, vdupq_n_u32(1)), normal, subnormal));
            (q.map(|q| levels(&E2M1, q)), [scale, scale])
        });
    }
}

/// The f16 in the low and high half of every lane.
#[inline]
#[target_feature(enable = "neon")]
fn halves_f16(v: uint8x16_t) -> [float32x4_t; 2] {
    [low_f16(v), high_f16(v)]
}

/// The 4-bit numbers at `offset`: low halves, then high halves.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn halves<B>(column: &Column<B>, offset: usize) -> [Chunk; 2] {
    let q = pairs(column, offset);
    [chunk_bits(q, 0, 15), chunk_bits(q, 4, 15)]
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn subtract(offset: u8, q: Chunk) -> Chunk {
    each(q, |q| vsubq_u8(q, vdupq_n_u8(offset)))
}

/// Adds the fifth bits of 5-bit numbers: bit i of a lane belongs to weight i of the row.
#[inline]
#[target_feature(enable = "neon")]
fn add_fifth(fifth: uint8x16_t, q: [Chunk; 2]) -> [Chunk; 2] {
    let own = vreinterpretq_u8_u64(vdupq_n_u64(0x8040_2010_0804_0201));
    let set = |byte, pair| vandq_u8(vtstq_u8(eightfold(fifth, pair, byte), own), vdupq_n_u8(16));
    from_fn(|i| or(q[i], from_fn(|pair| from_fn(|half| set(2 * i + half, pair)))))
}

/// Levels by their numbers.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn levels(table: &[i8; 16], q: Chunk) -> Chunk {
    // SAFETY: the load is the 16 bytes of the array.
    let table = unsafe { vld1q_u8(table.as_ptr().cast()) };
    each(q, |q| vqtbl1q_u8(table, q))
}
