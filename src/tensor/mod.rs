//! Element types and memory of tensors. No arithmetic.

mod buffer;
mod dtype;
mod memory;

pub use buffer::{Buffer, Zeroed};
pub use dtype::Dtype;
pub use memory::Memory;
