//! Four rows of weights, 256 deep, side by side: pairs of rows share vectors, eight bytes of either.
//!
//! A tile is unpacked once and multiplied with any number of tokens. Sums stay in the lanes of their rows, so that the f32
//! steps of four rows are single instructions.

use super::multiply::Multiply;
use crate::quant::{ActBlock, BLOCK};
use std::arch::aarch64::*;
use std::array::from_fn;

/// 16 weights of four rows, signed bytes: `[pair][half]` holds half of them for row `2 * pair`, then for the next one.
pub(super) type Chunk = [[uint8x16_t; 2]; 2];

/// 256 weights of four rows.
pub(super) type Weights = [Chunk; BLOCK / 16];

/// Four rows of weights and how they multiply.
pub(super) trait Tile: Sized {
    /// An empty tile.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn new() -> Self;

    /// Adds the products of G tiles and T blocks of activations, by the operations of the numerics definition. The blocks
    /// have R rows of bytes: two each in high precision, one in fast.
    ///
    /// # Safety
    /// The CPU has the level of `M`.
    unsafe fn accumulate<M: Multiply, const G: usize, const T: usize, const R: usize>(
        tiles: &[Self; G],
        acts: &[&ActBlock; T],
        acc: &mut [[float32x4_t; T]; G],
    );
}

/// Four super-blocks with a sub-scale per `SUB` weights (256: none, or one that the weights contain) and `MINS` sub-minima.
/// Weights beyond +-63 are `WIDE`.
pub(super) struct Super<const SUB: usize, const MINS: usize, const WIDE: bool> {
    pub weights: Weights,
    /// Sub-scales of both pairs, as i32, twice each; formats with fewer sub-blocks leave the rest.
    pub scales: [[int32x4_t; 2]; 16],
    /// Sub-minima, as i32.
    pub mins: [int32x4_t; 16],
    pub d: float32x4_t,
    pub dmin: float32x4_t,
}

impl<const SUB: usize, const MINS: usize, const WIDE: bool> Super<SUB, MINS, WIDE> {
    /// Sums of sub-scale times weight times activation.
    #[inline]
    #[target_feature(enable = "neon")]
    fn dot<M: Multiply, const G: usize, const R: usize>(tiles: &[Self; G], rows: &[&[i8; BLOCK]; R]) -> [[int32x4_t; R]; G] {
        let weights = tiles.each_ref().map(|tile| &tile.weights);
        let mut total = [[[vdupq_n_s32(0); 2]; R]; G];
        for sub in 0..BLOCK / SUB {
            // SAFETY: the level of `M` is there.
            let part = unsafe { products::<M, G, R, WIDE>(weights, rows, sub * SUB / 16, SUB / 16) };
            if SUB == BLOCK {
                total = part;
                break;
            }
            for g in 0..G {
                for n in 0..R.div_ceil(M::SHARE) {
                    for pair in 0..2 {
                        total[g][n][pair] = vmlaq_s32(total[g][n][pair], part[g][n][pair], tiles[g].scales[sub][pair]);
                    }
                }
            }
        }
        // SAFETY: the level of `M` is there.
        total.map(|sums| unsafe { M::split(sums) })
    }

    /// Sums of sub-minimum times activation.
    #[inline]
    #[target_feature(enable = "neon")]
    fn dot_sums(&self, sums: &[i32; MINS]) -> int32x4_t {
        self.mins.iter().zip(sums).fold(vdupq_n_s32(0), |total, (&min, &sum)| vmlaq_n_s32(total, min, sum))
    }
}

impl<const SUB: usize, const MINS: usize, const WIDE: bool> Tile for Super<SUB, MINS, WIDE> {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn new() -> Self {
        let (zero, none) = (vdupq_n_s32(0), vdupq_n_f32(0.0));
        Super { weights: [[[vdupq_n_u8(0); 2]; 2]; 16], scales: [[zero; 2]; 16], mins: [zero; 16], d: none, dmin: none }
    }

    #[target_feature(enable = "neon")]
    unsafe fn accumulate<M: Multiply, const G: usize, const T: usize, const R: usize>(
        tiles: &[Self; G],
        acts: &[&ActBlock; T],
        acc: &mut [[float32x4_t; T]; G],
    ) {
        let sums = Self::dot::<M, G, R>(tiles, &bytes(acts));
        for t in 0..T {
            let offsets: [i32; MINS] = if MINS == 0 { [0; MINS] } else { sums_of::<MINS>(acts[t], R > T) };
            for g in 0..G {
                let (tile, acc) = (&tiles[g], &mut acc[g][t]);
                let f = if R > T {
                    let (high, low) = (vcvtq_f32_s32(sums[g][2 * t]), vcvtq_f32_s32(sums[g][2 * t + 1]));
                    vfmaq_f32(low, high, vdupq_n_f32(256.0))
                } else {
                    vcvtq_f32_s32(sums[g][t])
                };
                *acc = vfmaq_f32(*acc, vmulq_n_f32(tile.d, acts[t].scale), f);
                if MINS > 0 {
                    let m = vcvtq_f32_s32(tile.dot_sums(&offsets));
                    *acc = vfmsq_f32(*acc, vmulq_n_f32(tile.dmin, acts[t].scale), m);
                }
            }
        }
    }
}

