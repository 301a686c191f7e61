//! Moving bytes between rows and lanes.

use super::tile::Chunk;
use crate::kernels::rows;
use std::arch::aarch64::*;
use std::arch::asm;
use std::array::from_fn;

/// Four rows of blocks.
pub(super) type Rows<'a, B> = rows::Rows<'a, B, 4>;
/// One block from each of four rows.
pub(super) type Column<'a, B> = rows::Column<'a, B, 4>;

/// The 16 bytes at `offset` of four blocks.
#[inline]
#[target_feature(enable = "neon")]
fn load<B>(column: &Column<B>, offset: usize) -> [uint8x16_t; 4] {
    // SAFETY: `bytes` vouches for these 16.
    from_fn(|r| unsafe { vld1q_u8(column.bytes(r, offset, 16)) })
}

/// The 16 bytes at `offset` of four blocks, by pairs of rows.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn pairs<B>(column: &Column<B>, offset: usize) -> Chunk {
    interleave(load(column, offset))
}

/// 16 bytes of four rows, by pairs of rows.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn interleave(rows: [uint8x16_t; 4]) -> Chunk {
    let [a, b, c, d] = rows.map(|row| vreinterpretq_u64_u8(row));
    [[vzip1q_u64(a, b), vzip2q_u64(a, b)], [vzip1q_u64(c, d), vzip2q_u64(c, d)]]
        .map(|pair| pair.map(|half| vreinterpretq_u8_u64(half)))
}

/// The 16 bytes at `offset` of four blocks, turned: lane r of vector i holds bytes `4 * i..4 * i + 4` of row r.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn turn<B>(column: &Column<B>, offset: usize) -> [uint8x16_t; 4] {
    let [a, b, c, d] = load(column, offset).map(|row| vreinterpretq_u32_u8(row));
    let [ab, cd] = [[a, b], [c, d]].map(|[a, b]| [vtrn1q_u32(a, b), vtrn2q_u32(a, b)].map(|v| vreinterpretq_u64_u32(v)));
    [vtrn1q_u64(ab[0], cd[0]), vtrn1q_u64(ab[1], cd[1]), vtrn2q_u64(ab[0], cd[0]), vtrn2q_u64(ab[1], cd[1])]
        .map(|v| vreinterpretq_u8_u64(v))
}

/// Applies `f` to all vectors of a chunk.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn each(chunk: Chunk, f: impl Fn(uint8x16_t) -> uint8x16_t) -> Chunk {
    chunk.map(|pair| pair.map(&f))
}

/// Both chunks, bit by bit.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn or(a: Chunk, b: Chunk) -> Chunk {
    from_fn(|pair| from_fn(|half| vorrq_u8(a[pair][half], b[pair][half])))
}

/// `(v >> shift) & mask` in every byte.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn bits(v: uint8x16_t, shift: i8, mask: u8) -> uint8x16_t {
    vandq_u8(vshlq_u8(v, vdupq_n_s8(-shift)), vdupq_n_u8(mask))
}

/// [`bits`] of a chunk.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn chunk_bits(chunk: Chunk, shift: i8, mask: u8) -> Chunk {
    each(chunk, |v| bits(v, shift, mask))
}

/// Byte number `byte` of every 32-bit lane, without sign.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn byte(v: uint8x16_t, byte: i32) -> int32x4_t {
    let shifted = vshlq_u32(vreinterpretq_u32_u8(v), vdupq_n_s32(-8 * byte));
    vreinterpretq_s32_u32(vandq_u32(shifted, vdupq_n_u32(255)))
}

/// Byte number `byte` of every 32-bit lane, with its sign.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn signed_byte(v: uint8x16_t, byte: i32) -> int32x4_t {
    vshrq_n_s32::<24>(vshlq_s32(vreinterpretq_s32_u8(v), vdupq_n_s32(24 - 8 * byte)))
}

/// The upper halves of the lanes of `a` and the lower ones of `b`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn whole(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    let [a, b] = [a, b].map(|v| vreinterpretq_u32_u8(v));
    vreinterpretq_u8_u32(vsriq_n_u32::<16>(vshlq_n_u32::<16>(b), a))
}

/// Lanes 0, 0, 1, 1 and 2, 2, 3, 3.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn twice(v: int32x4_t) -> [int32x4_t; 2] {
    [vzip1q_s32(v, v), vzip2q_s32(v, v)]
}

/// Byte number `byte` of the 32-bit lanes `2 * pair` and `2 * pair + 1`, eight times each.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn eightfold(v: uint8x16_t, pair: usize, byte: usize) -> uint8x16_t {
    let at = (8 * pair + byte) as u8;
    vqtbl1q_u8(v, vcombine_u8(vdup_n_u8(at), vdup_n_u8(at + 4)))
}

/// Four f16 from the low half of every 32-bit lane.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn low_f16(v: uint8x16_t) -> float32x4_t {
    widen_f16(vmovn_u32(vreinterpretq_u32_u8(v)))
}

/// Four f16 from the high half of every 32-bit lane.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn high_f16(v: uint8x16_t) -> float32x4_t {
    widen_f16(vshrn_n_u32::<16>(vreinterpretq_u32_u8(v)))
}

/// f16 to f32.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn widen_f16(halves: uint16x4_t) -> float32x4_t {
    let wide;
    // SAFETY: arithmetic on registers, of NEON itself; only the types of its intrinsic are missing.
    unsafe {
        asm!(
            "fcvtl {wide:v}.4s, {halves:v}.4h",
            wide = out(vreg) wide,
            halves = in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    wide
}

/// f32 to f16, to nearest even.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn narrow_f16(wide: float32x4_t) -> uint16x4_t {
    let halves;
    // SAFETY: as in `widen_f16`.
    unsafe {
        asm!(
            "fcvtn {halves:v}.4h, {wide:v}.4s",
            halves = out(vreg) halves,
            wide = in(vreg) wide,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    halves
}
