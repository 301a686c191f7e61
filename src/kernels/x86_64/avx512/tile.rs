//! Sixteen rows of weights, 256 deep, side by side: 32-bit lane r of every vector belongs to row r.
//!
//! A tile is unpacked once and multiplied with any number of tokens. Activations are broadcast, so partial sums stay in
//! their lanes: integers are never summed across a vector, and the f32 steps of sixteen rows are single instructions.
//!
//! The multiplier takes weights without and activations with a sign. Signed weights are stored as `q + OFFSET`; the sums
//! start with `-OFFSET` times the sums of the activations.

use super::lanes::broadcast;
use crate::quant::{ActBlock, BLOCK, Precision};
use std::arch::x86_64::*;

/// Lane r of vector v: weights `4 * v..4 * v + 4` of row r.
pub(super) type Weights = [__m512i; BLOCK / 4];

/// Sixteen rows of weights and how they multiply.
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
        acc: &mut [[__m512; T]; G],
    );
}

/// Sixteen super-blocks with a sub-scale per `SUB` weights (256: none, or one that the weights contain) and `MINS`
/// sub-minima.
pub(super) struct Super<const SUB: usize, const OFFSET: i32, const MINS: usize> {
    pub weights: Weights,
    /// Sub-scales as i32; formats with fewer sub-blocks leave the rest.
    pub scales: [__m512i; 16],
    /// Sub-minima `4 * j` and `4 * j + 2`, then `4 * j + 1` and `4 * j + 3`, as i16.
    pub mins: [__m512i; 8],
    pub d: __m512,
    pub dmin: __m512,
}

impl<const SUB: usize, const OFFSET: i32, const MINS: usize> Super<SUB, OFFSET, MINS> {
    /// Sums of sub-scale times weight times activation.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn dot<const G: usize, const T: usize>(
        tiles: &[Self; G],
        acts: [&[i8; BLOCK]; T],
        sums: [&[i16; BLOCK / 16]; T],
    ) -> [[__m512i; T]; G] {
        let mut starts = [[0; 16]; T];
        if OFFSET != 0 {
            for (starts, sums) in starts.iter_mut().zip(sums) {
                let sums: [i32; 16] = sums.map(|sum| -OFFSET * i32::from(sum));
                for (start, sums) in starts.iter_mut().zip(sums.chunks_exact(SUB / 16)) {
                    *start = sums.iter().sum();
                }
            }
        }
        let mut total = [[_mm512_setzero_si512(); T]; G];
        for sub in 0..BLOCK / SUB {
            let mut part = [[_mm512_setzero_si512(); T]; G];
            if OFFSET != 0 {
                part = [starts.each_ref().map(|starts| broadcast(starts, sub)); G];
            }
            for v in sub * SUB / 4..(sub + 1) * SUB / 4 {
                for t in 0..T {
                    let act = broadcast(acts[t], v);
                    for g in 0..G {
                        part[g][t] = _mm512_dpbusd_epi32(part[g][t], tiles[g].weights[v], act);
                    }
                }
            }
            if SUB == BLOCK {
                return part;
            }
            for g in 0..G {
                for t in 0..T {
                    let scaled = _mm512_mullo_epi32(part[g][t], tiles[g].scales[sub]);
                    total[g][t] = _mm512_add_epi32(total[g][t], scaled);
                }
            }
        }
        total
    }

    /// Sums of sub-minimum times activation.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn dot_sums(&self, sums: &[i16; 16]) -> __m512i {
        let mut total = _mm512_setzero_si512();
        for (j, &mins) in self.mins[..MINS / 2].iter().enumerate() {
            total = _mm512_dpwssd_epi32(total, mins, broadcast(sums, j));
        }
        total
    }

    /// Sums of activations in the order of `mins`.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn order(sums: &[i16; BLOCK / 16]) -> [i16; 16] {
        // SAFETY: the load is the 16 numbers of the array.
        let mut v = unsafe { _mm256_loadu_si256(sums.as_ptr().cast()) };
        if MINS == 8 {
            v = _mm256_castsi128_si256(_mm256_cvtepi32_epi16(_mm256_madd_epi16(v, _mm256_set1_epi16(1))));
        }
        let v = _mm256_shufflehi_epi16::<0b11_01_10_00>(_mm256_shufflelo_epi16::<0b11_01_10_00>(v));
        let mut ordered = [0; 16];
        // SAFETY: the store is the 16 numbers of the array.
        unsafe { _mm256_storeu_si256(ordered.as_mut_ptr().cast(), v) };
        ordered
    }
}

