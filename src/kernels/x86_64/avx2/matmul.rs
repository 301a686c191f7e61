//! Matrix products.

use super::tile::Tile;
use crate::kernels::scalar::lanes::{LANES, tree};
use crate::kernels::{Input, MatmulArgs, Window};
use crate::quant::{ActBlock, BLOCK, Float, Format, Plain, Precision, blocks};
use std::arch::x86_64::*;
use std::array::from_fn;

/// A block format that unpacks into tiles.
pub(super) trait Tiled: Format {
    /// What eight rows become.
    type Tile: Tile;

    /// Unpacks up to 256 weights of eight rows.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn fill(rows: &[&[Self]; 8], tile: &mut Self::Tile);
}

/// How far ahead of the row at hand weights are fetched, in bytes.
const AHEAD: usize = 2048;

/// The rows of a weight matrix.
struct Rows<'a, T> {
    weights: &'a [T],
    per_row: usize,
}

impl<'a, T: Plain> Rows<'a, T> {
    fn new(args: &MatmulArgs<'a>) -> Self {
        Rows { weights: blocks(args.weights), per_row: args.depth / T::DTYPE.block_len() }
    }

    #[inline]
    fn row(&self, row: usize) -> &'a [T] {
        &self.weights[row * self.per_row..][..self.per_row]
    }
}

/// Quantized weights times quantized activations.
///
/// # Safety
/// The CPU has the level; `args` is as [`MatmulArgs`] says.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn quantized<F: Tiled>(args: &MatmulArgs) {
    let mut row = 0;
    while row < args.rows {
        // Two tiles share the broadcasts of activations.
        let rows = (args.rows - row).min(16);
        // SAFETY: the caller's promise.
        unsafe {
            match rows {
                9.. => strip::<F, 2>(args, row, rows),
                _ => strip::<F, 1>(args, row, rows),
            }
        }
        row += rows;
    }
}

/// [`quantized`] for `count` rows, at most 8 * G.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn strip<F: Tiled, const G: usize>(args: &MatmulArgs, first: usize, count: usize) {
    let Input::Quantized(acts, precision) = args.input else { unreachable!("the caller checks the input") };
    let weights = Rows::<F>::new(args);
    // Lanes without a row compute the last one once more; nothing of them is written.
    let rows: [[&[F]; 8]; G] = from_fn(|g| from_fn(|r| weights.row(first + (8 * g + r).min(count - 1))));
    let out = Columns { window: args.out, first, count };
    let (units, per_unit) = (args.depth.div_ceil(BLOCK), BLOCK / F::DTYPE.block_len());
    let ahead = Ahead::new(weights.per_row, per_unit, size_of::<F>());

    for token in 0..args.tokens {
        // SAFETY: the caller's promise.
        unsafe { out.store(token, [_mm256_setzero_ps(); G]) };
    }
    // SAFETY: the level is there.
    let mut tiles: [F::Tile; G] = from_fn(|_| unsafe { F::Tile::new() });
    for unit in 0..units {
        for (rows, tile) in rows.iter().zip(&mut tiles) {
            let blocks = unit * per_unit..((unit + 1) * per_unit).min(weights.per_row);
            let blocks = rows.map(|row| &row[blocks.clone()]);
            ahead.fetch(unit, &blocks);
            // SAFETY: the level is there.
            unsafe { F::fill(&blocks, tile) };
        }
        let mut token = 0;
        while token < args.tokens {
            // SAFETY: the caller's promise.
            unsafe {
                if token + 2 <= args.tokens {
                    step::<F, G, 2>(&tiles, &acts[unit..], units, token, precision, &out);
                    token += 2;
                } else {
                    step::<F, G, 1>(&tiles, &acts[unit..], units, token, precision, &out);
                    token += 1;
                }
            }
        }
    }
}

/// Adds the products of tiles with T tokens to the output; the tokens' blocks are `stride` apart.
///
/// # Safety
/// As `quantized`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn step<F: Tiled, const G: usize, const T: usize>(
    tiles: &[F::Tile; G],
    acts: &[ActBlock],
    stride: usize,
    token: usize,
    precision: Precision,
    out: &Columns,
) {
    let acts: [&ActBlock; T] = from_fn(|t| &acts[(token + t) * stride]);
    // SAFETY: the caller's promise.
    unsafe {
        let loaded: [[__m256; G]; T] = from_fn(|t| out.load(token + t));
        let mut acc: [[__m256; T]; G] = from_fn(|g| from_fn(|t| loaded[t][g]));
        F::Tile::accumulate(tiles, &acts, precision, &mut acc);
        for t in 0..T {
            out.store::<G>(token + t, from_fn(|g| acc[g][t]));
        }
    }
}

/// The outputs of some neighbouring rows.
struct Columns {
    window: Window,
    first: usize,
    count: usize,
}

impl Columns {
    /// The outputs of a token, eight to a vector; 0 beyond the last.
    ///
    /// # Safety
    /// As `quantized`.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load<const G: usize>(&self, token: usize) -> [__m256; G] {
        // SAFETY: elements up to `count` are in the window, by the caller's promise.
        unsafe {
            let from = self.window.at(token, self.first);
            if self.count == 8 * G {
                return from_fn(|g| _mm256_loadu_ps(from.add(8 * g)));
            }
            let mut all = [[0.0; 8]; G];
            for i in 0..self.count.min(8 * G) {
                all[i / 8][i % 8] = *from.add(i);
            }
            from_fn(|g| _mm256_loadu_ps(all[g].as_ptr()))
        }
    }

    /// Writes what `load` reads.
    ///
    /// # Safety
    /// As `quantized`.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn store<const G: usize>(&self, token: usize, values: [__m256; G]) {
        // SAFETY: as in `load`.
        unsafe {
            let to = self.window.at(token, self.first);
            if self.count == 8 * G {
                for g in 0..G {
                    _mm256_storeu_ps(to.add(8 * g), values[g]);
                }
                return;
            }
            let mut all = [[0.0; 8]; G];
            for g in 0..G {
                _mm256_storeu_ps(all[g].as_mut_ptr(), values[g]);
            }
            for i in 0..self.count.min(8 * G) {
                *to.add(i) = all[i / 8][i % 8];
            }
        }
    }
}

