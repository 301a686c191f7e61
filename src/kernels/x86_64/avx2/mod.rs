//! AVX2 + FMA + F16C: the same bits as scalar, eight lanes at a time.
//!
//! The functions are safe inside this level; entering it through the table is what needs the CPU check.

mod elementwise;

use crate::kernels::Kernels;

/// Replaces what this level improves.
pub(in crate::kernels) fn overlay(kernels: &mut Kernels) {
    kernels.add = elementwise::add;
    kernels.narrow = elementwise::narrow;
}
