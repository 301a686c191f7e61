//! Eight rows of weights, 256 deep, side by side: 32-bit lane r of every vector belongs to row r.
//!
//! A tile is unpacked once and multiplied with any number of tokens. Activations are broadcast, so partial sums stay in
//! their lanes: integers are never summed across a vector, and the f32 steps of eight rows are single instructions.

use super::lanes::{Rows, broadcast};
use crate::quant::{ActBlock, BLOCK, Format, PairBlock, Precision};
use std::arch::x86_64::*;
use std::array::{self, from_fn};
use std::ops::Range;

/// Lane r of vector v: weights `4 * v..4 * v + 4` of row r.
pub(super) type Weights = [__m256i; BLOCK / 4];

/// Eight rows of weights and how they multiply.
pub(super) trait Tile: Sized {
    /// Tokens that are multiplied together, at most: 3 or 4.
    const TOKENS: usize = 3;

    /// An empty tile.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn new() -> Self;

    /// Has to be called when weights and scales are in place.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn filled(&mut self) {}

    /// Adds the products of G tiles and T blocks of activations, which may be there in one piece, too, by the operations of the
    /// numerics definition.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn accumulate<const G: usize, const T: usize>(
        tiles: &[Self; G],
        acts: &[&ActBlock; T],
        pairs: &[PairBlock],
        precision: Precision,
        acc: &mut [[__m256; T]; G],
    );
}

/// A block format that unpacks into tiles.
pub(super) trait Tiled: Format {
    /// What eight rows become.
    type Tile: Tile;

    /// Unpacks blocks of eight rows, up to 256 weights each.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn fill(rows: Rows<Self>, blocks: Range<usize>, tile: &mut Self::Tile);
}

/// What weights become for a way of multiplying.
pub(super) trait Way<F> {
    /// What eight rows become.
    type Tile: Tile;

    /// Unpacks blocks of eight rows, up to 256 weights each.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn fill(rows: Rows<F>, blocks: Range<usize>, tile: &mut Self::Tile);
}

/// The way of every format: activations in halves.
pub(super) struct InHalves;

impl<F: Tiled> Way<F> for InHalves {
    type Tile = F::Tile;

    // Once for all ways and numbers of rows.
    #[inline(never)]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<F>, blocks: Range<usize>, tile: &mut F::Tile) {
        // SAFETY: the caller's promise.
        unsafe {
            F::fill(rows, blocks, tile);
            tile.filled();
        }
    }
}

/// Eight super-blocks whose weights are bytes of few bits, with a sub-scale per `SUB` weights.
///
/// Byte products take one factor without a sign: weights that have none, or the activation plus 128 where weights are
/// `SIGNED`. `STEP` vectors of products fit i16 before the sub-scale multiplies them: `2 * STEP * max|weight| * 128 < 2^15`,
/// or with 255 in place of 128.
pub(super) struct Bytes<const SUB: usize, const STEP: usize, const SIGNED: bool, const MINS: bool> {
    pub weights: Weights,
    /// Twice the sub-scale of each sub-block, as i16; formats with 8 sub-blocks leave the rest.
    pub scales: [__m256i; 16],
    /// Sub-minima number `2 * j` and `2 * j + 1` of 16 weights, as i16. Of eight sub-minima the bytes, four to a lane, in
    /// the first two.
    pub pairs: [__m256i; 8],
    pub d: __m256,
    pub dmin: __m256,
    /// Where sums of signed weights start: the products of the 128 in every activation, with the other sign.
    start: __m256i,
}

/// Activations plus 128.
#[repr(align(32))]
struct Unsigned([u8; BLOCK]);

impl Unsigned {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn new(acts: &[i8; BLOCK]) -> Unsigned {
        Unsigned(acts.map(|act| act as u8 ^ 0x80))
    }
}

