//! Tiles for activations in one piece: 16 bits, not two halves of eight.
//!
//! A multiplication of 16 bits takes half as many numbers as one of bytes, but the whole activation. Sums are modulo 2^32.
//!
//! Weights of super-blocks are multiplied with their sub-scales first, which saves multiplying sums by them. That the result is
//! below 2^32, and its parts H and L so small that `fma(H, 256, L)` only rounds their sum, has to be known beforehand (see
//! [`PairBlock::fits`]); blocks of which it is not are multiplied as bytes. Of blocks of 32 it is always so (see [`Small`]).

use super::lanes::{Rows, broadcast};
use super::tile::{Bytes, InHalves, Small, Tile, Tiled, Way, even, odd, sum_of_32};
use crate::quant::{ActBlock, BLOCK, PairBlock, Precision};
use std::arch::x86_64::*;
use std::array::{self, from_fn};
use std::ops::Range;

/// The way of products with activations in one piece.
pub(super) struct InOnePiece;

impl<F> Way<F> for InOnePiece
where
    F: Tiled<Tile: Widen>,
{
    type Tile = <F::Tile as Widen>::Wide;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<F>, blocks: Range<usize>, tile: &mut Self::Tile) {
        // SAFETY: the caller's promise.
        unsafe {
            <InHalves as Way<F>>::fill(rows, blocks, F::Tile::within(tile));
            F::Tile::widen(tile);
        }
    }
}

/// A tile that becomes one for activations in one piece.
pub(super) trait Widen: Tile {
    /// What it becomes, and is a part of.
    type Wide: Tile;

    /// That part.
    fn within(wide: &mut Self::Wide) -> &mut Self;

    /// Makes all else of it.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn widen(wide: &mut Self::Wide);
}

/// Weights 0 and 2, then 1 and 3, of every four, as [`PairBlock::q`] stands.
type Words = [[__m256i; 2]; BLOCK / 4];

/// Sums of weight times activation, modulo 2^32, over some fours of them.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot<const G: usize, const T: usize>(weights: [&Words; G], pairs: &[&PairBlock; T], fours: Range<usize>) -> [[__m256i; T]; G] {
    let mut sums = [[_mm256_setzero_si256(); T]; G];
    for v in fours {
        for half in 0..2 {
            for t in 0..T {
                let acts = broadcast(&pairs[t].q, 2 * v + half);
                for g in 0..G {
                    let products = _mm256_madd_epi16(weights[g][v][half], acts);
                    sums[g][t] = _mm256_add_epi32(sums[g][t], products);
                }
            }
        }
    }
    sums
}

/// Up to eight blocks of 32 weights of eight rows.
pub(super) struct WideSmall<const MINS: bool> {
    weights: Words,
    small: Small<MINS>,
}

impl<const MINS: bool> Widen for Small<MINS> {
    type Wide = WideSmall<MINS>;

    fn within(wide: &mut Self::Wide) -> &mut Self {
        &mut wide.small
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn widen(wide: &mut Self::Wide) {
        for (words, &weights) in wide.weights.iter_mut().zip(&wide.small.weights) {
            *words = [even(weights), odd(weights)];
        }
    }
}

impl<const MINS: bool> Tile for WideSmall<MINS> {
    const TOKENS: usize = 4;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn new() -> Self {
        // SAFETY: the level is there.
        WideSmall { weights: [[_mm256_setzero_si256(); 2]; BLOCK / 4], small: unsafe { Small::new() } }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn accumulate<const G: usize, const T: usize>(
        tiles: &[Self; G],
        _: &[&ActBlock; T],
        pairs: &[PairBlock],
        _: Precision,
        acc: &mut [[__m256; T]; G],
    ) {
        let pairs: &[&PairBlock; T] = &from_fn(|t| &pairs[t]);
        for block in 0..tiles[0].small.blocks {
            let products = dot(tiles.each_ref().map(|tile| &tile.weights), pairs, 8 * block..8 * (block + 1));
            let (small, scales) = (tiles.each_ref().map(|tile| &tile.small), pairs.map(|pair| pair.scale));
            Small::add(small, block, &products, scales, pairs.map(|pair| sum_of_32(&pair.sums, block)), acc);
        }
    }
}

/// Eight super-blocks.
pub(super) struct Whole<const SUB: usize, const STEP: usize, const SIGNED: bool, const MINS: bool> {
    /// Times sub-scales.
    weights: Words,
    /// The greatest magnitude of the mean of a row.
    mean: f32,
    /// The greatest length of a row as a vector, its mean taken off.
    length: f32,
    /// Sub-minima in the same order.
    minima: [[__m256i; 2]; 2],
    bytes: Bytes<SUB, STEP, SIGNED, MINS>,
}

impl<const SUB: usize, const STEP: usize, const SIGNED: bool, const MINS: bool> Widen for Bytes<SUB, STEP, SIGNED, MINS> {
    type Wide = Whole<SUB, STEP, SIGNED, MINS>;

