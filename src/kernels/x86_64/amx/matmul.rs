//! Matrix products.

use super::group::{Fill, Group};
use super::tiles::{Operands, ROWS, Sums, TOKENS, Tiles};
use crate::kernels::x86_64::avx512::lanes::Rows;
use crate::kernels::{Input, MatmulArgs, Room, UNPACKED};
use crate::quant::{ActBlock, BLOCK, Batch, Layout, Plain, Precision, blocks};
use std::arch::x86_64::*;
use std::mem::offset_of;
use std::ops::Range;
use std::slice;

/// Groups of sixteen rows that are unpacked together, where there is room. Activations of a tile serve all of them from the first cache,
/// while their weights come from the second one: in one run, which a processor fetches ahead by itself.
const GROUPS: usize = 8;

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

/// The blocks of sixteen rows from the given one on.
#[inline]
pub(super) fn rows<'a, F: Plain, const I: bool>(args: &MatmulArgs<'a>, row: usize) -> Rows<'a, F, I> {
    let per_row = args.depth / F::DTYPE.block_len();
    Rows::new(&blocks::<F>(args.weights)[row * per_row..][..ROWS * per_row], per_row, None)
}

/// [`quantized`] with H halves of activations.
///
/// # Safety
/// As `quantized`.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn all_rows<G: Group, const H: usize>(args: &MatmulArgs, acts: Batch, fill: Fill<G>) {
    // SAFETY: the level is there, and no caller works with tiles.
    let (tiles, mut few) = unsafe { (Tiles::new(G::CONFIG), [G::new(), G::new()]) };
    // SAFETY: the caller's promise.
    let all = unsafe { beyond_sums(args) }.unwrap_or(&mut few);
    let together = all.len() * ROWS;
    let mut rooms = Rooms { last: Sums::ZERO, first: [const { Sums::ZERO }; 2] };
    let units = args.depth.div_ceil(BLOCK);
    let whole = args.rows - args.rows % ROWS;
    // Some rows twice is less work than one by one.
    let last = (whole < args.rows).then(|| args.rows - ROWS..args.rows);
    for rows in (0..whole).step_by(together).map(|first| first..whole.min(first + together)).chain(last) {
        let groups = &mut all[..rows.len() / ROWS];
        for unit in 0..units {
            let column = Column::<H> { args, acts: acts.run(0, unit), rows: &rows, unit, last: unit + 1 == units };
            // SAFETY: the caller's promise.
            unsafe {
                for (group, first) in groups.iter_mut().zip(rows.clone().step_by(ROWS)) {
                    fill(group, args, first, unit);
                }
                strip(&column, groups, &tiles, &mut rooms);
            }
        }
    }
}

