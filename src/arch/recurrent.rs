//! Blocks of layers that keep a state.

use super::builder::{Builder, block};
use super::program::{Op, Register};
use crate::error::{Result, try_vec};
use crate::kernels::Activation;
use crate::ops::{CHANNELS, Taps};

impl Builder<'_> {
    /// A convolution of `count` taps over each of the inputs, which share a matrix of weights: `part` of the block.
    ///
    /// # Errors
    /// A missing tensor.
    pub fn convolve<const N: usize>(
        &mut self,
        layer: usize,
        part: &str,
        count: usize,
        inputs: [Register; N],
        activation: Activation,
    ) -> Result<[Register; N]> {
        let total = inputs.iter().map(|x| x.width).sum();
        let weights = self.bind.vectors(&block(layer, &format!("{part}.weight")), total, count)?;
        let bias = self.bind.optional_vector(&block(layer, &format!("{part}.bias")), total)?;
        let (mut outputs, mut first) = (inputs, 0);
        for output in &mut outputs {
            let channels = first..first + output.width;
            first = channels.end;
            let taps = Taps {
                count,
                weights: turned(&weights[channels.start * count..channels.end * count], count)?,
                bias: bias.as_ref().map(|bias| bias[channels].to_vec()),
            };
            let (x, out, state) = (*output, self.register(output.width), self.state(taps.state()));
            self.ops.push(Op::Conv { x, out, taps, activation, state });
            *output = out;
        }
        Ok(outputs)
    }
}

/// Rows of `width` elements as columns.
pub(super) fn turned(values: &[f32], width: usize) -> Result<Vec<f32>> {
    let (rows, mut columns) = (values.len() / width, try_vec(values.len(), 0.0)?);
    for (row, values) in values.chunks_exact(width).enumerate() {
        values.iter().enumerate().for_each(|(column, value)| columns[column * rows + row] = *value);
    }
    Ok(columns)
}

/// The same for every [`CHANNELS`] rows.
pub(super) fn turned_by_channels(values: &[f32], width: usize) -> Result<Vec<f32>> {
    let mut all = try_vec(values.len(), 0.0)?;
    for (part, out) in values.chunks(CHANNELS * width).zip(all.chunks_mut(CHANNELS * width)) {
        out.copy_from_slice(&turned(part, width)?);
    }
    Ok(all)
}
