//! x86-64 levels.

pub mod amx;
pub mod avx2;
pub mod avx512;
mod recompiled;
