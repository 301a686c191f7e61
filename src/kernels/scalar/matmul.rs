//! Matrix products: the numerics definition as code.

use super::lanes::{LANES, tree};
use crate::kernels::{Input, MatmulArgs};
use crate::quant::{BLOCK, Float, Format, Plain, Shape, blocks};

/// The rows of a weight matrix.
fn rows<'a, T: Plain>(args: &MatmulArgs<'a>) -> impl Iterator<Item = (usize, &'a [T])> + use<'a, T> {
    let (weights, per_row) = (blocks::<T>(args.weights), args.depth / T::DTYPE.block_len());
    (0..args.rows).map(move |row| (row, &weights[row * per_row..][..per_row]))
}

/// Quantized weights times quantized activations. One f32 accumulator per output, which lives in `out`; ascending blocks;
/// a block is unpacked once for all tokens.
///
/// # Safety
/// `args.out` must be valid for writes, as [`MatmulArgs`] says.
pub(super) unsafe fn quantized<F: Format>(args: &MatmulArgs) {
    let Input::Quantized(acts, precision) = args.input else { unreachable!("the caller checks the input") };
    let per_act = BLOCK / F::Shape::LEN;
    for (row, weights) in rows::<F>(args) {
        for token in 0..args.tokens {
            // SAFETY: the caller's promise.
            unsafe { *args.out.at(token, row) = 0.0 };
        }
        for (k, block) in weights.iter().enumerate() {
            let block = block.unpack();
            for (token, act) in acts.run(0, k / per_act).iter().enumerate().take(args.tokens) {
                // SAFETY: the caller's promise.
                let acc = unsafe { &mut *args.out.at(token, row) };
                *acc = block.accumulate(*acc, act, k % per_act, precision, F::MINS);
            }
        }
    }
}

/// Float weights times f32: 16 virtual lanes, then their tree.
///
/// # Safety
/// `args.out` must be valid for writes, as [`MatmulArgs`] says.
pub(super) unsafe fn float<F: Float>(args: &MatmulArgs) {
    let Input::Float(x) = args.input else { unreachable!("the caller checks the input") };
    for (row, weights) in rows::<F>(args) {
        for token in 0..args.tokens {
            let mut lanes = [0.0; LANES];
            let x = &x[token * args.depth..][..args.depth];
            for (weights, x) in weights.chunks(LANES).zip(x.chunks(LANES)) {
                for ((lane, w), &x) in lanes.iter_mut().zip(weights).zip(x) {
                    *lane = w.get().mul_add(x, *lane);
                }
            }
            // SAFETY: the caller's promise.
            unsafe { *args.out.at(token, row) = tree(lanes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cpu::Level;
    use crate::kernels::{Input, Kernels, MatmulArgs, Window};
    use crate::quant::testing::{Random, weight};
    use crate::quant::{ActBlock, BLOCK, Batch, Layout, Precision};
    use crate::tensor::Dtype;

    /// Root mean square of the differences to f64 dequantize-then-multiply, relative to that of the exact products.
    fn error(kernels: &Kernels, dtype: Dtype, precision: Precision) -> f64 {
        let (rows, tokens) = (24, 5);
        // A multiple of 64 that is none of 256 where the format allows it.
        let depth = if dtype.block_len() == 256 { 768 } else { 704 };
        let mut random = Random::new(7);
        let (weights, x) = (random.row(dtype, rows * depth), random.normals(tokens * depth));
        let mut acts = vec![ActBlock::ZERO; tokens * depth.div_ceil(BLOCK)];
        for (token, x) in x.chunks(depth).enumerate() {
            for (unit, x) in x.chunks(BLOCK).enumerate() {
                kernels.quantize(x, &mut acts[<Batch>::place(tokens, token, unit)], precision);
            }
        }
        let input =
            if dtype.block_len() == 1 { Input::Float(&x) } else { Input::Quantized(Batch::new(&acts, tokens), precision) };
        let mut out = vec![f32::NAN; tokens * rows];
        let window = Window { ptr: out.as_mut_ptr(), stride: rows };
        // SAFETY: the window covers `out`, which nobody else has.
        unsafe {
            kernels.matmul(
                dtype,
                &MatmulArgs {
                    weights: &weights,
                    layout: Layout::Rows,
                    rows,
                    depth,
                    tokens,
                    input,
                    pairs: None,
                    out: window,
                    sums: None,
                    add: false,
                },
            )
        };

        let (mut difference, mut size) = (0.0, 0.0);
        for (x, out) in x.chunks(depth).zip(out.chunks(rows)) {
            for (weights, &got) in weights.chunks(dtype.row_bytes(depth).unwrap()).zip(out) {
                let blocks = weights.chunks(dtype.block_bytes()).zip(x.chunks(dtype.block_len()));
                let exact: f64 = blocks
                    .flat_map(|(block, x)| x.iter().enumerate().map(|(i, &x)| weight(dtype, block, i) * f64::from(x)))
                    .sum();
                difference += (f64::from(got) - exact).powi(2);
                size += exact.powi(2);
            }
        }
        (difference / size).sqrt()
    }

    #[test]
    fn products_are_those_of_dequantized_weights() {
        let kernels = Kernels::for_level(Level::Scalar);
        for &dtype in Dtype::ALL.iter().filter(|&&dtype| kernels.supports(dtype)) {
            let (high, fast) = (error(&kernels, dtype, Precision::High), error(&kernels, dtype, Precision::Fast));
            assert!(high <= 1e-4, "{dtype}, high: {high}");
            assert!(fast <= 2.5e-2, "{dtype}, fast: {fast}");
        }
    }

    #[test]
    fn every_type_of_the_format_list_and_the_floats_is_there() {
        let kernels = Kernels::for_level(Level::Scalar);
        let supported: Vec<_> = Dtype::ALL.iter().filter(|&&dtype| kernels.supports(dtype)).map(|d| d.name()).collect();
        let expected = "F32 F16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K IQ2_XXS IQ2_XS IQ3_XXS IQ1_S IQ4_NL \
                        IQ3_S IQ2_S IQ4_XS IQ1_M BF16 TQ1_0 TQ2_0 MXFP4 NVFP4";
        assert_eq!(supported.join(" "), expected);
    }
}