impl<const SUB: usize, const STEP: usize, const SIGNED: bool, const MINS: bool> Bytes<SUB, STEP, SIGNED, MINS> {
    /// Sums of sub-scale times weight times activation.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn dot<const G: usize, const T: usize>(tiles: &[Self; G], acts: [&[i8; BLOCK]; T]) -> [[__m256i; T]; G] {
        if !SIGNED {
            return Self::dot_bytes(tiles, acts);
        }
        let acts: [Unsigned; T] = from_fn(|t| Unsigned::new(acts[t]));
        Self::dot_bytes(tiles, from_fn(|t| &acts[t].0))
    }

    /// The same of activations as products take them.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn dot_bytes<A: Copy, const G: usize, const T: usize>(tiles: &[Self; G], acts: [&[A; BLOCK]; T]) -> [[__m256i; T]; G] {
        let mut total: [[__m256i; T]; G] = from_fn(|g| [if SIGNED { tiles[g].start } else { _mm256_setzero_si256() }; T]);
        for sub in 0..BLOCK / SUB {
            for at in (sub * SUB / 4..(sub + 1) * SUB / 4).step_by(STEP) {
                let mut part = [[_mm256_setzero_si256(); T]; G];
                for v in at..at + STEP {
                    for t in 0..T {
                        let act = broadcast(acts[t], v);
                        for g in 0..G {
                            let weights = tiles[g].weights[v];
                            let (unsigned, signed) = if SIGNED { (act, weights) } else { (weights, act) };
                            part[g][t] = _mm256_add_epi16(part[g][t], _mm256_maddubs_epi16(unsigned, signed));
                        }
                    }
                }
                for g in 0..G {
                    for t in 0..T {
                        let scaled = _mm256_madd_epi16(part[g][t], tiles[g].scales[sub]);
                        total[g][t] = _mm256_add_epi32(total[g][t], scaled);
                    }
                }
            }
        }
        total
    }

    /// The same, from the halves of activations.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub fn sums<const G: usize, const T: usize>(
        tiles: &[Self; G],
        acts: &[&ActBlock; T],
        precision: Precision,
    ) -> [[__m256; T]; G] {
        let high = Self::dot(tiles, acts.map(|act| &act.hi));
        match precision {
            Precision::High => combine(high, Self::dot(tiles, acts.map(|act| &act.lo))),
            Precision::Fast => high.map(|row| row.map(|high| _mm256_cvtepi32_ps(high))),
        }
    }

    /// The sums less those of minima, `dmin` and the scale of the activations being their factors.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub fn subtract(&self, minima: __m256i, scale: __m256, acc: __m256) -> __m256 {
        _mm256_fnmadd_ps(_mm256_mul_ps(self.dmin, scale), _mm256_cvtepi32_ps(minima), acc)
    }

    /// Sums of eight sub-minima times the sums of 32 activations, which are digits to the base 256.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub fn dot_minima<const D: usize>(&self, digits: &[[i8; BLOCK / 32]; D]) -> __m256i {
        let mut total = _mm256_setzero_si256();
        for digits in digits {
            // Sums of four products fit 16 bits: minima have six bits, and 4 * 63 * 128 < 2^15.
            let [low, high] = [0, 1].map(|i| _mm256_maddubs_epi16(self.pairs[i], broadcast(digits, i)));
            let sums = _mm256_madd_epi16(_mm256_add_epi16(low, high), _mm256_set1_epi16(1));
            total = _mm256_add_epi32(_mm256_slli_epi32::<8>(total), sums);
        }
        total
    }

    /// Sums of `pairs` times the sums of 16 activations.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn dot_sums(&self, sums: &[i16; BLOCK / 16]) -> __m256i {
        let mut total = _mm256_setzero_si256();
        for (j, &pair) in self.pairs.iter().enumerate() {
            total = _mm256_add_epi32(total, _mm256_madd_epi16(pair, broadcast(sums, j)));
        }
        total
    }
}

