//! F32, F16 and BF16: formats whose block is one number.

use super::Plain;

/// A float format: exact in f32.
pub trait Float: Plain {
    /// The value.
    fn get(self) -> f32;
    /// The nearest finite number of the format, ties to even.
    fn nearest(x: f32) -> Self;
}

/// IEEE 754 single precision, little-endian.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct F32([u8; 4]);

/// IEEE 754 half precision, little-endian.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct F16([u8; 2]);

/// The upper half of an f32, little-endian.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct BF16([u8; 2]);

impl Float for F32 {
    #[inline]
    fn get(self) -> f32 {
        f32::from_le_bytes(self.0)
    }

    fn nearest(x: f32) -> F32 {
        F32(x.to_le_bytes())
    }
}

impl Float for F16 {
    #[inline]
    fn get(self) -> f32 {
        half::f16::from_le_bytes(self.0).to_f32()
    }

    fn nearest(x: f32) -> F16 {
        F16(super::to_f16(x))
    }
}

impl Float for BF16 {
    #[inline]
    fn get(self) -> f32 {
        half::bf16::from_le_bytes(self.0).to_f32()
    }

    fn nearest(x: f32) -> BF16 {
        BF16(half::bf16::from_f32(x.clamp(half::bf16::MIN.to_f32(), half::bf16::MAX.to_f32())).to_le_bytes())
    }
}
