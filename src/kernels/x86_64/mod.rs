//! x86-64 levels.

pub mod avx2;