    fn within(wide: &mut Self::Wide) -> &mut Self {
        &mut wide.bytes
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn widen(wide: &mut Self::Wide) {
        let [mut squares, mut sum] = [_mm256_setzero_si256(); 2];
        for (v, (whole, &weights)) in wide.weights.iter_mut().zip(&wide.bytes.weights).enumerate() {
            let scale = wide.bytes.scales[4 * v / SUB];
            *whole = [even(weights), odd(weights)].map(|weights| _mm256_mullo_epi16(weights, scale));
            for &v in whole.iter() {
                squares = _mm256_add_epi32(squares, _mm256_madd_epi16(v, v));
                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(v, _mm256_set1_epi16(1)));
            }
        }
        let (squares, sum) = (_mm256_cvtepi32_ps(squares), _mm256_cvtepi32_ps(sum));
        let mean = _mm256_mul_ps(sum, _mm256_set1_ps(1.0 / BLOCK as f32));
        // What rounding took from the difference at most is a part of the squares.
        let rest = _mm256_fnmadd_ps(sum, mean, _mm256_mul_ps(squares, _mm256_set1_ps(1.0 + 1.0 / 65536.0)));
        wide.length = greatest(rest).sqrt();
        wide.mean = greatest(_mm256_max_ps(mean, _mm256_sub_ps(_mm256_setzero_ps(), mean)));
        if MINS {
            wide.minima = from_fn(|i| [even(wide.bytes.pairs[i]), odd(wide.bytes.pairs[i])]);
        }
    }
}

impl<const SUB: usize, const STEP: usize, const SIGNED: bool, const MINS: bool> Whole<SUB, STEP, SIGNED, MINS> {
    /// Sums of eight sub-minima times the sums of 32 activations.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn dot_minima(&self, pair: &PairBlock) -> __m256i {
        let mut total = _mm256_setzero_si256();
        for i in 0..4 {
            let products = _mm256_madd_epi16(self.minima[i / 2][i % 2], broadcast(&pair.low_sums, i));
            total = _mm256_add_epi32(total, products);
        }
        // Sums of four products fit 16 bits: minima have six bits, and 4 * 63 * 32 < 2^15.
        let [low, high] = [0, 1].map(|i| _mm256_maddubs_epi16(self.bytes.pairs[i], broadcast(&pair.high_sums, i)));
        // 2^15 fits 16 bits only with the other sign.
        let less = _mm256_madd_epi16(_mm256_add_epi16(low, high), _mm256_set1_epi16(i16::MIN));
        _mm256_sub_epi32(total, less)
    }

    /// Whether one piece will do for all of these products.
    #[inline]
    fn fit(tiles: &[Self], pairs: &[&PairBlock]) -> bool {
        // Not `f32::max`: nothing is NaN.
        let greater = |a: f32, b: f32| if a > b { a } else { b };
        let most = |value: fn(&Self) -> f32| tiles.iter().map(value).fold(0.0, greater);
        let worst = |value: fn(&PairBlock) -> f32| pairs.iter().map(|pair| value(pair)).fold(0.0, greater);
        PairBlock::fits(worst(|pair| pair.shift), worst(|pair| pair.length), most(|tile| tile.mean), most(|tile| tile.length))
    }

    /// The sums, multiplied once more for the tokens that one piece will not do for.
    #[cold]
    #[inline(never)]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn mended<const G: usize, const T: usize>(
        tiles: &[Self; G],
        acts: &[&ActBlock; T],
        pairs: &[&PairBlock; T],
        mut sums: [[__m256; T]; G],
    ) -> [[__m256; T]; G] {
        for t in 0..T {
            if !Self::fit(tiles, &[pairs[t]]) {
                for (sums, tile) in sums.iter_mut().zip(tiles) {
                    [[sums[t]]] = Bytes::sums(array::from_ref(&tile.bytes), &[acts[t]], Precision::High);
                }
            }
        }
        sums
    }
}

impl<const SUB: usize, const STEP: usize, const SIGNED: bool, const MINS: bool> Tile for Whole<SUB, STEP, SIGNED, MINS> {
    const TOKENS: usize = 4;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn new() -> Self {
        // SAFETY: the level is there.
        let (bytes, zero) = (unsafe { Bytes::new() }, _mm256_setzero_si256());
        Whole { weights: [[zero; 2]; BLOCK / 4], mean: 0.0, length: 0.0, minima: [[zero; 2]; 2], bytes }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn accumulate<const G: usize, const T: usize>(
        tiles: &[Self; G],
        acts: &[&ActBlock; T],
        pairs: &[PairBlock],
        _: Precision,
        acc: &mut [[__m256; T]; G],
    ) {
        let pairs: &[&PairBlock; T] = &from_fn(|t| &pairs[t]);
        let sums = dot(tiles.each_ref().map(|tile| &tile.weights), pairs, 0..BLOCK / 4);
        let mut sums = sums.map(|sums| sums.map(|sum| _mm256_cvtepi32_ps(sum)));
        if !Self::fit(tiles, pairs) {
            sums = Self::mended(tiles, acts, pairs, sums);
        }
        for (g, tile) in tiles.iter().enumerate() {
            for t in 0..T {
                let scale = _mm256_set1_ps(pairs[t].scale);
                let acc = &mut acc[g][t];
                *acc = _mm256_fmadd_ps(_mm256_mul_ps(tile.bytes.d, scale), sums[g][t], *acc);
                if MINS {
                    *acc = tile.bytes.subtract(tile.dot_minima(pairs[t]), scale, *acc);
                }
            }
        }
    }
}

/// The greatest of eight numbers that are not below zero.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn greatest(v: __m256) -> f32 {
    let mut each = [0.0; 8];
    // SAFETY: the store is the array.
    unsafe { _mm256_storeu_ps(each.as_mut_ptr(), v) };
    each.into_iter().fold(0.0, f32::max)
}
