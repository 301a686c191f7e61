//! Matrix products.

use super::lanes::Rows;
use super::pair_tile::{PairFormat, Pairs};
use super::small_tile::Small;
use super::super_tile::Super;
use super::tile::{Acts, Tile, Tiled};
use crate::kernels::scalar::lanes::{LANES, tree};
use crate::kernels::{FEW_TOKENS, Input, MatmulArgs, Window, rows};
use crate::quant::{self, ActBlock, BLOCK, Batch, Float, PairBlock, Plain, Precision, blocks};
use std::arch::x86_64::*;
use std::array::{self, from_fn};

macro_rules! tiled {
    ($($tile:ident: $($name:ident)*;)*) => {
        $($(impl Tiled for quant::$name {
            type Tile = $tile<quant::$name>;
        })*)*
    };
}
tiled! {
    Small: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL MXFP4;
    Super: Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K IQ4_XS TQ1_0 TQ2_0;
}

/// Quantized weights, which may be interleaved, times quantized activations.
///
/// # Safety
/// The CPU has the level; `args` is as [`MatmulArgs`] says.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(in crate::kernels::x86_64) unsafe fn quantized<F: Tiled, const I: bool>(args: &MatmulArgs) {
    // SAFETY: the caller's promise.
    unsafe {
        match args.input {
            Input::Quantized(acts, Precision::High) => all_rows::<F, F::Tile, 2, I>(args, acts),
            Input::Quantized(acts, Precision::Fast) => all_rows::<F, F::Tile, 1, I>(args, acts),
            Input::Float(_) => unreachable!("the caller checks the input"),
        }
    }
}

/// [`quantized`] for few tokens, reading rows far apart. Returns whether tokens are few, and rows enough.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(in crate::kernels::x86_64) unsafe fn far_apart<F: Tiled>(args: &MatmulArgs) -> bool {
    if args.tokens > FEW_TOKENS || args.rows < 16 {
        return false;
    }
    // SAFETY: the level is there.
    let mut tile = unsafe { F::Tile::new() };
    for rows in rows::far_apart(args.rows, 16, args.weights.len() / args.rows) {
        // SAFETY: the caller's promise.
        unsafe {
            match args.input {
                Input::Quantized(acts, Precision::High) => few::<F, F::Tile, 2, false>(args, acts, rows, &mut tile),
                Input::Quantized(acts, Precision::Fast) => few::<F, F::Tile, 1, false>(args, acts, rows, &mut tile),
                Input::Float(_) => unreachable!("the caller checks the input"),
            }
        }
    }
    true
}

/// [`quantized`] by pairs, where there are some. Returns whether there are.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn by_pairs<F: PairFormat, const I: bool>(args: &MatmulArgs) -> bool {
    match args.input {
        Input::Quantized(acts, Precision::High) if args.pairs.is_some() && args.rows >= 16 && args.tokens > 1 => {
            // SAFETY: the caller's promise.
            unsafe { all_rows::<F, Pairs<F>, 2, I>(args, acts) };
            true
        }
        _ => false,
    }
}

/// [`quantized`] with H halves of activations.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn all_rows<F: Plain, U: Tile<F>, const H: usize, const I: bool>(args: &MatmulArgs, acts: Batch) {
    let mut row = 0;
    if !I && args.rows < 16 {
        // SAFETY: the level is there.
        let mut tile = [unsafe { U::new() }];
        while row < args.rows {
            // SAFETY: the caller's promise.
            row += unsafe { strip::<F, U, H, 1, 1, false>(args, acts, row, &mut tile) };
        }
        return;
    }
    if args.tokens <= FEW_TOKENS {
        // SAFETY: the level is there.
        let mut tile = unsafe { U::new() };
        while row < args.rows {
            // SAFETY: the caller's promise.
            unsafe { few::<F, U, H, I>(args, acts, (row.min(args.rows - 16), 1), &mut tile) };
            row += 16;
        }
        return;
    }
    // SAFETY: the level is there.
    let mut pair = [unsafe { U::new() }, unsafe { U::new() }];
    while row < args.rows {
        // SAFETY: the caller's promise.
        row += unsafe {
            match args.rows - row {
                // Two tiles share the broadcasts of activations.
                32.. => strip::<F, U, H, 2, 32, I>(args, acts, row, &mut pair),
                // Some rows twice is less work than one by one.
                _ => strip::<F, U, H, 1, 16, I>(args, acts, row.min(args.rows - 16), array::from_mut(&mut pair[0])),
            }
        };
    }
}