impl<const SUB: usize, const OFFSET: i32, const MINS: usize> Tile for Super<SUB, OFFSET, MINS> {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn new() -> Self {
        let (zero, none) = (_mm512_setzero_si512(), _mm512_setzero_ps());
        Super { weights: [zero; 64], scales: [zero; 16], mins: [zero; 8], d: none, dmin: none }
    }

    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn accumulate<const G: usize, const T: usize>(
        tiles: &[Self; G],
        acts: &[&ActBlock; T],
        precision: Precision,
        acc: &mut [[__m512; T]; G],
    ) {
        let high = Self::dot(tiles, acts.map(|act| &act.hi), acts.map(|act| &act.hi_sum));
        let f = match precision {
            Precision::High => combine(high, Self::dot(tiles, acts.map(|act| &act.lo), acts.map(|act| &act.lo_sum))),
            Precision::Fast => high.map(|row| row.map(|high| _mm512_cvtepi32_ps(high))),
        };
        for t in 0..T {
            let scale = _mm512_set1_ps(acts[t].scale);
            for g in 0..G {
                acc[g][t] = _mm512_fmadd_ps(_mm512_mul_ps(tiles[g].d, scale), f[g][t], acc[g][t]);
            }
            if MINS == 0 {
                continue;
            }
            let (high, low) = (Self::order(&acts[t].hi_sum), Self::order(&acts[t].lo_sum));
            for g in 0..G {
                let mut m = tiles[g].dot_sums(&high);
                if precision == Precision::High {
                    m = _mm512_add_epi32(_mm512_slli_epi32::<8>(m), tiles[g].dot_sums(&low));
                }
                acc[g][t] = _mm512_fnmadd_ps(_mm512_mul_ps(tiles[g].dmin, scale), _mm512_cvtepi32_ps(m), acc[g][t]);
            }
        }
    }
}

/// Up to eight blocks of 32 weights of sixteen rows.
///
/// The two halves of the activations need not stay apart here: H and L are below 2^24, so `fma(H, 256, L)` is the
/// rounded `256 * H + L`, and that fits i32.
pub(super) struct Small<const OFFSET: i32, const MINS: bool> {
    pub weights: Weights,
    /// Scale of each block.
    pub d: [__m512; 8],
    /// Offset of each block.
    pub min: [__m512; 8],
    /// Blocks there are.
    pub blocks: usize,
}

impl<const OFFSET: i32, const MINS: bool> Tile for Small<OFFSET, MINS> {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn new() -> Self {
        let none = [_mm512_setzero_ps(); 8];
        Small { weights: [_mm512_setzero_si512(); 64], d: none, min: none, blocks: 0 }
    }

    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn accumulate<const G: usize, const T: usize>(
        tiles: &[Self; G],
        acts: &[&ActBlock; T],
        precision: Precision,
        acc: &mut [[__m512; T]; G],
    ) {
        let sums = acts.map(|act| sums_of_32(act, precision));
        for block in 0..tiles[0].blocks {
            let mut part = [[_mm512_setzero_si512(); T]; G];
            add_products(tiles.each_ref().map(|tile| &tile.weights), acts.map(|act| &act.hi), block, &mut part);
            if precision == Precision::High {
                part = part.map(|row| row.map(|high| _mm512_slli_epi32::<8>(high)));
                add_products(tiles.each_ref().map(|tile| &tile.weights), acts.map(|act| &act.lo), block, &mut part);
            }
            for t in 0..T {
                let (scale, sum) = (_mm512_set1_ps(acts[t].scale), broadcast(&sums[t], block));
                for g in 0..G {
                    let (tile, acc) = (&tiles[g], &mut acc[g][t]);
                    let f = match OFFSET {
                        0 => part[g][t],
                        _ => _mm512_sub_epi32(part[g][t], _mm512_mullo_epi32(sum, _mm512_set1_epi32(OFFSET))),
                    };
                    *acc = _mm512_fmadd_ps(_mm512_mul_ps(tile.d[block], scale), _mm512_cvtepi32_ps(f), *acc);
                    if MINS {
                        *acc = _mm512_fmadd_ps(_mm512_mul_ps(tile.min[block], scale), _mm512_cvtepi32_ps(sum), *acc);
                    }
                }
            }
        }
    }
}

/// Adds the products of the `block`-th 32 weights.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn add_products<const G: usize, const T: usize>(
    weights: [&Weights; G],
    acts: [&[i8; BLOCK]; T],
    block: usize,
    sums: &mut [[__m512i; T]; G],
) {
    for v in 8 * block..8 * block + 8 {
        for t in 0..T {
            let act = broadcast(acts[t], v);
            for g in 0..G {
                sums[g][t] = _mm512_dpbusd_epi32(sums[g][t], weights[g][v], act);
            }
        }
    }
}

/// Sums of 32 activations.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn sums_of_32(act: &ActBlock, precision: Precision) -> [i32; 8] {
    let pairs = |sums: &[i16; BLOCK / 16]| {
        // SAFETY: the load is the 16 numbers of the array.
        let sums = unsafe { _mm256_loadu_si256(sums.as_ptr().cast()) };
        _mm256_madd_epi16(sums, _mm256_set1_epi16(1))
    };
    let mut total = pairs(&act.hi_sum);
    if precision == Precision::High {
        total = _mm256_add_epi32(_mm256_slli_epi32::<8>(total), pairs(&act.lo_sum));
    }
    let mut sums = [0; 8];
    // SAFETY: the store is the eight numbers of the array.
    unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), total) };
    sums
}

/// `256 * high + low`, each rounded to f32 before and the result once more.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn combine<const G: usize, const T: usize>(high: [[__m512i; T]; G], low: [[__m512i; T]; G]) -> [[__m512; T]; G] {
    let mut f = [[_mm512_setzero_ps(); T]; G];
    for g in 0..G {
        for t in 0..T {
            let (high, low) = (_mm512_cvtepi32_ps(high[g][t]), _mm512_cvtepi32_ps(low[g][t]));
            f[g][t] = _mm512_fmadd_ps(high, _mm512_set1_ps(256.0), low);
        }
    }
    f
}
