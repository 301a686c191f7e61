//! One token: eight rows at a time, each read as it stands, so that memory is read in few long runs.
//!
//! Weights multiply as unsigned bytes, in pairs whose sums fit 16 bits, and their sub-scales add up those. What eight rows have
//! summed up over a super-block is turned at once into lanes of one vector. Rows `r` and `r + 4` go together everywhere: so
//! they stand in the two halves of a vector, and lanes need not cross.

use super::lanes::{bits, high_f16, low_f16};
use super::matmul;
use super::tile::Tiled;
use crate::kernels::rows::opaque;
use crate::kernels::{Input, MatmulArgs};
use crate::quant::{ActBlock, BLOCK, Plain, Precision, Q4_K, Q5_K, Q6_K, blocks};
use std::arch::asm;
use std::arch::x86_64::*;
use std::array::from_fn;
use std::hint::black_box;

/// Rows that go together.
pub(super) const ROWS: usize = 8;
/// Pairs of them.
const PAIRS: usize = ROWS / 2;

/// A super-block of unsigned bytes `q + OFFSET`.
trait RowWise: Plain {
    /// What makes weights unsigned, a multiple of four; `2 * 128 * max(q + OFFSET)` is below 2^15.
    const OFFSET: i16;
    /// Whether there are sub-minima.
    const MINS: bool;

    /// What stands beside the weights in two blocks.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn side(rows: [&Self; 2]) -> Side;

    /// Scales of sub-scales and sub-minima from the first four bytes of [`Side::steps`], eight rows of them.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn steps(steps: __m256i) -> [__m256; 2];

    /// The sub-scales of weights `32 * index..32 * index + 32` of the first or the second row, as i16.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn scales(scales: &[__m256i; 2], row: usize, index: usize) -> __m256i;

    /// A quarter of the weights: twice 32, each with its index.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn weights(&self, quarter: usize) -> [(usize, __m256i); 2];
}

/// What stands beside the weights of two super-blocks, the first in the lower halves of vectors, the second in the upper ones.
#[derive(Clone, Copy)]
struct Side {
    /// Sub-scales, as [`RowWise::scales`] reads them.
    scales: [__m256i; 2],
    /// Eight sub-minima of 16 bits each.
    mins: __m256i,
    /// Begins with the scales of both.
    steps: __m256i,
}

/// A format that has products with a single token.
pub(in crate::kernels::x86_64) trait SingleToken: Plain {
    /// Quantized weights times quantized activations of one token; does nothing and returns false where the shape does not suit:
    /// several tokens, few rows, or a last block of activations that is not whole.
    ///
    /// # Safety
    /// The CPU has the level; `args` is as [`MatmulArgs`] says.
    unsafe fn multiply(args: &MatmulArgs) -> bool;
}

/// Quantized weights times quantized activations: one token here, several as tiles.
///
/// # Safety
/// The CPU has the level; `args` is as [`MatmulArgs`] says.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn quantized<F: SingleToken + Tiled>(args: &MatmulArgs) {
    // SAFETY: the caller's promise.
    unsafe {
        if !F::multiply(args) {
            matmul::quantized::<F>(args);
        }
    }
}

/// [`SingleToken::multiply`] of super-blocks.
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn multiply<F: RowWise>(args: &MatmulArgs) -> bool {
    let Input::Quantized(acts, precision) = args.input else { unreachable!("the caller checks the input") };
    if args.tokens > 1 || args.rows < ROWS {
        return false;
    }
    let Some(acts) = acts.alone() else { return false };
    let acts = &acts[..args.depth / BLOCK];
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
    true
}