/// [`quantized`] for few tokens and sixteen rows, given the first and how far they are apart: what is unpacked is multiplied at once.
/// Nothing is added to outputs: `Kernels::matmul` asks it of many tokens alone.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn few<F: Plain, U: Tile<F>, const H: usize, const I: bool>(
    args: &MatmulArgs,
    acts: Batch,
    rows: (usize, usize),
    tile: &mut U,
) {
    let mut token = 0;
    while token < args.tokens {
        // SAFETY: the caller's promise.
        token += unsafe {
            match args.tokens - token {
                4.. => strip_at_once::<F, U, 4, H, I>(args, acts, rows, token, tile),
                2.. => strip_at_once::<F, U, 2, H, I>(args, acts, rows, token, tile),
                _ => strip_at_once::<F, U, 1, H, I>(args, acts, rows, token, tile),
            }
        };
    }
}

/// [`few`] for T tokens; returns T.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn strip_at_once<F: Plain, U: Tile<F>, const T: usize, const H: usize, const I: bool>(
    args: &MatmulArgs,
    acts: Batch,
    (first, apart): (usize, usize),
    token: usize,
    tile: &mut U,
) -> usize {
    let (per_row, per_unit) = (args.depth / F::DTYPE.block_len(), BLOCK / F::DTYPE.block_len());
    let weights = &blocks::<F>(args.weights)[first * per_row..][..(15 * apart + 1) * per_row];
    let rows = Rows::<F, I>::new(weights, apart * per_row, (apart == 1).then_some(weights.as_ptr_range().end));
    let mut acc = [[_mm512_setzero_ps(); T]];
    for unit in 0..args.depth.div_ceil(BLOCK) {
        let acts = acts.run(token, unit);
        let blocks = unit * per_unit..((unit + 1) * per_unit).min(per_row);
        // SAFETY: the level is there.
        unsafe { tile.multiply::<T, H, I>(&rows, blocks, &from_fn(|t| &acts[t]), &mut acc) };
    }
    for (t, acc) in acc[0].into_iter().enumerate() {
        let mut each = [0.0; 16];
        // SAFETY: the store is the array; the caller vouches for the rest.
        unsafe {
            _mm512_storeu_ps(each.as_mut_ptr(), acc);
            each.into_iter().enumerate().for_each(|(i, value)| *args.out.at(token + t, first + i * apart) = value);
        }
    }
    T
}

/// [`quantized`] for some rows: sixteen in each of G tiles, or one row that fills all lanes. Returns their number.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn strip<F: Plain, U: Tile<F>, const H: usize, const G: usize, const ROWS: usize, const I: bool>(
    args: &MatmulArgs,
    acts: Batch,
    first: usize,
    tiles: &mut [U; G],
) -> usize {
    let (per_row, per_unit) = (args.depth / F::DTYPE.block_len(), BLOCK / F::DTYPE.block_len());
    let weights = &blocks::<F>(args.weights)[first * per_row..][..ROWS * per_row];
    // With many tokens there is time enough to fetch the next blocks of these very rows, which are too many streams for the
    // prefetcher of the CPU; else it is best to fetch the next rows, which stand in one run.
    let many = args.tokens >= FETCHED_TOKENS;
    let rows: [Rows<F, I>; G] = from_fn(|g| {
        let these = &weights[16 * g * per_row..];
        let next = these.as_ptr().wrapping_add(if many { 0 } else { ROWS * per_row });
        Rows::new(these, if ROWS == 1 { 0 } else { per_row }, Some(next))
    });
    let out = Columns::<ROWS>::new(args, first);
    let units = args.depth.div_ceil(BLOCK);
    for unit in 0..units {
        if many && !I {
            let next = (unit + 1) * per_unit;
            weights.chunks_exact(per_row).for_each(|row| fetch(&row[next.min(per_row)..(next + per_unit).min(per_row)]));
        }
        for (rows, tile) in rows.iter().zip(&mut *tiles) {
            // SAFETY: the level is there.
            unsafe { tile.fill(rows, unit * per_unit..((unit + 1) * per_unit).min(per_row)) };
        }
        let mut token = 0;
        while token < args.tokens {
            let acts = (acts.run(token, unit), args.pairs.map_or(&[][..], |pairs| pairs.run(token, unit)));
            let place = (unit, unit + 1 == units);
            // SAFETY: the caller's promise.
            token += unsafe {
                match args.tokens - token {
                    6.. if H == 1 || U::MANY => step::<F, U, H, G, 6, ROWS>(tiles, acts, place, token, &out),
                    3.. => step::<F, U, H, G, 3, ROWS>(tiles, acts, place, token, &out),
                    2 => step::<F, U, H, G, 2, ROWS>(tiles, acts, place, token, &out),
                    _ => step::<F, U, H, G, 1, ROWS>(tiles, acts, place, token, &out),
                }
            };
        }
    }
    ROWS
}

