//! Codewords: the formats IQ1, IQ2 and IQ3 quantize short vectors of weights at once, to the nearest one of a set.

use super::codeword_sets as sets;

/// A set of vectors of digits. Words are numbered in ascending order of the number that their digits form, the first digit
/// counting least.
#[derive(Debug)]
pub struct Codewords {
    /// The words by their numbers; their count is a power of two. Digit i stands in four bits from bit
    /// `8 * (i % 4) + 4 * (i / 4)` on: the first four digits in the low halves of the bytes, the others in the high ones.
    pub words: &'static [u32],
    /// The weight, or its magnitude in sets that go with signs, that a digit stands for.
    pub levels: &'static [i8],
    pub(super) set: &'static [u128],
}

/// Defines a set: its bitmap, the number of its words, the digits of a word, levels.
macro_rules! codewords {
    ($($(#[$doc:meta])* $name:ident = $set:ident, $count:literal, $digits:literal, $levels:expr;)*) => { $(
        $(#[$doc])*
        pub static $name: Codewords = {
            static WORDS: [u32; $count] = words(&sets::$set, $levels.len(), $digits);
            Codewords { words: &WORDS, levels: &$levels, set: &sets::$set }
        };
    )* };
}

codewords! {
    /// Eight weights of IQ1_S and IQ1_M, times 8.
    IQ1_WORDS = IQ1, 2048, 8, [-8i8, 0, 8];
    /// Eight magnitudes of IQ2_XXS.
    IQ2_XXS_WORDS = IQ2_XXS, 256, 8, [8i8, 25, 43];
    /// Eight magnitudes of IQ2_XS.
    IQ2_XS_WORDS = IQ2_XS, 512, 8, [8i8, 25, 43];
    /// Eight magnitudes of IQ2_S.
    IQ2_S_WORDS = IQ2_S, 1024, 8, [8i8, 25, 43];
    /// Four magnitudes of IQ3_XXS.
    IQ3_XXS_WORDS = IQ3_XXS, 256, 4, [4i8, 12, 20, 28, 36, 44, 52, 62];
    /// Four magnitudes of IQ3_S.
    IQ3_S_WORDS = IQ3_S, 512, 4, [1i8, 3, 5, 7, 9, 11, 13, 15];
}

/// The words of a bitmap.
const fn words<const COUNT: usize>(set: &[u128], base: usize, digits: usize) -> [u32; COUNT] {
    let (mut words, mut count, mut number) = ([0; COUNT], 0, 0);
    while number < 128 * set.len() {
        if set[number / 128] >> (number % 128) & 1 == 1 {
            let (mut rest, mut digit) = (number, 0);
            while digit < digits {
                words[count] |= ((rest % base) as u32) << (8 * (digit % 4) + 4 * (digit / 4));
                rest /= base;
                digit += 1;
            }
            count += 1;
        }
        number += 1;
    }
    assert!(count == COUNT && count.is_power_of_two(), "as many words as the format has numbers for");
    words
}

impl Codewords {
    /// The weights of a word.
    pub(super) fn weights<const LEN: usize>(&self, word: usize) -> [i8; LEN] {
        let digits = self.words[word];
        std::array::from_fn(|i| self.levels[(digits >> (8 * (i % 4) + 4 * (i / 4)) & 15) as usize])
    }

    /// The weights of a word of magnitudes; bit i of `signs` says that number i is negative.
    pub(super) fn signed<const LEN: usize>(&self, word: usize, signs: u8) -> [i8; LEN] {
        let magnitudes = self.weights::<LEN>(word);
        std::array::from_fn(|i| if signs >> i & 1 == 0 { magnitudes[i] } else { -magnitudes[i] })
    }

    /// Inverse of [`Codewords::weights`].
    pub(super) fn word<const LEN: usize>(&self, weights: &[i8; LEN]) -> usize {
        let digit = |weight: &i8| self.levels.partition_point(|level| level < weight);
        let number = weights.iter().rev().fold(0, |number, weight| self.levels.len() * number + digit(weight));
        let (whole, part) = (number / 128, number % 128);
        let below = (self.set[whole] & ((1 << part) - 1)).count_ones();
        (self.set[..whole].iter().map(|bits| bits.count_ones()).sum::<u32>() + below) as usize
    }

    /// Inverse of [`Codewords::signed`].
    pub(super) fn signed_word<const LEN: usize>(&self, weights: &[i8; LEN]) -> (usize, u8) {
        let signs = weights.iter().rev().fold(0, |signs, &weight| signs << 1 | u8::from(weight < 0));
        (self.word(&weights.map(i8::abs)), signs)
    }
}

/// A block of words, given their weights by their place.
pub(super) fn assemble<const LEN: usize>(weights: impl Fn(usize) -> [i8; LEN]) -> [i8; 256] {
    let mut block = [0; 256];
    for (place, word) in block.as_chunks_mut().0.iter_mut().enumerate() {
        *word = weights(place);
    }
    block
}

/// What `find` says of the words of a block; `COUNT` times `LEN` is 256.
pub(super) fn each_word<const LEN: usize, const COUNT: usize, T>(
    block: &[i8; 256],
    find: impl Fn(&[i8; LEN]) -> T,
) -> [T; COUNT] {
    std::array::from_fn(|place| find(&block.as_chunks().0[place]))
}

/// Eight signs from seven: the number of minus signs is even.
pub(super) fn even_signs(seven: u32) -> u8 {
    let seven = seven as u8 & 127;
    seven | (seven.count_ones() as u8 & 1) << 7
}

/// Sub-scales of these formats are odd: `2 * s + 1`.
pub(super) fn odd(s: u8) -> i16 {
    2 * i16::from(s) + 1
}

/// Inverse of [`odd`].
pub(super) fn half(scale: i16) -> u8 {
    (scale >> 1) as u8
}
