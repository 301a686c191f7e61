//! Matrix products.

use super::lanes::Rows;
use super::tile::{InHalves, Tile, Tiled, Way};
use super::whole_tile::InOnePiece;
use crate::kernels::scalar::lanes::{LANES, tree};
use crate::kernels::{FEW_TOKENS, Input, MatmulArgs, Window};
use crate::quant::{ActBlock, BLOCK, Float, PairBlock, Precision, blocks};
use std::arch::x86_64::*;
use std::array::{self, from_fn};

/// Quantized weights times quantized activations.
///
/// # Safety
/// The CPU has the level; `args` is as [`MatmulArgs`] says.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn quantized<F: Tiled>(args: &MatmulArgs) {
    // SAFETY: the caller's promise.
    unsafe { all_rows::<F, InHalves>(args) };
}

/// [`quantized`] with activations in one piece, where they are there. Returns whether they are.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn in_one_piece<F: Tiled>(args: &MatmulArgs) -> bool
where
    InOnePiece: Way<F>,
{
    match args.input {
        Input::Quantized(_, Precision::High) if args.pairs.is_some() && args.tokens > 1 => {
            // SAFETY: the caller's promise.
            unsafe { all_rows::<F, InOnePiece>(args) };
            true
        }
        _ => false,
    }
}

/// [`quantized`] in some way.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn all_rows<F: Tiled, W: Way<F>>(args: &MatmulArgs) {
    // SAFETY: the level is there.
    let mut pair = unsafe { [W::Tile::new(), W::Tile::new()] };
    // Of many tokens, activations are read from far once for all rows; for few, weights are read in the order in which they stand.
    let together = if args.tokens > FEW_TOKENS { args.rows.max(16) } else { 16 };
    for first in (0..args.rows).step_by(together) {
        for unit in 0..args.depth.div_ceil(BLOCK) {
            let (mut row, end) = (first, args.rows.min(first + together));
            while row < end {
                // SAFETY: the caller's promise.
                row += unsafe {
                    match end - row {
                        // Two tiles share the broadcasts of activations.
                        16.. => strip::<F, W, 2, 16>(args, row, unit, &mut pair),
                        8.. => strip::<F, W, 1, 8>(args, row, unit, array::from_mut(&mut pair[0])),
                        _ => strip::<F, W, 1, 1>(args, row, unit, array::from_mut(&mut pair[0])),
                    }
                };
            }
        }
    }
}

/// [`quantized`] for some rows and the `unit`-th 256 activations: eight rows in each of G tiles, or one that fills all lanes. Returns
/// the number of rows.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn strip<F: Tiled, W: Way<F>, const G: usize, const ROWS: usize>(
    args: &MatmulArgs,
    first: usize,
    unit: usize,
    tiles: &mut [W::Tile; G],
) -> usize {
    let (per_row, per_unit) = (args.depth / F::DTYPE.block_len(), BLOCK / F::DTYPE.block_len());
    let weights = &blocks::<F>(args.weights)[first * per_row..][..ROWS * per_row];
    let rows: [Rows<F>; G] = from_fn(|g| Rows::new(&weights[8 * g * per_row..], if ROWS == 1 { 0 } else { per_row }));
    let end = ((unit + 1) * per_unit).min(per_row);
    if args.tokens > FEW_TOKENS {
        // Rows side by side are too many streams for the prefetcher of the CPU.
        weights.chunks_exact(per_row).for_each(|row| fetch(row[end..].as_ptr(), per_unit.min(per_row - end)));
    } else {
        // The next strip stands in one run.
        let (units, next) = (args.depth.div_ceil(BLOCK), weights.as_ptr_range().end);
        let part = |unit: usize| unit * weights.len() / units;
        fetch(next.wrapping_add(part(unit)), part(unit + 1) - part(unit));
    }
    for (rows, tile) in rows.iter().zip(&mut *tiles) {
        // SAFETY: the level is there.
        unsafe { W::fill(*rows, unit * per_unit..end, tile) };
    }
    // SAFETY: the caller's promise.
    unsafe { all_tokens::<W::Tile, G, ROWS>(tiles, args, first, (unit, end == per_row)) };
    ROWS
}

