//! Matrix products.

use super::lanes::{Rows, widen_f16};
use super::multiply::Multiply;
use super::tile::Tile;
use crate::kernels::scalar::lanes::{LANES, tree};
use crate::kernels::{Input, MatmulArgs, Window};
use crate::quant::{ActBlock, BLOCK, Float, Format, Precision, blocks};
use std::arch::aarch64::*;
use std::arch::asm;
use std::array::from_fn;
use std::ops::Range;

/// A block format that unpacks into tiles.
pub(super) trait Tiled: Format {
    /// What four rows become.
    type Tile: Tile;

    /// Unpacks blocks of four rows, up to 256 weights each.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn fill(rows: Rows<Self>, blocks: Range<usize>, tile: &mut Self::Tile);
}

/// Quantized weights times quantized activations.
///
/// # Safety
/// The CPU has the level of `M`; `args` is as [`MatmulArgs`] says.
#[target_feature(enable = "neon")]
pub(super) unsafe fn quantized<F: Tiled, M: Multiply>(args: &MatmulArgs) {
    let mut row = 0;
    while row < args.rows {
        // SAFETY: the caller's promise.
        row += unsafe {
            match args.rows - row {
                // Two tiles share the loads of activations.
                8.. => strip::<F, M, 2, 8>(args, row),
                4.. => strip::<F, M, 1, 4>(args, row),
                _ => strip::<F, M, 1, 1>(args, row),
            }
        };
    }
}

/// [`quantized`] for some rows: four in each of G tiles, or one row that fills all lanes. Returns their number.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "neon")]
unsafe fn strip<F: Tiled, M: Multiply, const G: usize, const ROWS: usize>(args: &MatmulArgs, first: usize) -> usize {
    let Input::Quantized(acts, precision) = args.input else { unreachable!("the caller checks the input") };
    let (per_row, per_unit) = (args.depth / F::DTYPE.block_len(), BLOCK / F::DTYPE.block_len());
    let weights = &blocks::<F>(args.weights)[first * per_row..][..ROWS * per_row];
    let rows: [Rows<F>; G] = from_fn(|g| Rows::new(&weights[4 * g * per_row..], if ROWS == 1 { 0 } else { per_row }));
    let out = Columns::<ROWS> { window: args.out, first };
    let units = args.depth.div_ceil(BLOCK);

    for token in 0..args.tokens {
        // SAFETY: the caller's promise.
        unsafe { out.store(token, [vdupq_n_f32(0.0); G]) };
    }
    // SAFETY: the level is there.
    let mut tiles: [F::Tile; G] = from_fn(|_| unsafe { F::Tile::new() });
    for unit in 0..units {
        fetch_next(weights, unit, units);
        for (rows, tile) in rows.iter().zip(&mut tiles) {
            // SAFETY: the level is there.
            unsafe { F::fill(*rows, unit * per_unit..((unit + 1) * per_unit).min(per_row), tile) };
        }
        let step = Step { tiles: &tiles, acts: acts.run(0, unit), out: &out };
        let mut token = 0;
        while token < args.tokens {
            // As many rows of bytes as there are registers for: four where two share one, else two.
            // SAFETY: the caller's promise.
            token += unsafe {
                match (precision, args.tokens - token) {
                    (Precision::High, 2..) if const { M::SHARE == 2 } => step.run::<M, 2, 4>(token),
                    (Precision::High, _) => step.run::<M, 1, 2>(token),
                    (Precision::Fast, 4..) if const { M::SHARE == 2 } => step.run::<M, 4, 4>(token),
                    (Precision::Fast, 2..) => step.run::<M, 2, 2>(token),
                    (Precision::Fast, _) => step.run::<M, 1, 1>(token),
                }
            };
        }
    }
    ROWS
}

/// Tiles, and what they multiply.
struct Step<'a, T, const G: usize, const ROWS: usize> {
    tiles: &'a [T; G],
    /// The blocks of all tokens.
    acts: &'a [ActBlock],
    out: &'a Columns<ROWS>,
}

impl<U: Tile, const G: usize, const ROWS: usize> Step<'_, U, G, ROWS> {
    /// Adds the products with T tokens, of R rows of bytes, to the output. Returns T.
    ///
    /// # Safety
    /// As `quantized`.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn run<M: Multiply, const T: usize, const R: usize>(&self, token: usize) -> usize {
        let acts: [&ActBlock; T] = from_fn(|t| &self.acts[token + t]);
        let mut acc = [[vdupq_n_f32(0.0); T]; G];
        // SAFETY: the caller's promise.
        unsafe {
            for t in 0..T {
                for (acc, loaded) in acc.iter_mut().zip(self.out.load::<G>(token + t)) {
                    acc[t] = loaded;
                }
            }
            U::accumulate::<M, G, T, R>(self.tiles, &acts, &mut acc);
            for t in 0..T {
                self.out.store(token + t, acc.map(|acc| acc[t]));
            }
        }
        T
    }
}

/// The outputs of some neighbouring rows: four to a vector, or one in the first lane.
struct Columns<const ROWS: usize> {
    window: Window,
    first: usize,
}

