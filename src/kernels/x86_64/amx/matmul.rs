//! Matrix products.

use super::super_tile::Super;
use super::tiles::{self, Sums, Tiles};
use crate::kernels::x86_64::avx512::lanes::Rows;
use crate::kernels::x86_64::avx512::matmul::fetch_next;
use crate::kernels::x86_64::avx512::super_tile::SuperFormat;
use crate::kernels::{Input, MatmulArgs};
use crate::quant::{ActBlock, Precision, blocks};
use std::arch::x86_64::*;

/// Weight rows of a tile.
const ROWS: usize = 16;
/// Tokens of a tile.
const TOKENS: usize = tiles::ROWS;

/// Whether a product fills tiles.
pub(super) fn fills_tiles(args: &MatmulArgs) -> bool {
    args.rows >= ROWS && args.tokens >= TOKENS
}

/// Quantized weights times quantized activations, for products that fill tiles. D and SIGNED: see [`Super`].
///
/// # Safety
/// The CPU has the level; `args` is as [`MatmulArgs`] says.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn quantized<F: SuperFormat, const D: usize, const SIGNED: usize>(args: &MatmulArgs) {
    // SAFETY: the caller's promise.
    unsafe {
        match args.input {
            Input::Quantized(acts, Precision::High) => all_rows::<F, D, SIGNED, 2>(args, acts),
            Input::Quantized(acts, Precision::Fast) => all_rows::<F, D, SIGNED, 1>(args, acts),
            Input::Float(_) => unreachable!("the caller checks the input"),
        }
    }
}

/// [`quantized`] with H halves of activations.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn all_rows<F: SuperFormat, const D: usize, const SIGNED: usize, const H: usize>(args: &MatmulArgs, acts: &[ActBlock]) {
    // SAFETY: the level is there, and no caller works with tiles.
    let tiles = unsafe { Tiles::new() };
    let mut pair = [Super::<F, D, SIGNED>::new(), Super::new()];
    let mut row = 0;
    while row < args.rows {
        // SAFETY: the caller's promise.
        row += unsafe {
            match args.rows - row {
                // Activations that came into the first cache serve two groups of rows.
                32.. => strip::<F, D, SIGNED, H>(args, acts, row, &tiles, &mut pair),
                // Some rows twice is less work than one by one.
                _ => strip::<F, D, SIGNED, H>(args, acts, row.min(args.rows - ROWS), &tiles, &mut pair[..1]),
            }
        };
    }
}

/// [`quantized`] for groups of sixteen rows. Returns the number of rows.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn strip<F: SuperFormat, const D: usize, const SIGNED: usize, const H: usize>(
    args: &MatmulArgs,
    acts: &[ActBlock],
    first: usize,
    tiles: &Tiles,
    groups: &mut [Super<F, D, SIGNED>],
) -> usize {
    let (units, count) = (acts.len() / args.tokens, ROWS * groups.len());
    let weights = &blocks::<F>(args.weights)[first * units..][..count * units];
    let mut sums = [const { [const { [const { Sums::ZERO }; H] }; D] }; 2];

    for unit in 0..units {
        fetch_next(weights, unit, count);
        for (group, weights) in groups.iter_mut().zip(weights.chunks_exact(ROWS * units)) {
            group.fill(&Rows::new(weights, units), unit);
        }
        // While the tile unit works on a product, vectors finish the one before.
        let mut before: Option<Finish<F, D, SIGNED>> = None;
        let mut turn = 0;
        for token in (0..args.tokens).step_by(TOKENS) {
            // The last tile holds the last tokens of all; it may be that some of them are in the one before, too.
            let start = token.min(args.tokens - TOKENS);
            for (g, group) in groups.iter().enumerate() {
                let act = &acts[start * units + unit..(start + TOKENS - 1) * units + unit + 1];
                // SAFETY: sixteen blocks are there; each starts with its halves.
                unsafe {
                    let stride = units * size_of::<ActBlock>();
                    tiles.multiply::<SIGNED, D, H>(act.as_ptr().cast(), stride, &group.factors, &mut sums[turn]);
                }
                turn = 1 - turn;
                let next = Finish { group, first: first + ROWS * g, start, done: token - start };
                if let Some(before) = before.replace(next) {
                    // SAFETY: the caller's promise.
                    unsafe { before.run(args, acts, unit, &sums[turn]) };
                }
            }
        }
        if let Some(last) = before {
            // SAFETY: the caller's promise.
            unsafe { last.run(args, acts, unit, &sums[1 - turn]) };
        }
    }
    count
}

/// What is left to do for a tile of products.
struct Finish<'a, F, const D: usize, const SIGNED: usize> {
    group: &'a Super<F, D, SIGNED>,
    /// Its first row.
    first: usize,
    /// Its first token.
    start: usize,
    /// Tokens that another tile has done.
    done: usize,
}

impl<F: SuperFormat, const D: usize, const SIGNED: usize> Finish<'_, F, D, SIGNED> {
    /// Adds the sums to the outputs.
    ///
    /// # Safety
    /// As `quantized`.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn run<const H: usize>(&self, args: &MatmulArgs, acts: &[ActBlock], unit: usize, sums: &[[Sums; H]; D]) {
        let units = acts.len() / args.tokens;
        for row in self.done..TOKENS {
            let token = self.start + row;
            // SAFETY: sixteen outputs are there, by the caller's promise.
            unsafe {
                let out = args.out.at(token, self.first);
                let acc = if unit == 0 { _mm512_setzero_ps() } else { _mm512_loadu_ps(out) };
                _mm512_storeu_ps(out, self.group.add(sums, row, &acts[token * units + unit], acc));
            }
        }
    }
}
