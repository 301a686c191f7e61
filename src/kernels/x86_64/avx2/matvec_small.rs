//! One token and blocks of 32 weights: eight rows at a time, each read as it stands.
//!
//! Weights with a sign multiply as 16 bits, which is what the activations have, others as bytes by each half of these. Sums are
//! those of whole activations: `256 * H + L` fits i32, and to round it to f32 is what `fma(H, 256, L)` does, because H and L are
//! below 2^24.

use super::lanes::{bits, high_f16, low_f16};
use super::matvec::{ROWS, SingleToken, both, fetch, turned};
use super::small_blocks::levels;
use crate::kernels::{Input, MatmulArgs};
use crate::quant::{ActBlock, BLOCK, CODEBOOK, E2M1, IQ4_NL, MXFP4, Plain, Precision, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, blocks};
use std::arch::x86_64::*;
use std::array::from_fn;
use std::hint::black_box;
use std::mem::offset_of;

/// Blocks that share a block of activations.
const UNIT: usize = BLOCK / 32;
/// Blocks of activations that are prepared at once: 16 KiB.
const PREPARED: usize = 32;

/// A block of 32 weights with a scale and perhaps an offset.
trait SmallRow: Plain {
    /// Added to weights.
    const OFFSET: i32;
    /// Whether every weight has an offset.
    const MINS: bool;
    /// Whether the bytes have signs; others are below 2^5.
    const SIGNED: bool;

    /// Scales and offsets of eight blocks.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn steps(rows: [&Self; ROWS]) -> [__m256; 2];

    /// The weights `q + OFFSET` of two blocks: the first halves of both, then the second ones.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn bytes(pair: [&Self; 2]) -> [__m256i; 2];
}

/// Activations as weights take them, which have the first halves of blocks `2 * p` and `2 * p + 1` in one vector and the second halves
/// in another: vectors `4 * p` and `4 * p + 1` go with these and the next two
///
/// - with the same weights, if they have no sign: the high bytes, then the low ones (high precision alone)
/// - if they have: even numbers of 16 bits, then odd ones, of the first vector and then of the second
struct Prepared {
    acts: [[__m256i; BLOCK / 16]; PREPARED],
    /// Sums of 32, those of block b in lane [`place`] of b.
    sums: [__m256i; PREPARED],
}

/// In which lane a block is summed up.
const fn place(block: usize) -> usize {
    block / 2 + block % 2 * 4
}

impl Prepared {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn new() -> Prepared {
        let zero = _mm256_setzero_si256();
        Prepared { acts: [[zero; BLOCK / 16]; PREPARED], sums: [zero; PREPARED] }
    }

    /// Prepares some blocks for weights with or without signs.
    #[target_feature(enable = "avx2,fma,f16c")]
    fn fill(&mut self, blocks: &[ActBlock], precision: Precision, signed: bool) {
        let (high, ones) = (precision == Precision::High, _mm256_set1_epi16(1));
        for ((acts, sums), block) in self.acts.iter_mut().zip(&mut self.sums).zip(blocks) {
            for (at, acts) in acts.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                let from = 64 * (at / 2) + 16 * (at % 2);
                // SAFETY: 16 bytes 32 apart, inside the 256.
                let [hi, lo] = [&block.hi, &block.lo].map(|acts| unsafe {
                    let acts = acts.as_ptr().cast::<u8>().add(from);
                    both([acts, acts.add(32)])
                });
                if !signed {
                    *acts = [hi, lo];
                    continue;
                }
                *acts = words(if high { lo } else { hi });
                if high {
                    let upper = _mm256_and_si256(hi, _mm256_set1_epi16(-256));
                    *acts = [_mm256_add_epi16(acts[0], _mm256_slli_epi16::<8>(hi)), _mm256_add_epi16(acts[1], upper)];
                }
            }
            // SAFETY: the loads are the arrays.
            let [hi, lo] = [&block.hi_sum, &block.lo_sum]
                .map(|sums| _mm256_madd_epi16(unsafe { _mm256_loadu_si256(sums.as_ptr().cast()) }, ones));
            let all = if high { _mm256_add_epi32(_mm256_slli_epi32::<8>(hi), lo) } else { hi };
            *sums = _mm256_permutevar8x32_epi32(all, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7));
        }
    }
}

