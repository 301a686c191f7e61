//! Super-blocks for products by pairs: Winograd's inner product (1968) halves the multiplications.
//!
//! `x * v + y * w = (x + w) * (y + v) - x * y - w * v`, of which the last two products depend on activations or weights
//! alone. What one addition each makes of both factors are numbers of 16 bits, so one `vpdpwssd` does the work of two `vpdpbusd`,
//! one for each half of the activations. Weights are multiplied with their sub-scales first, which saves multiplying sums by
//! them.
//!
//! All sums are modulo 2^32. That the result is below, and its parts H and L so small that `fma(H, 256, L)` only rounds
//! their sum, has to be known beforehand (see [`PairBlock::fits`]); blocks of which it is not are multiplied as ever.

use super::lanes::{Rows, broadcast};
use super::super_tile::{Super, SuperFormat, subtract_minima};
use super::tile::{Acts, PerOutput, Tile};
use crate::quant::{ActBlock, BLOCK, PairBlock};
use std::arch::x86_64::*;
use std::array::from_fn;
use std::ops::Range;

/// A format whose weights times sub-scales leave room for activations in 16 bits.
pub(in crate::kernels::x86_64) trait PairFormat: SuperFormat {
    /// Subtracted from the products, so that they are about as far below as above zero.
    const CENTRE: i32;
    /// Greatest magnitude of what is left.
    const REACH: u16;
}

/// Sixteen super-blocks.
pub(in crate::kernels::x86_64) struct Pairs<F> {
    /// Weights 0 and 2, then 1 and 3, of every four, times sub-scales less the centre.
    weights: [[__m512i; 2]; BLOCK / 4],
    /// Minus the sum of the products of neighbours.
    start: __m512i,
    /// The greatest magnitude of the mean of a row.
    mean: f32,
    /// The greatest length of a row as a vector, its mean taken off.
    length: f32,
    plain: Super<F>,
}

