use super::testing::{Random, halves, weight};
use super::*;

macro_rules! for_every_format {
    ($($name:ident)*) => {
        #[test]
        fn decodes_as_the_second_opinion() {
            $(decodes::<$name>();)*
        }

        #[test]
        fn packing_undoes_unpacking() {
            $(packs::<$name>();)*
        }

        #[test]
        fn extremes_stay_exact() {
            $(extremes::<$name>();)*
        }
    };
}
formats! { for_every_format }

fn decodes<F: Format>() {
    let (dtype, len) = (F::DTYPE, F::Shape::LEN);
    let bytes = Random::new(1).row(dtype, 64 * len);
    for (bytes, block) in bytes.chunks_exact(dtype.block_bytes()).zip(blocks::<F>(&bytes)) {
        let mut out = vec![f32::NAN; len];
        block.unpack().decode(&mut out);
        let expected: Vec<f64> = (0..len).map(|i| weight(dtype, bytes, i)).collect();
        let size = expected.iter().fold(0.0, |m: f64, w| m.max(w.abs()));
        for (i, (&got, expected)) in out.iter().zip(expected).enumerate() {
            assert!((f64::from(got) - expected).abs() <= 2e-7 * size, "{dtype} weight {i}: {got} for {expected}");
        }
    }
}

fn packs<F: Format>()
where
    F::Shape: PartialEq + std::fmt::Debug,
{
    let mut bytes = Random::new(2).row(F::DTYPE, 64 * F::Shape::LEN);
    let mut packed = bytes.clone();
    for (from, to) in blocks::<F>(&bytes).iter().zip(blocks_mut::<F>(&mut packed)) {
        *to = F::pack(&from.unpack());
        assert_eq!(from.unpack(), to.unpack(), "{}", F::DTYPE);
    }
    if F::DTYPE == Dtype::Q8_K {
        // Random sums are not the sums.
        for (bytes, packed) in bytes.chunks_exact_mut(292).zip(packed.chunks_exact(292)) {
            bytes[260..].copy_from_slice(&packed[260..]);
        }
    }
    assert!(bytes == packed, "{}", F::DTYPE);
}

/// The sums of a product in i64: high, low, minima.
trait Sums: Shape {
    fn sums(&self, act: &ActBlock) -> [i64; 3];
    /// `[d, dmin]` with the sign that the product gives the minima.
    fn steps(&self) -> [f32; 2];
}

impl Sums for SmallBlock {
    fn sums(&self, act: &ActBlock) -> [i64; 3] {
        let dot = |q: &[i8]| self.weights.iter().zip(q).map(|(&w, &q)| i64::from(w) * i64::from(q)).sum();
        let q = act.hi.iter().zip(&act.lo).take(32).map(|(&hi, &lo)| 256 * i64::from(hi) + i64::from(lo));
        [dot(&act.hi), dot(&act.lo), q.sum()]
    }

    fn steps(&self) -> [f32; 2] {
        [self.scale, self.min]
    }
}

impl Sums for SuperBlock {
    fn sums(&self, act: &ActBlock) -> [i64; 3] {
        let mut sums = [0; 3];
        for (k, &w) in self.weights.iter().enumerate() {
            let [w, s, m] = [i64::from(w), i64::from(self.scales[k / 16]), i64::from(self.mins[k / 16])];
            let [hi, lo] = [i64::from(act.hi[k]), i64::from(act.lo[k])];
            sums = [sums[0] + s * w * hi, sums[1] + s * w * lo, sums[2] + m * (256 * hi + lo)];
        }
        sums
    }

    fn steps(&self) -> [f32; 2] {
        [self.d, -self.dmin]
    }
}

/// Blocks of equal bytes against activations at their limits: i32 sums neither overflow (tests check arithmetic) nor
/// differ from i64 ones.
fn extremes<F: Format<Shape: Sums>>() {
    for byte in [0x00, 0xff, 0x80, 0x7f, 0x88, 0xf0, 0x0f, 0xc0, 0x3f] {
        let mut bytes = vec![byte; F::DTYPE.block_bytes()];
        match F::DTYPE {
            Dtype::Q8_K => bytes[..4].copy_from_slice(&1f32.to_le_bytes()),
            dtype => halves(dtype).iter().for_each(|&at| bytes[at..at + 2].copy_from_slice(&[0x00, 0x3c])),
        }
        let block = blocks::<F>(&bytes)[0].unpack();
        for (hi, lo) in [(127, -128), (127, 127), (-127, -128), (-127, 127)] {
            let act = ActBlock {
                hi: [hi; 256],
                lo: [lo; 256],
                hi_sum: [16 * i16::from(hi); 16],
                lo_sum: [16 * i16::from(lo); 16],
                scale: 0.5,
            };
            let ([h, l, m], [d, dmin]) = (block.sums(&act), block.steps());
            for sum in [h, l, m] {
                assert!(i32::try_from(sum).is_ok(), "{} byte {byte:#x}: {sum}", F::DTYPE);
            }
            let mut expected = (d * 0.5).mul_add((h as f32).mul_add(256.0, l as f32), 1.0);
            if F::MINS {
                expected = (dmin * 0.5).mul_add(m as f32, expected);
            }
            let got = block.accumulate(1.0, &act, 0, Precision::High, F::MINS);
            assert_eq!(got.to_bits(), expected.to_bits(), "{} byte {byte:#x} act {hi} {lo}", F::DTYPE);
        }
    }
}
