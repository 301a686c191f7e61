//! Super-blocks: 256 weights in 16 runs of 16, which share sub-scales.

use super::lanes::{Column, Rows, Run, broadcast};
use super::tile::{Acts, PerOutput, Sums, Tile, add_products, half_sums, zero};
use crate::quant::{ActBlock, BLOCK, Format};
use std::arch::asm;
use std::arch::x86_64::*;
use std::array::from_fn;
use std::borrow::Borrow;
use std::marker::PhantomData;
use std::ops::Range;

/// Four times 16 weights, as they are unpacked together.
pub(in crate::kernels::x86_64) type Quarter = [Run; 4];

/// A format of super-blocks.
pub(in crate::kernels::x86_64) trait SuperFormat: Format {
    /// Weights per sub-scale; 256: none, or the weights contain it.
    const SUB: usize;
    /// Added to weights to make them unsigned.
    const OFFSET: i32;
    /// Sub-minima.
    const SUB_MINS: usize = 0;
    /// Whether sums of 16 products and sub-scales fit 16 bits, and these have no sign.
    const NARROW: bool = false;

    /// Which 16 weights of the super-block a run of a quarter is. Runs 0 and 1 and runs 2 and 3 are neighbours, the first
    /// an even one, where a sub-scale is for more than 16 weights.
    fn place(quarter: usize, run: usize) -> usize {
        4 * quarter + run
    }

    /// Unpacks all but the weights.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn head<const I: bool>(column: &Column<Self, I>, head: &mut Head);

    /// Unpacks a quarter of the weights.
    ///
    /// # Safety
    /// The CPU has the level.
    unsafe fn quarter<const I: bool>(column: &Column<Self, I>, head: &Head, quarter: usize) -> Quarter;
}

/// Where the runs are in formats that have bits of weights 32 apart in one byte.
pub(super) fn crossed(quarter: usize, run: usize) -> usize {
    8 * (quarter / 2) + 2 * run + quarter % 2
}

/// What sixteen super-blocks hold beside weights.
#[derive(Clone, Copy)]
pub(in crate::kernels::x86_64) struct Head {
    /// Sub-scales as i32; formats with fewer sub-blocks leave the rest.
    pub scales: [__m512i; 16],
    /// Sub-minima, four to a lane.
    pub mins: [__m512i; 4],
    /// Bits of weights that all quarters draw from.
    pub bits: [Run; 2],
    pub d: __m512,
    pub dmin: __m512,
}

impl Head {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub fn new() -> Head {
        let (zero, none) = (_mm512_setzero_si512(), _mm512_setzero_ps());
        Head { scales: [zero; 16], mins: [zero; 4], bits: [[zero; 4]; 2], d: none, dmin: none }
    }
}

/// Sixteen unpacked super-blocks.
pub(in crate::kernels::x86_64) struct Super<F> {
    pub(super) quarters: [Quarter; 4],
    pub(super) head: Head,
    format: PhantomData<F>,
}

impl<F: SuperFormat> Super<F> {
    /// The sums of sub-scale times weight times activation, both halves together.
    #[inline(never)]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    pub(super) fn sum<const H: usize>(&self, act: &ActBlock) -> __m512 {
        let [[totals]] = dot::<F, &Quarter, 1, 1, H>(|_, quarter| &self.quarters[quarter], [&self.head], &[act]);
        whole(totals)
    }
}

