//! Moving bytes between rows and lanes.

use crate::kernels::rows;
use std::arch::x86_64::*;

/// Sixteen rows of blocks, which may be interleaved.
pub(in crate::kernels::x86_64) struct Rows<'a, B, const I: bool> {
    rows: rows::Rows<'a, B, 16, I>,
    next: Option<*const u8>,
}

impl<'a, B, const I: bool> Rows<'a, B, I> {
    /// Rows that begin `stride` blocks apart; with 0, the same one in all lanes. As much as is read of them is also fetched ahead: of
    /// interleaved ones what follows soon, of others what stands from `next` on. `None`: nothing of these, unless by
    /// `fetch_ahead`.
    pub fn new(blocks: &'a [B], stride: usize, next: Option<*const B>) -> Self {
        Rows { rows: rows::Rows::new(blocks, stride), next: next.map(|next| next.cast()) }
    }

    /// The block number `index` of every row.
    #[inline]
    pub fn column(&self, index: usize) -> Column<'a, B, I> {
        Column { blocks: self.rows.column(index), next: self.next.map(|next| next.wrapping_add(index * 16 * size_of::<B>())) }
    }

    /// The N blocks of every row from number `index` on, if rows are not interleaved. Nothing is fetched ahead.
    #[inline]
    pub fn columns<const N: usize>(&self, index: usize) -> Option<Column<'a, [B; N], false>> {
        self.rows.columns(index).map(|blocks| Column { blocks, next: None })
    }
}

/// One block from each of sixteen rows.
pub(in crate::kernels::x86_64) struct Column<'a, B, const I: bool> {
    blocks: rows::Column<'a, B, 16, I>,
    next: Option<*const u8>,
}

impl<B, const I: bool> Column<'_, B, I> {
    /// Fetches what is read of a row soon after its block, if nothing else does: if there is no `next`.
    #[inline]
    pub fn fetch_ahead(&self, row: usize) {
        if I || self.next.is_some() {
            return;
        }
        let ahead = self.blocks.bytes(row, 0, 1).wrapping_add(AHEAD_OF_ROW).cast::<i8>();
        for line in 0..size_of::<B>().div_ceil(64) {
            // SAFETY: what is fetched need not be there.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(64 * line)) };
        }
    }
}

/// Sixteen rows of 16 bytes: lane r of vector i holds bytes `4 * i..4 * i + 4` of row r.
pub(in crate::kernels::x86_64) type Run = [__m512i; 4];

/// How far ahead of what is read interleaved blocks are fetched, in bytes.
const AHEAD: usize = 8 << 10;

/// The same for each of several rows, of which the next one begins where a row ends.
const AHEAD_OF_ROW: usize = 1 << 10;

/// Fetches bytes that will be read soon into the second cache: as evenly as others are read, which is faster by a fifth (Q4_K) to
/// two fifths (Q6_K) than many at once.
#[inline]
fn fetch_evenly(bytes: *const u8, lines: usize) {
    for line in 0..lines {
        // SAFETY: what is fetched need not be there.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(bytes.cast::<i8>().wrapping_add(64 * line)) };
    }
}

