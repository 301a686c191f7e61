//! What products by tiles ask of a format.

use super::tiles::{Config, Operands, Sums, Tiles};
use crate::kernels::MatmulArgs;
use crate::quant::ActBlock;
use std::arch::x86_64::{__m512, __m512i};

/// Unpacked blocks of sixteen rows, up to 256 weights each.
pub(super) trait Group: Sized {
    /// How tiles are cut.
    const CONFIG: &'static Config;

    /// In how many parts a step is done.
    const PARTS: usize;

    /// Whether the two parts that there are then have sums of their own: otherwise parts are added up.
    const APART: bool;

    /// How many factors a part has, each for two operands.
    const FACTORS: usize;

    /// What sums are multiplied with.
    type Numbers: Copy;

    /// An empty group.
    ///
    /// # Safety
    /// The CPU has AVX-512.
    unsafe fn new() -> Self;

    /// In how many steps the tokens that are multiplied together are done.
    fn steps(&self) -> usize;

    /// What the sums of a step are multiplied with.
    fn numbers(&self, step: usize) -> Self::Numbers;

    /// Does the N-th product of a part, in order, and stores the sums that are due then; see [`Tiles::multiply`].
    ///
    /// # Safety
    /// Tiles are cut as `CONFIG` says. The operands are readable, 256 bytes of each.
    unsafe fn multiply<const N: usize, const PART: usize>(&self, step: usize, tiles: &Tiles, acts: Operands, due: &mut Sums);

    /// Adds sums to the outputs of a token, by the operations of the numerics definition: given those of each factor, of all parts,
    /// with the halves of the activations that are in use.
    ///
    /// # Safety
    /// The CPU has AVX-512.
    unsafe fn add<const H: usize>(numbers: &Self::Numbers, sums: [[__m512i; H]; 4], act: &ActBlock, acc: __m512) -> __m512;
}

/// Unpacks the given 256 weights, or as many as there are, of sixteen rows from the given one on.
/// The CPU has AVX-512, and the rows are there.
pub(super) type Fill<G> = unsafe fn(&mut G, &MatmulArgs, usize, usize);
