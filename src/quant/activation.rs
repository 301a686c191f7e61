//! Quantized activations: the second factor of every quantized matrix product.

use std::array;

/// Activations per block: one scale for every 256 values along the summed index.
pub const BLOCK: usize = 256;

/// The blocks of a batch of tokens: those of all tokens along the first 256 of the summed index, one after the other, then those
/// along the next. So what is multiplied with the same weights stands in one run.
pub struct Batch<'a, B = ActBlock> {
    blocks: &'a [B],
    tokens: usize,
}

impl<B> Clone for Batch<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Batch<'_, B> {}

impl<'a, B> Batch<'a, B> {
    /// A batch of `tokens` tokens.
    #[must_use]
    pub const fn new(blocks: &'a [B], tokens: usize) -> Self {
        Batch { blocks, tokens }
    }

    /// Where the block of a token stands, of so many tokens, along the `unit`-th 256.
    #[inline]
    #[must_use]
    pub const fn place(tokens: usize, token: usize, unit: usize) -> usize {
        unit * tokens + token
    }

    /// The batch without the first tokens.
    #[must_use]
    pub fn skip(self, tokens: usize) -> Self {
        Batch { blocks: &self.blocks[tokens.min(self.blocks.len())..], ..self }
    }

    /// Whether there are blocks of `tokens` tokens of `depth` activations.
    #[must_use]
    pub fn holds(self, tokens: usize, depth: usize) -> bool {
        tokens <= self.tokens && Self::place(self.tokens, tokens, depth.div_ceil(BLOCK).saturating_sub(1)) <= self.blocks.len()
    }

    /// All blocks from the first one on.
    #[must_use]
    pub const fn blocks(self) -> &'a [B] {
        self.blocks
    }

    /// The block of a token along the `unit`-th 256, and those of the tokens that follow.
    #[inline]
    #[must_use]
    pub fn run(self, token: usize, unit: usize) -> &'a [B] {
        &self.blocks[Self::place(self.tokens, token, unit)..]
    }

    /// All blocks of the only token, if there is but one.
    #[inline]
    #[must_use]
    pub fn alone(self) -> Option<&'a [B]> {
        (self.tokens == 1).then_some(self.blocks)
    }
}

/// How finely activations are quantized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 16-bit integers, kept as two int8 halves: relative error of a product about 1e-5.
    #[default]
    High,
    /// 8-bit integers: relative error about 1e-2.
    Fast,
}

/// 256 quantized activations `q = 256 * hi + lo`, worth `q * scale` each.
///
/// In [`Precision::Fast`] `hi` holds the 8-bit integers themselves (worth `hi * scale`), and `lo` and `lo_sum` are zero
/// and never read. A short last block is padded with zeros.
#[repr(C, align(64))]
#[derive(Clone)]
pub struct ActBlock {
    /// High halves, -127..=127.
    pub hi: [i8; BLOCK],
    /// Low halves, -128..=127.
    pub lo: [i8; BLOCK],
    /// Sums of 16 consecutive `hi`.
    pub hi_sum: [i16; BLOCK / 16],
    /// Sums of 16 consecutive `lo`.
    pub lo_sum: [i16; BLOCK / 16],
    /// Sums of 32 consecutive `q` as digits to the base 256, the greatest first, each with a sign: factors of byte products.
    pub sums: [[i8; BLOCK / 32]; 3],
    /// max|x| / 32512 (high) or max|x| / 127 (fast); 0 for a block of zeros.
    pub scale: f32,
}

impl ActBlock {
    /// A block of zeros.
    pub const ZERO: ActBlock =
        ActBlock { hi: [0; BLOCK], lo: [0; BLOCK], hi_sum: [0; 16], lo_sum: [0; 16], sums: [[0; 8]; 3], scale: 0.0 };

    /// The digits of `sums` that are in use in [`Precision::Fast`].
    #[must_use]
    pub fn half_sums(&self) -> &[[i8; BLOCK / 32]; 2] {
        let [_, digits @ ..] = &self.sums;
        digits
    }

