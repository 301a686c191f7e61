//! Eight rows of weights, 256 deep, side by side: 32-bit lane r of every vector belongs to row r.
//!
//! A tile is unpacked once and multiplied with any number of tokens. Activations are broadcast, so partial sums stay in
//! their lanes: integers are never summed across a vector, and the f32 steps of eight rows are single instructions.

use super::lanes::broadcast;
use crate::quant::{ActBlock, BLOCK, Precision};
use std::arch::x86_64::*;
use std::array::from_fn;

/// Lane r of vector v: weights `4 * v..4 * v + 4` of row r.
pub(super) type Weights = [__m256i; BLOCK / 4];

/// Eight rows of weights and how they multiply.
pub(super) trait Tile: Sized {
    /// An empty tile.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn new() -> Self;

    /// Adds the products of G tiles and T blocks of activations, by the operations of the numerics definition.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn accumulate<const G: usize, const T: usize>(
        tiles: &[Self; G],
        acts: &[&ActBlock; T],
        precision: Precision,
        acc: &mut [[__m256; T]; G],
    );
}

/// Eight super-blocks whose weights are bytes of few bits, stored as `q + OFFSET`, with a sub-scale per `SUB` weights.
/// `STEP` vectors of byte products fit i16 before the sub-scale multiplies them: `2 * STEP * max(q + OFFSET) * 128 < 2^15`.
pub(super) struct Bytes<const SUB: usize, const STEP: usize, const OFFSET: i32, const MINS: bool> {
    pub weights: Weights,
    /// Twice the sub-scale of each sub-block, as i16; formats with 8 sub-blocks leave the rest.
    pub scales: [__m256i; 16],
    /// Sub-minima (or, in formats with an offset, sub-scales) number `2 * j` and `2 * j + 1` of 16 weights, as i16.
    pub pairs: [__m256i; 8],
    pub d: __m256,
    pub dmin: __m256,
}

impl<const SUB: usize, const STEP: usize, const OFFSET: i32, const MINS: bool> Bytes<SUB, STEP, OFFSET, MINS> {
    /// Sums of sub-scale times weight times activation.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn dot<const G: usize, const T: usize>(
        tiles: &[Self; G],
        acts: [&[i8; BLOCK]; T],
        sums: [&[i16; BLOCK / 16]; T],
    ) -> [[__m256i; T]; G] {
        let mut total = [[_mm256_setzero_si256(); T]; G];
        if OFFSET != 0 {
            for (total, tile) in total.iter_mut().zip(tiles) {
                *total = from_fn(|t| _mm256_mullo_epi32(tile.dot_sums(sums[t]), _mm256_set1_epi32(-OFFSET)));
            }
        }
        for at in (0..BLOCK / 4).step_by(STEP) {
            let mut part = [[_mm256_setzero_si256(); T]; G];
            for v in at..at + STEP {
                let act: [__m256i; T] = from_fn(|t| broadcast(acts[t], v));
                for (part, tile) in part.iter_mut().zip(tiles) {
                    for (part, act) in part.iter_mut().zip(act) {
                        *part = _mm256_add_epi16(*part, _mm256_maddubs_epi16(tile.weights[v], act));
                    }
                }
            }
            for ((total, part), tile) in total.iter_mut().zip(part).zip(tiles) {
                for (total, part) in total.iter_mut().zip(part) {
                    *total = _mm256_add_epi32(*total, _mm256_madd_epi16(part, tile.scales[4 * at / SUB]));
                }
            }
        }
        total
    }

    /// Sums of `pairs` times the sums of 16 activations.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn dot_sums(&self, sums: &[i16; BLOCK / 16]) -> __m256i {
        let products = from_fn::<_, 8, _>(|j| _mm256_madd_epi16(self.pairs[j], broadcast(sums, j)));
        products.into_iter().fold(_mm256_setzero_si256(), |a, b| _mm256_add_epi32(a, b))
    }
}

