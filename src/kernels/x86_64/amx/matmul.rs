//! Matrix products.

use super::group::{Fill, Group};
use super::tiles::{Operands, Products, ROWS, TOKENS, Tiles};
use crate::kernels::x86_64::avx512::lanes::Rows;
use crate::kernels::x86_64::avx512::matmul::fetch;
use crate::kernels::{Input, MatmulArgs, Window};
use crate::quant::{ActBlock, BLOCK, Plain, Precision, blocks, row_blocks};
use std::arch::x86_64::*;
use std::mem::offset_of;
use std::ops::Range;

/// Whether a product fills tiles.
pub(super) fn fills_tiles(args: &MatmulArgs) -> bool {
    let tokens = match args.input {
        Input::Quantized(_, Precision::High) => Column::<2>::TOGETHER,
        _ => Column::<1>::TOGETHER,
    };
    args.rows >= ROWS && args.tokens >= tokens
}

/// Quantized weights times quantized activations, for products that fill tiles.
///
/// # Safety
/// The CPU has the level; `args` is as [`MatmulArgs`] says, and its weights are what `fill` takes.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn quantized<G: Group>(args: &MatmulArgs, fill: Fill<G>) {
    // SAFETY: the caller's promise.
    unsafe {
        match args.input {
            Input::Quantized(acts, Precision::High) => all_rows::<G, 2>(args, acts, fill),
            Input::Quantized(acts, Precision::Fast) => all_rows::<G, 1>(args, acts, fill),
            Input::Float(_) => unreachable!("the caller checks the input"),
        }
    }
}

/// The blocks of sixteen rows from the given one on; fetches what comes after the given 256 weights.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn rows<'a, F: Plain, const I: bool>(args: &MatmulArgs<'a>, row: usize, unit: usize) -> Rows<'a, F, I> {
    let (per_row, per_unit) = (args.depth / F::DTYPE.block_len(), BLOCK / F::DTYPE.block_len());
    let weights = &blocks::<F>(args.weights)[row * per_row..][..ROWS * per_row];
    let next = (unit + 1) * per_unit;
    weights.chunks_exact(per_row).for_each(|row| fetch(&row[next.min(per_row)..(next + per_unit).min(per_row)]));
    Rows::new(weights, per_row, weights.as_ptr())
}

/// [`quantized`] with H halves of activations.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn all_rows<G: Group, const H: usize>(args: &MatmulArgs, acts: &[ActBlock], fill: Fill<G>) {
    // SAFETY: the level is there, and no caller works with tiles.
    let (tiles, mut pair) = unsafe { (Tiles::new(G::CONFIG), [G::new(), G::new()]) };
    let (units, stride) = (args.depth.div_ceil(BLOCK), row_blocks(args.depth));
    let whole = args.rows - args.rows % ROWS;
    // Some rows twice is less work than one by one.
    for rows in [0..whole, args.rows - ROWS..args.rows].into_iter().take(1 + usize::from(whole < args.rows)) {
        // A block of activations stays in the second cache while all rows take their turn.
        for unit in 0..units {
            let column = Column::<H> { args, acts, stride, unit, last: unit + 1 == units };
            for first in rows.clone().step_by(2 * ROWS) {
                let groups = &mut pair[..(rows.end - first).min(2 * ROWS) / ROWS];
                // SAFETY: the caller's promise.
                unsafe {
                    for (g, group) in groups.iter_mut().enumerate() {
                        fill(group, args, first + ROWS * g, unit);
                    }
                    strip(&column, first, groups, &tiles);
                }
            }
        }
    }
}