    /// Makes all sums those of the activations.
    #[inline(always)]
    pub(crate) fn set_sums(&mut self, precision: Precision) {
        let of_16 = |q: &[i8; BLOCK]| {
            let (runs, _) = q.as_chunks::<16>();
            array::from_fn(|i| runs[i].iter().map(|&q| i16::from(q)).sum())
        };
        self.hi_sum = of_16(&self.hi);
        if precision == Precision::High {
            self.lo_sum = of_16(&self.lo);
        }
        for i in 0..BLOCK / 32 {
            let of_32 = |sums: &[i16; 16]| i32::from(sums[2 * i]) + i32::from(sums[2 * i + 1]);
            let mut rest = match precision {
                Precision::High => 256 * of_32(&self.hi_sum) + of_32(&self.lo_sum),
                Precision::Fast => of_32(&self.hi_sum),
            };
            for digits in self.sums.iter_mut().rev() {
                digits[i] = rest as i8;
                rest = (rest - i32::from(digits[i])) >> 8;
            }
        }
    }
}

/// 256 activations of high precision in one piece, for products by pairs of neighbours (`kernels` says which take them):
/// `x * v + y * w = (x + w) * (y + v) - x * y - w * v`, modulo 2^32.
///
/// The sums in brackets have to fit 16 bits, so the greatest activations are multiplied apart. And the whole product has to fit
/// 32, with `H` and `L` of the numerics definition at most 2^24: then `fma(H, 256, L)` is the rounded product (see
/// [`PairBlock::fits`]).
#[repr(C, align(64))]
#[derive(Clone, Debug, PartialEq)]
pub struct PairBlock {
    /// The activations, so small in magnitude that no weight makes them overflow, the second and third of every four exchanged:
    /// as bytes stand when four weights become two times two. Before that, the first and second of four are neighbours, and the
    /// third and fourth.
    pub q: [i16; BLOCK],
    /// As in [`ActBlock`].
    pub sums: [[i8; BLOCK / 32]; 3],
    /// The same sums as two digits to the base 2^15: the low ones, with a sign, in the order of `q`.
    pub low_sums: [i16; BLOCK / 32],
    /// The high ones.
    pub high_sums: [i8; BLOCK / 32],
    /// Minus the sum of the products of neighbours, modulo 2^32.
    pub start: i32,
    /// Sum of all activations.
    pub sum: i32,
    /// As in [`ActBlock`].
    pub scale: f32,
    /// What weights may make of the activations, for [`PairBlock::fits`]: by their length as a vector; infinite where `apart`
    /// cannot hold all that are too great.
    pub length: f32,
    /// By the magnitude of their sum.
    pub shift: f32,
    /// Activations that are too great for `q`, which has 0 there: each in its place of two numbers of 16 bits. After the last
    /// one, zeros.
    pub apart: [i32; PairBlock::APART],
    /// Where these two stand in `q`, counted in twos.
    pub place: [u16; PairBlock::APART],
}

impl PairBlock {
    /// How many activations can be apart.
    pub const APART: usize = 8;
    /// A block of zeros.
    pub const ZERO: PairBlock = PairBlock {
        q: [0; BLOCK],
        sums: [[0; BLOCK / 32]; 3],
        low_sums: [0; BLOCK / 32],
        high_sums: [0; BLOCK / 32],
        start: 0,
        sum: 0,
        scale: 0.0,
        length: 0.0,
        shift: 0.0,
        apart: [0; PairBlock::APART],
        place: [0; PairBlock::APART],
    };

    /// Whether products are as small as they have to be, by the inequality of Cauchy and Schwarz: of 256 weights times sub-scales
    /// with at most this magnitude of their mean, and at most this length as a vector when the mean is taken off. The products
    /// of all blocks are, if they are for the greatest `shift` and the greatest `length`.
    #[inline]
    #[must_use]
    pub fn fits(shift: f32, length: f32, weights_mean: f32, weights_length: f32) -> bool {
        weights_mean * shift + weights_length * length <= 1.0
    }

    /// Sets `length` and `shift`, given the squares of the lengths and the sums of the high and of the low halves.
    ///
    /// The products of 256 weights have to be below 2^31, those with the low halves alone at most 2^24.
    pub(crate) fn set_limits(&mut self, squares: [i32; 2], sums: [i32; 2]) {
        /// What rounding makes of all this is less.
        const UP: f32 = 1.0 + 1.0 / 8192.0;
        const PRODUCT: f32 = UP / 2_147_483_648.0;
        const LOW: f32 = UP / 16_777_216.0;
        let [high, low] = squares.map(|squares| (squares as f32).sqrt());
        self.length = (PRODUCT * (256.0 * high + low)).max(LOW * low);
        let [sum, low] = [256 * sums[0] + sums[1], sums[1]].map(|sum| sum.unsigned_abs() as f32);
        self.shift = (PRODUCT * sum).max(LOW * low);
    }
}