impl<const SUB: usize, const STEP: usize, const OFFSET: i32, const MINS: bool> Tile for Bytes<SUB, STEP, OFFSET, MINS> {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn new() -> Self {
        let (zero, none) = (_mm256_setzero_si256(), _mm256_setzero_ps());
        Bytes { weights: [zero; 64], scales: [zero; 16], pairs: [zero; 8], d: none, dmin: none }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn accumulate<const G: usize, const T: usize>(
        tiles: &[Self; G],
        acts: &[&ActBlock; T],
        precision: Precision,
        acc: &mut [[__m256; T]; G],
    ) {
        let (high_sums, low_sums) = (acts.map(|act| &act.hi_sum), acts.map(|act| &act.lo_sum));
        let high = Self::dot(tiles, acts.map(|act| &act.hi), high_sums);
        let f = match precision {
            Precision::High => combine(high, Self::dot(tiles, acts.map(|act| &act.lo), low_sums)),
            Precision::Fast => high.map(|row| row.map(|high| _mm256_cvtepi32_ps(high))),
        };
        for (g, tile) in tiles.iter().enumerate() {
            for t in 0..T {
                let scale = _mm256_set1_ps(acts[t].scale);
                let acc = &mut acc[g][t];
                *acc = _mm256_fmadd_ps(_mm256_mul_ps(tile.d, scale), f[g][t], *acc);
                if MINS {
                    let mut m = tile.dot_sums(high_sums[t]);
                    if precision == Precision::High {
                        m = _mm256_add_epi32(_mm256_slli_epi32::<8>(m), tile.dot_sums(low_sums[t]));
                    }
                    *acc = _mm256_fnmadd_ps(_mm256_mul_ps(tile.dmin, scale), _mm256_cvtepi32_ps(m), *acc);
                }
            }
        }
    }
}

/// Eight super-blocks whose weights need all of int8, with a sub-scale per 32 weights.
pub(super) struct Words {
    pub weights: Weights,
    /// Sub-scales, as i32.
    pub scales: [__m256i; 8],
    pub d: __m256,
}

impl Words {
    /// Sums of sub-scale times weight times activation.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn dot<const G: usize, const T: usize>(tiles: &[Self; G], acts: &[Widened; T]) -> [[__m256i; T]; G] {
        let mut total = [[_mm256_setzero_si256(); T]; G];
        for sub in 0..8 {
            let part = dot_words(tiles.each_ref().map(|tile| &tile.weights), acts, sub);
            for ((total, part), tile) in total.iter_mut().zip(part).zip(tiles) {
                for (total, part) in total.iter_mut().zip(part) {
                    *total = _mm256_add_epi32(*total, _mm256_mullo_epi32(part, tile.scales[sub]));
                }
            }
        }
        total
    }
}

impl Tile for Words {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn new() -> Self {
        Words { weights: [_mm256_setzero_si256(); 64], scales: [_mm256_setzero_si256(); 8], d: _mm256_setzero_ps() }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn accumulate<const G: usize, const T: usize>(
        tiles: &[Self; G],
        acts: &[&ActBlock; T],
        precision: Precision,
        acc: &mut [[__m256; T]; G],
    ) {
        let high = Self::dot(tiles, &acts.map(|act| Widened::one(&act.hi)));
        let f = match precision {
            Precision::High => combine(high, Self::dot(tiles, &acts.map(|act| Widened::one(&act.lo)))),
            Precision::Fast => high.map(|row| row.map(|high| _mm256_cvtepi32_ps(high))),
        };
        for ((acc, f), tile) in acc.iter_mut().zip(f).zip(tiles) {
            for ((acc, f), act) in acc.iter_mut().zip(f).zip(acts) {
                *acc = _mm256_fmadd_ps(_mm256_mul_ps(tile.d, _mm256_set1_ps(act.scale)), f, *acc);
            }
        }
    }
}

/// Up to eight blocks of 32 weights of eight rows.
///
/// The two halves of the activations need not stay apart here: H and L are below 2^24, so `fma(H, 256, L)` is the
/// rounded `256 * H + L`, and that fits i32.
pub(super) struct Small<const MINS: bool> {
    pub weights: Weights,
    /// Scale of each block.
    pub d: [__m256; 8],
    /// Offset of each block.
    pub min: [__m256; 8],
    /// Blocks there are.
    pub blocks: usize,
}

impl<const MINS: bool> Tile for Small<MINS> {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn new() -> Self {
        let none = [_mm256_setzero_ps(); 8];
        Small { weights: [_mm256_setzero_si256(); 64], d: none, min: none, blocks: 0 }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn accumulate<const G: usize, const T: usize>(
        tiles: &[Self; G],
        acts: &[&ActBlock; T],
        precision: Precision,
        acc: &mut [[__m256; T]; G],
    ) {
        let widened = acts.map(|act| match precision {
            Precision::High => Widened::both(&act.hi, &act.lo),
            Precision::Fast => Widened::one(&act.hi),
        });
        for block in 0..tiles[0].blocks.min(8) {
            let f = dot_words(tiles.each_ref().map(|tile| &tile.weights), &widened, block);
            for ((acc, f), tile) in acc.iter_mut().zip(f).zip(tiles) {
                for ((acc, f), act) in acc.iter_mut().zip(f).zip(acts) {
                    let scale = _mm256_set1_ps(act.scale);
                    *acc = _mm256_fmadd_ps(_mm256_mul_ps(tile.d[block], scale), _mm256_cvtepi32_ps(f), *acc);
                    if MINS {
                        let sum = |sums: &[i16; 16]| i32::from(sums[2 * block]) + i32::from(sums[2 * block + 1]);
                        let m = match precision {
                            Precision::High => 256 * sum(&act.hi_sum) + sum(&act.lo_sum),
                            Precision::Fast => sum(&act.hi_sum),
                        };
                        *acc = _mm256_fmadd_ps(_mm256_mul_ps(tile.min[block], scale), _mm256_set1_ps(m as f32), *acc);
                    }
                }
            }
        }
    }
}

/// Activations of 16 bits. Dword v of `even` holds numbers `4 * v` and `4 * v + 2`, of `odd` the two after these.
struct Widened {
    even: [__m256i; BLOCK / 32],
    odd: [__m256i; BLOCK / 32],
}

impl Widened {
    /// The bytes themselves.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn one(bytes: &[i8; BLOCK]) -> Widened {
        let bytes = vectors(bytes);
        Widened { even: bytes.map(|v| even(v)), odd: bytes.map(|v| odd(v)) }
    }

