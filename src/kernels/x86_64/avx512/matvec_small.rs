//! One token and blocks of 32 weights: eight rows at a time, each read as it stands.
//!
//! High and low halves of activations need not stay apart here: `256 * H + L` fits i32, and to round it to f32 is what
//! `fma(H, 256, L)` does, because H and L are below 2^24.

use super::matmul;
use super::matvec::{ROWS, fetch};
use super::tile::Tiled;
use crate::kernels::{Input, MatmulArgs};
use crate::quant::{ActBlock, BLOCK, CODEBOOK, E2M1, IQ4_NL, MXFP4, Plain, Precision, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, blocks};
use std::arch::x86_64::*;
use std::array::from_fn;

/// Blocks that share a block of activations.
const UNIT: usize = BLOCK / 32;

/// A block of 32 weights with a scale and perhaps an offset, mostly f16.
pub(in crate::kernels::x86_64) trait SmallRow: Plain {
    /// What makes weights unsigned.
    const OFFSET: i32;
    /// Whether every weight has an offset.
    const MINS: bool;

    /// Scale and offset.
    fn steps(&self) -> [u16; 2];

    /// Eight scales or offsets as f32.
    ///
    /// # Safety
    /// The CPU has the level.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn widen(steps: __m128i) -> __m256 {
        _mm256_cvtph_ps(steps)
    }

    /// The weights `q + OFFSET`, unsigned.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn bytes(&self) -> __m256i;
}

/// Quantized weights times quantized activations: one token here, several as tiles.
///
/// # Safety
/// The CPU has the level; `args` is as [`MatmulArgs`] says.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(in crate::kernels::x86_64) unsafe fn quantized<F: SmallRow + Tiled>(args: &MatmulArgs) {
    let Input::Quantized(acts, precision) = args.input else { unreachable!("the caller checks the input") };
    if args.tokens > 1 || args.rows < ROWS || !args.depth.is_multiple_of(BLOCK) {
        // SAFETY: the caller's promise.
        return unsafe { matmul::quantized::<F>(args) };
    }
    for row in (0..args.rows).step_by(ROWS) {
        // Some rows twice is less work than one by one.
        let first = row.min(args.rows - ROWS);
        // SAFETY: the caller's promise.
        unsafe {
            match precision {
                Precision::High => strip::<F, true>(args, acts, first),
                Precision::Fast => strip::<F, false>(args, acts, first),
            }
        }
    }
}

/// Products of the rows from `first` on with the only token.
///
/// # Safety
/// The CPU has the level; `args` is as [`MatmulArgs`] says, with at least `first + 8` rows and one token.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c")]
unsafe fn strip<F: SmallRow, const HIGH: bool>(args: &MatmulArgs, acts: &[ActBlock], first: usize) {
    let per_row = UNIT * acts.len();
    let weights = &blocks::<F>(args.weights)[first * per_row..][..ROWS * per_row];
    let mut acc = _mm256_setzero_ps();
    for (unit, act) in acts.iter().enumerate() {
        fetch(weights, unit, UNIT * ROWS * size_of::<F>());
        // SAFETY: the level is there.
        let sums = unsafe { sums::<HIGH>(act) };
        let correction = _mm256_mullo_epi32(sums, _mm256_set1_epi32(F::OFFSET));
        let mut products = [_mm256_setzero_ps(); ROWS];
        let mut steps = [[[0; ROWS]; UNIT]; 2];
        for (row, product) in products.iter_mut().enumerate() {
            let blocks: &[F; UNIT] = weights[row * per_row + unit * UNIT..].first_chunk().expect("whole units");
            // SAFETY: the level is there.
            let total = unsafe { dot::<F, HIGH>(blocks, act) };
            *product = _mm256_cvtepi32_ps(_mm256_sub_epi32(total, correction));
            for (at, block) in blocks.iter().enumerate() {
                let [d, m] = block.steps();
                (steps[0][at][row], steps[1][at][row]) = (d, m);
            }
        }
        let (products, scale) = (transposed(products), _mm256_set1_ps(act.scale));
        let mut sum = [0; UNIT];
        // SAFETY: the store is the array.
        unsafe { _mm256_storeu_si256(sum.as_mut_ptr().cast(), sums) };
        for at in 0..UNIT {
            // SAFETY: the load is the eight numbers.
            let step = |kind: usize| unsafe { F::widen(_mm_loadu_si128(steps[kind][at].as_ptr().cast())) };
            acc = _mm256_fmadd_ps(_mm256_mul_ps(step(0), scale), products[place(at)], acc);
            if F::MINS {
                acc = _mm256_fmadd_ps(_mm256_mul_ps(step(1), scale), _mm256_set1_ps(sum[place(at)] as f32), acc);
            }
        }
    }
    // SAFETY: eight outputs from `first` on are in the window, by the caller's promise.
    unsafe { _mm256_storeu_ps(args.out.at(0, first), acc) };
}

