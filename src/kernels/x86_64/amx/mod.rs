//! AMX int8 on top of AVX-512: the same bits as scalar.
//!
//! Products of many tokens: vectors unpack weights, the tile unit multiplies them, vectors finish what it summed up. Those of
//! few tokens read rows far apart, and all else is as one level below. Linux alone lets a process use tiles.

#[cfg(all(test, target_os = "linux"))]
pub(in crate::kernels) mod emulated;
mod group;
mod matmul;
mod small_tile;
mod super_tile;
mod tiles;

use super::avx512::matmul as vectors;
use crate::kernels::{Kernels, MatmulArgs, Portion};
use crate::quant;
use crate::tensor::Dtype;
use small_tile::Small;
use super_tile::Super;

/// Replaces what this level improves.
pub(in crate::kernels) fn overlay(kernels: &mut Kernels) {
    // How formats become tiles.
    macro_rules! products {
        ($($table:ident $tile:ident <$($shape:literal),*>: $($name:ident)*;)*) => {
            $(products! { @ $table [$tile::<$($shape),*>] $($name)* })*
        };
        (@ $table:ident $tile:tt $($name:ident)*) => { $(products! { @@ $table $tile $name })* };
        (@@ $table:ident [$tile:ty] $name:ident) => {{
            unsafe fn product(args: &MatmulArgs) {
                // SAFETY: the caller's promise.
                unsafe {
                    if matmul::fills_tiles(args) {
                        matmul::quantized(args, <$tile>::fill::<quant::$name, { is_interleaved!($table) }>);
                    } else if is_interleaved!($table) || !vectors::far_apart::<quant::$name>(args) {
                        vectors::quantized::<quant::$name, { is_interleaved!($table) }>(args);
                    }
                }
            }
            kernels.$table[Dtype::$name as usize] = Some(product);
        }};
    }
    macro_rules! is_interleaved {
        (matmul) => {
            false
        };
        (interleaved) => {
            true
        };
    }
    // Tiles need none.
    kernels.paired = [0; Dtype::COUNT];
    // Tiles work so fast that activations have to come from the second cache: more rows use them while they are there.
    kernels.portion = Portion { rows: 128, work: 384 << 20 };
    products! {
        matmul Super<2, 0, 8>: Q4_K Q5_K;
        matmul Super<2, 1, 0>: Q6_K Q3_K IQ4_XS;
        matmul Super<1, 1, 16>: Q2_K;
        matmul Super<1, 1, 0>: Q8_K TQ1_0 TQ2_0;
        matmul Small<false>: Q4_0 Q5_0 Q8_0 IQ4_NL MXFP4;
        matmul Small<true>: Q4_1 Q5_1;
        interleaved Super<2, 0, 8>: Q4_K Q5_K;
        interleaved Super<2, 1, 0>: Q6_K;
        interleaved Small<false>: Q4_0 Q8_0;
    }
}