    /// `256 * hi + lo`.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn both(hi: &[i8; BLOCK], lo: &[i8; BLOCK]) -> Widened {
        let (hi, lo) = (vectors(hi), vectors(lo));
        let upper = _mm256_set1_epi16(0xff00_u16 as i16);
        Widened {
            even: from_fn(|i| _mm256_add_epi16(_mm256_slli_epi16::<8>(hi[i]), even(lo[i]))),
            odd: from_fn(|i| _mm256_add_epi16(_mm256_and_si256(hi[i], upper), odd(lo[i]))),
        }
    }
}

/// The bytes as vectors.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn vectors(bytes: &[i8; BLOCK]) -> [__m256i; BLOCK / 32] {
    // SAFETY: each load is 32 bytes of the array.
    from_fn(|i| unsafe { _mm256_loadu_si256(bytes.as_ptr().cast::<__m256i>().add(i)) })
}

/// Signed bytes 0, 2, 4 ... as i16.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn even(bytes: __m256i) -> __m256i {
    _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes))
}

/// Signed bytes 1, 3, 5 ... as i16.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn odd(bytes: __m256i) -> __m256i {
    _mm256_srai_epi16::<8>(bytes)
}

/// Products of the `sub`-th 32 weights. Sums of 16-bit products do not saturate, whatever the bytes:
/// `32 * 128 * 32640 < 2^31`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot_words<const G: usize, const T: usize>(weights: [&Weights; G], acts: &[Widened; T], sub: usize) -> [[__m256i; T]; G] {
    let mut total = [[_mm256_setzero_si256(); T]; G];
    for v in 8 * sub..8 * sub + 8 {
        for (weights, side) in [(weights.map(|w| even(w[v])), 0), (weights.map(|w| odd(w[v])), 1)] {
            let act: [__m256i; T] = from_fn(|t| broadcast(if side == 0 { &acts[t].even } else { &acts[t].odd }, v));
            for (total, weights) in total.iter_mut().zip(weights) {
                for (total, act) in total.iter_mut().zip(act) {
                    *total = _mm256_add_epi32(*total, _mm256_madd_epi16(weights, act));
                }
            }
        }
    }
    total
}

/// `256 * high + low`, each rounded to f32 before and the result once more.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn combine<const G: usize, const T: usize>(high: [[__m256i; T]; G], low: [[__m256i; T]; G]) -> [[__m256; T]; G] {
    let shift = _mm256_set1_ps(256.0);
    from_fn(|g| from_fn(|t| _mm256_fmadd_ps(_mm256_cvtepi32_ps(high[g][t]), shift, _mm256_cvtepi32_ps(low[g][t]))))
}