impl<F: SuperFormat> Tile<F> for Super<F> {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn new() -> Self {
        Super { quarters: [[[_mm512_setzero_si512(); 4]; 4]; 4], head: Head::new(), format: PhantomData }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn fill<const I: bool>(&mut self, rows: &Rows<F, I>, blocks: Range<usize>) {
        let column = rows.column(blocks.start);
        // SAFETY: the level is there.
        unsafe {
            F::head(&column, &mut self.head);
            for (i, quarter) in self.quarters.iter_mut().enumerate() {
                *quarter = F::quarter(&column, &self.head, i);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn accumulate<const G: usize, const T: usize, const H: usize>(
        tiles: &[Self; G],
        acts: &Acts<T>,
        acc: &mut PerOutput<__m512, G, T>,
    ) {
        let heads = tiles.each_ref().map(|tile| &tile.head);
        add::<F, &Quarter, G, T, H>(|g, quarter| &tiles[g].quarters[quarter], heads, &acts.blocks(), acc);
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn multiply<const T: usize, const H: usize, const I: bool>(
        &mut self,
        rows: &Rows<F, I>,
        blocks: Range<usize>,
        acts: &[&ActBlock; T],
        acc: &mut PerOutput<__m512, 1, T>,
    ) {
        let column = rows.column(blocks.start);
        // SAFETY: the level is there.
        unsafe { F::head(&column, &mut self.head) };
        let head = &self.head;
        let quarter = |_, quarter: usize| {
            (4 * quarter..4 * quarter + 4).for_each(|row| column.fetch_ahead(row));
            // SAFETY: the level is there.
            unsafe { F::quarter(&column, head, quarter) }
        };
        add::<F, Quarter, 1, T, H>(quarter, [head], acts, acc);
    }
}

/// Adds the products of blocks whose quarters come from a function of row group and number.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn add<F: SuperFormat, Q: Borrow<Quarter>, const G: usize, const T: usize, const H: usize>(
    quarter: impl Fn(usize, usize) -> Q,
    heads: [&Head; G],
    acts: &[&ActBlock; T],
    acc: &mut PerOutput<__m512, G, T>,
) {
    finish::<F, G, T, H>(dot::<F, Q, G, T, H>(quarter, heads, acts), heads, acts, acc);
}

/// Adds the sums of sub-scale times weight times activation to the outputs, each times its scale, less the minima.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn finish<F: SuperFormat, const G: usize, const T: usize, const H: usize>(
    totals: Sums<G, T, H>,
    heads: [&Head; G],
    acts: &[&ActBlock; T],
    acc: &mut PerOutput<__m512, G, T>,
) {
    for t in 0..T {
        let scale = _mm512_set1_ps(acts[t].scale);
        for g in 0..G {
            acc[g][t] = _mm512_fmadd_ps(_mm512_mul_ps(heads[g].d, scale), whole(totals[g][t]), acc[g][t]);
        }
        let of_16 = if F::SUB_MINS == 16 { digits::<H>(acts[t]) } else { [[0; 16]; 3] };
        for g in 0..G {
            let (mins, dmin) = (&heads[g].mins, _mm512_mul_ps(heads[g].dmin, scale));
            acc[g][t] = match (F::SUB_MINS, H) {
                (0, _) => acc[g][t],
                (8, 2) => subtract_minima(mins, &acts[t].sums, dmin, acc[g][t]),
                // Fewer digits hold the sums of one half.
                (8, _) => subtract_minima(mins, acts[t].half_sums(), dmin, acc[g][t]),
                _ => subtract_minima(mins, &of_16, dmin, acc[g][t]),
            };
        }
    }
}

/// What the sums of the halves say together.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(in crate::kernels::x86_64) fn whole<const H: usize>(totals: [__m512i; H]) -> __m512 {
    let totals = totals.map(|total| _mm512_cvtepi32_ps(total));
    let whole = totals.into_iter().reduce(|high, low| _mm512_fmadd_ps(high, _mm512_set1_ps(256.0), low));
    whole.unwrap_or(_mm512_setzero_ps())
}

/// Subtracts the sums of sub-minimum times activation, times a scale, from outputs of a token: given N sub-minima, and the sums
/// of the activations of each as digits to the base 256, the greatest first.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(in crate::kernels::x86_64) fn subtract_minima<const N: usize, const D: usize>(
    mins: &[__m512i; 4],
    digits: &[[i8; N]; D],
    scale: __m512,
    acc: __m512,
) -> __m512 {
    let mut total = eight_minima(&[mins[0], mins[1]], digits, 0);
    if N == 16 {
        total = _mm512_add_epi32(total, eight_minima(&[mins[2], mins[3]], digits, 1));
    }
    _mm512_fnmadd_ps(scale, _mm512_cvtepi32_ps(total), acc)
}

/// The sums for eight sub-minima of N. By `asm!`, because compilers load neighbouring digits at once, to broadcast them from
/// registers, which takes twice the instructions.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn eight_minima<const N: usize, const D: usize>(mins: &[__m512i; 2], digits: &[[i8; N]; D], part: usize) -> __m512i {
    const { assert!(D >= 1 && D <= 3) };
    let mut total = _mm512_setzero_si512();
    // SAFETY: what is read are eight of each N digits.
    unsafe {
        asm!(
            ".irp digit, 0, 1, 2",
            ".if \\digit < {count}",
            ".if \\digit",
            "vpslld {total}, {total}, 8",
            ".endif",
            "vpdpbusd {total}, {low}, dword ptr [{digits} + {n} * \\digit]{{1to16}}",
            "vpdpbusd {total}, {high}, dword ptr [{digits} + {n} * \\digit + 4]{{1to16}}",
            ".endif",
            ".endr",
            total = inout(zmm_reg) total,
            low = in(zmm_reg) mins[0],
            high = in(zmm_reg) mins[1],
            digits = in(reg) &raw const digits[0][8 * part],
            count = const D,
            n = const N,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    total
}

/// Sums of 16 activations as `ActBlock::sums` are of 32.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(in crate::kernels::x86_64) fn digits<const H: usize>(act: &ActBlock) -> [[i8; 16]; 3] {
    let sums = |h: usize| {
        // SAFETY: the load is the 16 numbers of the array.
        _mm512_cvtepi16_epi32(unsafe { _mm256_loadu_si256(half_sums(act, h).as_ptr().cast()) })
    };
    let whole = if H == 2 { _mm512_add_epi32(_mm512_slli_epi32::<8>(sums(0)), sums(1)) } else { sums(0) };
    let carried = |rest| _mm512_srai_epi32::<8>(_mm512_add_epi32(rest, _mm512_set1_epi32(128)));
    let middle = carried(whole);
    [carried(middle), middle, whole].map(|rest| {
        let mut digits = [0; 16];
        // SAFETY: the store is the 16 bytes of the array.
        unsafe { _mm_storeu_si128(digits.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(rest)) };
        digits
    })
}

/// Sums of sub-scale times weight times activation, for each half of the activations.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn dot<F: SuperFormat, Q: Borrow<Quarter>, const G: usize, const T: usize, const H: usize>(
    quarter: impl Fn(usize, usize) -> Q,
    heads: [&Head; G],
    acts: &[&ActBlock; T],
) -> Sums<G, T, H> {
    let starts: [[[i32; 16]; H]; T] = from_fn(|t| from_fn(|h| starts::<F>(half_sums(acts[t], h))));
    let start = |sub: usize| match F::OFFSET {
        0 => zero(),
        _ => [starts.each_ref().map(|halves| halves.each_ref().map(|starts| broadcast(starts, sub))); G],
    };
    let runs = F::SUB / 16;
    // One sum after the other takes long: where a token is alone, two runs of a sub-block are added up side by side.
    let apart = if T == 1 && runs == 2 { 2 } else { 1 };
    let (mut total, mut parts) = (zero(), [start(0), zero()]);
    for q in 0..4 {
        let weights: [Q; G] = from_fn(|g| quarter(g, q));
        for run in 0..4 {
            let place = F::place(q, run);
            if F::SUB < BLOCK && run % runs == 0 {
                parts = [start(place / runs), zero()];
            }
            add_products(weights.each_ref().map(|quarter| &quarter.borrow()[run]), acts, place, &mut parts[run % apart]);
            if F::SUB < BLOCK && run % runs == runs - 1 {
                for g in 0..G {
                    let scale = heads[g].scales[place / runs];
                    for t in 0..T {
                        for h in 0..H {
                            let [mut part, second] = parts.map(|part| part[g][t][h]);
                            let total = &mut total[g][t][h];
                            if apart == 2 && F::NARROW {
                                // The high halves of sub-scales are zero.
                                *total = _mm512_dpwssd_epi32(_mm512_dpwssd_epi32(*total, part, scale), second, scale);
                                continue;
                            }
                            if apart == 2 {
                                part = _mm512_add_epi32(part, second);
                            }
                            *total = _mm512_add_epi32(*total, _mm512_mullo_epi32(part, scale));
                        }
                    }
                }
            }
        }
    }
    if F::SUB == BLOCK { parts[0] } else { total }
}

/// Where the sums of sub-blocks start: at what makes up for the offset of weights.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
fn starts<F: SuperFormat>(sums: &[i16; 16]) -> [i32; 16] {
    let mut starts = [0; 16];
    if F::OFFSET != 0 {
        let sums: [i32; 16] = sums.map(|sum| -F::OFFSET * i32::from(sum));
        for (start, sums) in starts.iter_mut().zip(sums.chunks_exact(F::SUB / 16)) {
            *start = sums.iter().sum();
        }
    }
    starts
}
