//! Blocks of 32 weights: four of them at a time, each into sums of its own.

use super::group::Group;
use super::tiles::{Config, Factor, Operands, Sums, Tiles};
use crate::kernels::MatmulArgs;
use crate::kernels::x86_64::avx512::lanes::broadcast;
use crate::kernels::x86_64::avx512::small_tile::{SmallFormat, finish, sums_of_32};
use crate::quant::{ActBlock, BLOCK};
use std::arch::x86_64::*;

/// Up to eight blocks of sixteen rows, which have minima if MINS.
pub(super) struct Small<const MINS: bool> {
    /// With a sign.
    weights: Factor,
    scales: [__m512; 8],
    mins: [__m512; 8],
    count: usize,
}

/// What the sums of four blocks are multiplied with.
#[derive(Clone, Copy)]
pub(super) struct Numbers {
    scales: [__m512; 4],
    mins: [__m512; 4],
    /// Which ones.
    first: usize,
    /// How many of them are there, or more.
    count: usize,
}

impl<const MINS: bool> Group for Small<MINS> {
    const CONFIG: &'static Config = &const { Config::new(32) };
    const PARTS: usize = 2;
    const APART: bool = true;
    const FACTORS: usize = 2;

    type Numbers = Numbers;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn new() -> Self {
        let none = [_mm512_setzero_ps(); 8];
        Small { weights: Factor::ZERO, scales: none, mins: none, count: 0 }
    }

    #[inline]
    fn steps(&self) -> usize {
        self.count.div_ceil(4)
    }

    #[inline]
    fn numbers(&self, step: usize) -> Numbers {
        let [scales, mins] = [&self.scales, &self.mins].map(|all| all.as_chunks().0[step % 2]);
        Numbers { scales, mins, first: 4 * step, count: self.count - 4 * step }
    }

    #[inline]
    unsafe fn multiply<const N: usize, const PART: usize>(&self, step: usize, tiles: &Tiles, acts: Operands, due: &mut Sums) {
        let block = 4 * step + 2 * PART + N / 2;
        // SAFETY: the caller's promise; there are eight blocks of 32 activations.
        unsafe {
            let factor = self.weights.0.as_ptr().add(8 * block);
            tiles.multiply::<N, 0, 1, 1, 1>(Operands { first: acts.first.add(32 * block), ..acts }, factor, due);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn add<const H: usize>(numbers: &Numbers, sums: [[__m512i; H]; 4], act: &ActBlock, mut acc: __m512) -> __m512 {
        let scale = _mm512_set1_ps(act.scale);
        let of_acts = if MINS { sums_of_32::<H>(act) } else { [0; 8] };
        let add = |block: usize| {
            let total = sums[block].into_iter().reduce(|high, low| _mm512_add_epi32(_mm512_slli_epi32::<8>(high), low));
            let total = total.unwrap_or(_mm512_setzero_si512());
            let sum = broadcast(&of_acts, numbers.first + block);
            acc = finish::<MINS>(total, sum, numbers.scales[block], numbers.mins[block], scale, acc);
        };
        match numbers.count {
            count @ ..4 => (0..count).for_each(add),
            _ => (0..4).for_each(add),
        }
        acc
    }
}

impl<const MINS: bool> Small<MINS> {
    /// See [`Fill`].
    ///
    /// [`Fill`]: super::group::Fill
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub unsafe fn fill<F: SmallFormat, const I: bool>(&mut self, args: &MatmulArgs, row: usize, unit: usize) {
        const { assert!(F::MINS == MINS) };
        let rows = super::matmul::rows::<F, I>(args, row);
        let (first, end) = (unit * (BLOCK / 32), args.depth / 32);
        self.count = (end - first).min(BLOCK / 32);
        let offset = _mm512_set1_epi8(F::OFFSET as i8);
        for (i, to) in self.weights.0.as_chunks_mut::<8>().0.iter_mut().enumerate().take(self.count) {
            // SAFETY: the level is there.
            let numbers = unsafe { F::numbers(&rows.column(first + i)) };
            for (to, &weights) in to.iter_mut().zip(numbers.weights.as_flattened()) {
                // SAFETY: the store is the 64 bytes of the array.
                unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), _mm512_sub_epi8(weights, offset)) };
            }
            (self.scales[i], self.mins[i]) = (numbers.scale, numbers.min);
        }
    }
}