/// Adds the products of tiles with T tokens, from the given one on, to the sums: those of one block, given its number and whether it
/// is the last one. Returns T.
///
/// # Safety
/// As `quantized`.
#[inline(never)]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn step<F: Plain, U: Tile<F>, const H: usize, const G: usize, const T: usize, const ROWS: usize>(
    tiles: &[U; G],
    (blocks, pairs): (&[ActBlock], &[PairBlock]),
    (unit, last): (usize, bool),
    token: usize,
    out: &Columns<ROWS>,
) -> usize {
    let acts = Acts { blocks, pairs };
    let mut acc = [[_mm512_setzero_ps(); T]; G];
    // SAFETY: the caller's promise.
    unsafe {
        for t in (0..T).take_while(|_| unit > 0) {
            for (acc, loaded) in acc.iter_mut().zip(out.load::<G>(token + t)) {
                acc[t] = loaded;
            }
        }
        if last {
            (T..2 * T).for_each(|t| out.fetch::<G>(token + t));
        }
        U::accumulate::<G, T, H>(tiles, &acts, &mut acc);
        for t in 0..T {
            let acc = acc.map(|acc| acc[t]);
            if last { out.finish(token + t, acc) } else { out.store(token + t, acc) }
        }
    }
    T
}

/// The outputs of some neighbouring rows, and their sums until they are whole: sixteen to a vector, or one in the first lane.
struct Columns<const ROWS: usize> {
    sums: Window,
    out: Window,
    add: bool,
    first: usize,
}

impl<const ROWS: usize> Columns<ROWS> {
    fn new(args: &MatmulArgs, first: usize) -> Columns<ROWS> {
        Columns {
            sums: args.sums.map_or(args.out, |sums| Window { ptr: sums.ptr, stride: args.rows }),
            out: args.out,
            add: args.add,
            first,
        }
    }

    /// The sums of a token.
    ///
    /// # Safety
    /// As `quantized`.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn load<const G: usize>(&self, token: usize) -> [__m512; G] {
        // SAFETY: `ROWS` elements are in the window, by the caller's promise.
        unsafe { Self::read(self.sums.at(token, self.first)) }
    }

    /// Writes what `load` reads.
    ///
    /// # Safety
    /// As `quantized`.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn store<const G: usize>(&self, token: usize, values: [__m512; G]) {
        // SAFETY: as in `load`.
        unsafe { Self::write(self.sums.at(token, self.first), values) };
    }

    /// Writes whole sums to the outputs.
    ///
    /// # Safety
    /// As `quantized`.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn finish<const G: usize>(&self, token: usize, values: [__m512; G]) {
        // SAFETY: as in `load`.
        unsafe {
            let to = self.out.at(token, self.first);
            if self.add {
                let before = Self::read::<G>(to);
                return Self::write::<G>(to, from_fn(|g| _mm512_add_ps(before[g], values[g])));
            }
            Self::write(to, values);
        }
    }

    /// Fetches the outputs of a token that will soon be whole.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn fetch<const G: usize>(&self, token: usize) {
        for g in 0..G {
            let place = self.out.ptr.wrapping_add(token * self.out.stride + self.first + 16 * g);
            _mm_prefetch::<_MM_HINT_T0>(place.cast());
        }
    }

    /// Reads `ROWS` elements.
    ///
    /// # Safety
    /// They are there.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn read<const G: usize>(from: *const f32) -> [__m512; G] {
        // SAFETY: the caller's promise.
        unsafe { from_fn(|g| if ROWS == 1 { _mm512_set1_ps(*from) } else { _mm512_loadu_ps(from.add(16 * g)) }) }
    }

    /// Writes `ROWS` elements.
    ///
    /// # Safety
    /// They are there.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn write<const G: usize>(to: *mut f32, values: [__m512; G]) {
        // SAFETY: the caller's promise.
        unsafe {
            if ROWS == 1 {
                return *to = _mm512_cvtss_f32(values[0]);
            }
            for (g, values) in values.into_iter().enumerate() {
                _mm512_storeu_ps(to.add(16 * g), values);
            }
        }
    }
}

