//! Normalization of rows.

use super::{Machine, Shared};
use crate::kernels::{Activation, Kernels};

/// A normalization with its parameters.
#[derive(Clone, Debug)]
pub struct Norm {
    /// Gains. Their number times any whole number is the width of a row.
    pub weight: Vec<f32>,
    /// Of a layer norm: added to the result, one per gain. `None`: RMS norm.
    pub bias: Option<Vec<f32>>,
    /// Added to the mean square, or variance.
    pub eps: f32,
    /// Elements that are normalized together: all gains, or heads of this size that divide their number.
    pub group: usize,
}

impl Norm {
    /// Normalizes one row.
    ///
    /// # Panics
    /// When the row is not a whole number of groups.
    pub fn apply(&self, kernels: &Kernels, x: &[f32], out: &mut [f32]) {
        assert!(x.len() == out.len() && x.len().is_multiple_of(self.group), "norm widths");
        let heads = self.weight.len() / self.group;
        for (index, (x, out)) in x.chunks_exact(self.group).zip(out.chunks_exact_mut(self.group)).enumerate() {
            let range = index % heads * self.group..(index % heads + 1) * self.group;
            match &self.bias {
                None => kernels.rms_norm(x, &self.weight[range], self.eps, out),
                Some(bias) => kernels.layer_norm(x, &self.weight[range.clone()], &bias[range], self.eps, out),
            }
        }
    }
}

/// Arguments of [`norm`].
pub struct NormArgs<'a> {
    /// The rows; `None`: those of `out`.
    pub x: Option<&'a [f32]>,
    /// The norm.
    pub norm: &'a Norm,
    /// Receives `tokens` rows.
    pub out: &'a mut [f32],
    /// The result is added to these rows, too.
    pub residual: Option<&'a mut [f32]>,
    /// Rows.
    pub tokens: usize,
}

/// `out += sigmoid(weight) * x`, with one weight per row.
///
/// # Panics
/// When shapes disagree.
pub fn add_gated(machine: Machine, x: &[f32], weights: &[f32], out: &mut [f32]) {
    let (tokens, width) = (weights.len(), out.len() / weights.len());
    assert!(x.len() == out.len() && out.len() == tokens * width, "gated rows");
    let out = Shared::new(out);
    machine.run(tokens, tokens * width, &|_, token| {
        let mut weight = [weights[token]];
        machine.kernels.activate(&mut weight, Activation::Sigmoid);
        // SAFETY: one row per unit.
        let out = unsafe { out.part(token * width, width) };
        machine.kernels.add_scaled(out, &x[token * width..(token + 1) * width], weight[0]);
    });
}

/// `gate = activation(gate) * x`, row by row.
///
/// # Panics
/// When shapes disagree.
pub fn gate(machine: Machine, gate: &mut [f32], x: &[f32], activation: Activation, tokens: usize) {
    let (width, len) = (gate.len() / tokens, gate.len());
    assert!(x.len() == len && len == tokens * width, "gate rows");
    let gate = Shared::new(gate);
    machine.run(tokens, 4 * len, &|_, token| {
        // SAFETY: one row per unit.
        let gate = unsafe { gate.part(token * width, width) };
        machine.kernels.gate(gate, &x[token * width..(token + 1) * width], activation);
    });
}

/// Normalizes rows; `scratch` has room for one row per thread.
///
/// # Panics
/// When shapes disagree.
pub fn norm(machine: Machine, args: NormArgs, scratch: &mut [f32]) {
    let NormArgs { x, norm, tokens, .. } = args;
    let width = args.out.len() / tokens;
    assert!(x.is_none_or(|x| x.len() == args.out.len()), "norm input");
    assert!(args.residual.as_ref().is_none_or(|residual| residual.len() == args.out.len()), "residual width");
    let (out, residual, rows) = (Shared::new(args.out), args.residual.map(Shared::new), Shared::new(scratch));
    machine.run(tokens, tokens * width * 4, &|thread, token| {
        // SAFETY: a row per token, and a row of the scratch per thread.
        let (out, row) = unsafe { (out.part(token * width, width), rows.part(thread * width, width)) };
        let x = match x {
            Some(x) => &x[token * width..(token + 1) * width],
            None => {
                row.copy_from_slice(out);
                row
            }
        };
        norm.apply(machine.kernels, x, out);
        if let Some(residual) = residual {
            // SAFETY: as above.
            machine.kernels.add(unsafe { residual.part(token * width, width) }, out);
        }
    });
}
