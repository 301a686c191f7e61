//! The nearest codeword: what rounding is for formats with codewords.

use super::Codewords;

/// Replaces weights by those that signed words stand for; `even` says that minus signs among eight must be even in number.
pub(super) fn round_signed(words: &Codewords, even: bool, x: &mut [f32], weights: &[f32]) {
    for (x, weights) in x.chunks_mut(8).zip(weights.chunks(8)) {
        let mut magnitudes = [0.0; 8];
        magnitudes.iter_mut().zip(&*x).for_each(|(magnitude, x)| *magnitude = x.abs());
        for (magnitudes, weights) in magnitudes.chunks_mut(words.len()).zip(weights.chunks(words.len())) {
            words.round(magnitudes, weights);
        }
        if even && x.iter().filter(|x| **x < 0.0).count() % 2 == 1 {
            // The sign that is wrong at the least cost: (|x| + m)^2 - (|x| - m)^2 = 4 |x| m.
            let cost = |i: usize| weights[i] * x[i].abs() * magnitudes[i];
            let least = (1..x.len()).fold(0, |least, i| if cost(i) < cost(least) { i } else { least });
            x[least] = if x[least] < 0.0 { 1.0 } else { -1.0 };
        }
        x.iter_mut().zip(magnitudes).for_each(|(x, magnitude)| *x = if *x < 0.0 { -magnitude } else { magnitude });
    }
}

/// Replaces weights by those that words stand for, all of them shifted by 1 or all by -1.
pub(super) fn round_shifted(words: &Codewords, x: &mut [f32], weights: &[f32]) {
    let mut best = (f32::INFINITY, 0.0);
    for shift in [1.0, -1.0] {
        let mut error = 0.0;
        for (x, weights) in x.chunks(words.len()).zip(weights.chunks(words.len())) {
            let mut word = [0.0; 8];
            word.iter_mut().zip(x).for_each(|(word, x)| *word = x - shift);
            error += words.round(&mut word[..x.len()], weights);
        }
        if error < best.0 || shift == 1.0 {
            best = (error, shift);
        }
    }
    for (x, weights) in x.chunks_mut(words.len()).zip(weights.chunks(words.len())) {
        x.iter_mut().for_each(|x| *x -= best.1);
        words.round(x, weights);
        x.iter_mut().for_each(|x| *x += best.1);
    }
}

/// Most digits of half a word: 81 vectors of four digits of base 3, 64 of two digits of base 8.
const HALF: usize = 81;

impl Codewords {
    /// Weights of a word.
    fn len(&self) -> usize {
        if self.levels.len() == 3 { 8 } else { 4 }
    }

    /// Replaces weights by the nearest word; returns the weighted square error.
    fn round(&self, x: &mut [f32], weights: &[f32]) -> f32 {
        let (base, len) = (self.levels.len(), self.len());
        let size = base.pow(len as u32 / 2);
        // The error of a word is that of its first half plus that of its second.
        let low = self.errors(&x[..len / 2], &weights[..len / 2]);
        let high = self.errors(&x[len / 2..], &weights[len / 2..]);
        let (low, high) = (&low[..size], &high[..size]);
        let least = |errors: &[f32]| (0..size).fold(0, |least, n| if errors[n] < errors[least] { n } else { least });
        let (least_low, least_high) = (least(low), least(high));

        let mut best = (f32::INFINITY, 0, 0);
        for n in std::iter::once(least_high).chain(0..size) {
            if high[n] + low[least_low] >= best.0 {
                continue;
            }
            let mut row = self.row(n * size, size);
            if row >> least_low & 1 == 1 {
                row = 1 << least_low;
            }
            while row != 0 {
                let m = row.trailing_zeros() as usize;
                row &= row - 1;
                if high[n] + low[m] < best.0 {
                    best = (high[n] + low[m], n, m);
                }
            }
        }
        // Number 0 is a word of every set: the choice where errors overflow.
        let mut number = best.1 * size + best.2;
        for x in x {
            *x = f32::from(self.levels[number % base]);
            number /= base;
        }
        best.0
    }

    /// The error of every vector of digits in place of these weights.
    fn errors(&self, x: &[f32], weights: &[f32]) -> [f32; HALF] {
        let (mut errors, mut count) = ([0.0; HALF], 1);
        for (x, weight) in x.iter().zip(weights) {
            for (digit, &level) in self.levels.iter().enumerate().rev() {
                let error = weight * (x - f32::from(level)) * (x - f32::from(level));
                for n in 0..count {
                    errors[digit * count + n] = errors[n] + error;
                }
            }
            count *= self.levels.len();
        }
        errors
    }

    /// `len` bits of the set.
    fn row(&self, start: usize, len: usize) -> u128 {
        let (at, shift) = (start / 128, start % 128);
        let next = self.set.get(at + 1).filter(|_| shift > 0).map_or(0, |bits| bits << (128 - shift));
        (self.set[at] >> shift | next) & ((1 << len) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::testing::Random;
    use crate::quant::{IQ1_WORDS, IQ2_S_WORDS, IQ2_XXS_WORDS, IQ3_S_WORDS};

    #[test]
    fn no_word_is_nearer() {
        let mut random = Random::new(8);
        for (words, size) in [(&IQ1_WORDS, 6.0), (&IQ2_XXS_WORDS, 25.0), (&IQ2_S_WORDS, 25.0), (&IQ3_S_WORDS, 8.0)] {
            for _ in 0..200 {
                let x: Vec<f32> = random.normals(words.len()).iter().map(|x| size * x).collect();
                let weights: Vec<f32> = x.iter().map(|_| random.uniform()).collect();
                let error = |word: &[f32]| {
                    x.iter().zip(word).zip(&weights).map(|((x, word), weight)| weight * (x - word) * (x - word)).sum::<f32>()
                };
                let mut rounded = x.clone();
                let claimed = words.round(&mut rounded, &weights);
                let all = (0..words.words.len()).map(|word| words.weights::<8>(word).map(f32::from));
                let least = all.map(|word| error(&word)).fold(f32::INFINITY, f32::min);
                let found = error(&rounded);
                assert!((found - least).abs() <= 1e-5 * least && (claimed - least).abs() <= 1e-5 * least, "{found} {least}");
            }
        }
    }

    #[test]
    fn signs_are_even_where_they_must_be() {
        let mut random = Random::new(9);
        for _ in 0..100 {
            let x: Vec<f32> = random.normals(32).iter().map(|x| 25.0 * x).collect();
            let (mut even, mut free) = (x.clone(), x.clone());
            round_signed(&IQ2_XXS_WORDS, true, &mut even, &[1.0; 32]);
            round_signed(&IQ2_XXS_WORDS, false, &mut free, &[1.0; 32]);
            assert!(free.iter().zip(&x).all(|(free, x)| free * x > 0.0));
            for (even, free) in even.chunks(8).zip(free.chunks(8)) {
                assert_eq!(even.iter().filter(|x| **x < 0.0).count() % 2, 0);
                assert!(even.iter().zip(free).filter(|(a, b)| a != b).count() <= 1, "one sign suffices");
            }
        }
    }
}
