//! The tile registers: their configuration, and the one operation that products need. By `asm!`, because the intrinsics are
//! not stable.

use std::arch::asm;
use std::arch::x86_64::{__m512i, _mm512_loadu_si512};
use std::marker::PhantomData;

/// Adds products of signed bytes with bytes that have a sign or not.
macro_rules! dot {
    ($tiles:literal) => {
        concat!(".if {signed}\ntdpbssd ", $tiles, "\n.else\ntdpbsud ", $tiles, "\n.endif")
    };
}

/// Stores the sums.
macro_rules! store {
    () => {
        "tilestored [{sums} + {row}], tmm0
        .if {halves} == 2
        tilestored [{sums} + {row} + 1024], tmm1
        .endif
        .if {digits} == 2
        tilestored [{sums} + {row} + 1024 * {halves}], tmm2
        .if {halves} == 2
        tilestored [{sums} + {row} + 3072], tmm3
        .endif
        .endif"
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

/// Sums of 16 weight rows for 16 tokens: `sums[token][row]`.
#[repr(C, align(64))]
pub(super) struct Sums(pub [[i32; ROWS]; TOKENS]);

/// Two products with H halves of the activations each.
pub(super) type Pair<const H: usize> = [[Sums; H]; 2];

impl Sums {
    pub const ZERO: Sums = Sums([[0; ROWS]; TOKENS]);

    /// Those of the `token`-th of sixteen.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn of(&self, token: usize) -> __m512i {
        // SAFETY: the load is the 16 numbers of the array.
        unsafe { _mm512_loadu_si512(self.0[token % TOKENS].as_ptr().cast()) }
    }
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

    /// Multiplies 256 activations of 16 tokens with D factors of 16 rows of weights, which are bytes with a sign if SIGNED
    /// is 1. `sums[d][h]` receives the sums of factor `d` times half `h` of the activations, of H halves.
    ///
    /// # Safety
    /// 256 signed bytes of each half are readable at `acts` and 15 times `stride` bytes further on; halves follow each other.
    /// The tiles are those of `Config::new(64)`.
    #[inline]
    pub unsafe fn multiply<const SIGNED: usize, const D: usize, const H: usize>(
        &self,
        acts: *const i8,
        stride: usize,
        factors: &[Factor; D],
        sums: &mut Pair<H>,
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
                dot!("tmm0, tmm4, tmm6"),
                ".if {halves} == 2",
                "tileloadd tmm5, [{acts} + {stride} + 256 + 64 * \\quarter]",
                dot!("tmm1, tmm5, tmm6"),
                ".endif",
                ".if {digits} == 2",
                "tileloadd tmm7, [{factors} + {row} + 4096 + 1024 * \\quarter]",
                dot!("tmm2, tmm4, tmm7"),
                ".if {halves} == 2",
                dot!("tmm3, tmm5, tmm7"),
                ".endif",
                ".endif",
                ".endr",
                store!(),
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

    /// Multiplies 32 activations of 16 tokens with 16 rows of weights, and the next 32 with the next weights, which have a
    /// sign. `sums[0][h]` receives the sums of half `h` of the former activations, `sums[1][h]` those of the latter.
    ///
    /// # Safety
    /// 64 signed bytes are readable at `acts`, 256 bytes behind it, and so on 15 times `stride` bytes further on; 1024 bytes
    /// at `weights`. The tiles are those of `Config::new(32)`.
    #[inline]
    pub unsafe fn multiply_apart<const H: usize>(&self, acts: *const i8, stride: usize, weights: *const u8, sums: &mut Pair<H>) {
        const { assert!(matches!(H, 1 | 2)) };
        // SAFETY: `sums` are as long as they say, and the caller vouches for the rest. Tiles are taken.
        unsafe {
            asm!(
                ".irp tile, 0, 1, 2, 3",
                "tilezero tmm\\tile",
                ".endr",
                "tileloadd tmm4, [{acts} + {stride}]",
                "tileloadd tmm6, [{weights} + {row}]",
                dot!("tmm0, tmm4, tmm6"),
                ".if {halves} == 2",
                "tileloadd tmm5, [{acts} + {stride} + 256]",
                dot!("tmm1, tmm5, tmm6"),
                ".endif",
                "tileloadd tmm4, [{acts} + {stride} + 32]",
                "tileloadd tmm7, [{weights} + {row} + 512]",
                dot!("tmm2, tmm4, tmm7"),
                ".if {halves} == 2",
                "tileloadd tmm5, [{acts} + {stride} + 288]",
                dot!("tmm3, tmm5, tmm7"),
                ".endif",
                store!(),
                acts = in(reg) acts,
                stride = in(reg) stride,
                weights = in(reg) weights,
                row = in(reg) ROW_BYTES,
                sums = in(reg) sums,
                signed = const 1,
                digits = const 2,
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
