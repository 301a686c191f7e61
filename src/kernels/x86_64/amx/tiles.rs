//! The tile registers: their configuration, and the one operation that products need. By `asm!`, because the intrinsics are
//! not stable.

use std::arch::asm;
use std::marker::PhantomData;

/// Rows of every tile.
pub(super) const ROWS: usize = 16;
/// Bytes of a row.
const ROW_BYTES: usize = 64;

/// What LDTILECFG reads.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Eight tiles of 16 rows of 64 bytes.
static CONFIG: Config = {
    let (mut row_bytes, mut rows, mut tile) = ([0; 16], [0; 16], 0);
    while tile < 8 {
        (row_bytes[tile], rows[tile]) = (ROW_BYTES as u16, ROWS as u8);
        tile += 1;
    }
    Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
};

/// The tiles of this thread, as long as they are in use: the system would have to save them with every switch, and a core
/// whose tiles are in use clocks lower.
pub(super) struct Tiles(PhantomData<*const ()>);

/// Sums of 16 weight rows for 16 tokens: `sums[token][row]`.
#[repr(C, align(64))]
pub(super) struct Sums(pub [[i32; 16]; ROWS]);

impl Sums {
    pub const ZERO: Sums = Sums([[0; 16]; ROWS]);
}

/// A factor of the weights: 256 rows of four bytes times sixteen, in the order of the multiplier. Vector `i` holds weights
/// `4 * i..4 * i + 4` of each of sixteen rows.
#[repr(C, align(64))]
pub(super) struct Factor(pub [[u8; ROW_BYTES]; 64]);

impl Tiles {
    /// Takes the tiles into use.
    ///
    /// # Safety
    /// The CPU has the level, the system permits it, and this thread has not taken them yet.
    #[inline]
    pub unsafe fn new() -> Tiles {
        // SAFETY: the configuration is a valid one of 64 bytes.
        unsafe { asm!("ldtilecfg [{config}]", config = in(reg) &CONFIG, options(nostack, preserves_flags)) };
        Tiles(PhantomData)
    }

    /// Multiplies 256 activations of 16 tokens with D factors of 16 rows of weights, which are bytes with a sign if SIGNED
    /// is 1. `sums[d][h]` receives the sums of factor `d` times half `h` of the activations, of H halves.
    ///
    /// # Safety
    /// 256 signed bytes of each half are readable at `acts` and 15 times `stride` bytes further on; halves follow each other.
    #[inline]
    pub unsafe fn multiply<const SIGNED: usize, const D: usize, const H: usize>(
        &self,
        acts: *const i8,
        stride: usize,
        factors: &[Factor; D],
        sums: &mut [[Sums; H]; D],
    ) {
        const { assert!(matches!((D, H), (1 | 2, 1 | 2))) };
        // SAFETY: `factors` and `sums` are as long as they say, and the caller vouches for the activations. Tiles are taken.
        unsafe {
            asm!(
                ".irp tile, 0, 1, 2, 3",
                "tilezero tmm\\tile",
                ".endr",
                ".irp quarter, 0, 1, 2, 3",
                "tileloadd tmm4, [{acts} + {stride} + 64 * \\quarter]",
                "tileloadd tmm6, [{factors} + {row} + 1024 * \\quarter]",
                ".if {signed}",
                "tdpbssd tmm0, tmm4, tmm6",
                ".else",
                "tdpbsud tmm0, tmm4, tmm6",
                ".endif",
                ".if {halves} == 2",
                "tileloadd tmm5, [{acts} + {stride} + 256 + 64 * \\quarter]",
                ".if {signed}",
                "tdpbssd tmm1, tmm5, tmm6",
                ".else",
                "tdpbsud tmm1, tmm5, tmm6",
                ".endif",
                ".endif",
                ".if {digits} == 2",
                "tileloadd tmm7, [{factors} + {row} + 4096 + 1024 * \\quarter]",
                ".if {signed}",
                "tdpbssd tmm2, tmm4, tmm7",
                ".else",
                "tdpbsud tmm2, tmm4, tmm7",
                ".endif",
                ".if {halves} == 2",
                ".if {signed}",
                "tdpbssd tmm3, tmm5, tmm7",
                ".else",
                "tdpbsud tmm3, tmm5, tmm7",
                ".endif",
                ".endif",
                ".endif",
                ".endr",
                "tilestored [{sums} + {row}], tmm0",
                ".if {halves} == 2",
                "tilestored [{sums} + {row} + 1024], tmm1",
                ".endif",
                ".if {digits} == 2",
                "tilestored [{sums} + {row} + 1024 * {halves}], tmm2",
                ".if {halves} == 2",
                "tilestored [{sums} + {row} + 3072], tmm3",
                ".endif",
                ".endif",
                acts = in(reg) acts,
                stride = in(reg) stride,
                factors = in(reg) factors,
                row = in(reg) ROW_BYTES,
                sums = in(reg) sums,
                signed = const SIGNED,
                digits = const D,
                halves = const H,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags)
            );
        }
    }
}

impl Drop for Tiles {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: tiles are taken, so there is the instruction.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}