/// Where the weights stand that come `AHEAD` bytes later on a walk along eight rows and then the next eight.
struct Ahead {
    unit_bytes: usize,
    /// Units from which on the row at hand ends before the distance does.
    turn: usize,
    within: usize,
    beyond: usize,
}

impl Ahead {
    fn new(per_row: usize, per_unit: usize, block_bytes: usize) -> Ahead {
        let (units, unit_bytes) = (per_row.div_ceil(per_unit), per_unit * block_bytes);
        let distance = (AHEAD / unit_bytes).clamp(1, units.max(1));
        let within = distance * unit_bytes;
        Ahead { unit_bytes, turn: units.saturating_sub(distance), within, beyond: within + 7 * per_row * block_bytes }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn fetch<B>(&self, unit: usize, rows: &[&[B]; 8]) {
        let distance = if unit < self.turn { self.within } else { self.beyond };
        for row in rows {
            for line in (0..self.unit_bytes).step_by(64) {
                let at = row.as_ptr().cast::<i8>().wrapping_add(distance + line);
                _mm_prefetch::<_MM_HINT_T0>(at);
            }
        }
    }
}

/// Float weights times f32: 16 virtual lanes are two vectors.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn float<F: Widen>(args: &MatmulArgs) {
    let mut row = 0;
    while row < args.rows {
        // SAFETY: the caller's promise.
        row += unsafe { if row + 2 <= args.rows { float_rows::<F, 2>(args, row) } else { float_rows::<F, 1>(args, row) } };
    }
}

/// [`float`] for R rows; returns R.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn float_rows<F: Widen, const R: usize>(args: &MatmulArgs, row: usize) -> usize {
    let mut token = 0;
    while token < args.tokens {
        // SAFETY: the caller's promise.
        token += unsafe {
            if token + 3 <= args.tokens {
                float_tile::<F, R, 3>(args, row, token)
            } else {
                float_tile::<F, R, 1>(args, row, token)
            }
        };
    }
    R
}

/// R rows times T tokens; returns T.
///
/// # Safety
/// As `quantized`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn float_tile<F: Widen, const R: usize, const T: usize>(args: &MatmulArgs, row: usize, token: usize) -> usize {
    let Input::Float(x) = args.input else { unreachable!("the caller checks the input") };
    let weights = Rows::<F>::new(args);
    let weights: [_; R] = from_fn(|r| weights.row(row + r).as_chunks::<LANES>());
    let x: [_; T] = from_fn(|t| x[(token + t) * args.depth..][..args.depth].as_chunks::<LANES>());

    let mut lanes = [[[_mm256_setzero_ps(); 2]; T]; R];
    for k in 0..args.depth / LANES {
        // SAFETY: each load is half of 16 floats.
        let x: [[__m256; 2]; T] = from_fn(|t| from_fn(|half| unsafe { _mm256_loadu_ps(x[t].0[k][8 * half..].as_ptr()) }));
        for (lanes, weights) in lanes.iter_mut().zip(&weights) {
            // SAFETY: the level is there.
            let weights = unsafe { F::widen(&weights.0[k]) };
            for (lanes, x) in lanes.iter_mut().zip(x) {
                *lanes = from_fn(|half| _mm256_fmadd_ps(weights[half], x[half], lanes[half]));
            }
        }
    }
    for r in 0..R {
        for t in 0..T {
            let mut sums = [0.0; LANES];
            // SAFETY: each store is half of 16 floats, and the output is the caller's promise.
            unsafe {
                _mm256_storeu_ps(sums.as_mut_ptr(), lanes[r][t][0]);
                _mm256_storeu_ps(sums[8..].as_mut_ptr(), lanes[r][t][1]);
            }
            for ((sum, w), &x) in sums.iter_mut().zip(weights[r].1).zip(x[t].1) {
                *sum = w.get().mul_add(x, *sum);
            }
            // SAFETY: the caller's promise.
            unsafe { *args.out.at(token + t, row + r) = tree(sums) };
        }
    }
    T
}

/// A float format, sixteen at a time.
pub(super) trait Widen: Float {
    /// As f32.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn widen(values: &[Self; LANES]) -> [__m256; 2];
}

/// Halves of 16 values of two bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_halves<T>(values: &[T; LANES]) -> [__m128i; 2] {
    const { assert!(size_of::<T>() == 2) };
    // SAFETY: each load is half of the array.
    from_fn(|half| unsafe { _mm_loadu_si128(values[8 * half..].as_ptr().cast()) })
}

impl Widen for crate::quant::F32 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn widen(values: &[Self; LANES]) -> [__m256; 2] {
        // SAFETY: each load is half of the array.
        from_fn(|half| unsafe { _mm256_loadu_ps(values[8 * half..].as_ptr().cast()) })
    }
}

impl Widen for crate::quant::F16 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn widen(values: &[Self; LANES]) -> [__m256; 2] {
        load_halves(values).map(|v| _mm256_cvtph_ps(v))
    }
}

impl Widen for crate::quant::BF16 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn widen(values: &[Self; LANES]) -> [__m256; 2] {
        load_halves(values).map(|v| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(v))))
    }
}
