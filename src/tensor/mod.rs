//! Element types and memory of tensors. No arithmetic.

mod buffer;
mod dtype;

pub use buffer::{Buffer, Zeroed};
pub use dtype::Dtype;