/// Products of the rows from `first` on with the only token.
///
/// # Safety
/// The CPU has the level; `args` is as [`MatmulArgs`] says, with at least `first + 8` rows and one token. `H` is 2 for high
/// precision, 1 for fast.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn strip<F: RowWise, const H: usize>(args: &MatmulArgs, acts: &[ActBlock], first: usize) {
    let per_row = acts.len();
    let weights = &blocks::<F>(args.weights)[first * per_row..][..ROWS * per_row];
    let pair_of = |pair: usize, unit: usize| {
        // SAFETY: the strip has that many blocks in each of eight rows.
        from_fn::<_, 2, _>(|half| unsafe { weights.get_unchecked((pair + half * PAIRS) * per_row + unit) })
    };
    // SAFETY: the level is there.
    let mut sides: [[Side; PAIRS]; 2] = [from_fn(|pair| unsafe { F::side(pair_of(pair, 0)) }); 2];
    let mut acc = _mm256_setzero_ps();
    for (unit, act) in acts.iter().enumerate() {
        let (following, starts) = ((unit + 1).min(per_row - 1), starts::<F, H>(act));
        let mut totals = [[_mm256_setzero_si256(); PAIRS]; H];
        for pair in 0..PAIRS {
            fetch::<F, 2>(weights, unit * PAIRS + pair);
            // What the next blocks need is ready before them.
            // SAFETY: the level is there.
            sides[(unit + 1) % 2][pair] = unsafe { F::side(pair_of(pair, following)) };
            let (rows, scales) = (pair_of(pair, unit), &sides[unit % 2][pair].scales);
            // Behind the box loads are not moved out of the loop: they are for nothing as operands of multiplications.
            // SAFETY: the level is there.
            let (first, second) = unsafe {
                (
                    dot::<F, H>(rows[0], scales, 0, black_box(act), &starts),
                    dot::<F, H>(rows[1], scales, 1, black_box(act), &starts),
                )
            };
            for (half, totals) in totals.iter_mut().enumerate() {
                totals[pair] = folded(first[half], second[half]);
            }
        }
        let sides = &sides[unit % 2];
        let mut sums = [_mm256_setzero_ps(); H];
        for (sum, totals) in sums.iter_mut().zip(totals) {
            *sum = _mm256_cvtepi32_ps(turned(totals));
        }
        let sum = if H == 2 { _mm256_fmadd_ps(sums[0], _mm256_set1_ps(256.0), sums[1]) } else { sums[0] };
        let [a, b, c, d] = sides.map(|side| side.steps);
        let steps = _mm256_unpacklo_epi64(_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
        // SAFETY: the level is there.
        let [d, dmin] = unsafe { F::steps(steps) };
        let scale = _mm256_set1_ps(act.scale);
        acc = _mm256_fmadd_ps(_mm256_mul_ps(d, scale), sum, acc);
        if F::MINS {
            let mins = _mm256_cvtepi32_ps(minima::<H>(sides.map(|side| side.mins), act));
            acc = _mm256_fnmadd_ps(_mm256_mul_ps(dmin, scale), mins, acc);
        }
    }
    // SAFETY: eight outputs from `first` on are in the window, by the caller's promise.
    unsafe { _mm256_storeu_ps(args.out.at(0, first), acc) };
}

/// Fetches the `part`-th `COUNT` blocks of the strip after this one: eight rows are many runs for the prefetcher of the CPU, but
/// the next strip is a single one. Few lines at a time, because the CPU has few under way; always as many, because branches
/// would be mispredicted.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn fetch<B, const COUNT: usize>(strip: &[B], part: usize) {
    let bytes = COUNT * size_of::<B>();
    let next = strip.as_ptr_range().end.cast::<i8>().wrapping_add(part * bytes);
    for line in 0..bytes.div_ceil(64) {
        _mm_prefetch::<_MM_HINT_T1>(next.wrapping_add(64 * line));
    }
}

/// Sums of 16 activations times a quarter of the offset that weights have too much, even ones before odd ones.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn starts<F: RowWise, const H: usize>(act: &ActBlock) -> [__m256i; H] {
    let mut starts = [_mm256_setzero_si256(); H];
    if F::OFFSET != 0 {
        for (start, sums) in starts.iter_mut().zip([&act.hi_sum, &act.lo_sum]) {
            // SAFETY: the load is the array.
            let sums = evens_and_odds(unsafe { _mm256_load_si256(sums.as_ptr().cast()) });
            // At most 16 * 128 * 8 in size.
            *start = _mm256_mullo_epi16(sums, _mm256_set1_epi16(-F::OFFSET / 4));
        }
    }
    starts
}

/// Even words, then odd words.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn evens_and_odds(words: __m256i) -> __m256i {
    let order = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_shuffle_epi8(words, order))
}

/// Sub-scales times weights times each half of the activations.
///
/// # Safety
/// The CPU has the level.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn dot<F: RowWise, const H: usize>(
    block: &F,
    scales: &[__m256i; 2],
    row: usize,
    act: &ActBlock,
    starts: &[__m256i; H],
) -> [__m256i; H] {
    let halves = [&act.hi, &act.lo];
    let mut totals = [_mm256_setzero_si256(); H];
    if F::OFFSET != 0 {
        for (total, &start) in totals.iter_mut().zip(starts) {
            *total = _mm256_slli_epi32::<2>(_mm256_madd_epi16(scales[row], start));
        }
    }
    for quarter in 0..4 {
        // SAFETY: the level is there.
        for (index, weights) in unsafe { block.weights(quarter) } {
            // SAFETY: the level is there.
            let scales = unsafe { F::scales(scales, row, index) };
            for (total, bytes) in totals.iter_mut().zip(halves) {
                // SAFETY: the load is 32 of the 256 bytes.
                let acts = unsafe { _mm256_load_si256(bytes.as_ptr().add(32 * index).cast()) };
                let products = _mm256_madd_epi16(_mm256_maddubs_epi16(weights, acts), scales);
                *total = settled(_mm256_add_epi32(*total, products));
            }
        }
    }
    totals
}

