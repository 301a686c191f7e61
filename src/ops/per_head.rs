//! Products of single heads with matrices of their own, and what puts heads together: for latent attention.

use super::blocks::Blocks;
use super::{Machine, Shared, Weights};
use crate::error::Result;
use crate::kernels::{Input, MatmulArgs};
use crate::quant::{ActBlock, BLOCK, Batch};
use crate::tensor::{Buffer, Memory};

/// Arguments of [`per_head`].
pub struct PerHeadArgs<'a> {
    /// A matrix for each head, one below the other.
    pub weights: Weights<'a>,
    /// Heads.
    pub heads: usize,
    /// `tokens` rows; the elements of a head in them, and those in front of its input.
    pub x: (&'a [f32], usize, usize),
    /// Receives `tokens` rows; the elements of a head in them, and those in front of its result.
    pub out: (&'a mut [f32], usize, usize),
    /// Rows.
    pub tokens: usize,
}

/// Room for the prepared inputs of one head per thread.
pub struct PerHeadScratch {
    blocks: Vec<ActBlock>,
    rows: Buffer<f32>,
    threads: usize,
}

impl PerHeadScratch {
    /// Room for `tokens` rows of up to `depth` inputs.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(memory: &mut Memory, threads: usize, depth: usize, tokens: usize) -> Result<PerHeadScratch> {
        let blocks = memory.vec(threads * tokens * depth.div_ceil(BLOCK), ActBlock::ZERO)?;
        Ok(PerHeadScratch { blocks, rows: memory.buffer(threads * tokens * depth)?, threads })
    }
}

/// Multiplies each head with its matrix.
///
/// # Panics
/// When shapes disagree.
pub fn per_head(machine: Machine, args: PerHeadArgs, scratch: &mut PerHeadScratch) {
    let PerHeadArgs { weights, heads, x: (x, x_head, x_offset), out: (out, out_head, out_offset), tokens } = args;
    let (rows, depth) = (weights.rows / heads, weights.depth);
    assert!(x.len() == tokens * heads * x_head && x_offset + depth <= x_head, "heads of the input");
    assert!(out.len() == tokens * heads * out_head && out_offset + rows <= out_head, "heads of the output");
    let (blocks_each, rows_each) = (scratch.blocks.len() / scratch.threads, scratch.rows.len() / scratch.threads);
    let (blocks, room, out) = (Shared::new(&mut scratch.blocks), Shared::new(&mut scratch.rows), Shared::new(out));
    machine.run(heads, tokens * weights.rows * depth, &|thread, head| {
        // SAFETY: a part of both per thread.
        let (blocks, room) =
            unsafe { (blocks.part(thread * blocks_each, blocks_each), room.part(thread * rows_each, tokens * depth)) };
        let weights = weights.part(head * rows, rows);
        for (token, room) in room.chunks_exact_mut(depth).enumerate() {
            room.copy_from_slice(&x[(token * heads + head) * x_head + x_offset..][..depth]);
            if !weights.is_float() {
                let blocks = Blocks::new(machine.precision, blocks, &mut []);
                // SAFETY: nobody else has these blocks.
                unsafe { blocks.fill(machine.kernels, room, (0, token, tokens), None) };
            }
        }
        let input =
            if weights.is_float() { Input::Float(room) } else { Input::Quantized(Batch::new(blocks, tokens), machine.precision) };
        let window = out.window(head * out_head + out_offset, heads * out_head);
        // SAFETY: the result of this head in every row of `out`, which nobody else writes.
        unsafe {
            machine.kernels.matmul(
                weights.dtype,
                &MatmulArgs {
                    weights: weights.bytes,
                    layout: weights.layout,
                    rows,
                    depth,
                    tokens,
                    input,
                    pairs: None,
                    out: window,
                    sums: None,
                    add: false,
                },
            )
        };
    });
}

/// Copies `len` elements of each head of `x`, or of its only one, to the same head of `out`; of both, the rows, the elements of
/// a head and those in front of what is copied.
///
/// # Panics
/// When shapes disagree.
pub fn place(
    machine: Machine,
    (x, x_head, x_offset): (&[f32], usize, usize),
    (out, out_head, out_offset): (&mut [f32], usize, usize),
    len: usize,
    tokens: usize,
) {
    let (from, heads) = (x.len() / (tokens * x_head), out.len() / (tokens * out_head));
    assert!(x.len() == tokens * from * x_head && out.len() == tokens * heads * out_head, "whole heads");
    assert!(from == heads || from == 1, "heads");
    let out = Shared::new(out);
    machine.run(tokens, tokens * heads * len, &|_, token| {
        for head in 0..heads {
            // SAFETY: one row per unit.
            let out = unsafe { out.part((token * heads + head) * out_head + out_offset, len) };
            out.copy_from_slice(&x[(token * from + head % from) * x_head + x_offset..][..len]);
        }
    });
}
