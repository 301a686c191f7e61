//! Tiles of formats with a scale for every 16 weights.

use super::lanes::{Rows, interleave};
use super::matmul::Tiled;
use super::multiply::Multiply;
use super::tile::{Tile, Weights, bytes, products};
use crate::quant::{ActBlock, BLOCK, Format, NVFP4};
use std::arch::aarch64::*;
use std::array::from_fn;
use std::ops::Range;

/// Up to sixteen groups of 16 weights of four rows; weights are 63 at most.
pub(super) struct Micro {
    weights: Weights,
    /// Scale of each group.
    scales: [float32x4_t; BLOCK / 16],
    /// Groups there are.
    groups: usize,
}

impl Tile for Micro {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn new() -> Self {
        Micro { weights: [[[vdupq_n_u8(0); 2]; 2]; 16], scales: [vdupq_n_f32(0.0); 16], groups: 0 }
    }

    #[target_feature(enable = "neon")]
    unsafe fn accumulate<M: Multiply, const G: usize, const T: usize, const R: usize>(
        tiles: &[Self; G],
        acts: &[&ActBlock; T],
        acc: &mut [[float32x4_t; T]; G],
    ) {
        let rows: [_; R] = bytes(acts);
        let weights = tiles.each_ref().map(|tile| &tile.weights);
        for group in 0..tiles[0].groups {
            // SAFETY: the level of `M` is there.
            let part = unsafe { products::<M, G, R, false>(weights, &rows, group, 1) };
            for (g, tile) in tiles.iter().enumerate() {
                // SAFETY: the level of `M` is there.
                let sums = unsafe { M::split(part[g]) };
                for t in 0..T {
                    // Below 2^24: as exact in f32 as its halves apart.
                    let sum = if R > T { vaddq_s32(vshlq_n_s32::<8>(sums[2 * t]), sums[2 * t + 1]) } else { sums[t] };
                    acc[g][t] = vfmaq_f32(acc[g][t], vmulq_n_f32(tile.scales[group], acts[t].scale), vcvtq_f32_s32(sum));
                }
            }
        }
    }
}

impl Tiled for NVFP4 {
    type Tile = Micro;

    /// Unpacks as the reference has it: conversion of scales has no instruction.
    #[target_feature(enable = "neon")]
    unsafe fn fill(rows: Rows<NVFP4>, blocks: Range<usize>, tile: &mut Micro) {
        tile.groups = 4 * blocks.len();
        let (weights, scales) = (tile.weights.as_chunks_mut::<4>().0, tile.scales.as_chunks_mut::<4>().0);
        for ((weights, scales), block) in weights.iter_mut().zip(scales).zip(blocks) {
            let column = rows.column(block);
            // SAFETY: `bytes` vouches for a whole block; blocks are nothing but their bytes.
            let each: [_; 4] = from_fn(|r| unsafe { &*column.bytes(r, 0, size_of::<NVFP4>()).cast::<NVFP4>() }.unpack());
            for group in 0..4 {
                // SAFETY: each load is 16 bytes of an array.
                weights[group] = interleave(from_fn(|r| unsafe { vld1q_u8(each[r].weights[group].as_ptr().cast()) }));
                let four: [f32; 4] = from_fn(|r| each[r].scales[group]);
                // SAFETY: the load is the four numbers of the array.
                scales[group] = unsafe { vld1q_f32(four.as_ptr()) };
            }
        }
    }
}
