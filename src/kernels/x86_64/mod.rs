//! x86-64 levels.

pub mod avx2;
mod recompiled;
mod rows;
