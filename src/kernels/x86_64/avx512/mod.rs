//! AVX-512 F, BW, DQ, VL and VNNI: the same bits as scalar.
//!
//! Products put sixteen rows of weights side by side, one row per 32-bit lane (see `tile`), so that nothing is ever summed
//! across a vector; weights may be interleaved so in memory. Of many tokens, products of K-quants in high precision do half
//! of the multiplications (see `pair_tile`); those of a single one with K-quants row by row are those of AVX2. Attention puts many
//! queries side by side in the same way, few it does not (see `attention_lanes` and `attention`). Functions are safe
//! inside the level; entering it through the table is what needs the CPU check.

mod attention;
mod attention_lanes;
mod elementwise;
pub(super) mod lanes;
pub(super) mod matmul;
mod matvec;
mod nibbles;
mod pair;
mod pair_step;
mod pair_tile;
mod quantize;
mod small_blocks;
pub(super) mod small_tile;
mod super_blocks;
pub(super) mod super_tile;
pub(super) mod tile;

use crate::kernels::{Kernels, MatmulArgs, MatmulFn};
use crate::quant::{self, formats};
use crate::tensor::Dtype;
use pair_tile::PairFormat;

/// Replaces what this level improves.
pub(in crate::kernels) fn overlay(kernels: &mut Kernels) {
    // Those of the level below take activations in one piece.
    kernels.paired = [0; Dtype::COUNT];
    macro_rules! products {
        ($($name:ident)*) => {
            $(kernels.matmul[Dtype::$name as usize] = Some(matmul::quantized::<quant::$name, false> as MatmulFn);
            kernels.finished[Dtype::$name as usize] = true;)*
        };
    }
    formats! { products }
    macro_rules! by_rows {
        ($($name:ident)*) => { $(kernels.matmul[Dtype::$name as usize] = Some(matvec::quantized::<quant::$name>);)* };
    }
    by_rows! { Q4_K Q5_K Q6_K }
    // Several tokens by pairs, where there are some.
    macro_rules! by_pairs {
        ($($name:ident, $table:ident, $interleaved:literal, $other:expr;)*) => { $({
            unsafe fn product(args: &MatmulArgs) {
                // SAFETY: the caller's promise.
                unsafe {
                    if !matmul::by_pairs::<quant::$name, $interleaved>(args) {
                        $other(args);
                    }
                }
            }
            kernels.$table[Dtype::$name as usize] = Some(product);
            kernels.paired[Dtype::$name as usize] = <quant::$name as PairFormat>::REACH;
        })* };
    }
    by_pairs! {
        Q4_K, matmul, false, matvec::quantized::<quant::Q4_K>;
        Q5_K, matmul, false, matvec::quantized::<quant::Q5_K>;
        Q3_K, matmul, false, matmul::quantized::<quant::Q3_K, false>;
        Q4_K, interleaved, true, matmul::quantized::<quant::Q4_K, true>;
        Q5_K, interleaved, true, matmul::quantized::<quant::Q5_K, true>;
    }
    macro_rules! interleaved {
        ($($name:ident)*) => { $(kernels.interleaved[Dtype::$name as usize] = Some(matmul::quantized::<quant::$name, true>);)* };
    }
    interleaved! { Q6_K Q4_0 Q8_0 }
    kernels.matmul[Dtype::F32 as usize] = Some(matmul::float::<quant::F32>);
    kernels.matmul[Dtype::F16 as usize] = Some(matmul::float::<quant::F16>);
    kernels.matmul[Dtype::BF16 as usize] = Some(matmul::float::<quant::BF16>);
    kernels.quantize = quantize::quantize;
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