/// In which lane the `block`-th block of a unit is summed up.
const fn place(block: usize) -> usize {
    block / 2 + block % 2 * 4
}

/// Sums of the activations of every block, by [`place`].
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn sums<const HIGH: bool>(act: &ActBlock) -> __m256i {
    let ones = _mm256_set1_epi16(1);
    // SAFETY: the loads are the arrays.
    let [high, low] =
        [&act.hi_sum, &act.lo_sum].map(|sums| _mm256_madd_epi16(unsafe { _mm256_loadu_si256(sums.as_ptr().cast()) }, ones));
    let sums = if HIGH { _mm256_add_epi32(_mm256_slli_epi32::<8>(high), low) } else { high };
    _mm256_permutevar8x32_epi32(sums, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7))
}

/// Sums of unsigned weight times activation over every block, by [`place`].
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn dot<F: SmallRow, const HIGH: bool>(blocks: &[F; UNIT], act: &ActBlock) -> __m256i {
    let pairs: [__m512i; UNIT / 2] = from_fn(|pair| {
        // SAFETY: the level is there; the loads are inside the arrays of 256.
        unsafe {
            let weights = _mm512_castsi256_si512(blocks[2 * pair].bytes());
            let weights = _mm512_inserti64x4::<1>(weights, blocks[2 * pair + 1].bytes());
            let product = |acts: &[i8; BLOCK]| {
                _mm512_dpbusd_epi32(_mm512_setzero_si512(), weights, _mm512_loadu_si512(acts.as_ptr().add(64 * pair).cast()))
            };
            let high = product(&act.hi);
            if HIGH { _mm512_add_epi32(_mm512_slli_epi32::<8>(high), product(&act.lo)) } else { high }
        }
    });
    // Four lanes of every pair of blocks side by side, and the two halves of a block one above the other.
    let add = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (first, second) = (add(pairs[0], pairs[1]), add(pairs[2], pairs[3]));
    let sums = _mm512_add_epi32(_mm512_unpacklo_epi64(first, second), _mm512_unpackhi_epi64(first, second));
    let sums = _mm512_add_epi32(sums, _mm512_shuffle_i64x2::<0b10_11_00_01>(sums, sums));
    _mm512_castsi512_si256(_mm512_shuffle_i64x2::<0b00_00_10_00>(sums, sums))
}

/// Rows and columns of eight by eight change places.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn transposed(rows: [__m256; 8]) -> [__m256; 8] {
    let pairs: [__m256d; 8] = from_fn(|i| {
        let (a, b) = (rows[i / 2 * 2], rows[i / 2 * 2 + 1]);
        _mm256_castps_pd(if i % 2 == 0 { _mm256_unpacklo_ps(a, b) } else { _mm256_unpackhi_ps(a, b) })
    });
    let fours: [__m256; 8] = from_fn(|i| {
        let (a, b) = (pairs[i / 4 * 4 + i / 2 % 2], pairs[i / 4 * 4 + i / 2 % 2 + 2]);
        _mm256_castpd_ps(if i % 2 == 0 { _mm256_unpacklo_pd(a, b) } else { _mm256_unpackhi_pd(a, b) })
    });
    from_fn(|i| {
        let (a, b) = (fours[i % 4], fours[i % 4 + 4]);
        if i < 4 { _mm256_permute2f128_ps::<0x20>(a, b) } else { _mm256_permute2f128_ps::<0x31>(a, b) }
    })
}