/// The sum itself. The compiler, which knows that integers can be added in any order, would do so for one half of the activations
/// after the other and keep all weights for that.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn settled(mut sum: __m256i) -> __m256i {
    // SAFETY: there is no instruction.
    unsafe { asm!("/* {0} */", inout(ymm_reg) sum, options(nomem, nostack, preserves_flags)) };
    sum
}

/// The two halves of the first vector added up to one, and those of the second.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn folded(a: __m256i, b: __m256i) -> __m256i {
    _mm256_add_epi32(_mm256_blend_epi32::<0b1111_0000>(a, b), _mm256_permute2x128_si256::<0x21>(a, b))
}

/// The sums of each half of four vectors: those of the lower halves, then those of the upper ones.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn turned([a, b, c, d]: [__m256i; PAIRS]) -> __m256i {
    let first = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let second = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    _mm256_add_epi32(_mm256_unpacklo_epi64(first, second), _mm256_unpackhi_epi64(first, second))
}

/// Sub-minima times activations of every row.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn minima<const H: usize>(mins: [__m256i; PAIRS], act: &ActBlock) -> __m256i {
    // SAFETY: the loads are the arrays.
    let [high, low] = [&act.hi_sum, &act.lo_sum].map(|sums| unsafe { _mm256_load_si256(sums.as_ptr().cast()) });
    let sums = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi16(high, low));
    let high = _mm256_permute4x64_epi64::<0b01_00_01_00>(sums);
    let low = _mm256_permute4x64_epi64::<0b11_10_11_10>(sums);
    turned(mins.map(|mins| {
        let product = _mm256_madd_epi16(mins, high);
        if H == 2 { _mm256_add_epi32(_mm256_slli_epi32::<8>(product), _mm256_madd_epi16(mins, low)) } else { product }
    }))
}

/// 16 bytes from each of two addresses.
///
/// # Safety
/// The CPU has the level; the bytes are readable.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn both([first, second]: [*const u8; 2]) -> __m256i {
    // SAFETY: the caller's promise.
    let [first, second] = unsafe { [_mm_loadu_si128(first.cast()), _mm_loadu_si128(second.cast())] };
    _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(first), second)
}

/// The `index`-th 32 bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn run<const N: usize>(bytes: &[u8; N], index: usize) -> __m256i {
    let bytes = &bytes.as_chunks::<32>().0[index];
    // SAFETY: the load is the array.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// What [`Side`] holds of Q4_K and Q5_K, from the first 16 bytes of a block: two scales, then six bits each of eight sub-scales
/// and sub-minima.
///
/// # Safety
/// The CPU has the level; 16 bytes are readable at each address.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn side_of_mins(rows: [*const u8; 2]) -> Side {
    // SAFETY: the caller's promise.
    let head = unsafe { both(rows) };
    let each = |a: u32, b: u32, c: u32, d: u32| {
        let [a, b, c, d] = [a, b, c, d].map(u32::cast_signed);
        _mm256_broadcastsi128_si256(_mm_setr_epi32(a, b, c, d))
    };
    // Low bits of the first four sub-scales, of their sub-minima, and low bits of the others.
    let low = _mm256_shuffle_epi8(head, each(0x0706_0504, 0x0b0a_0908, 0x0f0e_0d0c, 0x0f0e_0d0c));
    let low = _mm256_srlv_epi32(low, each(0, 0, 0, 4));
    let low = _mm256_and_si256(low, each(0x3f3f_3f3f, 0x3f3f_3f3f, 0x0f0f_0f0f, 0x0f0f_0f0f));
    let high = _mm256_shuffle_epi8(head, each(u32::MAX, u32::MAX, 0x0706_0504, 0x0b0a_0908));
    let high = _mm256_and_si256(_mm256_srli_epi32::<2>(high), _mm256_set1_epi8(0x30));
    let numbers = _mm256_or_si256(low, high);
    // Sub-scales twice each, one pair to a lane.
    let first = _mm256_shuffle_epi8(numbers, each(0x8000_8000, 0x8001_8001, 0x8002_8002, 0x8003_8003));
    let second = _mm256_shuffle_epi8(numbers, each(0x8008_8008, 0x8009_8009, 0x800a_800a, 0x800b_800b));
    let mins = _mm256_shuffle_epi8(numbers, each(0x8005_8004, 0x8007_8006, 0x800d_800c, 0x800f_800e));
    Side { scales: [first, second], mins, steps: head }
}

