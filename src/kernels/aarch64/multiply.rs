//! The instructions that multiply bytes, one way per level.

use crate::quant::BLOCK;
use std::arch::aarch64::*;
use std::arch::asm;

/// A way to multiply 16 weights of two rows, as `tile` lays them out, with activations.
pub(super) trait Multiply: 'static {
    /// Rows of activations that share an operand.
    const SHARE: usize;

    /// The `chunk`-th 16 activations of R rows as operands: number n holds rows from `n * SHARE` on.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn operands<const R: usize>(rows: &[&[i8; BLOCK]; R], chunk: usize) -> [[int8x16_t; 2]; R];

    /// Adds the products. Two lanes of the sums belong to each row of weights. Weights beyond +-63 must be `WIDE`.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn add<const WIDE: bool>(sums: int32x4_t, weights: [int8x16_t; 2], operand: [int8x16_t; 2]) -> int32x4_t;

    /// Sums for two pairs of rows of weights and each operand become those for four rows and each row of activations.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn split<const R: usize>(sums: [[int32x4_t; 2]; R]) -> [int32x4_t; R];
}

/// NEON: products of bytes are 16 bits wide, neighbours are added.
pub(super) struct Bytes;
/// The dot product of four bytes.
pub(super) struct Dot;
/// Products of matrices of 2 x 8 bytes: two rows of activations at a time.
pub(super) struct Matrix;

/// The `chunk`-th 16 bytes.
#[inline]
#[target_feature(enable = "neon")]
fn load(bytes: &[i8; BLOCK], chunk: usize) -> int8x16_t {
    let bytes = &bytes.as_chunks::<16>().0[chunk];
    // SAFETY: the load is the 16 bytes of the array.
    unsafe { vld1q_s8(bytes.as_ptr()) }
}

/// Both halves of 16 activations, twice each: one for each of two rows of weights.
#[inline]
#[target_feature(enable = "neon")]
fn doubled<const R: usize>(rows: &[&[i8; BLOCK]; R], chunk: usize) -> [[int8x16_t; 2]; R] {
    rows.map(|row| {
        let row = vreinterpretq_s64_s8(load(row, chunk));
        [vdupq_laneq_s64::<0>(row), vdupq_laneq_s64::<1>(row)].map(|half| vreinterpretq_s8_s64(half))
    })
}

/// Adds the two lanes of each row.
#[inline]
#[target_feature(enable = "neon")]
fn joined<const R: usize>(sums: [[int32x4_t; 2]; R]) -> [int32x4_t; R] {
    sums.map(|[first, second]| vpaddq_s32(first, second))
}

/// Defines an instruction that adds products of bytes to lanes of 32 bits. Its extension is named to the assembler rather
/// than to the compiler, so that functions of all levels inline into each other.
macro_rules! instruction {
    ($(#[$doc:meta])* $name:ident, $extension:literal) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// The CPU has the extension.
        #[inline]
        #[target_feature(enable = "neon")]
        unsafe fn $name(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
            // SAFETY: arithmetic on registers, of an extension that the caller vouches for.
            unsafe {
                asm!(
                    concat!(".arch_extension ", $extension),
                    concat!(stringify!($name), " {sums:v}.4s, {a:v}.16b, {b:v}.16b"),
                    sums = inout(vreg) sums,
                    a = in(vreg) a,
                    b = in(vreg) b,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            sums
        }
    };
}
instruction! {
    /// Lane i: the product of bytes `4 * i..4 * i + 4`.
    sdot, "dotprod"
}
instruction! {
    /// The product of two matrices of 2 x 8 bytes, the second one transposed.
    smmla, "i8mm"
}

impl Multiply for Bytes {
    const SHARE: usize = 1;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn operands<const R: usize>(rows: &[&[i8; BLOCK]; R], chunk: usize) -> [[int8x16_t; 2]; R] {
        doubled(rows, chunk)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn add<const WIDE: bool>(sums: int32x4_t, weights: [int8x16_t; 2], operand: [int8x16_t; 2]) -> int32x4_t {
        let low = vmull_s8(vget_low_s8(weights[0]), vget_low_s8(operand[0]));
        let high = vmull_high_s8(weights[0], operand[0]);
        if WIDE {
            let low_next = vmull_s8(vget_low_s8(weights[1]), vget_low_s8(operand[1]));
            let high_next = vmull_high_s8(weights[1], operand[1]);
            let low = vpadalq_s16(vpaddlq_s16(low), low_next);
            let high = vpadalq_s16(vpaddlq_s16(high), high_next);
            return vaddq_s32(sums, vpaddq_s32(low, high));
        }
        // Four products in a lane: 4 * 63 * 128 < 2^15.
        let low = vmlal_s8(low, vget_low_s8(weights[1]), vget_low_s8(operand[1]));
        let high = vmlal_high_s8(high, weights[1], operand[1]);
        vpadalq_s16(sums, vpaddq_s16(low, high))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn split<const R: usize>(sums: [[int32x4_t; 2]; R]) -> [int32x4_t; R] {
        joined(sums)
    }
}

impl Multiply for Dot {
    const SHARE: usize = 1;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn operands<const R: usize>(rows: &[&[i8; BLOCK]; R], chunk: usize) -> [[int8x16_t; 2]; R] {
        doubled(rows, chunk)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn add<const WIDE: bool>(sums: int32x4_t, weights: [int8x16_t; 2], operand: [int8x16_t; 2]) -> int32x4_t {
        // SAFETY: the caller's promise.
        unsafe { sdot(sdot(sums, weights[0], operand[0]), weights[1], operand[1]) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn split<const R: usize>(sums: [[int32x4_t; 2]; R]) -> [int32x4_t; R] {
        joined(sums)
    }
}

impl Multiply for Matrix {
    const SHARE: usize = 2;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn operands<const R: usize>(rows: &[&[i8; BLOCK]; R], chunk: usize) -> [[int8x16_t; 2]; R] {
        let mut operands = [[vdupq_n_s8(0); 2]; R];
        for n in 0..R.div_ceil(2) {
            // A row without a partner is its own.
            let (first, second) = (load(rows[2 * n], chunk), load(rows[(2 * n + 1).min(R - 1)], chunk));
            let [first, second] = [vreinterpretq_s64_s8(first), vreinterpretq_s64_s8(second)];
            operands[n] = [vzip1q_s64(first, second), vzip2q_s64(first, second)].map(|half| vreinterpretq_s8_s64(half));
        }
        operands
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn add<const WIDE: bool>(sums: int32x4_t, weights: [int8x16_t; 2], operand: [int8x16_t; 2]) -> int32x4_t {
        // SAFETY: the caller's promise.
        unsafe { smmla(smmla(sums, weights[0], operand[0]), weights[1], operand[1]) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn split<const R: usize>(sums: [[int32x4_t; 2]; R]) -> [int32x4_t; R] {
        std::array::from_fn(|row| {
            let [first, second] = sums[row / 2];
            if row % 2 == 0 { vuzp1q_s32(first, second) } else { vuzp2q_s32(first, second) }
        })
    }
}