/// What many tokens are where blocks are fetched.
const FETCHED_TOKENS: usize = 16;

/// Fetches blocks into the second cache.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn fetch<B>(blocks: &[B]) {
    for line in 0..size_of_val(blocks).div_ceil(64) {
        _mm_prefetch::<_MM_HINT_T1>(blocks.as_ptr().cast::<i8>().wrapping_add(64 * line));
    }
}

/// Float weights times f32: the 16 virtual lanes are one vector.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn float<F: Widen>(args: &MatmulArgs) {
    let mut row = 0;
    while row < args.rows {
        // SAFETY: the caller's promise.
        row += unsafe { if row + 4 <= args.rows { float_rows::<F, 4>(args, row) } else { float_rows::<F, 1>(args, row) } };
    }
}

/// [`float`] for R rows; returns R.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn float_rows<F: Widen, const R: usize>(args: &MatmulArgs, row: usize) -> usize {
    let mut token = 0;
    while token < args.tokens {
        // SAFETY: the caller's promise.
        token += unsafe {
            if token + 4 <= args.tokens {
                float_tile::<F, R, 4>(args, row, token)
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
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn float_tile<F: Widen, const R: usize, const T: usize>(args: &MatmulArgs, row: usize, token: usize) -> usize {
    let Input::Float(x) = args.input else { unreachable!("the caller checks the input") };
    let weights = blocks::<F>(args.weights);
    let weights: [_; R] = from_fn(|r| weights[(row + r) * args.depth..][..args.depth].as_chunks::<LANES>());
    let x: [_; T] = from_fn(|t| x[(token + t) * args.depth..][..args.depth].as_chunks::<LANES>());

    let mut lanes = [[_mm512_setzero_ps(); T]; R];
    for k in 0..args.depth / LANES {
        // SAFETY: each load is 16 floats.
        let x: [__m512; T] = from_fn(|t| unsafe { _mm512_loadu_ps(x[t].0[k].as_ptr()) });
        for (lanes, weights) in lanes.iter_mut().zip(&weights) {
            // SAFETY: the level is there.
            let weights = unsafe { F::widen(&weights.0[k]) };
            for (lanes, x) in lanes.iter_mut().zip(x) {
                *lanes = _mm512_fmadd_ps(weights, x, *lanes);
            }
        }
    }
    for r in 0..R {
        for t in 0..T {
            let mut sums = [0.0; LANES];
            // SAFETY: the store is 16 floats.
            unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), lanes[r][t]) };
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
    unsafe fn widen(values: &[Self; LANES]) -> __m512;
}

impl Widen for quant::F32 {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn widen(values: &[Self; LANES]) -> __m512 {
        // SAFETY: the load is the array.
        unsafe { _mm512_loadu_ps(values.as_ptr().cast()) }
    }
}

impl Widen for quant::F16 {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn widen(values: &[Self; LANES]) -> __m512 {
        // SAFETY: the load is the array.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(values.as_ptr().cast()) })
    }
}

impl Widen for quant::BF16 {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn widen(values: &[Self; LANES]) -> __m512 {
        // SAFETY: the load is the array.
        let values = unsafe { _mm256_loadu_si256(values.as_ptr().cast()) };
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(values)))
    }
}
