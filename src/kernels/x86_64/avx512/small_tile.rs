//! Blocks of 32 weights.

use super::lanes::{Column, Rows, Run, broadcast};
use super::tile::{Acts, PerOutput, Tile, add_products, half_sums, zero};
use crate::kernels::rows::in_memory;
use crate::quant::{ActBlock, BLOCK, Format};
use std::arch::x86_64::*;
use std::array::from_fn;
use std::marker::PhantomData;
use std::ops::Range;

/// A format of blocks of 32.
pub(in crate::kernels::x86_64) trait SmallFormat: Format {
    /// Added to weights to make them unsigned.
    const OFFSET: i32;

    /// Unpacks blocks.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn numbers<const I: bool>(column: &Column<Self, I>) -> Numbers;

    /// Adds the products of a token with eight blocks, if that is faster for all of them than for one after the other. Returns whether
    /// it is.
    ///
    /// # Safety
    /// The CPU has the level.
    #[inline]
    unsafe fn multiply_eight<const H: usize>(_: &Column<[Self; 8], false>, _: &ActBlock, _: &mut __m512) -> bool {
        false
    }
}

/// Sixteen unpacked blocks.
#[derive(Clone, Copy)]
pub(in crate::kernels::x86_64) struct Numbers {
    /// 16 weights each.
    pub weights: [Run; 2],
    pub scale: __m512,
    /// Formats without offset leave it.
    pub min: __m512,
}

/// Up to eight blocks of sixteen rows.
pub(in crate::kernels::x86_64) struct Small<F> {
    blocks: [Numbers; 8],
    count: usize,
    format: PhantomData<F>,
}

impl<F: SmallFormat> Tile<F> for Small<F> {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn new() -> Self {
        let none = _mm512_setzero_ps();
        let block = Numbers { weights: [[_mm512_setzero_si512(); 4]; 2], scale: none, min: none };
        Small { blocks: [block; 8], count: 0, format: PhantomData }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn fill<const I: bool>(&mut self, rows: &Rows<F, I>, blocks: Range<usize>) {
        self.count = blocks.len();
        for (numbers, block) in self.blocks.iter_mut().zip(blocks) {
            // SAFETY: the level is there.
            *numbers = unsafe { F::numbers(&rows.column(block)) };
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn accumulate<const G: usize, const T: usize, const H: usize>(
        tiles: &[Self; G],
        acts: &Acts<T>,
        acc: &mut PerOutput<__m512, G, T>,
    ) {
        let acts = &acts.blocks();
        let sums = acts.map(|act| of_acts::<F, H>(act));
        let sums = in_memory(&sums);
        for part in 0..tiles[0].count {
            add::<F, G, T, H>(tiles.each_ref().map(|tile| &tile.blocks[part]), acts, sums, part, acc);
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
        if let ([act], true) = (&acts[..], blocks.len() == 8) {
            // SAFETY: the level is there.
            if rows.columns(blocks.start).is_some_and(|column| unsafe { F::multiply_eight::<H>(&column, act, &mut acc[0][0]) }) {
                return;
            }
        }
        let sums = acts.map(|act| of_acts::<F, H>(act));
        let sums = in_memory(&sums);
        for (part, block) in blocks.enumerate() {
            // SAFETY: the level is there.
            let numbers = unsafe { F::numbers(&rows.column(block)) };
            add::<F, 1, T, H>([&numbers], acts, sums, part, acc);
        }
    }
}

/// Adds the products with the `part`-th 32 activations; `sums` are those of `of_acts`.
///
/// The two halves of the activations need not stay apart here: H and L are below 2^24, so `fma(H, 256, L)` is the
/// rounded `256 * H + L`, and that fits i32.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn add<F: SmallFormat, const G: usize, const T: usize, const H: usize>(
    blocks: [&Numbers; G],
    acts: &[&ActBlock; T],
    sums: &[[i32; 8]; T],
    part: usize,
    acc: &mut PerOutput<__m512, G, T>,
) {
    let [mut totals, mut others] = [zero::<G, T, H>(); 2];
    let sums: [__m512i; T] = from_fn(|t| broadcast(&sums[t], part));
    if !F::MINS {
        totals.iter_mut().for_each(|totals| totals.iter_mut().zip(sums).for_each(|(total, sum)| total[H - 1] = sum));
    }
    for run in 0..2 {
        // With a single sum there is nothing else to do while products of the first run are added up.
        let totals = if G * T == 1 && run == 1 { &mut others } else { &mut totals };
        add_products(blocks.map(|block| &block.weights[run]), acts, 2 * part + run, totals);
    }
    for t in 0..T {
        let scale = _mm512_set1_ps(acts[t].scale);
        for g in 0..G {
            let halves = totals[g][t].into_iter().zip(others[g][t]).map(|(a, b)| _mm512_add_epi32(a, b));
            let total = halves.reduce(|high, low| _mm512_add_epi32(_mm512_slli_epi32::<8>(high), low));
            let total = total.unwrap_or(_mm512_setzero_si512());
            let Numbers { scale: step, min, .. } = *blocks[g];
            acc[g][t] = match F::MINS {
                true => finish::<true>(total, sums[t], step, min, scale, acc[g][t]),
                false => finish::<false>(total, sums[t], step, min, scale, acc[g][t]),
            };
        }
    }
}

/// Adds the products of a block to the outputs: their sum, and that of the activations, each times its scales.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(in crate::kernels::x86_64) fn finish<const MINS: bool>(
    total: __m512i,
    sum: __m512i,
    scale: __m512,
    min: __m512,
    act_scale: __m512,
    acc: __m512,
) -> __m512 {
    let acc = _mm512_fmadd_ps(_mm512_mul_ps(scale, act_scale), _mm512_cvtepi32_ps(total), acc);
    if MINS { _mm512_fmadd_ps(_mm512_mul_ps(min, act_scale), _mm512_cvtepi32_ps(sum), acc) } else { acc }
}

/// What comes of the activations alone for each 32 of them: their sum for formats with minima; for others what sums of products
/// begin with, which is what offsets of weights add with the opposite sign.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn of_acts<F: SmallFormat, const H: usize>(act: &ActBlock) -> [i32; 8] {
    let sums = sums_of_32::<H>(act);
    if F::MINS { sums } else { sums.map(|sum| -F::OFFSET * sum) }
}

/// Sums of 32 activations.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(in crate::kernels::x86_64) fn sums_of_32<const H: usize>(act: &ActBlock) -> [i32; 8] {
    let halves: [__m256i; H] = from_fn(|h| {
        // SAFETY: the load is the 16 numbers of the array.
        let sums = unsafe { _mm256_loadu_si256(half_sums(act, h).as_ptr().cast()) };
        _mm256_madd_epi16(sums, _mm256_set1_epi16(1))
    });
    let total = halves.into_iter().reduce(|high, low| _mm256_add_epi32(_mm256_slli_epi32::<8>(high), low));
    let mut sums = [0; BLOCK / 32];
    if let Some(total) = total {
        // SAFETY: the store is the eight numbers of the array.
        unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), total) };
    }
    sums
}
