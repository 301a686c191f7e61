//! The tile registers: their configuration, and the one operation that products need. By `asm!`, because the intrinsics are
//! not stable.

use std::arch::asm;
use std::arch::x86_64::{__m512i, _mm512_loadu_si512};
use std::marker::PhantomData;

/// Stores sums and begins others in their tile.
macro_rules! store {
    ($tile:literal, $place:literal) => {
        concat!("tilestored [{due} + {row} + ", $place, "], ", $tile, "\ntilezero ", $tile)
    };
}

/// Adds products of signed bytes with bytes that have a sign or not.
macro_rules! dot {
    ($tiles:literal) => {
        concat!(".if {signed}\ntdpbssd ", $tiles, "\n.else\ntdpbsud ", $tiles, "\n.endif")
    };
}

/// Tokens of a tile.
pub(super) const TOKENS: usize = 16;
/// Weight rows of a tile.
pub(super) const ROWS: usize = 16;
/// Bytes from one row of sums, or of weights, to the next.
const ROW_BYTES: usize = 64;

/// What LDTILECFG reads.
#[repr(C, align(64))]
pub(super) struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Config {
    /// Sums in tiles 0 to 3; tiles 4 and 5 for `depth` activations of each of 16 tokens, 6 and 7 for as many weights of 16 rows.
    pub const fn new(depth: usize) -> Config {
        let (width, height) = (depth as u16, depth as u8 / 4);
        Config {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [64, 64, 64, 64, width, width, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
            rows: [16, 16, 16, 16, 16, 16, height, height, 0, 0, 0, 0, 0, 0, 0, 0],
        }
    }
}

/// The tiles of this thread, as long as they are in use: the system would have to save them with every switch, and a core
/// whose tiles are in use clocks lower.
pub(super) struct Tiles(PhantomData<*const ()>);

/// Sums of up to two factors, of 16 weight rows each, with two operands: `sums[factor][16 * operand + act][row]`.
#[repr(C, align(64))]
pub(super) struct Sums([[[i32; ROWS]; 2 * TOKENS]; 2]);

impl Sums {
    pub const ZERO: Sums = Sums([[[0; ROWS]; 2 * TOKENS]; 2]);

    /// Those of all rows.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn of(&self, factor: usize, place: usize) -> __m512i {
        // SAFETY: the load is the 16 numbers of the array.
        unsafe { _mm512_loadu_si512(self.0[factor][place % (2 * TOKENS)].as_ptr().cast()) }
    }
}

/// Two operands of the tile unit: each is 64 bytes, or 32, at a place and at 15 more, which are equally far apart. They are the
/// halves of the activations of 16 tokens, or activations of 16 tokens and of 16 others.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    pub first: *const i8,
    /// From the one to the other, in bytes.
    pub second: usize,
    /// From one place to the next, in bytes.
    pub stride: usize,
}

/// 256 weights of sixteen rows in the order of the multiplier: vector `i` holds weights `4 * i..4 * i + 4` of each row.
#[repr(C, align(64))]
pub(super) struct Factor(pub [[u8; ROW_BYTES]; 64]);

impl Factor {
    pub const ZERO: Factor = Factor([[0; ROW_BYTES]; 64]);
}

impl Tiles {
    /// Takes the tiles into use.
    ///
    /// # Safety
    /// The CPU has the level, the system permits it, and this thread has not taken them yet.
    #[inline]
    pub unsafe fn new(config: &'static Config) -> Tiles {
        // SAFETY: the configuration is a valid one of 64 bytes.
        unsafe { asm!("ldtilecfg [{config}]", config = in(reg) config, options(nostack, preserves_flags)) };
        Tiles(PhantomData)
    }

    /// The N-th of four products, in order: of two operands with a factor, and of these again, or of others if there are no SUMS,
    /// with another factor. Factors have a sign if SIGNED is 1. Products are added to sums, SUMS of them, or are these if there is
    /// none.
    ///
    /// Sums are stored one product before others begin in their tile: those of the N-th product are due after the one before it
    /// in the next round of products if FIRST is 1, but those of the first product already at the end of the last if LAST is 1.
    ///
    /// Tiles are zeroed after their last use. The more tiles hold numbers, the slower loads and products are at times, by up to four
    /// times: as if zeros took no register of those that tiles are renamed to, and the core's two threads shared these
    /// (benches/RESULTS.md).
    ///
    /// # Safety
    /// Tiles are as deep as the operands and the factor, of which so much is readable.
    #[inline]
    pub unsafe fn multiply<const N: usize, const SUMS: usize, const SIGNED: usize, const FIRST: usize, const LAST: usize>(
        &self,
        acts: Operands,
        factor: *const [u8; ROW_BYTES],
        due: &mut Sums,
    ) {
        const { assert!(N < 4) };
        // SAFETY: `due` has room for four tiles, and the caller vouches for the rest. Tiles are taken.
        unsafe {
            asm!(
                ".if {n} == 0",
                "tileloadd tmm4, [{acts} + {stride}]",
                "tileloadd tmm6, [{factor} + {row}]",
                ".if {first}",
                store!("tmm1", "1024"),
                ".endif",
                dot!("tmm0, tmm4, tmm6"),
                ".if {sums} < 4",
                "tilezero tmm4",
                ".endif",
                ".elseif {n} == 1",
                "tileloadd tmm5, [{acts} + {stride}]",
                ".if {first} && {sums} != 2",
                store!("tmm2", "2048"),
                ".endif",
                ".if {last} && {sums} == 2",
                store!("tmm0", "0"),
                ".endif",
                dot!("tmm1, tmm5, tmm6"),
                "tilezero tmm6",
                ".if {sums} < 4",
                "tilezero tmm5",
                ".endif",
                ".elseif {n} == 2",
                ".if {sums} == 0",
                "tileloadd tmm4, [{acts} + {stride}]",
                ".endif",
                "tileloadd tmm7, [{factor} + {row}]",
                ".if {first}",
                store!("tmm3", "3072"),
                ".endif",
                dot!("tmm2, tmm4, tmm7"),
                "tilezero tmm4",
                ".else",
                ".if {sums} == 0",
                "tileloadd tmm5, [{acts} + {stride}]",
                ".endif",
                ".if {last}",
                store!("tmm0", "0"),
                ".endif",
                dot!("tmm3, tmm5, tmm7"),
                "tilezero tmm5",
                "tilezero tmm7",
                ".endif",
                acts = in(reg) if N % 2 == 1 { acts.first.add(acts.second) } else { acts.first },
                stride = in(reg) acts.stride,
                factor = in(reg) factor,
                row = in(reg) ROW_BYTES,
                due = in(reg) due,
                n = const N,
                sums = const SUMS,
                first = const FIRST,
                last = const LAST,
                signed = const SIGNED,
                options(nostack, preserves_flags)
            );
        }
    }

    /// Stores all sums that are left.
    #[inline]
    pub fn finish(&self, due: &mut Sums) {
        // SAFETY: `due` has room for four tiles. Tiles are taken.
        unsafe {
            asm!(
                store!("tmm1", "1024"),
                store!("tmm2", "2048"),
                store!("tmm3", "3072"),
                due = in(reg) due,
                row = in(reg) ROW_BYTES,
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
