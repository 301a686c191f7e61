//! MXFP4: 4.25 bits per weight, small floats.
//!
//! Source: OCP Microscaling Formats (MX) Specification 1.0, and the ggml reference implementation for the order of
//! weights.

use super::{Format, Grid, Levels, SmallBlock, nibbles, pack_nibbles};

/// Twice the numbers of the 4-bit float format E2M1: the upper half are those of the lower with a minus sign.
pub const E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// [`E2M1`] in ascending order.
pub(super) const ASCENDING: [i8; 16] = [-12, -8, -6, -4, -3, -2, -1, 0, 0, 1, 2, 3, 4, 6, 8, 12];

/// 32 weights `2^(e - 128) * E2M1[q]`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct MXFP4 {
    /// Exponent of the scale. 255 is NaN in the specification, a number like any other in the reference and here.
    pub e: u8,
    /// 4-bit q: weights 0..16 in the low halves, 16..32 in the high halves.
    pub qs: [u8; 16],
}

impl Format for MXFP4 {
    type Shape = SmallBlock;
    const GRID: Grid = Grid::small(Levels::Codebook(&ASCENDING), false);

    fn unpack(&self) -> SmallBlock {
        SmallBlock { weights: nibbles(&self.qs).map(|q| E2M1[usize::from(q)]), scale: power(self.e), min: -0.0 }
    }

    fn pack(block: &SmallBlock) -> MXFP4 {
        // Powers of two ascend with their exponents.
        let e = (0..=254).take_while(|&e| power(e) < block.scale).count() as u8;
        MXFP4 { e, qs: pack_nibbles(&block.weights.map(pack_e2m1)) }
    }

    fn fit(x: &[f32], weights: &[f32]) -> SmallBlock {
        SmallBlock::search_scales(&Self::GRID, x, weights, |scale| {
            let e = (scale.abs().to_bits() >> 23) as u8;
            (0..4).map(move |step| power(e.saturating_add(step)))
        })
    }
}

/// The number of a level.
pub(super) fn pack_e2m1(weight: i8) -> u8 {
    E2M1.iter().position(|&level| level == weight).unwrap_or(0) as u8
}

/// `2^(e - 128)`, of which the first two are subnormal numbers.
fn power(e: u8) -> f32 {
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (u32::from(e) - 1) << 23 })
}