/// Even bytes, then odd ones, as 16 bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn words(bytes: __m256i) -> [__m256i; 2] {
    [_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes)), _mm256_srai_epi16::<8>(bytes)]
}

/// [`SingleToken::multiply`] of blocks of 32.
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn multiply<F: SmallRow>(args: &MatmulArgs) -> bool {
    let Input::Quantized(acts, precision) = args.input else { unreachable!("the caller checks the input") };
    if args.tokens > 1 || args.rows < ROWS || !args.depth.is_multiple_of(BLOCK) {
        return false;
    }
    let Some(acts) = acts.alone() else { return false };
    let (weights, per_row) = (blocks::<F>(args.weights), args.depth / 32);
    let acts = &acts[..args.depth / BLOCK];
    let mut prepared = Prepared::new();
    for row in (0..args.rows).step_by(ROWS) {
        // Some rows twice is less work than one by one.
        let first = row.min(args.rows - ROWS);
        let strip = &weights[first * per_row..][..ROWS * per_row];
        let mut acc = _mm256_setzero_ps();
        for (part, acts) in acts.chunks(PREPARED).enumerate() {
            if row == 0 || per_row > PREPARED * UNIT {
                prepared.fill(acts, precision, F::SIGNED);
            }
            acc = if F::SIGNED || precision == Precision::Fast {
                add::<F, false>(strip, part * PREPARED, acts, &prepared, acc)
            } else {
                add::<F, true>(strip, part * PREPARED, acts, &prepared, acc)
            };
        }
        // SAFETY: eight outputs from `first` on are in the window, by the caller's promise.
        unsafe { _mm256_storeu_ps(args.out.at(0, first), acc) };
    }
    true
}

/// Adds the products of eight rows, from the unit `first` on, with some blocks of activations. HALVES: these are two bytes each.
#[target_feature(enable = "avx2,fma,f16c")]
fn add<F: SmallRow, const HALVES: bool>(
    strip: &[F],
    first: usize,
    acts: &[ActBlock],
    prepared: &Prepared,
    mut acc: __m256,
) -> __m256 {
    let per_row = strip.len() / ROWS;
    for (at, ((act, prepared), &sums)) in acts.iter().zip(&prepared.acts).zip(&prepared.sums).enumerate() {
        let unit = first + at;
        let units: [&[F; UNIT]; ROWS] = from_fn(|row| strip[row * per_row + unit * UNIT..].first_chunk().expect("whole units"));
        let offset = _mm256_mullo_epi32(sums, _mm256_set1_epi32(F::OFFSET));
        let mut products = [_mm256_setzero_ps(); ROWS];
        // Unrolled, the rows would be mixed: more than registers hold.
        for (row, product) in products.iter_mut().enumerate().take(black_box(ROWS)) {
            fetch::<F, UNIT>(strip, unit * ROWS + row);
            // SAFETY: the level is there.
            let total = unsafe { dot::<F, HALVES>(units[row], black_box(prepared)) };
            *product = _mm256_cvtepi32_ps(_mm256_sub_epi32(total, offset));
        }
        let (products, scale) = (transposed(products), _mm256_set1_ps(act.scale));
        let sums: [f32; UNIT] = {
            let mut values = [0.0; UNIT];
            // SAFETY: the store is the array.
            unsafe { _mm256_storeu_ps(values.as_mut_ptr(), _mm256_cvtepi32_ps(sums)) };
            values
        };
        for block in 0..UNIT {
            // SAFETY: the level is there.
            let [d, min] = unsafe { F::steps(units.map(|unit| &unit[block])) };
            acc = _mm256_fmadd_ps(_mm256_mul_ps(d, scale), products[place(block)], acc);
            if F::MINS {
                acc = _mm256_fmadd_ps(_mm256_mul_ps(min, scale), _mm256_set1_ps(sums[place(block)]), acc);
            }
        }
    }
    acc
}