/// Groups in the room that is left beyond the sums, if there is so much.
///
/// # Safety
/// As `quantized`. Nobody else uses that room.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn beyond_sums<'a, G: Group>(args: &MatmulArgs) -> Option<&'a mut [G]> {
    const { assert!(GROUPS * size_of::<G>() + align_of::<G>() <= UNPACKED * size_of::<f32>()) };
    let (room, taken) = (args.sums?, args.tokens * args.rows);
    if room.len < taken + UNPACKED {
        return None;
    }
    // SAFETY: the room is as long as has just been seen, which is enough for groups and their alignment; the level is there.
    unsafe {
        let first = room.ptr.add(taken).cast::<u8>();
        let first = first.add(first.align_offset(align_of::<G>())).cast::<G>();
        (0..GROUPS).for_each(|g| first.add(g).write(G::new()));
        Some(slice::from_raw_parts_mut(first, GROUPS))
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
unsafe fn strip<G: Group, const H: usize>(column: &Column<H>, groups: &[G], tiles: &Tiles, rooms: &mut Rooms) {
    let mut coming = column.coming();
    let mut before = None::<Finish<G>>;
    let mut room = 0;
    for token in (0..column.args.tokens).step_by(Column::<H>::TOGETHER) {
        let (first_act, operands) = column.operands(token);
        let tokens = token..column.args.tokens.min(token + Column::<H>::TOGETHER);
        for (g, group) in groups.iter().enumerate() {
            for step in 0..group.steps() {
                room = 1 - room;
                macro_rules! part {
                    ($part:literal: $($n:literal)*) => { $(
                        if $part < G::PARTS && $n < 2 * G::FACTORS {
                            // The last product of a part stores its own sums, others those of the part before.
                            let at_end = $n + 1 == 2 * G::FACTORS;
                            let last = if at_end { !G::APART || $part + 1 == G::PARTS } else { $part == 0 };
                            let due = if last { &mut rooms.last } else { &mut rooms.first[room] };
                            // SAFETY: tiles are cut so; the blocks are there.
                            unsafe { group.multiply::<$n, $part>(step, tiles, operands, due) };
                            if let Some(before) = &mut before {
                                for place in share::<G>($part, $n, Column::<H>::TOGETHER) {
                                    // SAFETY: the caller's promise; all places are in use.
                                    unsafe { before.next::<H>(rooms, place) };
                                }
                            }
                        }
                    )* };
                }
                part!(0: 0 1 2 3);
                part!(1: 0 1 2 3);
                part!(2: 0 1 2 3);
                part!(3: 0 1 2 3);
                coming.next();
                // SAFETY: the caller's promise.
                let mut this = unsafe { Finish::new(column, group, (g, step), tokens.clone(), room) };
                before = if tokens.len() == Column::<H>::TOGETHER {
                    Some(this)
                } else {
                    tiles.finish(&mut rooms.last);
                    for token in tokens.clone() {
                        // SAFETY: the caller's promise.
                        unsafe { this.next::<H>(rooms, token - first_act) };
                    }
                    None
                };
            }
        }
    }
    if let Some(mut last) = before {
        tiles.finish(&mut rooms.last);
        for place in 0..Column::<H>::TOGETHER {
            // SAFETY: the caller's promise.
            unsafe { last.next::<H>(rooms, place) };
        }
    }
}

/// Which of so many sums of the step before are finished after the N-th product of a part: as many after each. The last but one of
/// the first part stores the last of these sums, and the very last one those that take their place.
#[inline]
fn share<G: Group>(part: usize, n: usize, all: usize) -> Range<usize> {
    let per_part = 2 * G::FACTORS;
    let turns = (G::PARTS - 1) * per_part + 1;
    match (part * per_part + n).checked_sub(per_part - 2) {
        Some(turn) if turn < turns => turn * all / turns..(turn + 1) * all / turns,
        _ => 0..0,
    }
}

/// Where tiles are stored.
struct Rooms {
    /// Sums that end with the last part.
    last: Sums,
    /// Sums of a first part that has its own: those of a step and of the one before take turns.
    first: [Sums; 2],
}

/// One block of the activations of each token, of which H halves are in use.
struct Column<'a, const H: usize> {
    args: &'a MatmulArgs<'a>,
    acts: &'a [ActBlock],
    /// The rows that they are multiplied with: whole groups.
    rows: &'a Range<usize>,
    /// Its number.
    unit: usize,
    /// Whether there is none after it.
    last: bool,
}

impl<const H: usize> Column<'_, H> {
    /// Tokens that are multiplied together: two operands of one half each are as fast as the two halves.
    const TOGETHER: usize = TOKENS * 2 / H;

    fn act(&self, token: usize) -> *const ActBlock {
        &raw const self.acts[token]
    }

    /// The operands for tokens from the given one on, and the first token that they hold: tiles are full, so it may be one that
    /// was in those before, too.
    fn operands(&self, token: usize) -> (usize, Operands) {
        let first = token.min(self.args.tokens - Self::TOGETHER);
        let second = if H == 2 { BLOCK } else { TOKENS * size_of::<ActBlock>() };
        (first, Operands { first: self.act(first).cast(), second, stride: size_of::<ActBlock>() })
    }

    /// Where the sums of the first of some tokens with a group stand, in the order in which they are walked over, and how far those of
    /// the next one are: in one run, which a processor fetches ahead by itself. If there is no room, in the outputs.
    ///
    /// # Safety
    /// As `quantized`.
    unsafe fn sums(&self, g: usize, tokens: &Range<usize>) -> (*mut f32, usize) {
        let Some(Room { ptr: sums, .. }) = self.args.sums else {
            // SAFETY: the caller's promise.
            return unsafe { self.out(g, tokens) };
        };
        // Those of rows before are whole.
        let place = tokens.start * self.rows.len() + g * ROWS * tokens.len();
        // SAFETY: there is room for all outputs.
        (unsafe { sums.add(place) }, ROWS * size_of::<f32>())
    }

    /// Where the outputs are, as `sums`.
    ///
    /// # Safety
    /// As `quantized`.
    unsafe fn out(&self, g: usize, tokens: &Range<usize>) -> (*mut f32, usize) {
        let out = self.args.out;
        // SAFETY: the caller's promise.
        (unsafe { out.at(tokens.start, self.rows.start + g * ROWS) }, out.stride * size_of::<f32>())
    }

    /// What activations are fetched for each token meanwhile: how far lines of those that are multiplied next are from those of the
    /// token, and their scale, in bytes. All steps share these lines out.
    fn fetched<G: Group>(&self, token: usize, turn: usize) -> [usize; 2] {
        let away = if token + Self::TOGETHER < self.args.tokens { Self::TOGETHER * size_of::<ActBlock>() } else { 0 };
        [away + turn * Finish::<G>::LINES % (H * BLOCK / 64) * 64, away + offset_of!(ActBlock, scale)]
    }

    /// The weights that are unpacked after these: the next 256 or, when these are the last ones, the first ones of the next rows.
    fn coming(&self) -> Coming {
        let (args, rows) = (self.args, self.rows);
        let row_bytes = args.weights.len() / args.rows;
        let unit_bytes = row_bytes * BLOCK / args.depth;
        let (row, unit) = if self.last { (rows.end, 0) } else { (rows.start, self.unit + 1) };
        // Interleaved rows are one.
        let together = if args.layout == Layout::Interleaved { ROWS } else { 1 };
        let lines = (together * unit_bytes).div_ceil(64);
        let left = (args.rows - row).min(rows.len()) / together;
        Coming {
            weights: args.weights.as_ptr().wrapping_add(row * row_bytes + unit * together * unit_bytes).cast(),
            stride: together * row_bytes,
            lines,
            line: 0,
            left,
            at_once: (left * lines).div_ceil(args.tokens.div_ceil(Self::TOGETHER) * rows.len() / ROWS),
        }
    }
}

