//! Q4_0: 4.5 bits per weight.

use super::{Format, SmallBlock, f16, nibbles};

/// 32 weights `d * (q - 8)`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Q4_0 {
    /// Scale, f16.
    pub d: [u8; 2],
    /// 4-bit q: weights 0..16 in the low halves, 16..32 in the high halves.
    pub qs: [u8; 16],
}

impl Format for Q4_0 {
    type Shape = SmallBlock;
    const MINS: bool = false;

    fn unpack(&self) -> SmallBlock {
        let mut weights = [0; 32];
        nibbles(&self.qs, &mut weights, |q| q as i8 - 8);
        SmallBlock { weights, scale: f16(self.d), min: -0.0 }
    }
}