/// Sums of weight times activation over every block, by [`place`].
///
/// # Safety
/// The CPU has the level.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn dot<F: SmallRow, const HALVES: bool>(blocks: &[F; UNIT], acts: &[__m256i; BLOCK / 16]) -> __m256i {
    let mut sums = [_mm256_setzero_si256(); UNIT / 2];
    for (pair, (sum, acts)) in sums.iter_mut().zip(acts.as_chunks::<4>().0).enumerate() {
        // SAFETY: the level is there.
        let weights = unsafe { F::bytes([&blocks[2 * pair], &blocks[2 * pair + 1]]) };
        if F::SIGNED {
            let [[a, b], [c, d]] = weights.map(|weights| words(weights));
            let first = _mm256_add_epi32(_mm256_madd_epi16(a, acts[0]), _mm256_madd_epi16(b, acts[1]));
            let second = _mm256_add_epi32(_mm256_madd_epi16(c, acts[2]), _mm256_madd_epi16(d, acts[3]));
            *sum = _mm256_add_epi32(first, second);
            continue;
        }
        // Sums of four products fit 16 bits: 4 * 31 * 128 < 2^15.
        let [high, low] = [0, 1].map(|half| {
            let products = [0, 1].map(|i| _mm256_maddubs_epi16(weights[i], acts[2 * i + half]));
            _mm256_add_epi16(products[0], products[1])
        });
        *sum = _mm256_madd_epi16(high, _mm256_set1_epi16(if HALVES { 256 } else { 1 }));
        if HALVES {
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(low, _mm256_set1_epi16(1)));
        }
    }
    turned(sums)
}

/// Rows and columns of eight by eight change places.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
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

/// The first 16 bytes of each of eight blocks.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn heads<B>(rows: [&B; ROWS]) -> [__m128i; ROWS] {
    const { assert!(size_of::<B>() >= 16) };
    // SAFETY: a block has that many bytes.
    rows.map(|row| unsafe { _mm_loadu_si128(std::ptr::from_ref(row).cast()) })
}

/// The first two bytes of each of eight blocks.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn first_words<B>(rows: [&B; ROWS]) -> __m128i {
    let heads = heads(rows);
    let pairs: [__m128i; 4] = from_fn(|i| _mm_unpacklo_epi16(heads[2 * i], heads[2 * i + 1]));
    _mm_unpacklo_epi64(_mm_unpacklo_epi32(pairs[0], pairs[1]), _mm_unpacklo_epi32(pairs[2], pairs[3]))
}

/// A scale of f16 and no offset.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scales<B>(rows: [&B; ROWS]) -> [__m256; 2] {
    [_mm256_cvtph_ps(first_words(rows)), _mm256_setzero_ps()]
}

/// A scale and an offset, f16 both.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scales_and_mins<B>(rows: [&B; ROWS]) -> [__m256; 2] {
    let heads = heads(rows);
    let pairs: [__m128i; 4] = from_fn(|i| _mm_unpacklo_epi32(heads[2 * i], heads[2 * i + 1]));
    let (first, second) = (_mm_unpacklo_epi64(pairs[0], pairs[1]), _mm_unpacklo_epi64(pairs[2], pairs[3]));
    let steps = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(first), second);
    [low_f16(steps), high_f16(steps)]
}