/// Weights to be fetched, a few lines in each step: all at once they would have to wait for each other, as so many loads can be under
/// way and no more.
struct Coming {
    weights: *const i8,
    /// From a row, or from interleaved ones, to the next, in bytes.
    stride: usize,
    /// How many lines of each, and the next of these.
    lines: usize,
    line: usize,
    /// How many rows, or times interleaved ones.
    left: usize,
    at_once: usize,
}

impl Coming {
    /// Fetches the next lines, if there are some, into the second cache.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn next(&mut self) {
        for _ in 0..self.at_once {
            if self.left == 0 {
                return;
            }
            _mm_prefetch::<_MM_HINT_T1>(self.weights.wrapping_add(64 * self.line));
            self.line += 1;
            if self.line == self.lines {
                (self.weights, self.line, self.left) = (self.weights.wrapping_add(self.stride), 0, self.left - 1);
            }
        }
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
    /// What these two advance by, in bytes.
    strides: [usize; 2],
    /// Whether the sums are added to what is there.
    add: bool,
    /// Where the sums of a first part are, if it has its own.
    room: usize,
    /// From the activations to others, and to their scale, that are fetched into the first cache meanwhile, in bytes.
    fetched: [usize; 2],
}

impl<G: Group> Finish<G> {
    /// Lines of activations that are fetched for a token in a step.
    const LINES: usize = (BLOCK / 64 * 2).div_ceil(GROUPS);

    /// The sums of a group in a step, which is one of so many.
    ///
    /// # Safety
    /// As `quantized`.
    unsafe fn new<const H: usize>(
        column: &Column<H>,
        group: &G,
        (g, step): (usize, usize),
        tokens: Range<usize>,
        room: usize,
    ) -> Self {
        static NONE: [f32; ROWS] = [0.0; ROWS];
        let whole = column.last && step + 1 == group.steps();
        // SAFETY: the caller's promise.
        let (standing, to) = unsafe {
            let sums = column.sums(g, &tokens);
            let none = column.unit == 0 && step == 0;
            (
                if none { (NONE.as_ptr(), 0) } else { (sums.0.cast_const(), sums.1) },
                if whole { column.out(g, &tokens) } else { sums },
            )
        };
        Finish {
            numbers: group.numbers(step),
            act: column.act(tokens.start),
            standing: standing.0,
            to: to.0,
            strides: [standing.1, to.1],
            add: whole && column.args.add,
            room,
            fetched: column.fetched::<G>(tokens.start, g * group.steps() + step),
        }
    }

    /// Adds the sums of the next token, which are at the given place, to those that stand, or to the outputs when they are whole.
    ///
    /// # Safety
    /// As `quantized`; there is a next token.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn next<const H: usize>(&mut self, rooms: &Rooms, place: usize) {
        for line in 0..Self::LINES {
            _mm_prefetch::<_MM_HINT_T0>(self.act.wrapping_byte_add(self.fetched[0] + 64 * line).cast());
        }
        _mm_prefetch::<_MM_HINT_T0>(self.act.wrapping_byte_add(self.fetched[1]).cast());
        let mut sums = [[_mm512_setzero_si512(); H]; 4];
        for (i, sums) in sums.iter_mut().enumerate().take(if G::APART { 2 * G::FACTORS } else { G::FACTORS }) {
            let room = if G::APART && i < G::FACTORS { &rooms.first[self.room % 2] } else { &rooms.last };
            for (h, sums) in sums.iter_mut().enumerate() {
                *sums = room.of(i % G::FACTORS, place + TOKENS * h);
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
        self.act = self.act.wrapping_add(1);
        self.standing = self.standing.wrapping_byte_add(self.strides[0]);
        self.to = self.to.wrapping_byte_add(self.strides[1]);
    }
}