impl<const SUB: usize, const STEP: usize, const SIGNED: bool, const MINS: bool> Tile for Bytes<SUB, STEP, SIGNED, MINS> {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn new() -> Self {
        let (zero, none) = (_mm256_setzero_si256(), _mm256_setzero_ps());
        Bytes { weights: [zero; 64], scales: [zero; 16], pairs: [zero; 8], d: none, dmin: none, start: zero }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn filled(&mut self) {
        if SIGNED {
            self.start = _mm256_setzero_si256();
            let [[sum]] = Self::dot(array::from_ref(self), [&[0; BLOCK]]);
            self.start = _mm256_sub_epi32(self.start, sum);
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn accumulate<const G: usize, const T: usize>(
        tiles: &[Self; G],
        acts: &[&ActBlock; T],
        _: &[PairBlock],
        precision: Precision,
        acc: &mut [[__m256; T]; G],
    ) {
        let sums = Self::sums(tiles, acts, precision);
        for (g, tile) in tiles.iter().enumerate() {
            for t in 0..T {
                let scale = _mm256_set1_ps(acts[t].scale);
                let acc = &mut acc[g][t];
                *acc = _mm256_fmadd_ps(_mm256_mul_ps(tile.d, scale), sums[g][t], *acc);
                if MINS {
                    let m = match (SUB, precision) {
                        (32, Precision::High) => tile.dot_minima(&acts[t].sums),
                        // Fewer digits hold the sums of one half.
                        (32, Precision::Fast) => tile.dot_minima(acts[t].half_sums()),
                        (_, Precision::High) => {
                            let high = _mm256_slli_epi32::<8>(tile.dot_sums(&acts[t].hi_sum));
                            _mm256_add_epi32(high, tile.dot_sums(&acts[t].lo_sum))
                        }
                        (_, Precision::Fast) => tile.dot_sums(&acts[t].hi_sum),
                    };
                    *acc = tile.subtract(m, scale, *acc);
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
        let mut parts = [[[_mm256_setzero_si256(); T]; G]; 8];
        dot_words(tiles.each_ref().map(|tile| &tile.weights), acts, &mut parts);
        for (sub, part) in parts.iter().enumerate() {
            for g in 0..G {
                for t in 0..T {
                    let scaled = _mm256_mullo_epi32(part[g][t], tiles[g].scales[sub]);
                    total[g][t] = _mm256_add_epi32(total[g][t], scaled);
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
        _: &[PairBlock],
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
        _: &[PairBlock],
        precision: Precision,
        acc: &mut [[__m256; T]; G],
    ) {
        let widened = acts.map(|act| match precision {
            Precision::High => Widened::both(&act.hi, &act.lo),
            Precision::Fast => Widened::one(&act.hi),
        });
        let mut parts = [[[_mm256_setzero_si256(); T]; G]; 8];
        let parts = &mut parts[..tiles[0].blocks];
        dot_words(tiles.each_ref().map(|tile| &tile.weights), &widened, parts);
        for (block, part) in parts.iter().enumerate() {
            let sums = acts.map(|act| match precision {
                Precision::High => sum_of_32(&act.sums, block),
                Precision::Fast => sum_of_32(act.half_sums(), block),
            });
            Self::add(tiles.each_ref(), block, part, acts.map(|act| act.scale), sums, acc);
        }
    }
}

impl<const MINS: bool> Small<MINS> {
    /// Adds the products of a block, given the scales and the sums of the activations.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub fn add<const G: usize, const T: usize>(
        tiles: [&Self; G],
        block: usize,
        products: &[[__m256i; T]; G],
        scales: [f32; T],
        sums: [i32; T],
        acc: &mut [[__m256; T]; G],
    ) {
        for t in 0..T {
            let (scale, sum) = (_mm256_set1_ps(scales[t]), _mm256_set1_ps(sums[t] as f32));
            for g in 0..G {
                let (tile, acc) = (tiles[g], &mut acc[g][t]);
                *acc = _mm256_fmadd_ps(_mm256_mul_ps(tile.d[block], scale), _mm256_cvtepi32_ps(products[g][t]), *acc);
                if MINS {
                    *acc = _mm256_fmadd_ps(_mm256_mul_ps(tile.min[block], scale), sum, *acc);
                }
            }
        }
    }
}

/// The sum of the `index`-th 32 activations from its digits.
#[inline]
pub(super) fn sum_of_32<const D: usize>(digits: &[[i8; BLOCK / 32]; D], index: usize) -> i32 {
    digits.iter().fold(0, |sum, digits| 256 * sum + i32::from(digits[index]))
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
        let mut widened = Widened { even: [_mm256_setzero_si256(); 8], odd: [_mm256_setzero_si256(); 8] };
        for i in 0..8 {
            let bytes = load(bytes, i);
            (widened.even[i], widened.odd[i]) = (even(bytes), odd(bytes));
        }
        widened
    }

    /// `256 * hi + lo`.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn both(hi: &[i8; BLOCK], lo: &[i8; BLOCK]) -> Widened {
        let mut widened = Widened::one(lo);
        for i in 0..8 {
            let hi = load(hi, i);
            widened.even[i] = _mm256_add_epi16(widened.even[i], _mm256_slli_epi16::<8>(hi));
            let upper = _mm256_and_si256(hi, _mm256_set1_epi16(-256));
            widened.odd[i] = _mm256_add_epi16(widened.odd[i], upper);
        }
        widened
    }
}

/// The `index`-th 32 bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load(bytes: &[i8; BLOCK], index: usize) -> __m256i {
    let bytes = &bytes.as_chunks::<32>().0[index];
    // SAFETY: the load is the 32 bytes of the array.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Signed bytes 0, 2, 4 ... as i16.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn even(bytes: __m256i) -> __m256i {
    _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes))
}

/// Signed bytes 1, 3, 5 ... as i16.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn odd(bytes: __m256i) -> __m256i {
    _mm256_srai_epi16::<8>(bytes)
}

/// Products of every 32 weights. Sums of 16-bit products do not saturate, whatever the bytes: `32 * 128 * 32640 < 2^31`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot_words<const G: usize, const T: usize>(weights: [&Weights; G], acts: &[Widened; T], parts: &mut [[[__m256i; T]; G]]) {
    for (sub, part) in parts.iter_mut().enumerate() {
        let mut total = [[_mm256_setzero_si256(); T]; G];
        for v in 8 * sub..8 * sub + 8 {
            for t in 0..T {
                let (act_even, act_odd) = (broadcast(&acts[t].even, v), broadcast(&acts[t].odd, v));
                for g in 0..G {
                    let products = _mm256_madd_epi16(even(weights[g][v]), act_even);
                    total[g][t] = _mm256_add_epi32(total[g][t], products);
                    let products = _mm256_madd_epi16(odd(weights[g][v]), act_odd);
                    total[g][t] = _mm256_add_epi32(total[g][t], products);
                }
            }
        }
        *part = total;
    }
}

/// `256 * high + low`, each rounded to f32 before and the result once more.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn combine<const G: usize, const T: usize>(high: [[__m256i; T]; G], low: [[__m256i; T]; G]) -> [[__m256; T]; G] {
    let mut f = [[_mm256_setzero_ps(); T]; G];
    for g in 0..G {
        for t in 0..T {
            let (high, low) = (_mm256_cvtepi32_ps(high[g][t]), _mm256_cvtepi32_ps(low[g][t]));
            f[g][t] = _mm256_fmadd_ps(high, _mm256_set1_ps(256.0), low);
        }
    }
    f
}
