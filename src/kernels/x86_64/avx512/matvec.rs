//! One token: eight rows at a time, each read as it stands, so that memory is read in few long runs.
//!
//! Weights multiply as unsigned bytes, four to a 32-bit lane. Such sums fit 16 bits; those of high and low halves of
//! activations then meet their sub-scales side by side. What eight rows have summed up over a super-block is turned at once
//! into lanes of one vector.

use super::matmul;
use super::tile::Tiled;
use crate::kernels::{Input, MatmulArgs};
use crate::quant::{ActBlock, Plain, Precision, Q4_K, Q5_K, Q6_K, blocks};
use std::arch::x86_64::*;
use std::array::from_fn;
use std::hint::black_box;
use std::marker::PhantomData;

/// Rows that go together.
pub(in crate::kernels::x86_64) const ROWS: usize = 8;

/// A super-block of unsigned bytes `q + OFFSET` with a sub-scale per 16 weights.
pub(in crate::kernels::x86_64) trait RowWise: Plain {
    /// What makes weights unsigned; `4 * 128 * max(q + OFFSET)` and `4 * 128 * max|q|` are at most 2^15.
    const OFFSET: i8;
    /// Whether there are sub-minima.
    const MINS: bool;
    /// Whether sub-scales are signed.
    const SIGNED: bool;
    /// Whether every 64 bytes hold 128 weights as Q4_K does: see [`place`].
    const SPLIT: bool;
    /// Where the 16 bytes of [`Head::scales`] hold the sub-scale of every 16 weights.
    const SCALES: [u8; 16];

    /// What stands beside the weights in a block of each row.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn head(rows: [&Self; ROWS]) -> Head;

    /// The weights.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn weights(&self) -> [__m512i; 4];
}

/// Scales of a super-block of each row.
pub(in crate::kernels::x86_64) struct Head {
    /// Sub-scales, 16 bytes a row.
    scales: [__m512i; ROWS / 4],
    /// Eight sub-minima of 16 bits a row.
    mins: [__m512i; ROWS / 4],
    /// Their scales.
    d: __m256,
    dmin: __m256,
}

/// Quantized weights times quantized activations: one token here, several as tiles.
///
/// # Safety
/// The CPU has the level; `args` is as [`MatmulArgs`] says.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(in crate::kernels::x86_64) unsafe fn quantized<F: RowWise + Tiled>(args: &MatmulArgs) {
    let Input::Quantized(acts, precision) = args.input else { unreachable!("the caller checks the input") };
    if args.tokens > 1 || args.rows < ROWS {
        // SAFETY: the caller's promise.
        return unsafe { matmul::quantized::<F>(args) };
    }
    for row in (0..args.rows).step_by(ROWS) {
        // Some rows twice is less work than one by one.
        let first = row.min(args.rows - ROWS);
        // SAFETY: the caller's promise.
        unsafe {
            match precision {
                Precision::High => strip::<F, 2>(args, acts, first),
                Precision::Fast => strip::<F, 1>(args, acts, first),
            }
        }
    }
}

