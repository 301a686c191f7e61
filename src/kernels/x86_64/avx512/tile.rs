//! Sixteen rows of weights, up to 256 deep, side by side: 32-bit lane r of every vector belongs to row r.
//!
//! Many tokens share a tile that is unpacked once; few multiply weights as they are unpacked. Activations are
//! broadcast, so partial sums stay in their lanes: integers are never summed across a vector, and the f32 steps of sixteen
//! rows are single instructions.
//!
//! The multiplier takes weights without and activations with a sign: signed weights are stored with an offset, which their
//! sums lose again as so many times the sum of the activations.

use super::lanes::{Rows, Run, broadcast};
use crate::quant::{ActBlock, BLOCK, PairBlock, Plain};
use std::arch::x86_64::*;
use std::array::from_fn;
use std::ops::Range;

/// Something for each of G times sixteen rows and T tokens.
pub(in crate::kernels::x86_64) type PerOutput<V, const G: usize, const T: usize> = [[V; T]; G];

/// Sums of weights times H halves of activations.
pub(in crate::kernels::x86_64) type Sums<const G: usize, const T: usize, const H: usize> = PerOutput<[__m512i; H], G, T>;

/// A block format that this level can multiply.
pub(in crate::kernels::x86_64) trait Tiled: Plain {
    /// What sixteen rows become.
    type Tile: Tile<Self>;
}

/// A block of activations of each of T tokens.
pub(in crate::kernels::x86_64) struct Acts<'a, const T: usize> {
    /// From the block of the first token on.
    pub blocks: &'a [ActBlock],
    /// The same in pairs, or none.
    pub pairs: &'a [PairBlock],
}

impl<'a, const T: usize> Acts<'a, T> {
    /// The blocks.
    #[inline]
    pub fn blocks(&self) -> [&'a ActBlock; T] {
        from_fn(|t| &self.blocks[t])
    }

    /// The blocks in pairs.
    #[inline]
    pub fn pairs(&self) -> [&'a PairBlock; T] {
        from_fn(|t| &self.pairs[t])
    }
}

/// Unpacked blocks of the format B and how they multiply. H is the number of int8 halves of an activation: two in high
/// precision, one in fast.
pub(in crate::kernels::x86_64) trait Tile<B>: Sized {
    /// Whether the sums of six tokens fit the registers in high precision, too.
    const MANY: bool = false;

    /// An empty tile.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn new() -> Self;

    /// Unpacks blocks of sixteen rows, up to 256 weights each.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn fill<const I: bool>(&mut self, rows: &Rows<B, I>, blocks: Range<usize>);

    /// Adds the products of G tiles and T blocks of activations, by the operations of the numerics definition.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn accumulate<const G: usize, const T: usize, const H: usize>(
        tiles: &[Self; G],
        acts: &Acts<T>,
        acc: &mut PerOutput<__m512, G, T>,
    );

    /// `fill` and `accumulate` in one, without storing all weights.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn multiply<const T: usize, const H: usize, const I: bool>(
        &mut self,
        rows: &Rows<B, I>,
        blocks: Range<usize>,
        acts: &[&ActBlock; T],
        acc: &mut PerOutput<__m512, 1, T>,
    );
}

/// The first or second half of activations.
#[inline]
fn half(act: &ActBlock, index: usize) -> &[i8; BLOCK] {
    if index == 0 { &act.hi } else { &act.lo }
}

/// Sums of 16 consecutive numbers of the first or second half.
#[inline]
pub(super) fn half_sums(act: &ActBlock, index: usize) -> &[i16; BLOCK / 16] {
    if index == 0 { &act.hi_sum } else { &act.lo_sum }
}

/// No sums yet.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn zero<const G: usize, const T: usize, const H: usize>() -> Sums<G, T, H> {
    [[[_mm512_setzero_si512(); H]; T]; G]
}

/// Adds products with the `place`-th 16 activations to `sums`.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn add_products<const G: usize, const T: usize, const H: usize>(
    weights: [&Run; G],
    acts: &[&ActBlock; T],
    place: usize,
    sums: &mut Sums<G, T, H>,
) {
    for i in 0..4 {
        for t in 0..T {
            for h in 0..H {
                let act = broadcast(half(acts[t], h), 4 * place + i);
                for g in 0..G {
                    sums[g][t][h] = _mm512_dpbusd_epi32(sums[g][t][h], weights[g][i], act);
                }
            }
        }
    }
}
