//! Block formats: what the bytes of a quantized weight mean, and the scalar product with quantized activations that
//! every faster kernel must reproduce bit for bit.
//!
//! A format is one file: a struct that is the block as it stands in a model file, which unpacks into one of three shapes,
//! [`SuperBlock`], [`SmallBlock`] or [`MicroBlock`]. Decoding to f32 and the product follow from the shape and are written once, in
//! `dot`. A new format is its file plus one line in `formats!` below.
//!
//! Source of all layouts: the block structs and dequantization routines of the ggml reference implementation.

#![allow(non_camel_case_types)]

mod activation;
mod codeword_sets;
mod codewords;
mod dot;
mod encode;
mod float;
mod iq1_m;
mod iq1_s;
mod iq2_s;
mod iq2_xs;
mod iq2_xxs;
mod iq3_s;
mod iq3_xxs;
mod iq4_nl;
mod iq4_xs;
mod layout;
mod mix;
mod mxfp4;
mod nearest;
mod nvfp4;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod q8_k;
mod tq1_0;
mod tq2_0;

pub use activation::{ActBlock, BLOCK, Batch, PairBlock, Precision};
pub use codewords::{Codewords, IQ1_WORDS, IQ2_S_WORDS, IQ2_XS_WORDS, IQ2_XXS_WORDS, IQ3_S_WORDS, IQ3_XXS_WORDS};
pub use dot::{MicroBlock, Shape, SmallBlock, SuperBlock};
pub use encode::encode;
pub use float::{BF16, F16, F32, Float};
pub use iq1_m::IQ1_M;
pub use iq1_s::IQ1_S;
pub use iq2_s::IQ2_S;
pub use iq2_xs::IQ2_XS;
pub use iq2_xxs::IQ2_XXS;
pub use iq3_s::IQ3_S;
pub use iq3_xxs::IQ3_XXS;
pub use iq4_nl::{CODEBOOK, IQ4_NL};
pub use iq4_xs::IQ4_XS;
pub use layout::{INTERLEAVED_ROWS, Layout, interleave};
pub use mix::{FileType, MixModel};
pub use mxfp4::{E2M1, MXFP4};
pub use nvfp4::NVFP4;
pub use q2_k::Q2_K;
pub use q3_k::Q3_K;
pub use q4_0::Q4_0;
pub use q4_1::Q4_1;
pub use q4_k::Q4_K;
pub use q5_0::Q5_0;
pub use q5_1::Q5_1;
pub use q5_k::Q5_K;
pub use q6_k::Q6_K;
pub use q8_0::Q8_0;
pub use q8_k::Q8_K;
pub use tq1_0::TQ1_0;
pub use tq2_0::TQ2_0;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

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
    /// What the numbers of a block can be.
    const GRID: Grid;
    /// Whether weights have an offset.
    const MINS: bool = Self::GRID.mins.is_some();

    /// Takes the block apart. Any bytes will do; scales may come out as NaN or infinite.
    fn unpack(&self) -> Self::Shape;

    /// Puts a block together: the inverse of [`Format::unpack`] for numbers of [`Format::GRID`] and scales that are f16
    /// numbers.
    fn pack(block: &Self::Shape) -> Self;

    /// The numbers that a bounded search finds nearest to the [`Shape::LEN`] numbers `x`; `weights` say how much the
    /// square of each error counts.
    #[must_use]
    fn fit(x: &[f32], weights: &[f32]) -> Self::Shape {
        Self::Shape::fit(&Self::GRID, x, weights)
    }
}

/// What the numbers of a block can be.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// The integers that weights can be.
    pub levels: Levels,
    /// Greatest sub-minimum of formats with offsets. [`SmallBlock`] formats have an offset of their own in every block;
    /// theirs is a number of any sign.
    pub mins: Option<i16>,
    /// Weights that share a sub-scale.
    pub group: usize,
    /// Least and greatest sub-scale.
    pub scales: (i16, i16),
}

impl Grid {
    /// The grid of a [`SmallBlock`] format.
    const fn small(levels: Levels, mins: bool) -> Grid {
        Grid { levels, mins: if mins { Some(1) } else { None }, group: 32, scales: (1, 1) }
    }
}

/// The integers that weights can be.
#[derive(Clone, Copy, Debug)]
pub enum Levels {
    /// All from the first to the second.
    Range(i8, i8),
    /// These, ascending.
    Codebook(&'static [i8; 16]),
    /// Those of codewords with signs; whether the minus signs among eight weights are even in number. Sub-scales are odd.
    Signed(&'static Codewords, bool),
    /// Those of codewords, all of them shifted by 1 or all by -1 in every so many weights. Sub-scales are odd.
    Shifted(&'static Codewords, usize),
}

/// Calls `$then!` with the names of all block formats whose weights are numbers of their own: those that every level
/// multiplies by kernels of its own.
macro_rules! formats {
    ($then:ident $(and $($more:ident)*)?) => {
        $then! {
            Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K IQ4_NL IQ4_XS TQ1_0 TQ2_0 MXFP4 $($($more)*)?
        }
    };
}
pub(crate) use formats;

/// Calls `$then!` with the name of every block format, those of codewords and of scales for few weights too: the table [`Dtype`] <-> format for those who
/// build tables of functions. The struct of a format has the name of its [`Dtype`].
macro_rules! all_formats {
    ($then:ident) => {
        $crate::quant::formats! { $then and IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S NVFP4 }
    };
}
pub(crate) use all_formats;

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
all_formats! { plain }

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

/// Inverse of [`f16`]; what is out of range becomes the greatest finite value.
fn to_f16(x: f32) -> [u8; 2] {
    half::f16::from_f32(x.clamp(-65504.0, 65504.0)).to_le_bytes()
}

/// The 4-bit numbers of some bytes: all low halves, then all high halves. `M = 2 * N`.
fn nibbles<const N: usize, const M: usize>(bytes: &[u8; N]) -> [u8; M] {
    std::array::from_fn(|i| if i < N { bytes[i] & 15 } else { bytes[i - N] >> 4 })
}

/// Inverse of [`nibbles`].
fn pack_nibbles<const M: usize, const N: usize>(q: &[u8; M]) -> [u8; N] {
    std::array::from_fn(|i| q[i] | q[i + N] << 4)
}
