//! One token times super-blocks that stand row by row: as in AVX2. What counts is how memory is read, and eight rows are fewer
//! streams than sixteen. The level above reads sixteen rows far apart: whether that is faster here, too, was not measured.

use super::matmul;
use super::tile::Tiled;
use crate::kernels::MatmulArgs;
use crate::kernels::x86_64::avx2::matvec::SingleToken;

/// Quantized weights times quantized activations: one token by rows, several as tiles.
///
/// # Safety
/// The CPU has the level; `args` is as [`MatmulArgs`] says.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(in crate::kernels::x86_64) unsafe fn quantized<F: SingleToken + Tiled>(args: &MatmulArgs) {
    // SAFETY: the caller's promise; the level contains AVX2.
    unsafe {
        if !F::multiply(args) {
            matmul::quantized::<F, false>(args);
        }
    }
}
