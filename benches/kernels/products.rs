//! Weights times activations: one token, limited by reading weights, and many, limited by multiplying.

use crate::report::{Limit, Report, Work};
use crate::{bytes, floats};
use chord::cpu::Level;
use chord::kernels::{Input, Kernels, MatmulArgs, Window};
use chord::quant::{ActBlock, BLOCK, Batch, INTERLEAVED_ROWS, Layout, PairBlock, Precision};
use chord::tensor::Dtype;

const DEPTH: usize = 2048;

/// A product of `rows` times `tokens`.
struct Product<'a> {
    dtype: Dtype,
    weights: &'a [u8],
    layout: Layout,
    rows: usize,
    tokens: usize,
    x: Vec<f32>,
    out: Vec<f32>,
}

impl Product<'_> {
    fn new(dtype: Dtype, weights: &[u8], rows: usize, tokens: usize) -> Product<'_> {
        let weights = &weights[..rows * row_bytes(dtype)];
        Product { dtype, weights, layout: Layout::Rows, rows, tokens, x: floats(tokens * DEPTH), out: vec![0.0; rows * tokens] }
    }

    fn run(&mut self, kernels: &Kernels, (blocks, pairs): &(Vec<ActBlock>, Vec<PairBlock>), precision: Precision) {
        let blocks = Batch::new(blocks, self.tokens);
        let input = if self.dtype.block_len() == 1 { Input::Float(&self.x) } else { Input::Quantized(blocks, precision) };
        let (rows, tokens, out) = (self.rows, self.tokens, Window { ptr: self.out.as_mut_ptr(), stride: self.rows });
        let args = MatmulArgs {
            weights: self.weights,
            layout: self.layout,
            rows,
            depth: DEPTH,
            tokens,
            input,
            pairs: (!pairs.is_empty()).then(|| Batch::new(pairs, tokens)),
            out,
            sums: None,
            add: false,
        };
        // SAFETY: `out` has `tokens` rows of `rows` values.
        unsafe { kernels.matmul(self.dtype, &args) };
    }

    /// The activations, and in pairs where that is faster.
    fn blocks(&self, kernels: &Kernels, precision: Precision) -> (Vec<ActBlock>, Vec<PairBlock>) {
        let mut blocks = vec![ActBlock::ZERO; self.tokens * DEPTH.div_ceil(BLOCK)];
        for (token, x) in self.x.chunks(DEPTH).enumerate() {
            for (unit, x) in x.chunks(BLOCK).enumerate() {
                kernels.quantize(x, &mut blocks[<Batch>::place(self.tokens, token, unit)], precision);
            }
        }
        let mut pairs = Vec::new();
        if let Some(reach) = kernels.pairs(self.dtype, self.tokens).filter(|_| precision == Precision::High) {
            pairs.resize(blocks.len(), PairBlock::ZERO);
            blocks.iter().zip(&mut pairs).for_each(|(block, pair)| kernels.pair(block, pair, reach));
        }
        (blocks, pairs)
    }
}

fn row_bytes(dtype: Dtype) -> usize {
    dtype.row_bytes(DEPTH).expect("depth is whole blocks")
}

/// `mapped`: weights of any type, more than caches hold.
pub fn all(report: &mut Report, levels: &[Kernels], mapped: &[u8]) {
    for (kernels, &dtype) in levels.iter().flat_map(|kernels| Dtype::ALL.iter().map(move |dtype| (kernels, dtype))) {
        if !kernels.supports(dtype) {
            continue;
        }
        let scalar = kernels.level() == Level::Scalar;
        let (float, row_bytes) = (dtype.block_len() == 1, row_bytes(dtype));
        for (precision, halves) in [(Precision::High, 2), (Precision::Fast, 1)] {
            let (name, halves) = match precision {
                _ if float => (dtype.name().to_owned(), 1),
                Precision::High => (format!("{dtype} high"), halves),
                Precision::Fast => (format!("{dtype} fast"), halves),
            };
            if float && precision == Precision::Fast {
                continue;
            }
            let size = if scalar { 1 << 18 } else { mapped.len() };
            let mut product = Product::new(dtype, mapped, size / row_bytes, 1);
            let blocks = product.blocks(kernels, precision);
            let work = Work::new(Limit::Memory, product.weights.len());
            report.measure("one-token", &name, kernels.level(), work, || product.run(kernels, &blocks, precision));
            if kernels.layout(dtype) == Layout::Interleaved {
                let rows = product.rows.next_multiple_of(INTERLEAVED_ROWS) - INTERLEAVED_ROWS;
                let mut product = Product { layout: Layout::Interleaved, ..Product::new(dtype, mapped, rows, 1) };
                let (name, work) = (format!("{name}, interleaved"), Work::new(Limit::Memory, product.weights.len()));
                report.measure("one-token", &name, kernels.level(), work, || product.run(kernels, &blocks, precision));
            }

            for tokens in [16, 128] {
                let rows = if scalar { 16 * 16 / tokens } else { 64 };
                let mut product = Product::new(dtype, mapped, rows, tokens);
                let blocks = product.blocks(kernels, precision);
                let useful = rows * tokens * DEPTH;
                let work = Work { limit: if float { Limit::Float } else { Limit::Int8 }, amount: halves * useful, useful };
                let group = format!("{tokens}-tokens");
                report.measure(&group, &name, kernels.level(), work, || product.run(kernels, &blocks, precision));
            }
        }
    }
}

/// Bytes to make weights of.
pub fn weights(len: usize) -> Vec<u8> {
    // How long products take does not depend on the order of weights, so the bytes may repeat.
    bytes(1 << 20).into_iter().cycle().take(len).collect()
}
