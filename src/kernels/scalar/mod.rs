//! The readable reference of every entry.

pub(super) mod activation;
pub(super) mod attention;
mod decode;
pub(super) mod elementwise;
pub(super) mod exp;
pub(super) mod lanes;
mod matmul;
pub(super) mod norm;
pub(super) mod pair;
pub(super) mod quantize;
pub(super) mod recurrence;
pub(super) mod rope;

use super::{DecodeFn, Kernels, MatmulFn, Portion};
use crate::cpu::Level;
use crate::quant::{self, all_formats};
use crate::tensor::Dtype;

type PerDtype<T> = [Option<T>; Dtype::COUNT];

/// Fills both per-type tables: float formats by hand, block formats from their list.
macro_rules! tables {
    ($($name:ident)*) => {
        const MATMUL: PerDtype<MatmulFn> = {
            let mut table: PerDtype<MatmulFn> = [None; Dtype::COUNT];
            table[Dtype::F32 as usize] = Some(matmul::float::<quant::F32>);
            table[Dtype::F16 as usize] = Some(matmul::float::<quant::F16>);
            table[Dtype::BF16 as usize] = Some(matmul::float::<quant::BF16>);
            $(table[Dtype::$name as usize] = Some(matmul::quantized::<quant::$name>);)*
            table
        };
        const DECODE: PerDtype<DecodeFn> = {
            let mut table: PerDtype<DecodeFn> = [None; Dtype::COUNT];
            table[Dtype::F32 as usize] = Some(decode::float::<quant::F32>);
            table[Dtype::F16 as usize] = Some(decode::float::<quant::F16>);
            table[Dtype::BF16 as usize] = Some(decode::float::<quant::BF16>);
            $(table[Dtype::$name as usize] = Some(decode::quantized::<quant::$name>);)*
            table
        };
    };
}
all_formats! { tables }

/// The complete table of the reference.
pub(super) fn kernels() -> Kernels {
    Kernels {
        level: Level::Scalar,
        portion: Portion { rows: 32, work: 96 << 20 },
        finished: [false; Dtype::COUNT],
        matmul: MATMUL,
        interleaved: [None; Dtype::COUNT],
        decode: DECODE,
        quantize: quantize::quantize,
        pair: pair::pair,
        paired: [0; Dtype::COUNT],
        rms_norm: norm::rms_norm,
        layer_norm: norm::layer_norm,
        rope: rope::rope,
        swiglu: activation::swiglu,
        activate: activation::activate,
        gate: activation::gate,
        softcap: activation::softcap,
        add: elementwise::add,
        add_scaled: elementwise::add_scaled,
        scale: elementwise::scale,
        attend_f16: attention::attend,
        attend_f32: attention::attend,
        attend_adjusted_f16: attention::attend,
        attend_adjusted_f32: attention::attend,
        merge: attention::merge,
        normalize: attention::normalize,
        narrow: elementwise::narrow,
        multiply_add: elementwise::multiply_add,
        recur: recurrence::recur,
        scan: recurrence::scan,
    }
}
