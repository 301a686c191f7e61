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

/// Adds the products of pairs. Activations 0 and 2 come first, then 1 and 3.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn by_pairs([mut first, mut second]: [__m512i; 2], (acts, i): (&[i16; BLOCK], usize), [a, b]: Four) -> [__m512i; 2] {
    let (_even, _odd, _x, _y): (__m512i, __m512i, __m512i, __m512i);
    assert!(i < BLOCK / 4);
    // SAFETY: the level is there; the loads are the four activations, which the array has.
    unsafe {
        asm!(
            "vpbroadcastd {even}, dword ptr [{acts} + 8 * {i}]",
            "vpbroadcastd {odd}, dword ptr [{acts} + 8 * {i} + 4]",
            "vpaddw {x}, {even}, {a1}",
            "vpaddw {y}, {odd}, {a0}",
            "vpdpwssd {first}, {x}, {y}",
            "vpaddw {even}, {even}, {b1}",
            "vpaddw {odd}, {odd}, {b0}",
            "vpdpwssd {second}, {even}, {odd}",
            acts = in(reg) acts.as_ptr(),
            i = in(reg) i,
            a0 = in(zmm_reg) a[0],
            a1 = in(zmm_reg) a[1],
            b0 = in(zmm_reg) b[0],
            b1 = in(zmm_reg) b[1],
            even = out(zmm_reg) _even,
            odd = out(zmm_reg) _odd,
            x = out(zmm_reg) _x,
            y = out(zmm_reg) _y,
            first = inout(zmm_reg) first,
            second = inout(zmm_reg) second,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    [first, second]
}

/// Adds the products themselves.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn plainly([mut first, mut second]: [__m512i; 2], (acts, i): (&[i16; BLOCK], usize), [a, b]: Four) -> [__m512i; 2] {
    let (_even, _odd): (__m512i, __m512i);
    assert!(i < BLOCK / 4);
    // SAFETY: the level is there; the loads are the four activations, which the array has.
    unsafe {
        asm!(
            "vpbroadcastd {even}, dword ptr [{acts} + 8 * {i}]",
            "vpbroadcastd {odd}, dword ptr [{acts} + 8 * {i} + 4]",
            "vpdpwssd {first}, {even}, {a0}",
            "vpdpwssd {second}, {even}, {b0}",
            "vpdpwssd {first}, {odd}, {a1}",
            "vpdpwssd {second}, {odd}, {b1}",
            acts = in(reg) acts.as_ptr(),
            i = in(reg) i,
            a0 = in(zmm_reg) a[0],
            a1 = in(zmm_reg) a[1],
            b0 = in(zmm_reg) b[0],
            b1 = in(zmm_reg) b[1],
            even = out(zmm_reg) _even,
            odd = out(zmm_reg) _odd,
            first = inout(zmm_reg) first,
            second = inout(zmm_reg) second,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    [first, second]
}
