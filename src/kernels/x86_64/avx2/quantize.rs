//! Quantization of activations.

use crate::kernels::scalar;
use crate::quant::{ActBlock, Precision};

/// See `scalar::quantize`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn quantize(x: &[f32], blocks: &mut [ActBlock], precision: Precision) {
    scalar::quantize::quantize(x, blocks, precision);
}
