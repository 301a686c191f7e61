//! aarch64 levels: NEON, then the dot product and the matrix extension for int8. The same bits as scalar.
//!
//! Products put four rows of weights side by side (see `tile`); the levels differ in the instruction that multiplies them
//! (see `multiply`). Functions are safe inside the level; entering it through the table is what needs the CPU check.
//!
//! NEON is part of the base that the reference itself is compiled for: what the compiler makes vectors of there is not
//! replaced.

mod attention;
mod codewords;
mod elementwise;
mod lanes;
mod matmul;
mod micro_blocks;
mod multiply;
mod quantize;
mod small_blocks;
mod super_blocks;
mod tile;

use crate::kernels::{Kernels, MatmulFn};
use crate::quant::{self, all_formats};
use crate::tensor::Dtype;
use multiply::{Bytes, Dot, Matrix, Multiply};

/// Replaces what NEON improves.
pub(super) fn neon(kernels: &mut Kernels) {
    products::<Bytes>(kernels);
    kernels.matmul[Dtype::F32 as usize] = Some(matmul::float::<quant::F32>);
    kernels.matmul[Dtype::F16 as usize] = Some(matmul::float::<quant::F16>);
    kernels.matmul[Dtype::BF16 as usize] = Some(matmul::float::<quant::BF16>);
    kernels.quantize = quantize::quantize;
    kernels.narrow = elementwise::narrow;
    kernels.attend_f16 = attention::attend;
    kernels.attend_f32 = attention::attend;
    kernels.attend_adjusted_f16 = attention::attend;
    kernels.attend_adjusted_f32 = attention::attend;
}

/// Replaces what the dot product instructions improve.
pub(super) fn dotprod(kernels: &mut Kernels) {
    products::<Dot>(kernels);
}

/// Replaces what the int8 matrix instructions improve.
pub(super) fn i8mm(kernels: &mut Kernels) {
    products::<Matrix>(kernels);
}

/// Products of quantized weights.
fn products<M: Multiply>(kernels: &mut Kernels) {
    macro_rules! products {
        ($($name:ident)*) => {
            $(kernels.matmul[Dtype::$name as usize] = Some(matmul::quantized::<quant::$name, M> as MatmulFn);)*
        };
    }
    all_formats! { products }
}
