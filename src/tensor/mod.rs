//! Shapes, element types and views of tensors. No arithmetic.

mod arena;
mod dtype;

pub use arena::{Arena, Slot};
pub use dtype::Dtype;
