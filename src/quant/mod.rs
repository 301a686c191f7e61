//! Block formats: what the bytes of a quantized weight mean, and the scalar product with quantized activations that
//! every faster kernel must reproduce bit for bit.
//!
//! A format is one file. It unpacks a block into one of two shapes, [`SuperBlock`] or [`SmallBlock`]; decoding to f32 and
//! the product follow from the shape and are written once, in [`dot`].

mod activation;
mod dot;

pub use activation::{ActBlock, BLOCK, Precision};