/// Adds the products of a block of 256 activations with groups of sixteen rows to the outputs.
///
/// While the tile unit multiplies, vectors finish what it did before. They take turns so often that both find enough to do in what
/// the processor looks ahead, and with so few instructions that it looks far.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn strip<G: Group, const H: usize>(column: &Column<H>, first: usize, groups: &[G], tiles: &Tiles) {
    let mut products = Products::ZERO;
    let mut before = None::<Finish<G>>;
    for token in (0..column.args.tokens).step_by(Column::<H>::TOGETHER) {
        let (first_act, operands) = column.operands(token);
        let tokens = token..column.args.tokens.min(token + Column::<H>::TOGETHER);
        let mut ahead = column.ahead(tokens.end);
        // Activations that came into the first cache serve all groups.
        for (g, group) in groups.iter().enumerate() {
            for step in 0..group.steps() {
                // The first part stores the sums before, so all its products come before these are finished.
                macro_rules! part {
                    ($part:literal: $($n:literal)*) => { $(
                        if $part < G::PARTS && $n < 2 * G::FACTORS {
                            // SAFETY: tiles are cut so; the blocks are there.
                            unsafe { group.multiply::<$n, $part>(step, tiles, operands, &mut products) };
                            if let Some(before) = &mut before {
                                for place in share::<G>($part, $n, Column::<H>::TOGETHER) {
                                    ahead.next::<H>();
                                    // SAFETY: the caller's promise; all places are in use.
                                    unsafe { before.next::<H>(&products, place) };
                                }
                            }
                        }
                    )* };
                }
                part!(0: 0 1 2 3);
                part!(1: 0 1 2 3);
                part!(2: 0 1 2 3);
                part!(3: 0 1 2 3);
                // SAFETY: the caller's promise.
                let mut this = unsafe { Finish::new(column, group, step, first + ROWS * g, tokens.start) };
                before = if tokens.len() == Column::<H>::TOGETHER {
                    Some(this)
                } else {
                    tiles.finish(&mut products);
                    for token in tokens.clone() {
                        // SAFETY: the caller's promise.
                        unsafe { this.next::<H>(&products, token - first_act) };
                    }
                    None
                };
            }
        }
    }
    if let Some(mut last) = before {
        tiles.finish(&mut products);
        for place in 0..Column::<H>::TOGETHER {
            // SAFETY: the caller's promise.
            unsafe { last.next::<H>(&products, place) };
        }
    }
}

/// Which of so many sums are finished after the N-th product of a part.
#[inline]
fn share<G: Group>(part: usize, n: usize, all: usize) -> Range<usize> {
    let last = n + 1 == 2 * G::FACTORS;
    let (from, to) = match (part, G::FACTORS) {
        (0, _) if !last => (0, 0),
        (0, _) if G::PARTS == 1 => (0, 16),
        (0, _) => (0, 1),
        (_, 1) => (5 * part - 4 + 2 * n, 5 * part - 2 + 3 * n),
        _ => (5 * part - 4 + n, 5 * part - 3 + n + usize::from(last)),
    };
    from * all / 16..to * all / 16
}

/// One block of the activations of each token, of which H halves are in use.
struct Column<'a, const H: usize> {
    args: &'a MatmulArgs<'a>,
    acts: &'a [ActBlock],
    /// Blocks from one token to the next.
    stride: usize,
    /// Its number.
    unit: usize,
    /// Whether there is none after it.
    last: bool,
}

impl<const H: usize> Column<'_, H> {
    /// Tokens that are multiplied together: two operands of one half each are as fast as the two halves.
    const TOGETHER: usize = TOKENS * 2 / H;

    /// From one token to the next, in bytes.
    fn stride_bytes(&self) -> usize {
        self.stride * size_of::<ActBlock>()
    }

    fn act(&self, token: usize) -> *const ActBlock {
        &raw const self.acts[token * self.stride + self.unit]
    }

    /// The operands for tokens from the given one on, and the first token that they hold: tiles are full, so it may be one that
    /// was in those before, too.
    fn operands(&self, token: usize) -> (usize, Operands) {
        let first = token.min(self.args.tokens - Self::TOGETHER);
        let second = if H == 2 { BLOCK } else { TOKENS * self.stride_bytes() };
        (first, Operands { first: self.act(first).cast(), second, stride: self.stride_bytes() })
    }

    /// The activations of tokens that are multiplied from the given one on.
    fn ahead(&self, token: usize) -> Ahead {
        let left = (self.args.tokens - token).min(Self::TOGETHER);
        let act = if left > 0 { self.act(token) } else { self.acts.as_ptr() };
        Ahead { act: act.cast(), stride: self.stride_bytes(), left }
    }
}

