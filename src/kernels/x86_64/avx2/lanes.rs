//! Moving bytes between rows and lanes.

use crate::kernels::rows;
use std::arch::x86_64::*;

/// Eight rows of blocks.
pub(super) type Rows<'a, B> = rows::Rows<'a, B, 8>;
/// One block from each of eight rows.
pub(super) type Column<'a, B> = rows::Column<'a, B, 8>;

/// The 16 bytes at `offset` of eight blocks, turned: lane r of vector i holds bytes `4 * i..4 * i + 4` of row r.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn turn<B>(column: &Column<B>, offset: usize) -> [__m256i; 4] {
    // SAFETY: `bytes` vouches for the 16.
    let load = |row: usize| unsafe { _mm_loadu_si128(column.bytes(row, offset, 16).cast()) };
    let rows = [0, 1, 2, 3].map(|r| _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(load(r)), load(r + 4)));
    let (low01, low23) = (_mm256_unpacklo_epi32(rows[0], rows[1]), _mm256_unpacklo_epi32(rows[2], rows[3]));
    let (high01, high23) = (_mm256_unpackhi_epi32(rows[0], rows[1]), _mm256_unpackhi_epi32(rows[2], rows[3]));
    [
        _mm256_unpacklo_epi64(low01, low23),
        _mm256_unpackhi_epi64(low01, low23),
        _mm256_unpacklo_epi64(high01, high23),
        _mm256_unpackhi_epi64(high01, high23),
    ]
}

/// Eight f16 from the low half of every 32-bit lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn low_f16(v: __m256i) -> __m256 {
    let v = _mm256_and_si256(v, _mm256_set1_epi32(0xffff));
    _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(v, v))))
}

/// Eight f16 from the high half of every 32-bit lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn high_f16(v: __m256i) -> __m256 {
    low_f16(_mm256_srli_epi32::<16>(v))
}

/// `(v >> shift) & mask` in every byte; the mask must not let through what crosses in from the neighbour.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn bits(v: __m256i, shift: i32, mask: i8) -> __m256i {
    let v = match shift {
        0.. => _mm256_srl_epi16(v, _mm_cvtsi32_si128(shift)),
        _ => _mm256_sll_epi16(v, _mm_cvtsi32_si128(-shift)),
    };
    _mm256_and_si256(v, _mm256_set1_epi8(mask))
}

/// The `index`-th four bits of every lane as masks: a byte per bit.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn flags(v: __m256i, index: usize) -> __m256i {
    // Every byte of a lane gets the byte that holds its bit, and keeps that bit alone.
    let step = _mm256_setr_epi32(0, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c, 0, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c);
    let byte = _mm256_shuffle_epi8(v, _mm256_add_epi8(step, _mm256_set1_epi8(index as i8 / 2)));
    let own = _mm256_set1_epi32(0x0804_0201 << (index % 2 * 4));
    _mm256_cmpeq_epi8(_mm256_and_si256(byte, own), own)
}

/// Signed bytes `low` and `high` of every 32-bit lane as a pair of i16.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn spread(v: __m256i, low: usize, high: usize) -> __m256i {
    // The bytes move into upper halves (0x80 clears the lower ones), from where the shift brings them down with their sign.
    let places = i32::from_le_bytes([0x80, low as u8, 0x80, high as u8]);
    let step = _mm256_setr_epi32(0, 0x0400_0400, 0x0800_0800, 0x0c00_0c00, 0, 0x0400_0400, 0x0800_0800, 0x0c00_0c00);
    _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(v, _mm256_add_epi32(_mm256_set1_epi32(places), step)))
}

/// The `index`-th four bytes of `values` in every lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn broadcast<T: Copy, const N: usize>(values: &[T; N], index: usize) -> __m256i {
    assert!(4 * (index + 1) <= size_of::<[T; N]>());
    // SAFETY: the four bytes are inside the array, as just asserted.
    _mm256_set1_epi32(unsafe { values.as_ptr().cast::<i32>().add(index).read_unaligned() })
}
