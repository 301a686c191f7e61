//! One token times blocks of a scale and sixteen bytes of 4-bit numbers, eight of each row at a time: nine runs of bytes, where eight
//! blocks one by one are eight, and as many for their scales.

use super::lanes::{Column, Run, f16, high_f16, low_f16, turn};
use super::small_tile::{Numbers, SmallFormat, add, of_acts};
use crate::kernels::rows::in_memory;
use crate::quant::ActBlock;
use std::arch::x86_64::*;

/// A format of such blocks.
pub(super) trait Nibbles: SmallFormat {
    /// Weights by their numbers: of low halves of bytes, then of high ones.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn weights(run: Run) -> [Run; 2];
}

/// Unpacks blocks.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn numbers<F: Nibbles, const I: bool>(column: &Column<F, I>) -> Numbers {
    // SAFETY: the level is there.
    Numbers::scaled(unsafe { F::weights(turn(column, 2)) }, f16(column, 0))
}

/// Adds the products.
///
/// # Safety
/// The CPU has the level.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn multiply<F: Nibbles, const H: usize>(column: &Column<[F; 8], false>, act: &ActBlock, acc: &mut __m512) {
    const { assert!(size_of::<[F; 8]>() == 9 * 16 && !F::MINS) };
    let (rotated, sums) = (rotated::<H>(act), of_acts::<F, H>(act));
    let (acts, sums) = ([in_memory(&rotated), act], in_memory(&sums));
    let run = turn(column, 0);
    // SAFETY: the level is there.
    unsafe {
        let run = two::<F, H, 0>(run, column, acts, sums, acc);
        let run = two::<F, H, 1>(run, column, acts, sums, acc);
        let run = two::<F, H, 2>(run, column, acts, sums, acc);
        two::<F, H, 3>(run, column, acts, sums, acc);
    }
}

/// The same with the M-th two blocks, which begin in the run that is given. Returns the one in which they end.
///
/// # Safety
/// The CPU has the level.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn two<F: Nibbles, const H: usize, const M: usize>(
    run: Run,
    column: &Column<[F; 8], false>,
    acts: [&ActBlock; 2],
    sums: &[i32; 8],
    acc: &mut __m512,
) -> Run {
    let runs = [run, turn(column, 16 * (2 * M + 1)), turn(column, 16 * (2 * M + 2))];
    let [d0, q0, q1, q2, last, q3, q4, q5, q6] = *runs.as_flattened()[M..].first_chunk().expect("M is at most 3");
    // The first block begins with its scale and ends before that of the second, each half a lane. Its last two bytes take
    // the place before the first two, and so do activations.
    let first = _mm512_mask_blend_epi16(0xaaaa_aaaa, last, d0);
    // SAFETY: the level is there.
    let weights = unsafe { [F::weights([first, q0, q1, q2]), F::weights([q3, q4, q5, q6])] };
    let scales = [low_f16(d0), high_f16(last)];
    for i in 0..2 {
        let mut sum = [[*acc]];
        add::<F, 1, 1, H>([&Numbers::scaled(weights[i], scales[i])], &[acts[i]], &[*sums], 2 * M + i, &mut sum);
        *acc = sum[0][0];
    }
    runs[2]
}

/// Activations of which the last two of each sixteen stand before the others.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn rotated<const H: usize>(act: &ActBlock) -> ActBlock {
    let mut rotated = ActBlock { scale: act.scale, ..ActBlock::ZERO };
    for (to, from) in [(&mut rotated.hi, &act.hi), (&mut rotated.lo, &act.lo)].into_iter().take(H) {
        for (to, from) in to.as_chunks_mut::<64>().0.iter_mut().zip(from.as_chunks::<64>().0) {
            // SAFETY: the load and the store are the 64 bytes of the arrays.
            unsafe {
                let from = _mm512_loadu_si512(from.as_ptr().cast());
                _mm512_storeu_si512(to.as_mut_ptr().cast(), _mm512_alignr_epi8::<14>(from, from));
            }
        }
    }
    rotated
}