/// Products of the rows from `first` on with the only token.
///
/// # Safety
/// The CPU has the level; `args` is as [`MatmulArgs`] says, with at least `first + 8` rows and one token. `H` is 2 for high
/// precision, 1 for fast.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c")]
unsafe fn strip<F: RowWise, const H: usize>(args: &MatmulArgs, acts: &[ActBlock], first: usize) {
    let per_row = acts.len();
    let weights = &blocks::<F>(args.weights)[first * per_row..][..ROWS * per_row];
    let mut acc = _mm256_setzero_ps();
    for (unit, act) in acts.iter().enumerate() {
        // SAFETY: the strip has that many blocks.
        let rows: [&F; ROWS] = from_fn(|row| unsafe { weights.get_unchecked(row * per_row + unit) });
        // SAFETY: the level is there.
        let (head, halves) = unsafe { (F::head(rows), arranged::<F, H>(act)) };
        let mut totals = [_mm512_setzero_si512(); ROWS];
        // Unrolled, the rows would be mixed: more than registers hold.
        for (row, total) in totals.iter_mut().enumerate().take(black_box(ROWS)) {
            fetch(weights, unit * ROWS + row, size_of::<F>());
            // SAFETY: the level is there; there are 16 bytes of every row.
            *total = unsafe { dot::<F, H>(rows[row], head.scales.as_ptr().cast::<[u8; 16]>().add(row), &halves) };
        }
        let [high, low] = across(totals);
        let sum = if H == 2 {
            _mm256_fmadd_ps(_mm256_cvtepi32_ps(high), _mm256_set1_ps(256.0), _mm256_cvtepi32_ps(low))
        } else {
            _mm256_cvtepi32_ps(_mm256_add_epi32(high, low))
        };
        let scale = _mm256_set1_ps(act.scale);
        acc = _mm256_fmadd_ps(_mm256_mul_ps(head.d, scale), sum, acc);
        if F::MINS {
            let mins = _mm256_cvtepi32_ps(minima::<H>(head.mins, act));
            acc = _mm256_fnmadd_ps(_mm256_mul_ps(head.dmin, scale), mins, acc);
        }
    }
    // SAFETY: eight outputs from `first` on are in the window, by the caller's promise.
    unsafe { _mm256_storeu_ps(args.out.at(0, first), acc) };
}

/// Fetches the lines of the `part`-th `bytes` bytes of the strip after this one: eight rows are many runs for the prefetcher of
/// the CPU, but the next strip is a single one. Few at a time, because the CPU has few lines under way.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn fetch<F>(strip: &[F], part: usize, bytes: usize) {
    let next = strip.as_ptr_range().end.cast::<i8>();
    for line in part * bytes / 64..(part + 1) * bytes / 64 {
        _mm_prefetch::<_MM_HINT_T1>(next.wrapping_add(64 * line));
    }
}

/// Activations in the order of the weights, and what their sums start with: the offsets of the weights, taken away.
#[derive(Clone, Copy)]
struct Half {
    acts: [__m512i; 4],
    start: [__m512i; 4],
}

/// The halves of a block of activations.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn arranged<F: RowWise, const H: usize>(act: &ActBlock) -> [Half; H] {
    let zero = _mm512_setzero_si512();
    let mut halves = [Half { acts: [zero; 4], start: [zero; 4] }; H];
    for (half, bytes) in halves.iter_mut().zip([&act.hi, &act.lo]) {
        // SAFETY: the loads are quarters of the 256 bytes.
        let plain = from_fn(|at| unsafe { _mm512_loadu_si512(bytes.as_ptr().add(64 * at).cast()) });
        half.acts = if F::SPLIT { split(plain) } else { plain };
        half.start = half.acts.map(|acts| _mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, _mm512_set1_epi8(F::OFFSET), acts)));
    }
    halves
}

/// Which 16 weights of a super-block stand in a quarter of a vector. Split, two vectors hold the low and the high halves of
/// the same bytes, 32 weights by 32.
const fn place(split: bool, vector: usize, quarter: usize) -> usize {
    if split { vector / 2 * 8 + quarter / 2 * 4 + vector % 2 * 2 + quarter % 2 } else { 4 * vector + quarter }
}

/// Four vectors of bytes in the split order.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn split([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    [
        _mm512_shuffle_i64x2::<0b01_00_01_00>(a, b),
        _mm512_shuffle_i64x2::<0b11_10_11_10>(a, b),
        _mm512_shuffle_i64x2::<0b01_00_01_00>(c, d),
        _mm512_shuffle_i64x2::<0b11_10_11_10>(c, d),
    ]
}

/// Four quarters of a vector.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn gathered([a, b, c, d]: [__m128i; 4]) -> __m512i {
    let v = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(a), b);
    _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(v, c), d)
}

/// Where the sub-scales come from that 32 sums of 16 bits meet: with two halves, those of a vector of weights in high halves
/// and low ones; with one half, those of two vectors of weights.
struct Lookup<F, const H: usize>(PhantomData<F>);

