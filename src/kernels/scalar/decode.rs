//! Dequantization.

use crate::quant::{Float, Format, Shape, blocks};

/// Blocks to f32.
pub(super) fn quantized<F: Format>(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in blocks::<F>(bytes).iter().zip(out.chunks_exact_mut(F::Shape::LEN)) {
        block.unpack().decode(out);
    }
}

/// Floats to f32: exact.
pub(super) fn float<F: Float>(bytes: &[u8], out: &mut [f32]) {
    for (&value, out) in blocks::<F>(bytes).iter().zip(out) {
        *out = value.get();
    }
}
