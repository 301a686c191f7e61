//! NVFP4: 4.5 bits per weight, small floats with small floats as scales.
//!
//! Source: NVIDIA's description of the format (E2M1 numbers, an E4M3 scale per 16 of them), and the ggml reference
//! implementation for the order of weights. Files may have one more scale per tensor, in a tensor of its own.

use super::mxfp4::pack_e2m1;
use super::{E2M1, Format, Grid, Levels, MicroBlock, mxfp4, nibbles, pack_nibbles};
use std::array::from_fn;

/// 64 weights, of every 16 `scale(d) * E2M1[q]`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct NVFP4 {
    /// E4M3 numbers without sign.
    pub d: [u8; 4],
    /// 4-bit q, eight bytes per 16 weights: 0..8 in the low halves, 8..16 in the high halves.
    pub qs: [[u8; 8]; 4],
}

impl Format for NVFP4 {
    type Shape = MicroBlock;
    const GRID: Grid = Grid { group: 16, ..Grid::small(Levels::Codebook(&mxfp4::ASCENDING), false) };

    fn unpack(&self) -> MicroBlock {
        let weights = self.qs.map(|qs| nibbles(&qs).map(|q: u8| E2M1[usize::from(q)]));
        MicroBlock { weights, scales: self.d.map(scale) }
    }

    fn pack(block: &MicroBlock) -> NVFP4 {
        NVFP4 { d: block.scales.map(number), qs: from_fn(|group| pack_nibbles(&block.weights[group].map(pack_e2m1))) }
    }

    fn fit(x: &[f32], weights: &[f32]) -> MicroBlock {
        MicroBlock::search_scales(&Self::GRID, x, weights, |best| {
            let near = number(best.abs()).min(GREATEST);
            (near.saturating_sub(2)..=near.saturating_add(1).min(GREATEST)).map(scale)
        })
    }
}

/// Greatest scale; the one behind it is NaN.
const GREATEST: u8 = 0x7e;

/// Half of an E4M3 number, for [`E2M1`] is twice its numbers: exponent and upper mantissa of a float whose exponent is
/// lower by 119. NaN counts as 0 and the upper bit for nothing, as in the reference.
fn scale(number: u8) -> f32 {
    const POWER: f32 = f32::from_bits((119 + 127) << 23);
    if number == 0x7f { 0.0 } else { f32::from_bits(u32::from(number & 0x7f) << 20) * POWER }
}

/// The least number whose scale is not below this; only with the upper bit set is there one behind the greatest.
fn number(wanted: f32) -> u8 {
    (0..=GREATEST).find(|&number| scale(number) >= wanted).unwrap_or(0xff)
}