impl<F: RowWise, const H: usize> Lookup<F, H> {
    const TABLE: [[[u8; 2]; 32]; 4] = {
        let mut table = [[[0, if F::SIGNED { 0 } else { 0x80 }]; 32]; 4];
        let mut at = 0;
        while at < 128 {
            let (vector, quarter, second) = (at / 32, at / 8 % 4, at % 8 / 4);
            let vector = if H == 2 { vector } else { vector % 2 * 2 + second };
            table[at / 32][at % 32][0] = F::SCALES[place(F::SPLIT, vector, quarter)];
            at += 1;
        }
        table
    };

    /// The sub-scales for the `index`-th sums.
    ///
    /// # Safety
    /// The CPU has the level.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn get(scales: __m512i, index: usize) -> __m512i {
        // SAFETY: the load is an entry of the table.
        let table = unsafe { _mm512_loadu_si512(Self::TABLE[index].as_ptr().cast()) };
        if F::SIGNED { _mm512_permutexvar_epi16(table, scales) } else { _mm512_shuffle_epi8(scales, table) }
    }
}

/// Sub-scales times weights times activations of a super-block. Every 128 bits of the result hold two parts of the sum over
/// high halves and two of that over low ones; with one half, all four parts are of one sum.
///
/// # Safety
/// The CPU has the level; `scales` is readable.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn dot<F: RowWise, const H: usize>(block: &F, scales: *const [u8; 16], halves: &[Half; H]) -> __m512i {
    // SAFETY: the caller's promise.
    let (weights, scales) = unsafe { (block.weights(), _mm_loadu_si128(scales.cast())) };
    let scales = if F::SIGNED { _mm512_castsi256_si512(_mm256_cvtepi8_epi16(scales)) } else { _mm512_broadcast_i32x4(scales) };
    let sums = |half: usize, vector: usize| {
        let Half { acts, start } = &halves[half];
        let start = if F::OFFSET == 0 { _mm512_setzero_si512() } else { start[vector] };
        _mm512_dpbusd_epi32(start, weights[vector], acts[vector])
    };
    let mut total = _mm512_setzero_si512();
    for index in 0..2 * H {
        let (first, second) =
            if H == 2 { (sums(0, index), sums(1, index)) } else { (sums(0, 2 * index), sums(0, 2 * index + 1)) };
        // SAFETY: the level is there.
        let scales = unsafe { Lookup::<F, H>::get(scales, index) };
        total = _mm512_dpwssd_epi32(total, _mm512_packs_epi32(first, second), scales);
    }
    total
}

/// Sum of the lanes of each of eight vectors, lanes 0 and 1 of every four apart from lanes 2 and 3.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn across(v: [__m512i; ROWS]) -> [__m256i; 2] {
    let pairs: [__m512i; 4] = from_fn(|i| {
        let (a, b) = (v[2 * i], v[2 * i + 1]);
        _mm512_add_epi32(_mm512_shuffle_i64x2::<0b01_00_01_00>(a, b), _mm512_shuffle_i64x2::<0b11_10_11_10>(a, b))
    });
    // A quarter per row.
    let [a, b] = from_fn(|i| {
        let (a, b) = (pairs[2 * i], pairs[2 * i + 1]);
        _mm512_add_epi32(_mm512_shuffle_i64x2::<0b10_00_10_00>(a, b), _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b))
    });
    let (first, second) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let sums = _mm512_add_epi32(_mm512_unpacklo_epi64(first, second), _mm512_unpackhi_epi64(first, second));
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let sums = _mm512_permutexvar_epi32(order, sums);
    [_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64::<1>(sums)]
}

/// Sub-minima times activations of every row.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn minima<const H: usize>(mins: [__m512i; ROWS / 4], act: &ActBlock) -> __m256i {
    // SAFETY: the loads are the arrays.
    let [high, low] = [&act.hi_sum, &act.lo_sum].map(|sums| unsafe { _mm256_loadu_si256(sums.as_ptr().cast()) });
    let sums = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi16(high, low));
    let high = _mm512_broadcast_i32x4(_mm256_castsi256_si128(sums));
    let low = _mm512_broadcast_i32x4(_mm256_extracti128_si256::<1>(sums));
    let [a, b] = mins.map(|mins| {
        let high = _mm512_madd_epi16(mins, high);
        if H == 2 { _mm512_add_epi32(_mm512_slli_epi32::<8>(high), _mm512_madd_epi16(mins, low)) } else { high }
    });
    let sums = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let sums = _mm512_add_epi32(sums, _mm512_shuffle_epi32::<0b01_00_11_10>(sums));
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0);
    _mm512_castsi512_si256(_mm512_permutexvar_epi32(order, sums))
}

