//! Scratch memory of a pass: one allocation, cut into slots that are sized before anything runs.

use crate::error::{Result, try_vec};

/// A region of an [`Arena`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    start: usize,
    len: usize,
}

/// Scratch values of a pass.
pub struct Arena {
    values: Vec<f32>,
}

impl Arena {
    /// An arena of `len` values, zeroed: kernels must never compute on garbage.
    pub fn new(len: usize) -> Result<Arena> {
        Ok(Arena { values: try_vec(len, 0.0)? })
    }
}