impl<const ROWS: usize> Columns<ROWS> {
    /// The outputs of a token.
    ///
    /// # Safety
    /// As `quantized`.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load<const G: usize>(&self, token: usize) -> [float32x4_t; G] {
        // SAFETY: `ROWS` elements are in the window, by the caller's promise.
        unsafe {
            let from = self.window.at(token, self.first);
            from_fn(|g| if ROWS == 1 { vdupq_n_f32(*from) } else { vld1q_f32(from.add(4 * g)) })
        }
    }

    /// Writes what `load` reads.
    ///
    /// # Safety
    /// As `quantized`.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn store<const G: usize>(&self, token: usize, values: [float32x4_t; G]) {
        // SAFETY: as in `load`.
        unsafe {
            let to = self.window.at(token, self.first);
            if ROWS == 1 {
                *to = vgetq_lane_f32::<0>(values[0]);
                return;
            }
            for (g, values) in values.into_iter().enumerate() {
                vst1q_f32(to.add(4 * g), values);
            }
        }
    }
}

/// Fetches the `part`-th of `parts` of the bytes that follow these. Rows side by side are too many streams for the
/// prefetcher of the CPU, but those of the next strip stand in one run.
#[inline]
fn fetch_next<B>(strip: &[B], part: usize, parts: usize) {
    let (len, next) = (size_of_val(strip), strip.as_ptr_range().end.cast::<u8>());
    for line in (part * len / parts / 64)..((part + 1) * len / parts / 64) {
        let line = next.wrapping_add(64 * line);
        // SAFETY: a hint, which never faults, whatever the address.
        unsafe { asm!("prfm pldl2keep, [{line}]", line = in(reg) line, options(readonly, nostack, preserves_flags)) };
    }
}

/// Float weights times f32: 16 virtual lanes are four vectors.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "neon")]
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
#[target_feature(enable = "neon")]
unsafe fn float_rows<F: Widen, const R: usize>(args: &MatmulArgs, row: usize) -> usize {
    let mut token = 0;
    while token < args.tokens {
        // SAFETY: the caller's promise.
        token += unsafe {
            if token + 2 <= args.tokens {
                float_tile::<F, R, 2>(args, row, token)
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
#[target_feature(enable = "neon")]
unsafe fn float_tile<F: Widen, const R: usize, const T: usize>(args: &MatmulArgs, row: usize, token: usize) -> usize {
    let Input::Float(x) = args.input else { unreachable!("the caller checks the input") };
    let weights = blocks::<F>(args.weights);
    let weights: [_; R] = from_fn(|r| weights[(row + r) * args.depth..][..args.depth].as_chunks::<LANES>());
    let x: [_; T] = from_fn(|t| x[(token + t) * args.depth..][..args.depth].as_chunks::<LANES>());

    let mut lanes = [[[vdupq_n_f32(0.0); 4]; T]; R];
    for k in 0..args.depth / LANES {
        // SAFETY: each load is a quarter of 16 floats.
        let x: [[float32x4_t; 4]; T] = from_fn(|t| from_fn(|i| unsafe { vld1q_f32(x[t].0[k][4 * i..].as_ptr()) }));
        for (lanes, weights) in lanes.iter_mut().zip(&weights) {
            // SAFETY: the level is there.
            let weights = unsafe { F::widen(&weights.0[k]) };
            for (lanes, x) in lanes.iter_mut().zip(x) {
                *lanes = from_fn(|i| vfmaq_f32(lanes[i], weights[i], x[i]));
            }
        }
    }
    for r in 0..R {
        for t in 0..T {
            let mut sums = [0.0; LANES];
            for (sums, lanes) in sums.as_chunks_mut::<4>().0.iter_mut().zip(lanes[r][t]) {
                // SAFETY: the store is the four floats of the array.
                unsafe { vst1q_f32(sums.as_mut_ptr(), lanes) };
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
    unsafe fn widen(values: &[Self; LANES]) -> [float32x4_t; 4];
}

/// Quarters of 16 values of two bytes.
#[inline]
#[target_feature(enable = "neon")]
fn load_quarters<T>(values: &[T; LANES]) -> [uint16x4_t; 4] {
    const { assert!(size_of::<T>() == 2) };
    // SAFETY: each load is a quarter of the array.
    from_fn(|i| unsafe { vreinterpret_u16_u8(vld1_u8(values[4 * i..].as_ptr().cast())) })
}

impl Widen for crate::quant::F32 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn widen(values: &[Self; LANES]) -> [float32x4_t; 4] {
        // SAFETY: each load is a quarter of the array.
        from_fn(|i| unsafe { vreinterpretq_f32_u8(vld1q_u8(values[4 * i..].as_ptr().cast())) })
    }
}

impl Widen for crate::quant::F16 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn widen(values: &[Self; LANES]) -> [float32x4_t; 4] {
        load_quarters(values).map(|v| widen_f16(v))
    }
}

impl Widen for crate::quant::BF16 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn widen(values: &[Self; LANES]) -> [float32x4_t; 4] {
        load_quarters(values).map(|v| vreinterpretq_f32_u32(vshll_n_u16::<16>(v)))
    }
}
