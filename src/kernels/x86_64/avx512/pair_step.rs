//! Four activations of a token times those weights of two tiles: the innermost step of products by pairs.
//!
//! Written as instructions for their order alone. A processor assigns its pipes in that order; as a compiler arranges the step, it
//! takes an eighth more time. Nor may `vpdpwssd` become a multiplication and an addition, as compilers make of its intrinsic
//! where sums wait for one another.

use crate::quant::BLOCK;
use std::arch::asm;
use std::arch::x86_64::*;

/// Weights 0 and 2, then 1 and 3, of four, of each tile.
pub(super) type Four = [[__m512i; 2]; 2];

/// A step of these instructions, given what they use beside sums, activations and weights.
macro_rules! step {
    ($(#[$doc:meta])* $name:ident: $($line:literal),*; $($room:ident)*) => {
        $(#[$doc])*
        #[inline]
        #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
        pub(super) fn $name(
            [mut first, mut second]: [__m512i; 2],
            (acts, i): (&[i16; BLOCK], usize),
            [a, b]: Four,
        ) -> [__m512i; 2] {
            assert!(i < BLOCK / 4);
            $(let $room: __m512i;)*
            // SAFETY: the level is there; the loads are the four activations, which the array has.
            unsafe {
                asm!(
                    "vpbroadcastd {even}, dword ptr [{acts} + 8 * {i}]",
                    "vpbroadcastd {odd}, dword ptr [{acts} + 8 * {i} + 4]",
                    $($line,)*
                    acts = in(reg) acts.as_ptr(),
                    i = in(reg) i,
                    a0 = in(zmm_reg) a[0],
                    a1 = in(zmm_reg) a[1],
                    b0 = in(zmm_reg) b[0],
                    b1 = in(zmm_reg) b[1],
                    first = inout(zmm_reg) first,
                    second = inout(zmm_reg) second,
                    $($room = out(zmm_reg) $room,)*
                    options(pure, readonly, nostack, preserves_flags),
                );
            }
            $(let _ = $room;)*
            [first, second]
        }
    };
}
step! {
    /// Adds the products of pairs. Activations 0 and 2 of the `i`-th four come first, then 1 and 3.
    by_pairs:
    "vpaddw {x}, {even}, {a1}",
    "vpaddw {y}, {odd}, {a0}",
    "vpdpwssd {first}, {x}, {y}",
    "vpaddw {even}, {even}, {b1}",
    "vpaddw {odd}, {odd}, {b0}",
    "vpdpwssd {second}, {even}, {odd}";
    even odd x y
}
step! {
    /// Adds the products themselves.
    plainly:
    "vpdpwssd {first}, {even}, {a0}",
    "vpdpwssd {second}, {even}, {b0}",
    "vpdpwssd {first}, {odd}, {a1}",
    "vpdpwssd {second}, {odd}, {b1}";
    even odd
}
