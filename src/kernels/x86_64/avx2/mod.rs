//! AVX2 + FMA + F16C: the same bits as scalar.
//!
//! Products put eight rows of weights side by side, one row per 32-bit lane (see `tile`), so that nothing is ever summed
//! across a vector; those of a single token go along the rows (see `matvec`), as memory is read fastest. Functions are safe
//! inside the level; entering it through the table is what needs the CPU check.

mod attention;
mod codewords;
mod elementwise;
mod lanes;
mod matmul;
pub(super) mod matvec;
mod matvec_small;
mod micro_blocks;
mod pair;
mod small_blocks;
mod super_blocks;
mod tile;
mod whole_tile;

use crate::kernels::{Kernels, MatmulArgs, MatmulFn};
use crate::quant::{self, all_formats};
use crate::tensor::Dtype;

/// Replaces what this level improves.
pub(in crate::kernels) fn overlay(kernels: &mut Kernels) {
    macro_rules! products {
        ($($name:ident)*) => {
            $(kernels.matmul[Dtype::$name as usize] = Some(matmul::quantized::<quant::$name> as MatmulFn);
            kernels.finished[Dtype::$name as usize] = true;)*
        };
    }
    all_formats! { products }
    macro_rules! by_rows {
        ($($name:ident)*) => { $(kernels.matmul[Dtype::$name as usize] = Some(matvec::quantized::<quant::$name>);)* };
    }
    by_rows! { Q4_K Q5_K Q6_K Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL MXFP4 }
    // Several tokens with activations in one piece, where they are there.
    macro_rules! in_one_piece {
        ($($name:ident, $other:expr;)*) => { $({
            unsafe fn product(args: &MatmulArgs) {
                // SAFETY: the caller's promise.
                unsafe {
                    if !matmul::in_one_piece::<quant::$name>(args) {
                        $other(args);
                    }
                }
            }
            kernels.matmul[Dtype::$name as usize] = Some(product);
            // Nothing is added to activations that could overflow.
            kernels.paired[Dtype::$name as usize] = 1;
        })* };
    }
    in_one_piece! {
        Q4_K, matvec::quantized::<quant::Q4_K>;
        Q5_K, matvec::quantized::<quant::Q5_K>;
        Q3_K, matmul::quantized::<quant::Q3_K>;
        Q4_0, matvec::quantized::<quant::Q4_0>;
        Q4_1, matvec::quantized::<quant::Q4_1>;
        Q5_0, matvec::quantized::<quant::Q5_0>;
        Q5_1, matvec::quantized::<quant::Q5_1>;
        Q8_0, matvec::quantized::<quant::Q8_0>;
        IQ4_NL, matvec::quantized::<quant::IQ4_NL>;
        MXFP4, matvec::quantized::<quant::MXFP4>;
    }
    kernels.matmul[Dtype::F32 as usize] = Some(matmul::float::<quant::F32>);
    kernels.matmul[Dtype::F16 as usize] = Some(matmul::float::<quant::F16>);
    kernels.matmul[Dtype::BF16 as usize] = Some(matmul::float::<quant::BF16>);
    kernels.quantize = elementwise::quantize;
    kernels.pair = pair::pair;
    kernels.rms_norm = elementwise::rms_norm;
    kernels.layer_norm = elementwise::layer_norm;
    kernels.rope = elementwise::rope;
    kernels.swiglu = elementwise::swiglu;
    kernels.activate = elementwise::activate;
    kernels.gate = elementwise::gate;
    kernels.softcap = elementwise::softcap;
    kernels.add = elementwise::add;
    kernels.add_scaled = elementwise::add_scaled;
    kernels.multiply_add = elementwise::multiply_add;
    kernels.scale = elementwise::scale;
    kernels.narrow = elementwise::narrow;
    kernels.attend_f16 = attention::attend;
    kernels.attend_f32 = attention::attend;
    kernels.attend_adjusted_f16 = attention::attend;
    kernels.attend_adjusted_f32 = attention::attend;
    kernels.merge = elementwise::merge;
    kernels.normalize = elementwise::normalize;
    kernels.recur = elementwise::recur;
    kernels.scan = elementwise::scan;
}
