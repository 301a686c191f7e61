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
use super::pair_step;
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
        let plain = unsafe { Super::new() };
        Pairs { weights: [[none; 2]; BLOCK / 4], start: none, mean: 0.0, length: 0.0, plain }
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
        let pairs = &acts.pairs();
        let mut sums = dot(tiles, pairs).map(|sums| sums.map(|sum| _mm512_cvtepi32_ps(sum)));
        if !fit(tiles, pairs) {
            sums = mended::<F, G, T, H>(tiles, acts, sums);
        }
        for t in 0..T {
            let scale = _mm512_set1_ps(pairs[t].scale);
            for g in 0..G {
                let head = &tiles[g].plain.head;
                acc[g][t] = _mm512_fmadd_ps(_mm512_mul_ps(head.d, scale), sums[g][t], acc[g][t]);
                if F::SUB_MINS > 0 {
                    acc[g][t] = subtract_minima(&head.mins, &pairs[t].sums, _mm512_mul_ps(head.dmin, scale), acc[g][t]);
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

/// Whether pairs will do for all of these products.
#[inline]
fn fit<F, const G: usize, const T: usize>(tiles: &[Pairs<F>; G], pairs: &[&PairBlock; T]) -> bool {
    // Not `f32::max`: nothing is NaN.
    let greater = |a: f32, b: f32| if a > b { a } else { b };
    let most = |value: fn(&Pairs<F>) -> f32| tiles.iter().map(value).fold(0.0, greater);
    let worst = |value: fn(&PairBlock) -> f32| pairs.iter().map(|pair| value(pair)).fold(0.0, greater);
    PairBlock::fits(worst(|pair| pair.shift), worst(|pair| pair.length), most(|tile| tile.mean), most(|tile| tile.length))
}

/// Sums of sub-scale times weight times activation, modulo 2^32.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn dot<F: PairFormat, const G: usize, const T: usize>(
    tiles: &[Pairs<F>; G],
    pairs: &[&PairBlock; T],
) -> PerOutput<__m512i, G, T> {
    let starts: [[__m512i; G]; T] = from_fn(|t| start(tiles, pairs[t], plainly(t)));
    let mut sums: PerOutput<__m512i, G, T> = from_fn(|g| from_fn(|t| starts[t][g]));
    for i in 0..BLOCK / 4 {
        let weights = tiles.each_ref().map(|tile| tile.weights[i]);
        for t in 0..T {
            let acts = &pairs[t].q;
            if G == 2 {
                let add = if plainly(t) { pair_step::plainly } else { pair_step::by_pairs };
                let added = add(from_fn(|g| sums[g][t]), (acts, i), from_fn(|g| weights[g]));
                (0..G).for_each(|g| sums[g][t] = added[g]);
                continue;
            }
            let (even, odd) = (broadcast(acts, 2 * i), broadcast(acts, 2 * i + 1));
            for g in 0..G {
                let [a, b] = weights[g];
                sums[g][t] = if plainly(t) {
                    _mm512_dpwssd_epi32(_mm512_dpwssd_epi32(sums[g][t], even, a), odd, b)
                } else {
                    _mm512_dpwssd_epi32(sums[g][t], _mm512_add_epi16(even, b), _mm512_add_epi16(odd, a))
                };
            }
        }
    }
    sums
}

/// Whether a token of a step is multiplied without pairs: every third is. The processors that pairs are for then multiply in
/// every cycle, and have less to add.
fn plainly(token: usize) -> bool {
    token % 3 == 2
}

/// What is left of the sums of a token without the products of activations and weights, or of pairs.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn start<F: PairFormat, const G: usize>(tiles: &[Pairs<F>; G], pair: &PairBlock, plainly: bool) -> [__m512i; G] {
    let centre = F::CENTRE.wrapping_mul(pair.sum);
    let mut sums = match plainly {
        true => [_mm512_set1_epi32(centre); G],
        false => tiles.each_ref().map(|tile| _mm512_add_epi32(tile.start, _mm512_set1_epi32(centre.wrapping_add(pair.start)))),
    };
    for i in 0..PairBlock::APART {
        // Most blocks have one or two.
        if i > 1 && pair.apart[i] == 0 {
            break;
        }
        let act = broadcast(&pair.apart, i);
        for (sum, tile) in sums.iter_mut().zip(tiles) {
            // The remainder in place of a check: there are 128 places.
            let weights = tile.weights.as_flattened()[usize::from(pair.place[i]) % (BLOCK / 2)];
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
    let (pairs, blocks) = (acts.pairs(), acts.blocks());
    for t in 0..T {
        if !fit(tiles, &[pairs[t]]) {
            for g in 0..G {
                sums[g][t] = tiles[g].plain.sum::<H>(blocks[t]);
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
