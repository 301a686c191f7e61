//! libchord: run GGUF language models inside your program.
//!
//! file -> model -> session -> step -> token, and code only knows what stands left of it:
//!
//! - [`error`]: the one error type
//! - [`cpu`]: instruction-set levels, caches, the CPU budget
//! - [`tensor`]: element types, shapes, scratch memory
//! - [`gguf`]: bytes of a model file -> checked directory of metadata and tensors
//! - [`quant`]: block formats and their reference arithmetic
//! - [`kernels`]: inner loops per instruction-set level
//! - [`threads`]: the worker pool
//! - [`ops`]: whole operations, split over threads
//! - [`kv`]: the key-value cache
//! - [`arch`]: architectures: hyper-parameters, weights, forward pass
//! - [`tokenizer`]: text <-> tokens
//! - [`sampling`]: logits -> token
//! - [`chat`]: conversations -> text, by the model's template
//! - [`model`]: an open file, immutable, shared
//! - [`session`]: the mutable heart: cache, scratch, sampler over one model
//! - [`ffi`]: the C API, and nothing else

#![warn(missing_docs, unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

pub mod arch;
pub mod chat;
pub mod cpu;
pub mod error;
pub mod ffi;
pub mod gguf;
pub mod kernels;
pub mod kv;
pub mod model;
pub mod ops;
pub mod quant;
pub mod sampling;
pub mod session;
pub mod tensor;
pub mod threads;
pub mod tokenizer;
