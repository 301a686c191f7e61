//! AMX int8 on top of AVX-512: the same bits as scalar.
//!
//! Products of many tokens with super-blocks: vectors unpack weights, the tile unit multiplies them, vectors put its integers
//! together (see `super_tile`). All else is as one level below. Linux alone lets a process use tiles.

#[cfg(test)]
pub(in crate::kernels) mod emulated;
mod matmul;
mod super_tile;
mod tiles;

use super::avx512::{matmul as vectors, matvec};
use crate::kernels::{Kernels, MatmulArgs};
use crate::quant;
use crate::tensor::Dtype;

/// Replaces what this level improves.
pub(in crate::kernels) fn overlay(kernels: &mut Kernels) {
    // Number of digits, whether they have a sign, and what does products that do not fill tiles.
    macro_rules! products {
        ($($digits:literal, $signed:literal, $other:ident: $($name:ident)*;)*) => { $($({
            unsafe fn product(args: &MatmulArgs) {
                // SAFETY: the caller's promise.
                unsafe {
                    if matmul::fills_tiles(args) {
                        matmul::quantized::<quant::$name, $digits, $signed>(args);
                    } else {
                        $other::quantized::<quant::$name>(args);
                    }
                }
            }
            kernels.matmul[Dtype::$name as usize] = Some(product);
        })*)* };
    }
    products! {
        2, 0, matvec: Q4_K Q5_K;
        2, 1, matvec: Q6_K;
        2, 1, vectors: Q3_K IQ4_XS;
        1, 1, vectors: Q2_K Q8_K TQ1_0 TQ2_0;
    }
}
