//! Blocks of 32 weights: two of them at a time, each into sums of its own.

use super::group::Group;
use super::tiles::{Config, Factor, Pair, Sums, Tiles};
use crate::kernels::x86_64::avx512::lanes::{Rows, broadcast};
use crate::kernels::x86_64::avx512::small_tile::{SmallFormat, finish, sums_of_32};
use crate::quant::ActBlock;
use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::ops::Range;

/// Up to eight blocks of sixteen rows.
pub(super) struct Small<F> {
    /// With a sign.
    weights: Factor,
    scales: [__m512; 8],
    mins: [__m512; 8],
    count: usize,
    format: PhantomData<F>,
}

impl<F: SmallFormat> Group for Small<F> {
    type Block = F;

    const CONFIG: &'static Config = &const { Config::new(32) };

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn new() -> Self {
        let none = [_mm512_setzero_ps(); 8];
        Small { weights: Factor::ZERO, scales: none, mins: none, count: 0, format: PhantomData }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn fill<const I: bool>(&mut self, rows: &Rows<F, I>, blocks: Range<usize>) {
        self.count = blocks.len();
        let offset = _mm512_set1_epi8(F::OFFSET as i8);
        for (i, (block, to)) in blocks.zip(self.weights.0.as_chunks_mut::<8>().0).enumerate() {
            // SAFETY: the level is there.
            let numbers = unsafe { F::numbers(&rows.column(block)) };
            for (to, &weights) in to.iter_mut().zip(numbers.weights.as_flattened()) {
                // SAFETY: the store is the 64 bytes of the array.
                unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), _mm512_sub_epi8(weights, offset)) };
            }
            (self.scales[i], self.mins[i]) = (numbers.scale, numbers.min);
        }
    }

    #[inline]
    fn steps(&self) -> usize {
        self.count.div_ceil(2)
    }

    #[inline]
    unsafe fn multiply<const H: usize>(&self, step: usize, tiles: &Tiles, acts: *const i8, stride: usize, sums: &mut Pair<H>) {
        let weights = self.weights.0[16 * step..][..16].as_ptr();
        // SAFETY: the caller's promise; there are four steps of 64 activations.
        unsafe { tiles.multiply_apart(acts.add(64 * step), stride, weights.cast(), sums) };
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn add<const H: usize>(&self, step: usize, sums: &Pair<H>, token: usize, act: &ActBlock, mut acc: __m512) -> __m512 {
        let scale = _mm512_set1_ps(act.scale);
        let of_acts = if F::MINS { sums_of_32::<H>(act) } else { [0; 8] };
        let mut add = |part: usize, halves: &[Sums; H]| {
            let mut total = halves[0].of(token);
            if H == 2 {
                total = _mm512_add_epi32(_mm512_slli_epi32::<8>(total), halves[H - 1].of(token));
            }
            acc = finish::<F>(total, broadcast(&of_acts, part), self.scales[part], self.mins[part], scale, acc);
        };
        // Spelled out, because as a loop it would remain one.
        let part = 2 * step % 8;
        add(part, &sums[0]);
        if part + 1 < self.count {
            add(part + 1, &sums[1]);
        }
        acc
    }
}
