//! Tiles of formats with a scale for every 16 weights.

use super::lanes::{Rows, bits, broadcast, turn};
use super::small_blocks::levels;
use super::tile::{Tile, Tiled, Weights};
use crate::quant::{ActBlock, BLOCK, E2M1, NVFP4, PairBlock, Precision};
use std::arch::x86_64::*;
use std::mem::offset_of;
use std::ops::Range;

/// Greatest magnitude of a weight.
const MOST: i8 = 12;

/// Up to sixteen groups of 16 weights of eight rows, stored as `q + MOST`: sums of their products fit i16, because
/// `16 / 2 * 2 * MOST * 128 < 2^15`.
pub(super) struct Micro {
    weights: Weights,
    /// Scale of each group.
    scales: [__m256; BLOCK / 16],
    /// Groups there are.
    groups: usize,
}

impl Micro {
    /// Sums of products of a group; `sum` is that of the activations.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn dot(&self, group: usize, act: &[i8; BLOCK], sum: i16) -> __m256i {
        let mut total = _mm256_setzero_si256();
        for v in 4 * group..4 * group + 4 {
            total = _mm256_add_epi16(total, _mm256_maddubs_epi16(self.weights[v], broadcast(act, v)));
        }
        let offset = _mm256_set1_epi32(i32::from(MOST) * i32::from(sum));
        _mm256_sub_epi32(_mm256_madd_epi16(total, _mm256_set1_epi16(1)), offset)
    }
}

impl Tile for Micro {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn new() -> Self {
        Micro { weights: [_mm256_setzero_si256(); 64], scales: [_mm256_setzero_ps(); 16], groups: 0 }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn accumulate<const G: usize, const T: usize>(
        tiles: &[Self; G],
        acts: &[&ActBlock; T],
        _: &[PairBlock],
        precision: Precision,
        acc: &mut [[__m256; T]; G],
    ) {
        for group in 0..tiles[0].groups {
            for t in 0..T {
                let act = acts[t];
                for g in 0..G {
                    let (tile, acc) = (&tiles[g], &mut acc[g][t]);
                    let mut sum = tile.dot(group, &act.hi, act.hi_sum[group]);
                    if precision == Precision::High {
                        // Below 2^24: as exact in f32 as its halves apart.
                        let low = tile.dot(group, &act.lo, act.lo_sum[group]);
                        sum = _mm256_add_epi32(_mm256_slli_epi32::<8>(sum), low);
                    }
                    let scale = _mm256_mul_ps(tile.scales[group], _mm256_set1_ps(act.scale));
                    *acc = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(sum), *acc);
                }
            }
        }
    }
}

impl Tiled for NVFP4 {
    type Tile = Micro;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fill(rows: Rows<NVFP4>, blocks: Range<usize>, tile: &mut Micro) {
        tile.groups = 4 * blocks.len();
        let table = E2M1.map(|level| level + MOST);
        let (weights, scales) = (tile.weights.as_chunks_mut::<16>().0, tile.scales.as_chunks_mut::<4>().0);
        for ((weights, scales), block) in weights.iter_mut().zip(scales).zip(blocks) {
            let column = rows.column(block);
            for (half, weights) in weights.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let [a, b, c, d] = turn(&column, offset_of!(NVFP4, qs) + 16 * half);
                let [low, high] = [0, 4].map(|shift| [a, b, c, d].map(|q| levels(&table, bits(q, shift, 15))));
                *weights = [low[0], low[1], high[0], high[1], low[2], low[3], high[2], high[3]];
            }
            let numbers = turn(&column, offset_of!(NVFP4, d))[0];
            *scales = [0, 8, 16, 24].map(|at| scale(_mm256_srl_epi32(numbers, _mm_cvtsi32_si128(at))));
        }
    }
}

/// Scales by the numbers in the lowest bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scale(numbers: __m256i) -> __m256 {
    let is_nan = _mm256_cmpeq_epi32(_mm256_and_si256(numbers, _mm256_set1_epi32(0xff)), _mm256_set1_epi32(0x7f));
    let float = _mm256_slli_epi32::<20>(_mm256_and_si256(numbers, _mm256_set1_epi32(0x7f)));
    let power = _mm256_castsi256_ps(_mm256_set1_epi32((119 + 127) << 23));
    _mm256_mul_ps(_mm256_castsi256_ps(_mm256_andnot_si256(is_nan, float)), power)
}
