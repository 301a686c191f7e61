//! Blocks of 32 weights: two of them at a time, each into sums of its own.

use super::group::Group;
use super::tiles::{Config, Factor, Operands, Products, Tiles};
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

/// What the sums of two blocks are multiplied with.
#[derive(Clone, Copy)]
pub(super) struct Numbers {
    scales: [__m512; 2],
    mins: [__m512; 2],
    /// Which ones.
    first: usize,
    /// Whether the second one is there.
    both: bool,
}

impl<const MINS: bool> Group for Small<MINS> {
    const CONFIG: &'static Config = &const { Config::new(32) };
    const PARTS: usize = 1;
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
        self.count.div_ceil(2)
    }

    #[inline]
    fn numbers(&self, step: usize) -> Numbers {
        let first = 2 * step % 8;
        let [scales, mins] = [&self.scales, &self.mins].map(|all| [all[first], all[first + 1]]);
        Numbers { scales, mins, first, both: first + 1 < self.count }
    }

    #[inline]
    unsafe fn multiply<const N: usize, const PART: usize>(
        &self,
        step: usize,
        tiles: &Tiles,
        acts: Operands,
        before: &mut Products,
    ) {
        let block = 2 * step + N / 2;
        // SAFETY: the caller's promise; there are eight blocks of 32 activations.
        unsafe {
            let factor = self.weights.0.as_ptr().add(8 * block);
            tiles.multiply::<N, 1, 1, 1>(Operands { first: acts.first.add(32 * block), ..acts }, factor, before);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn add<const H: usize>(numbers: &Numbers, sums: [[__m512i; H]; 2], act: &ActBlock, mut acc: __m512) -> __m512 {
        let scale = _mm512_set1_ps(act.scale);
        let of_acts = if MINS { sums_of_32::<H>(act) } else { [0; 8] };
        for block in 0..2 {
            if block == 0 || numbers.both {
                let total = sums[block].into_iter().reduce(|high, low| _mm512_add_epi32(_mm512_slli_epi32::<8>(high), low));
                let total = total.unwrap_or(_mm512_setzero_si512());
                let sum = broadcast(&of_acts, numbers.first + block);
                acc = finish::<MINS>(total, sum, numbers.scales[block], numbers.mins[block], scale, acc);
            }
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
        let rows = super::matmul::rows::<F, I>(args, row, unit);
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