/// A sub-scale of [`side_of_mins`] in all lanes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scale_of_mins(scales: &[__m256i; 2], row: usize, index: usize) -> __m256i {
    let lanes = std::ptr::from_ref(&scales[index / 4]).cast::<[[i32; 4]; 2]>();
    // SAFETY: a vector is eight lanes, four of either row.
    _mm256_set1_epi32(unsafe { (*lanes)[row][index % 4] })
}

macro_rules! with_mins {
    ($($name:ident: |$block:ident, $quarter:ident| $weights:expr;)*) => { $(
        impl SingleToken for $name {
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn multiply(args: &MatmulArgs) -> bool {
                // SAFETY: the caller's promise.
                unsafe { multiply::<Self>(args) }
            }
        }

        impl RowWise for $name {
            const OFFSET: i16 = 0;
            const MINS: bool = true;

            #[inline]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn side(rows: [&Self; 2]) -> Side {
                // SAFETY: a block starts with its head.
                unsafe { side_of_mins(rows.map(|row| std::ptr::from_ref(row).cast())) }
            }

            #[inline]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn steps(steps: __m256i) -> [__m256; 2] {
                [low_f16(steps), high_f16(steps)]
            }

            #[inline]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn scales(scales: &[__m256i; 2], row: usize, index: usize) -> __m256i {
                scale_of_mins(scales, row, index)
            }

            #[inline]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn weights(&self, $quarter: usize) -> [(usize, __m256i); 2] {
                let $block = self;
                let [low, high] = $weights;
                [(2 * $quarter, low), (2 * $quarter + 1, high)]
            }
        }
    )* };
}
with_mins! {
    Q4_K: |block, quarter| {
        let q = run(&block.qs, quarter);
        [bits(q, 0, 15), bits(q, 4, 15)]
    };
    Q5_K: |block, quarter| {
        let (q, fifth, bit) = (run(&block.qs, quarter), run(&block.qh, 0), 2 * quarter as i32);
        [
            _mm256_or_si256(bits(q, 0, 15), bits(fifth, bit - 4, 16)),
            _mm256_or_si256(bits(q, 4, 15), bits(fifth, bit - 3, 16)),
        ]
    };
}

impl SingleToken for Q6_K {
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn multiply(args: &MatmulArgs) -> bool {
        // SAFETY: the caller's promise.
        unsafe { multiply::<Self>(args) }
    }
}

impl RowWise for Q6_K {
    const OFFSET: i16 = 32;
    const MINS: bool = false;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn side(rows: [&Self; 2]) -> Side {
        // SAFETY: the load is the array.
        let scales = rows.map(|row| unsafe { _mm_loadu_si128(row.scales.as_ptr().cast()) });
        // SAFETY: these are the last 16 bytes of a block.
        let tails = unsafe { both(rows.map(|row| std::ptr::from_ref(row).cast::<u8>().add(size_of::<Q6_K>() - 16))) };
        Side {
            scales: scales.map(|scales| evens_and_odds(_mm256_cvtepi8_epi16(scales))),
            mins: _mm256_setzero_si256(),
            steps: _mm256_srli_si256::<12>(tails),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn steps(steps: __m256i) -> [__m256; 2] {
        [high_f16(steps), _mm256_setzero_ps()]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn scales(scales: &[__m256i; 2], row: usize, index: usize) -> __m256i {
        // The `index`-th word of either half, eight times. A constant that is known would become two shuffles.
        static PLACES: [[u16; 16]; 8] = {
            let mut places = [[0; 16]; 8];
            let mut at = 0;
            while at < 128 {
                places[at / 16][at % 16] = 0x0100 + 0x0202 * (at / 16) as u16;
                at += 1;
            }
            places
        };
        let places = opaque(PLACES.as_ptr() as usize) as *const [u16; 16];
        // SAFETY: the load is an entry of the table.
        let place = unsafe { _mm256_loadu_si256(places.add(index).cast()) };
        _mm256_shuffle_epi8(scales[row], place)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn weights(&self, quarter: usize) -> [(usize, __m256i); 2] {
        let (half, at) = (quarter / 2, quarter % 2);
        let (low, high, bit) = (run(&self.ql, quarter), run(&self.qh, half), 2 * at as i32);
        [
            (4 * half + at, _mm256_or_si256(bits(low, 0, 15), bits(high, bit - 4, 0x30))),
            (4 * half + at + 2, _mm256_or_si256(bits(low, 4, 15), bits(high, bit, 0x30))),
        ]
    }
}
