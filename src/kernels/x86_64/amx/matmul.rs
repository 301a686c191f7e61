//! Matrix products.

use super::group::Group;
use super::tiles::{Pair, ROWS, Sums, TOKENS, Tiles};
use crate::kernels::x86_64::avx512::lanes::Rows;
use crate::kernels::x86_64::avx512::matmul::fetch;
use crate::kernels::{Input, MatmulArgs};
use crate::quant::{ActBlock, BLOCK, Plain, Precision, blocks};
use std::arch::x86_64::*;
use std::ops::Range;

/// Whether a product fills tiles.
pub(super) fn fills_tiles(args: &MatmulArgs) -> bool {
    args.rows >= ROWS && args.tokens >= TOKENS
}

/// Quantized weights times quantized activations, for products that fill tiles.
///
/// # Safety
/// The CPU has the level; `args` is as [`MatmulArgs`] says.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn quantized<G: Group, const I: bool>(args: &MatmulArgs) {
    // SAFETY: the caller's promise.
    unsafe {
        match args.input {
            Input::Quantized(acts, Precision::High) => all_rows::<G, 2, I>(args, acts),
            Input::Quantized(acts, Precision::Fast) => all_rows::<G, 1, I>(args, acts),
            Input::Float(_) => unreachable!("the caller checks the input"),
        }
    }
}

/// [`quantized`] with H halves of activations.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn all_rows<G: Group, const H: usize, const I: bool>(args: &MatmulArgs, acts: &[ActBlock]) {
    // SAFETY: the level is there, and no caller works with tiles.
    let (tiles, mut pair) = unsafe { (Tiles::new(G::CONFIG), [G::new(), G::new()]) };
    let mut sums = [const { [const { [const { Sums::ZERO }; H] }; 2] }; 2];
    let whole = args.rows - args.rows % ROWS;
    // Some rows twice is less work than one by one.
    for rows in [0..whole, args.rows - ROWS..args.rows].into_iter().take(1 + usize::from(whole < args.rows)) {
        // A block of activations stays in the second cache while all rows take their turn.
        for unit in 0..acts.len() / args.tokens {
            for first in rows.clone().step_by(2 * ROWS) {
                let groups = (rows.end - first).min(2 * ROWS) / ROWS;
                // SAFETY: the caller's promise.
                unsafe { strip::<G, H, I>(args, acts, first, unit, &tiles, &mut pair[..groups], &mut sums) };
            }
        }
    }
}

/// Adds the products of a block of 256 activations with groups of sixteen rows to the outputs.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn strip<G: Group, const H: usize, const I: bool>(
    args: &MatmulArgs,
    acts: &[ActBlock],
    first: usize,
    unit: usize,
    tiles: &Tiles,
    groups: &mut [G],
    sums: &mut [Pair<H>; 2],
) {
    let (per_row, per_unit) = (args.depth / G::Block::DTYPE.block_len(), BLOCK / G::Block::DTYPE.block_len());
    let units = acts.len() / args.tokens;
    let weights = &blocks::<G::Block>(args.weights)[first * per_row..][..ROWS * groups.len() * per_row];

    for (group, weights) in groups.iter_mut().zip(weights.chunks_exact(ROWS * per_row)) {
        let next = (unit + 1) * per_unit;
        weights.chunks_exact(per_row).for_each(|row| fetch(&row[next.min(per_row)..(next + per_unit).min(per_row)]));
        // SAFETY: the level is there.
        unsafe { group.fill(&Rows::<_, I>::new(weights, per_row, weights.as_ptr()), unit * per_unit..next.min(per_row)) };
    }
    // While the tile unit works on a product, vectors finish the one before.
    let (mut before, mut turn) = (None::<Finish<G>>, 0);
    for token in (0..args.tokens).step_by(TOKENS) {
        // The last tile holds the last tokens of all; it may be that some of them are in the one before, too.
        let start = token.min(args.tokens - TOKENS);
        let tile = &acts[start * units + unit..=(start + TOKENS - 1) * units + unit];
        // Activations that came into the first cache serve all groups.
        for (g, group) in groups.iter().enumerate() {
            for step in 0..group.steps() {
                let stride = units * size_of::<ActBlock>();
                // SAFETY: tiles are cut so; sixteen blocks are there.
                unsafe { group.multiply(step, tiles, tile.as_ptr().cast(), stride, &mut sums[turn]) };
                turn = 1 - turn;
                let next = Finish { group, step, unit, row: first + ROWS * g, tokens: token..start + TOKENS };
                if let Some(before) = before.replace(next) {
                    // SAFETY: the caller's promise.
                    unsafe { before.run(args, acts, &sums[turn]) };
                }
            }
        }
    }
    if let Some(last) = before {
        // SAFETY: the caller's promise.
        unsafe { last.run(args, acts, &sums[1 - turn]) };
    }
}

/// What is left to do for a product.
struct Finish<'a, G> {
    group: &'a G,
    step: usize,
    unit: usize,
    /// The first one.
    row: usize,
    /// The last ones of the tile.
    tokens: Range<usize>,
}

impl<G: Group> Finish<'_, G> {
    /// Adds the sums to those that stand, or to the outputs when they are whole.
    ///
    /// # Safety
    /// As `quantized`.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn run<const H: usize>(self, args: &MatmulArgs, acts: &[ActBlock], sums: &Pair<H>) {
        let units = acts.len() / args.tokens;
        let start = self.tokens.end - TOKENS;
        for token in self.tokens {
            let act = &acts[token * units + self.unit];
            // SAFETY: the level is there, and sixteen outputs are, by the caller's promise.
            unsafe {
                let (standing, out) = (args.sums.unwrap_or(args.out).at(token, self.row), args.out.at(token, self.row));
                let acc = if self.unit == 0 && self.step == 0 { _mm512_setzero_ps() } else { _mm512_loadu_ps(standing) };
                let acc = self.group.add(self.step, sums, token - start, act, acc);
                let whole = self.unit + 1 == units && self.step + 1 == self.group.steps();
                match whole && args.add {
                    true => _mm512_storeu_ps(out, _mm512_add_ps(_mm512_loadu_ps(out), acc)),
                    false => _mm512_storeu_ps(if whole { out } else { standing }, acc),
                }
            }
        }
    }
}
