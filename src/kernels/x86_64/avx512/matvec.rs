//! One token: eight rows at a time, each read as it stands, so that memory is read in few long runs.
//!
//! Weights multiply as unsigned bytes; products of 16 (or 32) weights meet their sub-scale while they are 16-bit pairs. What
//! a row has summed up over a super-block lies across a vector; eight rows are turned at once into lanes of one.

use super::matmul;
use super::tile::Tiled;
use crate::kernels::{Input, MatmulArgs};
use crate::quant::{ActBlock, Plain, Precision, Q4_K, Q5_K, Q6_K, blocks};
use std::arch::x86_64::*;
use std::array::from_fn;

/// Rows that go together.
pub(super) const ROWS: usize = 8;

/// A super-block of unsigned bytes `q + OFFSET` with a sub-scale per 16 weights.
pub(super) trait RowWise: Plain {
    /// What makes weights unsigned; `2 * 128 * max(q + OFFSET) < 2^15`.
    const OFFSET: i32;
    /// Whether there are sub-minima.
    const MINS: bool;

    /// Sub-scales and sub-minima (of no meaning without `MINS`) of every 16 weights.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn scales(&self) -> [__m256i; 2];

    /// The scales of these two, f16.
    fn steps(&self) -> [u16; 2];

    /// The `index`-th 64 weights.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn quarter(&self, index: usize) -> __m512i;
}

/// Quantized weights times quantized activations: one token here, several as tiles.
///
/// # Safety
/// The CPU has the level; `args` is as [`MatmulArgs`] says.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn quantized<F: RowWise + Tiled>(args: &MatmulArgs) {
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
        fetch(weights, ROWS, unit);
        let mut sums = [[_mm256_setzero_si256(); ROWS]; 3];
        let mut steps = [[0; ROWS]; 2];
        for row in 0..ROWS {
            let block = &weights[row * per_row + unit];
            // SAFETY: the level is there.
            let parts = unsafe { dot::<F, H>(block, act) };
            for (sums, part) in sums.iter_mut().zip(parts) {
                sums[row] = part;
            }
            let [d, dmin] = block.steps();
            (steps[0][row], steps[1][row]) = (d, dmin);
        }
        let [high, low, min] = sums;
        let high = _mm256_cvtepi32_ps(across(high));
        let sum = if H == 2 { _mm256_fmadd_ps(high, _mm256_set1_ps(256.0), _mm256_cvtepi32_ps(across(low))) } else { high };
        // SAFETY: the load is the eight numbers.
        let [d, dmin] = steps.map(|steps| _mm256_cvtph_ps(unsafe { _mm_loadu_si128(steps.as_ptr().cast()) }));
        let scale = _mm256_set1_ps(act.scale);
        acc = _mm256_fmadd_ps(_mm256_mul_ps(d, scale), sum, acc);
        if F::MINS {
            acc = _mm256_fnmadd_ps(_mm256_mul_ps(dmin, scale), _mm256_cvtepi32_ps(across(min)), acc);
        }
    }
    // SAFETY: eight outputs from `first` on are in the window, by the caller's promise.
    unsafe { _mm256_storeu_ps(args.out.at(0, first), acc) };
}

/// Fetches the `part`-th `len` blocks of the strip after this one: eight rows are many runs for the prefetcher of the CPU, but
/// the next strip is a single one.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn fetch<F>(strip: &[F], len: usize, part: usize) {
    let bytes = len * size_of::<F>();
    let next = strip.as_ptr_range().end.cast::<i8>().wrapping_add(part * bytes);
    for line in 0..bytes.div_ceil(64) {
        _mm_prefetch::<_MM_HINT_T1>(next.wrapping_add(64 * line));
    }
}

/// Sums over one super-block, each spread over the lanes: sub-scale times weight times activation, high halves and low ones,
/// and sub-minima times activations.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn dot<F: RowWise, const H: usize>(block: &F, act: &ActBlock) -> [__m256i; 3] {
    // SAFETY: the level is there.
    let [scales, mins] = unsafe { block.scales() };
    let wide = _mm512_castsi256_si512(scales);
    let mut total = [_mm512_setzero_si512(); H];
    for quarter in 0..4 {
        // Sixteen weights are eight pairs.
        let scales = _mm512_permutexvar_epi16(eightfold(4 * quarter), wide);
        // SAFETY: the level is there; the loads are inside the arrays of 256.
        unsafe {
            let weights = block.quarter(quarter);
            for (half, total) in total.iter_mut().enumerate() {
                let acts = if half == 0 { &act.hi } else { &act.lo };
                let acts = _mm512_loadu_si512(acts.as_ptr().add(64 * quarter).cast());
                *total = _mm512_dpwssd_epi32(*total, _mm512_maddubs_epi16(weights, acts), scales);
            }
        }
    }
    // SAFETY: the loads are the arrays.
    let [hi_sum, lo_sum] = [&act.hi_sum, &act.lo_sum].map(|sums| unsafe { _mm256_loadu_si256(sums.as_ptr().cast()) });
    let folded = |half: usize, sums: __m256i| {
        let total = _mm256_add_epi32(_mm512_castsi512_si256(total[half]), _mm512_extracti64x4_epi64::<1>(total[half]));
        if F::OFFSET == 0 {
            return total;
        }
        let offset = _mm256_mullo_epi32(_mm256_madd_epi16(scales, sums), _mm256_set1_epi32(F::OFFSET));
        _mm256_sub_epi32(total, offset)
    };
    let high = folded(0, hi_sum);
    let low = if H == 2 { folded(1, lo_sum) } else { high };
    let min = match (F::MINS, H) {
        (false, _) => high,
        (true, 2) => {
            let high = _mm256_slli_epi32::<8>(_mm256_madd_epi16(mins, hi_sum));
            _mm256_add_epi32(high, _mm256_madd_epi16(mins, lo_sum))
        }
        (true, _) => _mm256_madd_epi16(mins, hi_sum),
    };
    [high, low, min]
}