/// Activations to be fetched.
struct Ahead {
    act: *const i8,
    stride: usize,
    left: usize,
}

impl Ahead {
    /// Fetches what is multiplied of the next token, if there is one, into the first cache.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn next<const H: usize>(&mut self) {
        if self.left == 0 {
            return;
        }
        for line in 0..H * BLOCK / 64 {
            _mm_prefetch::<_MM_HINT_T0>(self.act.wrapping_add(64 * line));
        }
        _mm_prefetch::<_MM_HINT_T0>(self.act.wrapping_add(offset_of!(ActBlock, scale)));
        self.act = self.act.wrapping_add(self.stride);
        self.left -= 1;
    }
}

/// What is left to do for a product. All of this happens so often that places are not computed anew.
struct Finish<G: Group> {
    numbers: G::Numbers,
    /// Where the activations of the next token are.
    act: *const ActBlock,
    /// Where its sums of other blocks stand: zeros if there are none.
    standing: *const f32,
    /// Where the sums go.
    to: *mut f32,
    /// What these three advance by, in bytes.
    strides: [usize; 3],
    /// Whether the sums are added to what is there.
    add: bool,
}

impl<G: Group> Finish<G> {
    /// Sixteen rows from the given one on, tokens from the given one on.
    ///
    /// # Safety
    /// As `quantized`.
    unsafe fn new<const H: usize>(column: &Column<H>, group: &G, step: usize, row: usize, token: usize) -> Self {
        static NONE: [f32; ROWS] = [0.0; ROWS];
        let args = column.args;
        let whole = column.last && step + 1 == group.steps();
        let standing = args.sums.unwrap_or(args.out);
        let to = if whole { args.out } else { standing };
        let bytes = |window: Window| window.stride * size_of::<f32>();
        // SAFETY: the caller's promise.
        let (standing_at, to_at) = unsafe { (standing.at(token, row), to.at(token, row)) };
        let none = column.unit == 0 && step == 0;
        Finish {
            numbers: group.numbers(step),
            act: column.act(token),
            standing: if none { NONE.as_ptr() } else { standing_at },
            to: to_at,
            strides: [column.stride_bytes(), if none { 0 } else { bytes(standing) }, bytes(to)],
            add: whole && args.add,
        }
    }

    /// Adds the sums of the next token, which are at the given place, to those that stand, or to the outputs when they are whole.
    ///
    /// # Safety
    /// As `quantized`; there is a next token.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn next<const H: usize>(&mut self, products: &Products, place: usize) {
        let mut sums = [[_mm512_setzero_si512(); H]; 2];
        for (factor, sums) in sums.iter_mut().enumerate().take(G::FACTORS) {
            for (h, sums) in sums.iter_mut().enumerate() {
                *sums = products.of(factor, place + TOKENS * h);
            }
        }
        // SAFETY: the level is there, and so are the block and sixteen outputs.
        unsafe {
            let mut acc = G::add::<H>(&self.numbers, sums, &*self.act, _mm512_loadu_ps(self.standing));
            if self.add {
                acc = _mm512_add_ps(_mm512_loadu_ps(self.to), acc);
            }
            _mm512_storeu_ps(self.to, acc);
        }
        self.act = self.act.wrapping_byte_add(self.strides[0]);
        self.standing = self.standing.wrapping_byte_add(self.strides[1]);
        self.to = self.to.wrapping_byte_add(self.strides[2]);
    }
}