impl<F: PairFormat> Tile<F> for Pairs<F> {
    const MANY: bool = true;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn new() -> Self {
        const { assert!(F::SUB < BLOCK && (F::SUB_MINS == 0 || F::SUB_MINS == 8)) };
        let none = _mm512_setzero_si512();
        // SAFETY: the level is there.
        Pairs { weights: [[none; 2]; BLOCK / 4], start: none, mean: 0.0, length: 0.0, plain: unsafe { Super::new() } }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn fill<const I: bool>(&mut self, rows: &Rows<F, I>, blocks: Range<usize>) {
        // SAFETY: the level is there.
        unsafe { self.plain.fill(rows, blocks) };
        let [mut products, mut squares, mut sum] = [_mm512_setzero_si512(); 3];
        for (q, quarter) in self.plain.quarters.iter().enumerate() {
            for (run, weights) in quarter.iter().enumerate() {
                let place = F::place(q, run);
                let scale = twice(self.plain.head.scales[place / (F::SUB / 16)]);
                for (i, &weights) in weights.iter().enumerate() {
                    let bytes = [_mm512_and_si512(weights, _mm512_set1_epi16(255)), _mm512_srli_epi16::<8>(weights)];
                    let two = bytes.map(|weights| {
                        let weights = _mm512_sub_epi16(weights, _mm512_set1_epi16(F::OFFSET as i16));
                        _mm512_sub_epi16(_mm512_mullo_epi16(weights, scale), _mm512_set1_epi16(F::CENTRE as i16))
                    });
                    products = _mm512_dpwssd_epi32(products, two[0], two[1]);
                    for v in two {
                        squares = _mm512_dpwssd_epi32(squares, v, v);
                        sum = _mm512_dpwssd_epi32(sum, v, _mm512_set1_epi16(1));
                    }
                    self.weights[4 * place + i] = two;
                }
            }
        }
        self.start = _mm512_sub_epi32(_mm512_setzero_si512(), products);
        let (squares, sum) = (_mm512_cvtepi32_ps(squares), _mm512_cvtepi32_ps(sum));
        let mean = _mm512_mul_ps(sum, _mm512_set1_ps(1.0 / BLOCK as f32));
        // What rounding took from the difference at most is a part of the squares.
        let rest = _mm512_fnmadd_ps(sum, mean, _mm512_mul_ps(squares, _mm512_set1_ps(1.0 + 1.0 / 65536.0)));
        self.length = _mm512_reduce_max_ps(rest).max(0.0).sqrt();
        self.mean = _mm512_reduce_max_ps(_mm512_abs_ps(_mm512_add_ps(mean, _mm512_set1_ps(F::CENTRE as f32))));
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn accumulate<const G: usize, const T: usize, const H: usize>(
        tiles: &[Self; G],
        acts: &Acts<T>,
        acc: &mut PerOutput<__m512, G, T>,
    ) {
        let Some(pairs) = &acts.pairs else { unreachable!("the caller has pairs") };
        let mut sums = dot::<F, G, T>(tiles, pairs).map(|sums| sums.map(|sum| _mm512_cvtepi32_ps(sum)));
        let most = |value: fn(&Self) -> f32| tiles.iter().map(value).fold(0.0, f32::max);
        let (mean, length) = (most(|tile| tile.mean), most(|tile| tile.length));
        if !pairs.iter().all(|pair| pair.fits(mean, length)) {
            sums = mended::<F, G, T, H>(tiles, acts, sums);
        }
        for t in 0..T {
            let scale = _mm512_set1_ps(pairs[t].scale);
            for g in 0..G {
                let Super { head, .. } = &tiles[g].plain;
                acc[g][t] = _mm512_fmadd_ps(_mm512_mul_ps(head.d, scale), sums[g][t], acc[g][t]);
                if F::SUB_MINS > 0 {
                    acc[g][t] = subtract_minima::<F, _, 2>(head, &pairs[t].sums, scale, acc[g][t]);
                }
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn multiply<const T: usize, const H: usize, const I: bool>(
        &mut self,
        rows: &Rows<F, I>,
        blocks: Range<usize>,
        acts: &[&ActBlock; T],
        acc: &mut PerOutput<__m512, 1, T>,
    ) {
        // SAFETY: the level is there.
        unsafe { self.plain.multiply::<T, H, I>(rows, blocks, acts, acc) };
    }
}

/// Sums of sub-scale times weight times activation, modulo 2^32.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn dot<F: PairFormat, const G: usize, const T: usize>(
    tiles: &[Pairs<F>; G],
    pairs: &[&PairBlock; T],
) -> PerOutput<__m512i, G, T> {
    let starts: [[__m512i; G]; T] = from_fn(|t| start(tiles, pairs[t]));
    let mut sums: PerOutput<__m512i, G, T> = from_fn(|g| from_fn(|t| starts[t][g]));
    for i in 0..BLOCK / 4 {
        let weights = tiles.each_ref().map(|tile| tile.weights[i]);
        for t in 0..T {
            let (even, odd) = (broadcast(&pairs[t].q, 2 * i), broadcast(&pairs[t].q, 2 * i + 1));
            for g in 0..G {
                let factors = (_mm512_add_epi16(even, weights[g][1]), _mm512_add_epi16(odd, weights[g][0]));
                sums[g][t] = _mm512_dpwssd_epi32(sums[g][t], factors.0, factors.1);
            }
        }
    }
    sums
}

/// What is left of the sums of a token without the products of pairs.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn start<F: PairFormat, const G: usize>(tiles: &[Pairs<F>; G], pair: &PairBlock) -> [__m512i; G] {
    let start = _mm512_set1_epi32(F::CENTRE.wrapping_mul(pair.sum).wrapping_add(pair.start));
    let mut sums = tiles.each_ref().map(|tile| _mm512_add_epi32(tile.start, start));
    for (i, (&apart, &place)) in pair.apart.iter().zip(&pair.place).enumerate() {
        // Most blocks have one.
        if i > 0 && apart == 0 {
            break;
        }
        let act = _mm512_set1_epi32(apart);
        for (sum, tile) in sums.iter_mut().zip(tiles) {
            // The remainder in place of a check: there are 128 places.
            let weights = tile.weights.as_flattened()[usize::from(place) % (BLOCK / 2)];
            *sum = _mm512_dpwssd_epi32(*sum, weights, act);
        }
    }
    sums
}

/// The sums, multiplied once more for the tokens that pairs will not do for.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn mended<F: PairFormat, const G: usize, const T: usize, const H: usize>(
    tiles: &[Pairs<F>; G],
    acts: &Acts<T>,
    mut sums: PerOutput<__m512, G, T>,
) -> PerOutput<__m512, G, T> {
    for (sums, tile) in sums.iter_mut().zip(tiles) {
        for (t, sum) in sums.iter_mut().enumerate() {
            if !acts.pairs.is_some_and(|pairs| pairs[t].fits(tile.mean, tile.length)) {
                *sum = tile.plain.sum::<H>(acts.blocks[t]);
            }
        }
    }
    sums
}

/// Numbers of 16 bits in 32, twice.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn twice(v: __m512i) -> __m512i {
    _mm512_or_si512(_mm512_and_si512(v, _mm512_set1_epi32(0xffff)), _mm512_slli_epi32::<16>(v))
}