/// `first` and the three numbers after it, each eight times.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn eightfold(first: usize) -> __m512i {
    let numbers = _mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3);
    let numbers = _mm512_mullo_epi64(numbers, _mm512_set1_epi64(0x0001_0001_0001_0001));
    _mm512_add_epi16(numbers, _mm512_set1_epi16(first as i16))
}

/// Sum of the lanes of each of eight vectors.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn across(v: [__m256i; ROWS]) -> __m256i {
    let pairs: [__m256i; 4] = from_fn(|i| _mm256_hadd_epi32(v[2 * i], v[2 * i + 1]));
    let (low, high) = (_mm256_hadd_epi32(pairs[0], pairs[1]), _mm256_hadd_epi32(pairs[2], pairs[3]));
    _mm256_add_epi32(_mm256_permute2x128_si256::<0x20>(low, high), _mm256_permute2x128_si256::<0x31>(low, high))
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

/// Sub-scales and sub-minima of Q4_K and Q5_K.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn scales_and_mins(bytes: &[u8; 12]) -> [__m256i; 2] {
    let [a, b, c]: [u32; 3] =
        from_fn(|i| u32::from_le_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]]));
    let join = |low: u32, high: u32| (u64::from(high) << 32 | u64::from(low)).cast_signed();
    let scales = join(a & 0x3f3f_3f3f, c & 0x0f0f_0f0f | a >> 2 & 0x3030_3030);
    let mins = join(b & 0x3f3f_3f3f, c >> 4 & 0x0f0f_0f0f | b >> 2 & 0x3030_3030);
    [scales, mins].map(|bytes| {
        let bytes = _mm_cvtsi64_si128(bytes);
        _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(bytes, bytes))
    })
}

impl RowWise for Q4_K {
    const OFFSET: i32 = 0;
    const MINS: bool = true;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn scales(&self) -> [__m256i; 2] {
        scales_and_mins(&self.scales)
    }

    #[inline]
    fn steps(&self) -> [u16; 2] {
        [u16::from_le_bytes(self.d), u16::from_le_bytes(self.dmin)]
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn quarter(&self, index: usize) -> __m512i {
        // SAFETY: 32 of the 128 bytes.
        shifted(unsafe { twice(self.qs[32 * index..].as_ptr()) }, 0, 4, 15)
    }
}

impl RowWise for Q5_K {
    const OFFSET: i32 = 0;
    const MINS: bool = true;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn scales(&self) -> [__m256i; 2] {
        scales_and_mins(&self.scales)
    }

    #[inline]
    fn steps(&self) -> [u16; 2] {
        [u16::from_le_bytes(self.d), u16::from_le_bytes(self.dmin)]
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn quarter(&self, index: usize) -> __m512i {
        // SAFETY: 32 of the 128 bytes, and all 32.
        let (low, high) = unsafe { (twice(self.qs[32 * index..].as_ptr()), twice(self.qh.as_ptr())) };
        let bit = 2 * index as u16;
        _mm512_or_si512(shifted(low, 0, 4, 15), _mm512_slli_epi16::<4>(shifted(high, bit, bit + 1, 1)))
    }
}

impl RowWise for Q6_K {
    const OFFSET: i32 = 32;
    const MINS: bool = false;

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn scales(&self) -> [__m256i; 2] {
        // SAFETY: the load is the array.
        let scales = _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(self.scales.as_ptr().cast()) });
        [scales, scales]
    }

    #[inline]
    fn steps(&self) -> [u16; 2] {
        [u16::from_le_bytes(self.d), 0]
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn quarter(&self, index: usize) -> __m512i {
        let (half, upper) = (index / 2, index % 2 == 1);
        // SAFETY: 64 of the 128 bytes, and 32 of the 64.
        let (low, high) =
            unsafe { (_mm512_loadu_si512(self.ql[64 * half..].as_ptr().cast()), twice(self.qh[32 * half..].as_ptr())) };
        let nibble = _mm512_set1_epi8(15);
        if upper {
            let low = _mm512_and_si512(_mm512_srli_epi16::<4>(low), nibble);
            _mm512_or_si512(low, shifted(high, 0, 2, 0x30))
        } else {
            _mm512_or_si512(_mm512_and_si512(low, nibble), shifted_left(high, 4, 2, 0x30))
        }
    }
}
