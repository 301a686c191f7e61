//! What products by tiles ask of a format.

use super::tiles::{Config, Pair, Tiles};
use crate::kernels::x86_64::avx512::lanes::Rows;
use crate::quant::{ActBlock, Plain};
use std::arch::x86_64::__m512;
use std::ops::Range;

/// Unpacked blocks of sixteen rows, up to 256 weights each.
pub(super) trait Group: Sized {
    /// The blocks.
    type Block: Plain;

    /// How tiles are cut.
    const CONFIG: &'static Config;

    /// An empty group.
    ///
    /// # Safety
    /// The CPU has AVX-512.
    unsafe fn new() -> Self;

    /// Unpacks blocks.
    ///
    /// # Safety
    /// The CPU has AVX-512.
    unsafe fn fill<const I: bool>(&mut self, rows: &Rows<Self::Block, I>, blocks: Range<usize>);

    /// How many products there are for each tile of tokens.
    fn steps(&self) -> usize;

    /// Multiplies with the activations of sixteen tokens, of which the halves that are in use follow each other.
    ///
    /// # Safety
    /// Tiles are cut as `CONFIG` says. An [`ActBlock`] is readable at `acts` and 15 times `stride` bytes further on.
    unsafe fn multiply<const H: usize>(&self, step: usize, tiles: &Tiles, acts: *const i8, stride: usize, sums: &mut Pair<H>);

    /// Adds the sums of a token to its outputs, by the operations of the numerics definition.
    ///
    /// # Safety
    /// The CPU has AVX-512.
    unsafe fn add<const H: usize>(&self, step: usize, sums: &Pair<H>, token: usize, act: &ActBlock, acc: __m512) -> __m512;
}