/// The 16 bytes at `offset` of sixteen blocks, turned; of interleaved blocks, four whole pieces, which are turned already.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn turn<B, const I: bool>(column: &Column<B, I>, offset: usize) -> Run {
    if let Some(run) = column.blocks.interleaved(offset, 16) {
        fetch_evenly(run.wrapping_add(AHEAD), 4);
        // SAFETY: `interleaved` vouches for the 256 bytes.
        return [0, 1, 2, 3].map(|i| unsafe { _mm512_loadu_si512(run.add(64 * i).cast()) });
    }
    if let Some(next) = column.next {
        fetch_evenly(next.wrapping_add(16 * offset), 4);
    }
    // SAFETY: `bytes` vouches for the 16.
    let load = |row: usize| unsafe { _mm_loadu_si128(column.blocks.bytes(row, offset, 16).cast()) };
    let pair = |row: usize| _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(load(row)), load(row + 4));
    let rows = [0, 1, 2, 3].map(|r| _mm512_inserti64x4::<1>(_mm512_castsi256_si512(pair(r)), pair(r + 8)));
    let (low01, low23) = (_mm512_unpacklo_epi32(rows[0], rows[1]), _mm512_unpacklo_epi32(rows[2], rows[3]));
    let (high01, high23) = (_mm512_unpackhi_epi32(rows[0], rows[1]), _mm512_unpackhi_epi32(rows[2], rows[3]));
    [
        _mm512_unpacklo_epi64(low01, low23),
        _mm512_unpackhi_epi64(low01, low23),
        _mm512_unpacklo_epi64(high01, high23),
        _mm512_unpackhi_epi64(high01, high23),
    ]
}

/// The f16 at `offset` of sixteen blocks; of interleaved ones, a piece of its own.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn f16<B, const I: bool>(column: &Column<B, I>, offset: usize) -> __m512 {
    if let Some(numbers) = column.blocks.interleaved(offset, 2) {
        fetch_evenly(numbers.wrapping_add(AHEAD), 1);
        // SAFETY: `interleaved` vouches for the 32 bytes.
        return _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(numbers.cast()) });
    }
    let start = offset.min(size_of::<B>() - 16);
    let v = turn(column, start)[(offset - start) / 4];
    if (offset - start).is_multiple_of(4) { low_f16(v) } else { high_f16(v) }
}

/// Sixteen f16 from the low half of every 32-bit lane.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn low_f16(v: __m512i) -> __m512 {
    _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v))
}

/// Sixteen f16 from the high half of every 32-bit lane.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn high_f16(v: __m512i) -> __m512 {
    low_f16(_mm512_srli_epi32::<16>(v))
}

/// `(v >> shift) & mask` in every byte; the mask must not let through what crosses in from the neighbour.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn bits(v: __m512i, shift: i32, mask: i8) -> __m512i {
    let v = match shift {
        0.. => _mm512_srl_epi16(v, _mm_cvtsi32_si128(shift)),
        _ => _mm512_sll_epi16(v, _mm_cvtsi32_si128(-shift)),
    };
    _mm512_and_si512(v, _mm512_set1_epi8(mask))
}

/// [`bits`] of all vectors.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn all_bits(run: Run, shift: i32, mask: i8) -> Run {
    run.map(|v| bits(v, shift, mask))
}

/// Bits that are set in either.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn either(a: Run, b: Run) -> Run {
    [_mm512_or_si512(a[0], b[0]), _mm512_or_si512(a[1], b[1]), _mm512_or_si512(a[2], b[2]), _mm512_or_si512(a[3], b[3])]
}

/// Byte `index` of every 32-bit lane.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn byte(v: __m512i, index: usize) -> __m512i {
    _mm512_and_si512(_mm512_srl_epi32(v, _mm_cvtsi32_si128(8 * index as i32)), _mm512_set1_epi32(255))
}

/// Signed bytes plus 128.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn biased(v: __m512i) -> __m512i {
    _mm512_xor_si512(v, _mm512_set1_epi8(-128))
}

/// Byte `index` of every 32-bit lane with its sign.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn signed_byte(v: __m512i, index: usize) -> __m512i {
    _mm512_srai_epi32::<24>(_mm512_sll_epi32(v, _mm_cvtsi32_si128(24 - 8 * index as i32)))
}

/// The `index`-th four bytes of `values` in every lane.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(in crate::kernels::x86_64) fn broadcast<T: Copy, const N: usize>(values: &[T; N], index: usize) -> __m512i {
    assert!(4 * (index + 1) <= size_of::<[T; N]>());
    // SAFETY: the four bytes are inside the array, as just asserted.
    _mm512_set1_epi32(unsafe { values.as_ptr().cast::<i32>().add(index).read_unaligned() })
}