/// 32 bytes, twice.
///
/// # Safety
/// The CPU has the level; 32 bytes are readable.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn twice(bytes: *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    _mm512_broadcast_i64x4(unsafe { _mm256_loadu_si256(bytes.cast()) })
}

/// Every byte of the first half shifted right by `first` bits, of the second by `second`, then masked.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn shifted(v: __m512i, first: u16, second: u16, mask: i8) -> __m512i {
    let counts = _mm512_inserti64x4::<1>(_mm512_set1_epi16(first as i16), _mm256_set1_epi16(second as i16));
    _mm512_and_si512(_mm512_srlv_epi16(v, counts), _mm512_set1_epi8(mask))
}

/// As [`shifted`], to the left.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn shifted_left(v: __m512i, first: u16, second: u16, mask: i8) -> __m512i {
    let counts = _mm512_inserti64x4::<1>(_mm512_set1_epi16(first as i16), _mm256_set1_epi16(second as i16));
    _mm512_and_si512(_mm512_sllv_epi16(v, counts), _mm512_set1_epi8(mask))
}

/// Where [`head_of_mins`] puts sub-scales.
const SCALES_AND_MINS: [u8; 16] = [0, 0, 1, 1, 2, 2, 3, 3, 8, 8, 9, 9, 10, 10, 11, 11];

/// Heads of Q4_K and Q5_K, the first 16 bytes of a block: two scales, then six bits each of eight sub-scales and sub-minima.
///
/// # Safety
/// The CPU has the level; 16 bytes are readable at each address.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn head_of_mins(rows: [*const u8; ROWS]) -> Head {
    let fours: [__m512i; 2] = from_fn(|four| {
        // SAFETY: the caller's promise.
        gathered(from_fn(|at| unsafe { _mm_loadu_si128(rows[4 * four + at].cast()) }))
    });
    let each = |a: i32, b: i32, c: i32, d: i32| _mm512_broadcast_i32x4(_mm_setr_epi32(a, b, c, d));
    let scales = fours.map(|heads| {
        // Low bits of the first four sub-scales, of their sub-minima, and low bits of the others.
        let low = _mm512_shuffle_epi8(heads, each(0x0706_0504, 0x0b0a_0908, 0x0f0e_0d0c, 0x0f0e_0d0c));
        let low = _mm512_srlv_epi32(low, each(0, 0, 0, 4));
        let low = _mm512_and_si512(low, each(0x3f3f_3f3f, 0x3f3f_3f3f, 0x0f0f_0f0f, 0x0f0f_0f0f));
        let high = _mm512_shuffle_epi8(heads, each(-1, -1, 0x0706_0504, 0x0b0a_0908));
        let high = _mm512_and_si512(_mm512_srli_epi32::<2>(high), _mm512_set1_epi8(0x30));
        _mm512_or_si512(low, high)
    });
    let words = each(0x8005_8004_u32 as i32, 0x8007_8006_u32 as i32, 0x800d_800c_u32 as i32, 0x800f_800e_u32 as i32);
    let mins = scales.map(|scales| _mm512_shuffle_epi8(scales, words));
    let order = _mm512_castsi256_si512(_mm256_setr_epi16(0, 8, 16, 24, 32, 40, 48, 56, 1, 9, 17, 25, 33, 41, 49, 57));
    let steps = _mm512_castsi512_si256(_mm512_permutex2var_epi16(fours[0], order, fours[1]));
    let (d, dmin) = (_mm256_castsi256_si128(steps), _mm256_extracti128_si256::<1>(steps));
    Head { scales, mins, d: _mm256_cvtph_ps(d), dmin: _mm256_cvtph_ps(dmin) }
}

