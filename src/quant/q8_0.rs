//! Q8_0: 8.5 bits per weight.

use super::{Format, SmallBlock, f16};

/// 32 weights `d * q`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Q8_0 {
    /// Scale, f16.
    pub d: [u8; 2],
    /// Signed q.
    pub qs: [i8; 32],
}

impl Format for Q8_0 {
    type Shape = SmallBlock;
    const MINS: bool = false;

    fn unpack(&self) -> SmallBlock {
        SmallBlock { weights: self.qs, scale: f16(self.d), min: -0.0 }
    }
}