/// Adds the products of tiles, whose first row is given, with all tokens to the sums: those of one block, given its number and
/// whether it is the last one.
///
/// # Safety
/// As `quantized`.
// Once for all formats that become such tiles.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn all_tokens<U: Tile, const G: usize, const ROWS: usize>(
    tiles: &[U; G],
    args: &MatmulArgs,
    first: usize,
    place: (usize, bool),
) {
    let Input::Quantized(acts, precision) = args.input else { unreachable!("the caller checks the input") };
    let out = Columns::<ROWS>::new(args, first);
    let mut token = 0;
    while token < args.tokens {
        let acts = (acts.run(token, place.0), args.pairs.map_or(&[][..], |pairs| pairs.run(token, place.0)));
        // SAFETY: the caller's promise.
        token += unsafe {
            match args.tokens - token {
                4.. if U::TOKENS == 4 => step::<U, G, 4, ROWS>(tiles, acts, place, token, precision, &out),
                3.. => step::<U, G, 3, ROWS>(tiles, acts, place, token, precision, &out),
                2 => step::<U, G, 2, ROWS>(tiles, acts, place, token, precision, &out),
                _ => step::<U, G, 1, ROWS>(tiles, acts, place, token, precision, &out),
            }
        };
    }
}

/// [`all_tokens`] for T tokens, from the given one on; returns T.
///
/// # Safety
/// As `quantized`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn step<U: Tile, const G: usize, const T: usize, const ROWS: usize>(
    tiles: &[U; G],
    (acts, pairs): (&[ActBlock], &[PairBlock]),
    (unit, last): (usize, bool),
    token: usize,
    precision: Precision,
    out: &Columns<ROWS>,
) -> usize {
    let acts: [&ActBlock; T] = from_fn(|t| &acts[t]);
    let mut acc = [[_mm256_setzero_ps(); T]; G];
    // SAFETY: the caller's promise.
    unsafe {
        for t in (0..T).take_while(|_| unit > 0) {
            for (acc, loaded) in acc.iter_mut().zip(out.load::<G>(token + t)) {
                acc[t] = loaded;
            }
        }
        U::accumulate(tiles, &acts, pairs, precision, &mut acc);
        for t in 0..T {
            let acc = acc.map(|acc| acc[t]);
            if last { out.finish(token + t, acc) } else { out.store(token + t, acc) }
        }
    }
    T
}

/// The outputs of some neighbouring rows, and their sums until they are whole: eight to a vector, or one in the first lane.
struct Columns<const ROWS: usize> {
    sums: Window,
    out: Window,
    add: bool,
    first: usize,
}

impl<const ROWS: usize> Columns<ROWS> {
    fn new(args: &MatmulArgs, first: usize) -> Columns<ROWS> {
        let sums = args.sums.map_or(args.out, |sums| Window { ptr: sums.ptr, stride: args.rows });
        Columns { sums, out: args.out, add: args.add, first }
    }

    /// The sums of a token.
    ///
    /// # Safety
    /// As `quantized`.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load<const G: usize>(&self, token: usize) -> [__m256; G] {
        // SAFETY: `ROWS` elements are in the window, by the caller's promise.
        unsafe { Self::read(self.sums.at(token, self.first)) }
    }

    /// Writes what `load` reads.
    ///
    /// # Safety
    /// As `quantized`.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn store<const G: usize>(&self, token: usize, values: [__m256; G]) {
        // SAFETY: as in `load`.
        unsafe { Self::write(self.sums.at(token, self.first), values) };
    }

    /// Writes whole sums to the outputs.
    ///
    /// # Safety
    /// As `quantized`.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn finish<const G: usize>(&self, token: usize, mut values: [__m256; G]) {
        // SAFETY: as in `load`.
        unsafe {
            let to = self.out.at(token, self.first);
            if self.add {
                let before = Self::read::<G>(to);
                values = from_fn(|g| _mm256_add_ps(before[g], values[g]));
            }
            Self::write(to, values);
        }
    }

    /// Reads `ROWS` elements.
    ///
    /// # Safety
    /// They are there.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn read<const G: usize>(from: *const f32) -> [__m256; G] {
        // SAFETY: the caller's promise.
        unsafe { from_fn(|g| if ROWS == 1 { _mm256_set1_ps(*from) } else { _mm256_loadu_ps(from.add(8 * g)) }) }
    }

    /// Writes `ROWS` elements.
    ///
    /// # Safety
    /// They are there.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn write<const G: usize>(to: *mut f32, values: [__m256; G]) {
        // SAFETY: the caller's promise.
        unsafe {
            if ROWS == 1 {
                return *to = _mm256_cvtss_f32(values[0]);
            }
            for (g, values) in values.into_iter().enumerate() {
                _mm256_storeu_ps(to.add(8 * g), values);
            }
        }
    }
}

/// Fetches so many blocks.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn fetch<B>(from: *const B, blocks: usize) {
    for at in (0..blocks * size_of::<B>()).step_by(64) {
        _mm_prefetch::<_MM_HINT_T1>(from.cast::<i8>().wrapping_add(at));
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
    let weights = blocks::<F>(args.weights);
    let weights: [_; R] = from_fn(|r| weights[(row + r) * args.depth..][..args.depth].as_chunks::<LANES>());
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
