//! Unpacking of super-blocks of codewords into tiles.
//!
//! Every word is a look-up in memory, which no instruction does for several: rows are unpacked as the reference has it.

use super::lanes::{Rows, interleave, twice};
use super::matmul::Tiled;
use super::tile::Super;
use crate::quant::{Format, IQ1_M, IQ1_S, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS, SuperBlock};
use std::arch::aarch64::*;
use std::array::from_fn;
use std::ops::Range;

/// Levels are 62 at most.
type Tile = Super<16, 0, false>;

macro_rules! tiled {
    ($($name:ident)*) => { $(
        impl Tiled for $name {
            type Tile = Tile;

            #[target_feature(enable = "neon")]
            unsafe fn fill(rows: Rows<$name>, blocks: Range<usize>, tile: &mut Tile) {
                fill(rows, blocks.start, tile);
            }
        }
    )* };
}
tiled! { IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S }

#[inline]
#[target_feature(enable = "neon")]
fn fill<F: Format<Shape = SuperBlock>>(rows: Rows<F>, block: usize, tile: &mut Tile) {
    let column = rows.column(block);
    // SAFETY: `bytes` vouches for a whole block; blocks are nothing but their bytes.
    let blocks: [_; 4] = from_fn(|r| unsafe { &*column.bytes(r, 0, size_of::<F>()).cast::<F>() }.unpack());
    for (i, weights) in tile.weights.iter_mut().enumerate() {
        // SAFETY: each load is 16 bytes of an array.
        *weights = interleave(from_fn(|r| unsafe { vld1q_u8(blocks[r].weights[16 * i..16 * i + 16].as_ptr().cast()) }));
    }
    for (j, scales) in tile.scales.iter_mut().enumerate() {
        let each: [_; 4] = from_fn(|r| i32::from(blocks[r].scales[j]));
        // SAFETY: the load is the four numbers of the array.
        *scales = twice(unsafe { vld1q_s32(each.as_ptr()) });
    }
    // SAFETY: the load is the four numbers of the array.
    tile.d = unsafe { vld1q_f32(blocks.map(|block| block.d).as_ptr()) };
}
