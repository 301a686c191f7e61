//! Block formats: what the bytes of a quantized weight mean, and the scalar product with quantized activations that
//! every faster kernel must reproduce bit for bit.
//!
//! A format is one file: a struct that is the block as it stands in a model file, which unpacks into one of two shapes,
//! [`SuperBlock`] or [`SmallBlock`]. Decoding to f32 and the product follow from the shape and are written once, in
//! `dot`. A new format is its file plus one line in `formats!` below.
//!
//! Source of all layouts: the block structs and dequantization routines of the ggml reference implementation.

#![allow(non_camel_case_types)]

mod activation;
mod dot;
mod float;
mod q4_0;
mod q8_0;

pub use activation::{ActBlock, BLOCK, Precision};
pub use dot::{Shape, SmallBlock, SuperBlock};
pub use float::{BF16, F16, F32, Float};
pub use q4_0::Q4_0;
pub use q8_0::Q8_0;

use crate::tensor::Dtype;

/// A value that is nothing but its bytes: reading any bytes as it is sound.
///
/// # Safety
/// The type has alignment 1, no padding, and every bit pattern is a valid value.
pub unsafe trait Plain: Copy + 'static {
    /// The element type whose blocks look like this.
    const DTYPE: Dtype;
}

/// A block format.
pub trait Format: Plain {
    /// What a block unpacks into.
    type Shape: Shape;
    /// Whether weights have an offset: `scale * q + min` instead of `scale * q`.
    const MINS: bool;

    /// Takes the block apart. Any bytes will do; scales may come out as NaN or infinite.
    fn unpack(&self) -> Self::Shape;
}

/// Calls `$then!` with the name of every block format: the table [`Dtype`] <-> format for those who build tables of
/// functions. The struct of a format has the name of its [`Dtype`].
macro_rules! formats {
    ($then:ident) => {
        $then! { Q4_0 Q8_0 }
    };
}
pub(crate) use formats;

macro_rules! plain {
    ($($name:ident)*) => { $(
        const _: () = assert!(size_of::<$name>() == Dtype::$name.block_bytes() && align_of::<$name>() == 1);
        // SAFETY: the struct consists of bytes only; size and alignment were just asserted.
        unsafe impl Plain for $name {
            const DTYPE: Dtype = Dtype::$name;
        }
    )* };
}
plain! { F32 F16 BF16 }
formats! { plain }

/// The bytes of a tensor as blocks; an incomplete last block is left out.
#[must_use]
pub fn blocks<T: Plain>(bytes: &[u8]) -> &[T] {
    // SAFETY: `Plain` promises alignment 1 and that any bytes are valid; the length covers whole values only.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) }
}

/// As [`blocks`], to be written.
#[must_use]
pub fn blocks_mut<T: Plain>(bytes: &mut [u8]) -> &mut [T] {
    // SAFETY: as in `blocks`; `Plain` types have no padding, so whatever is written leaves initialized bytes.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / size_of::<T>()) }
}

/// Little-endian f16 as it stands in a block.
fn f16(bytes: [u8; 2]) -> f32 {
    half::f16::from_le_bytes(bytes).to_f32()
}

/// The two 4-bit numbers of every byte: low halves first, then high halves.
fn nibbles<const N: usize>(bytes: &[u8], out: &mut [i8; N], value: impl Fn(u8) -> i8) {
    let (low, high) = out.split_at_mut(N / 2);
    for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
        *low = value(byte & 15);
        *high = value(byte >> 4);
    }
}