/// The 4-bit numbers of 16 bytes: those in the low halves, then those in the high ones.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn nibbles(bytes: &[u8; 16]) -> __m256i {
    // SAFETY: the load is the array.
    let twice = _mm256_broadcast_i32x4(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) });
    let shifted = _mm256_srlv_epi64(twice, _mm256_setr_epi64x(0, 0, 4, 4));
    _mm256_and_si256(shifted, _mm256_set1_epi8(15))
}

/// As [`nibbles`], with fifth bits.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn five_bits(fifth: [u8; 4], bytes: &[u8; 16]) -> __m256i {
    _mm256_or_si256(nibbles(bytes), _mm256_maskz_set1_epi8(u32::from_le_bytes(fifth), 16))
}

macro_rules! small_rows {
    ($($name:ident, offset $offset:literal, $min:ident, |$block:ident| $bytes:expr;)*) => { $(
        impl SmallRow for $name {
            const OFFSET: i32 = $offset;
            const MINS: bool = small_rows!(@has $min);

            #[inline]
            fn steps(&self) -> [u16; 2] {
                [u16::from_le_bytes(self.d), small_rows!(@value self $min)]
            }

            #[inline]
            #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
            unsafe fn bytes(&self) -> __m256i {
                let $block = self;
                $bytes
            }
        }
    )* };
    (@has m) => { true };
    (@has none) => { false };
    (@value $self:ident m) => { u16::from_le_bytes($self.m) };
    (@value $self:ident none) => { 0 };
}

small_rows! {
    Q4_0, offset 8, none, |block| nibbles(&block.qs);
    Q4_1, offset 0, m, |block| nibbles(&block.qs);
    Q5_0, offset 16, none, |block| five_bits(block.qh, &block.qs);
    Q5_1, offset 0, m, |block| five_bits(block.qh, &block.qs);
    Q8_0, offset 128, none, |block| {
        // SAFETY: the load is the array.
        let signed = unsafe { _mm256_loadu_si256(block.qs.as_ptr().cast()) };
        _mm256_xor_si256(signed, _mm256_set1_epi8(-128))
    };
    IQ4_NL, offset 128, none, |block| {
        // SAFETY: the load is the array.
        let levels = unsafe { _mm_loadu_si128(CODEBOOK.as_ptr().cast()) };
        let levels = _mm_xor_si128(levels, _mm_set1_epi8(-128));
        _mm256_shuffle_epi8(_mm256_broadcast_i32x4(levels), nibbles(&block.qs))
    };
}

impl SmallRow for MXFP4 {
    const OFFSET: i32 = 12;
    const MINS: bool = false;

    #[inline]
    fn steps(&self) -> [u16; 2] {
        [u16::from(self.e), 0]
    }

    /// Powers of two by their exponents.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn widen(steps: __m128i) -> __m256 {
        let e = _mm256_cvtepu16_epi32(steps);
        let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(e, _mm256_set1_epi32(1)));
        let is_subnormal = _mm256_cmplt_epi32_mask(e, _mm256_set1_epi32(2));
        _mm256_castsi256_ps(_mm256_mask_sllv_epi32(normal, is_subnormal, _mm256_set1_epi32(0x0020_0000), e))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn bytes(&self) -> __m256i {
        // SAFETY: the load is the array.
        let levels = _mm_add_epi8(unsafe { _mm_loadu_si128(E2M1.as_ptr().cast()) }, _mm_set1_epi8(Self::OFFSET as i8));
        _mm256_shuffle_epi8(_mm256_broadcast_i32x4(levels), nibbles(&self.qs))
    }
}
