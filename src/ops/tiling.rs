//! How large pieces of work are. Sizes decide how often memory is walked, and never show in a result.

use super::attention::TILE;
use crate::kernels::Portion;
use crate::quant::ActBlock;

/// Sizes of pieces of work; any will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Weight bytes of the last work units of a product when few tokens share them: enough to amortize taking one, few enough
    /// to even out the cores.
    pub unit_bytes: usize,
    /// A work unit of many tokens, at most.
    pub unit: Portion,
    /// Bytes of activations that kernels walk over again and again.
    pub walk: usize,
    /// Queries that an attention kernel serves at once, at most: keys and values are read once for all of them.
    pub queries: usize,
    /// Elements of keys and values that a unit of attention reads, at most, where there is a deadline to keep.
    pub reach: usize,
}

impl Tiling {
    /// Sizes for kernels that like such units and a core with so many bytes of second-level cache.
    #[must_use]
    pub fn new(unit: Portion, cache: usize) -> Tiling {
        // Outputs of neighbouring tokens stand so far apart that a cache keeps only a part of what it could.
        Tiling { unit_bytes: 256 * 1024, unit, walk: cache / 4, queries: TILE, reach: 1 << 20 }
    }

    /// Of so many tokens, those that are multiplied with some rows before the others are. For quantized weights, kernels walk
    /// over one block of each token with every 256 weights of a few rows.
    pub(super) fn quantized_tokens(&self, tokens: usize) -> usize {
        alike(tokens, self.walk / size_of::<ActBlock>())
    }

    /// The same for float weights: kernels walk over whole rows of activations.
    pub(super) fn float_tokens(&self, tokens: usize, depth: usize) -> usize {
        alike(tokens, self.walk / (size_of::<f32>() * depth.max(1)))
    }
}

/// The size of parts that are about alike and have about `most` tokens.
fn alike(tokens: usize, most: usize) -> usize {
    /// Kernels work on several tokens at once.
    const STEP: usize = 16;
    let parts = tokens.div_ceil(most.max(STEP)).max(1);
    tokens.div_ceil(parts).next_multiple_of(STEP).max(STEP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu;
    use crate::kernels::Kernels;
    use crate::ops::{LinearScratch, LinearShape, Machine, Pace, Part, Progress, Source, Weights, linear};
    use crate::quant::testing::Random;
    use crate::quant::{Layout, Precision};
    use crate::tensor::{Dtype, Memory};
    use crate::threads::Pool;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn parts_are_alike_and_not_too_many() {
        assert_eq!([1, 16, 17, 100, 200, 512].map(|tokens| alike(tokens, 200)), [16, 16, 32, 112, 208, 176]);
        assert_eq!([0, 1, 40].map(|tokens| alike(tokens, 0)), [16, 16, 16]);
    }

    #[test]
    fn products_do_not_depend_on_sizes() {
        let (rows, depth, tokens) = (83, 512, 75);
        let mut random = Random::new(4);
        let (never, x) = (AtomicBool::new(false), random.normals(depth * tokens));
        let (kernels, pool) = (Kernels::for_level(cpu::detect()), Pool::new(2).unwrap());
        for dtype in [Dtype::Q4_K, Dtype::Q4_0, Dtype::F16] {
            let bytes: Vec<u8> = (0..rows).flat_map(|_| random.row(dtype, depth)).collect();
            let product = |tokens: usize, tiling| {
                let shape = LinearShape { depth, float: true, paired: true, unit_rows: 32, gated: false };
                let mut scratch = LinearScratch::new(&mut Memory::system(), tokens, shape, 2).unwrap();
                let mut out = vec![0.0; rows * tokens];
                let pace = Pace::new(&never, None, Progress::default());
                let machine = Machine { kernels: &kernels, pool: &pool, pace: &pace, precision: Precision::High, tiling };
                let weights = Weights { dtype, bytes: &bytes, layout: Layout::Rows, rows, depth, scale: 1.0 };
                let part = Part { weights, bias: None, out: &mut out, scale: 1.0, gate: None, residual: None };
                linear(machine, Source::Plain(&x[..depth * tokens]), tokens, [part], &mut scratch);
                out
            };
            for tokens in [1, 3, tokens] {
                let usual = Tiling::new(kernels.portion(), cpu::private_cache());
                let unit = Portion { rows: 1000, work: usize::MAX };
                let want = product(tokens, Tiling { unit_bytes: usize::MAX / 2, unit, walk: usize::MAX, ..usual });
                for (unit_bytes, rows, walk) in [(1, 1, 1), (900, 7, 20_000), (5000, 50, 80_000)] {
                    let tiling = Tiling { unit_bytes, unit: Portion { rows, work: 100 * walk }, walk, ..usual };
                    assert!(product(tokens, tiling) == want, "{dtype}, {tokens} tokens, {tiling:?}");
                }
                assert!(product(tokens, usual) == want, "{dtype}, {tokens} tokens");
            }
        }
    }
}