impl RowWise for Q4_K {
    const OFFSET: i8 = 0;
    const MINS: bool = true;
    const SIGNED: bool = false;
    const SPLIT: bool = true;
    const SCALES: [u8; 16] = SCALES_AND_MINS;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn head(rows: [&Self; ROWS]) -> Head {
        // SAFETY: a block starts with its head.
        unsafe { head_of_mins(rows.map(|row| std::ptr::from_ref(row).cast())) }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn weights(&self) -> [__m512i; 4] {
        let nibble = _mm512_set1_epi8(15);
        // SAFETY: halves of the 128 bytes.
        let [a, b] = [0, 64].map(|at| unsafe { _mm512_loadu_si512(self.qs.as_ptr().add(at).cast()) });
        let high = |v| _mm512_and_si512(_mm512_srli_epi16::<4>(v), nibble);
        [_mm512_and_si512(a, nibble), high(a), _mm512_and_si512(b, nibble), high(b)]
    }
}

impl RowWise for Q5_K {
    const OFFSET: i8 = 0;
    const MINS: bool = true;
    const SIGNED: bool = false;
    const SPLIT: bool = true;
    const SCALES: [u8; 16] = SCALES_AND_MINS;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn head(rows: [&Self; ROWS]) -> Head {
        // SAFETY: a block starts with its head.
        unsafe { head_of_mins(rows.map(|row| std::ptr::from_ref(row).cast())) }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn weights(&self) -> [__m512i; 4] {
        let nibble = _mm512_set1_epi8(15);
        // SAFETY: halves of the 128 bytes, and all 32.
        let ([a, b], fifth) =
            unsafe { ([0, 64].map(|at| _mm512_loadu_si512(self.qs.as_ptr().add(at).cast())), twice(self.qh.as_ptr())) };
        let high = |v| _mm512_and_si512(_mm512_srli_epi16::<4>(v), nibble);
        [
            _mm512_or_si512(_mm512_and_si512(a, nibble), shifted_left(fifth, 4, 2, 16)),
            _mm512_or_si512(high(a), shifted_left(fifth, 3, 1, 16)),
            _mm512_or_si512(_mm512_and_si512(b, nibble), shifted(fifth, 0, 2, 16)),
            _mm512_or_si512(high(b), shifted(fifth, 1, 3, 16)),
        ]
    }
}

impl RowWise for Q6_K {
    const OFFSET: i8 = 32;
    const MINS: bool = false;
    const SIGNED: bool = true;
    const SPLIT: bool = false;
    const SCALES: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn head(rows: [&Self; ROWS]) -> Head {
        let scales = [0, 4].map(|first| {
            // SAFETY: the loads are the arrays.
            gathered(from_fn(|at| unsafe { _mm_loadu_si128(rows[first + at].scales.as_ptr().cast()) }))
        });
        let steps = rows.map(|row| u16::from_le_bytes(row.d));
        // SAFETY: the load is the eight numbers.
        let d = _mm256_cvtph_ps(unsafe { _mm_loadu_si128(steps.as_ptr().cast()) });
        Head { scales, mins: [_mm512_setzero_si512(); 2], d, dmin: _mm256_setzero_ps() }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn weights(&self) -> [__m512i; 4] {
        let nibble = _mm512_set1_epi8(15);
        // SAFETY: halves of the 128 bytes and of the 64.
        let [(a, high_a), (b, high_b)] = [0, 1].map(|half| unsafe {
            (_mm512_loadu_si512(self.ql.as_ptr().add(64 * half).cast()), twice(self.qh.as_ptr().add(32 * half)))
        });
        let upper = |v| _mm512_and_si512(_mm512_srli_epi16::<4>(v), nibble);
        [
            _mm512_or_si512(_mm512_and_si512(a, nibble), shifted_left(high_a, 4, 2, 0x30)),
            _mm512_or_si512(upper(a), shifted(high_a, 0, 2, 0x30)),
            _mm512_or_si512(_mm512_and_si512(b, nibble), shifted_left(high_b, 4, 2, 0x30)),
            _mm512_or_si512(upper(b), shifted(high_b, 0, 2, 0x30)),
        ]
    }
}
