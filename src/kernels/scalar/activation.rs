//! Activation functions.

use super::exp::exp;

/// `gate = silu(gate) * up` with `silu(x) = x / (1 + exp(-x))`.
#[inline(always)]
pub(in crate::kernels) fn swiglu(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + exp(-*gate)) * up;
    }
}