/// Up to eight blocks of 32 weights of four rows. Weights beyond +-63 are `WIDE`.
///
/// The two halves of the activations need not stay apart here: H and L are below 2^24, so `fma(H, 256, L)` is the
/// rounded `256 * H + L`, and that fits i32.
pub(super) struct Small<const MINS: bool, const WIDE: bool> {
    pub weights: Weights,
    /// Scale of each block.
    pub d: [float32x4_t; 8],
    /// Offset of each block.
    pub min: [float32x4_t; 8],
    /// Blocks there are.
    pub blocks: usize,
}

impl<const MINS: bool, const WIDE: bool> Tile for Small<MINS, WIDE> {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn new() -> Self {
        let none = [vdupq_n_f32(0.0); 8];
        Small { weights: [[[vdupq_n_u8(0); 2]; 2]; 16], d: none, min: none, blocks: 0 }
    }

    #[target_feature(enable = "neon")]
    unsafe fn accumulate<M: Multiply, const G: usize, const T: usize, const R: usize>(
        tiles: &[Self; G],
        acts: &[&ActBlock; T],
        acc: &mut [[float32x4_t; T]; G],
    ) {
        let rows: [_; R] = bytes(acts);
        let offsets = acts.map(|act| if MINS { sums_of::<8>(act, R > T) } else { [0; 8] });
        let weights = tiles.each_ref().map(|tile| &tile.weights);
        for block in 0..tiles[0].blocks {
            // SAFETY: the level of `M` is there.
            let part = unsafe { products::<M, G, R, WIDE>(weights, &rows, 2 * block, 2) };
            for (g, tile) in tiles.iter().enumerate() {
                // SAFETY: the level of `M` is there.
                let sums = unsafe { M::split(part[g]) };
                for t in 0..T {
                    let (acc, scale) = (&mut acc[g][t], acts[t].scale);
                    let f = if R > T { vaddq_s32(vshlq_n_s32::<8>(sums[2 * t]), sums[2 * t + 1]) } else { sums[t] };
                    *acc = vfmaq_f32(*acc, vmulq_n_f32(tile.d[block], scale), vcvtq_f32_s32(f));
                    if MINS {
                        *acc = vfmaq_n_f32(*acc, vmulq_n_f32(tile.min[block], scale), offsets[t][block] as f32);
                    }
                }
            }
        }
    }
}

/// The rows of bytes of T blocks: high halves and low halves in turn, or the former alone.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn bytes<'a, const T: usize, const R: usize>(acts: &[&'a ActBlock; T]) -> [&'a [i8; BLOCK]; R] {
    from_fn(|row| match (R > T, row % 2) {
        (false, _) => &acts[row].hi,
        (true, 0) => &acts[row / 2].hi,
        (true, _) => &acts[row / 2].lo,
    })
}

/// Sums of `256 / N` activations each.
#[inline]
#[target_feature(enable = "neon")]
fn sums_of<const N: usize>(act: &ActBlock, high: bool) -> [i32; N] {
    let sum =
        |sums: &[i16; BLOCK / 16], i: usize| sums[i * 16 / N..(i + 1) * 16 / N].iter().map(|&sum| i32::from(sum)).sum::<i32>();
    from_fn(|i| if high { 256 * sum(&act.hi_sum, i) + sum(&act.lo_sum, i) } else { sum(&act.hi_sum, i) })
}

/// Products of `len` chunks of weights from `first` on. (Without a feature of its own: only such functions can be inlined
/// always, and calls would put all sums into memory.)
///
/// # Safety
/// The CPU has the level of `M`.
#[inline(always)]
pub(super) unsafe fn products<M: Multiply, const G: usize, const R: usize, const WIDE: bool>(
    weights: [&Weights; G],
    rows: &[&[i8; BLOCK]; R],
    first: usize,
    len: usize,
) -> [[[int32x4_t; 2]; R]; G] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[[vdupq_n_s32(0); 2]; R]; G];
        for chunk in first..first + len {
            let operands = M::operands(rows, chunk);
            for g in 0..G {
                for pair in 0..2 {
                    let [low, high] = weights[g][chunk][pair];
                    let weights = [vreinterpretq_s8_u8(low), vreinterpretq_s8_u8(high)];
                    for n in 0..R.div_ceil(M::SHARE) {
                        sums[g][n][pair] = M::add::<WIDE>(sums[g][n][pair], weights, operands[n]);
                    }
                }
            }
        }
        sums
    }
}
