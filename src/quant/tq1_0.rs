//! TQ1_0: 1.6875 bits per weight, for ternary models.

use super::{Format, Grid, Levels, SuperBlock, f16, to_f16};
use std::array::from_fn;

/// 256 weights `d * (q - 1)`.
///
/// A byte holds five q as the digits of a ternary fraction, the first digit first: `byte / 256` is just above
/// `0.q0 q1 q2 q3 q4`, so that multiplying by 3 lets one digit after the other overflow.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct TQ1_0 {
    /// 32 bytes for weights 0..160, the digits n of all bytes side by side at `32 * n`; then 16 bytes in the same way
    /// for weights 160..240.
    pub qs: [u8; 48],
    /// The same of weights 240..256, four digits a byte.
    pub qh: [u8; 4],
    /// Scale, f16.
    pub d: [u8; 2],
}

impl Format for TQ1_0 {
    type Shape = SuperBlock;
    const GRID: Grid = Grid { levels: Levels::Range(-1, 1), mins: None, group: 256, scales: (1, 1) };

    fn unpack(&self) -> SuperBlock {
        let weights = from_fn(|i| {
            let (byte, digit) = place(i);
            let byte = if byte < 48 { self.qs[byte] } else { self.qh[byte - 48] };
            let rest = byte.wrapping_mul([1, 3, 9, 27, 81][digit]);
            ((u16::from(rest) * 3) >> 8) as i8 - 1
        });
        SuperBlock::even(weights, f16(self.d))
    }

    fn pack(block: &SuperBlock) -> TQ1_0 {
        let mut digits = [0u16; 52];
        for (i, w) in block.weights.iter().enumerate() {
            let (byte, digit) = place(i);
            digits[byte] += (w + 1) as u16 * [81, 27, 9, 3, 1][digit];
        }
        // Rounded up, so that the digits are those of the fraction whatever follows them.
        let bytes = digits.map(|digits| (digits * 256).div_ceil(243) as u8);
        TQ1_0 { qs: from_fn(|i| bytes[i]), qh: from_fn(|i| bytes[48 + i]), d: to_f16(block.d) }
    }
}

/// Where weight `i` is: byte and digit.
fn place(i: usize) -> (usize, usize) {
    match i {
        0..160 => (i % 32, i / 32),
        160..240 => (32 + i % 16, (i - 160) / 16),
        _ => (48 + i % 4, (i - 240) / 4),
    }
}