/// Powers of two by their exponents, the first byte of each block.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn powers<B>(rows: [&B; ROWS]) -> [__m256; 2] {
    let e = _mm256_cvtepu16_epi32(_mm_and_si128(first_words(rows), _mm_set1_epi16(255)));
    let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(e, _mm256_set1_epi32(1)));
    let subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x0020_0000), e);
    let is_normal = _mm256_cmpgt_epi32(e, _mm256_set1_epi32(1));
    [_mm256_castsi256_ps(_mm256_blendv_epi8(subnormal, normal, is_normal)), _mm256_setzero_ps()]
}

/// The low and the high halves of 16 bytes at `offset` of two blocks.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn nibbles<B>(pair: [&B; 2], offset: usize) -> [__m256i; 2] {
    assert!(offset + 16 <= size_of::<B>());
    // SAFETY: the bytes are in the blocks, as just asserted.
    let bytes = unsafe { both(pair.map(|block| std::ptr::from_ref(block).cast::<u8>().add(offset))) };
    [bits(bytes, 0, 15), bits(bytes, 4, 15)]
}

/// Adds fifth bits to 4-bit numbers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn with_fifth(fifth: [[u8; 4]; 2], numbers: [__m256i; 2]) -> [__m256i; 2] {
    let [first, second] = fifth.map(i32::from_le_bytes);
    let all = _mm256_inserti128_si256::<1>(_mm256_set1_epi32(first), _mm_set1_epi32(second));
    let own = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
    let mut places = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
    numbers.map(|numbers| {
        // Every byte gets the one that holds its bit, and keeps that bit alone.
        let bits = _mm256_and_si256(_mm256_shuffle_epi8(all, places), own);
        places = _mm256_add_epi8(places, _mm256_set1_epi8(2));
        _mm256_or_si256(numbers, _mm256_and_si256(_mm256_cmpeq_epi8(bits, own), _mm256_set1_epi8(16)))
    })
}

/// Levels by their numbers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn all_levels(table: &[i8; 16], [first, second]: [__m256i; 2]) -> [__m256i; 2] {
    [levels(table, first), levels(table, second)]
}

macro_rules! small_rows {
    ($($name:ident: $offset:literal, $mins:literal, $signed:literal, $steps:ident, |$pair:ident| $bytes:expr;)*) => { $(
        impl SingleToken for $name {
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn multiply(args: &MatmulArgs) -> bool {
                // SAFETY: the caller's promise.
                unsafe { multiply::<Self>(args) }
            }
        }

        impl SmallRow for $name {
            const OFFSET: i32 = $offset;
            const MINS: bool = $mins;
            const SIGNED: bool = $signed;

            #[inline]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn steps(rows: [&Self; ROWS]) -> [__m256; 2] {
                $steps(rows)
            }

            #[inline]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn bytes($pair: [&Self; 2]) -> [__m256i; 2] {
                $bytes
            }
        }
    )* };
}
small_rows! {
    Q4_0: 8, false, false, scales, |pair| nibbles(pair, offset_of!(Q4_0, qs));
    Q4_1: 0, true, false, scales_and_mins, |pair| nibbles(pair, offset_of!(Q4_1, qs));
    Q5_0: 16, false, false, scales, |pair| with_fifth(pair.map(|block| block.qh), nibbles(pair, offset_of!(Q5_0, qs)));
    Q5_1: 0, true, false, scales_and_mins, |pair| with_fifth(pair.map(|block| block.qh), nibbles(pair, offset_of!(Q5_1, qs)));
    Q8_0: 0, false, true, scales, |pair| {
        // SAFETY: the loads are halves of the arrays.
        [0, 16].map(|at| unsafe { both(pair.map(|block| block.qs.as_ptr().cast::<u8>().add(at))) })
    };
    IQ4_NL: 0, false, true, scales, |pair| all_levels(&CODEBOOK, nibbles(pair, offset_of!(IQ4_NL, qs)));
    MXFP4: 0, false, true, powers, |pair| all_levels(&E2M1, nibbles(pair, offset_of!(MXFP4, qs)));
}
