use super::testing::{Random, put_floats, weight};
use super::*;

macro_rules! for_every_format {
    ($($name:ident)*) => {
        #[test]
        fn decodes_as_the_second_opinion() {
            $(decodes::<$name>();)*
        }

        #[test]
        fn decodes_as_the_reference() {
            $(digest::<$name>();)*
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
all_formats! { for_every_format }

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

/// Digests of what the reference decodes of certain bytes: printed by tests/reference/quant.py.
const DIGESTS: &[(Dtype, u64)] = &[
    (Dtype::BF16, 0x2d88_1c92_99ad_d5ce),
    (Dtype::Q4_0, 0xe0a6_c820_0f5c_3f79),
    (Dtype::Q4_1, 0x04a1_1c19_e51f_9db4),
    (Dtype::Q5_0, 0x62f9_b1ff_ac61_c387),
    (Dtype::Q5_1, 0x02da_8481_ca62_d4a7),
    (Dtype::Q8_0, 0x2ec8_706b_60f3_b237),
    (Dtype::Q2_K, 0x93ba_f832_a8cf_1b7c),
    (Dtype::Q3_K, 0xec4d_0c70_81ca_0ea8),
    (Dtype::Q4_K, 0x431b_d669_c529_ab68),
    (Dtype::Q5_K, 0x9172_a69a_7119_8b3d),
    (Dtype::Q6_K, 0xa87f_7ed1_0e0c_1cf8),
    (Dtype::IQ4_NL, 0x5090_c22b_ba8e_cfd5),
    (Dtype::IQ4_XS, 0xaf28_e934_8247_6589),
    (Dtype::TQ1_0, 0x1d0b_cd0f_43c1_e040),
    (Dtype::TQ2_0, 0xe06d_dcd2_62a8_3fce),
    (Dtype::MXFP4, 0x94f0_6a84_ded4_f2ee),
    (Dtype::NVFP4, 0xb48e_2d70_bb3b_6775),
    (Dtype::IQ2_XXS, 0x85d2_db02_0b02_da81),
    (Dtype::IQ2_XS, 0x369b_55e5_2cac_d2c4),
    (Dtype::IQ2_S, 0x9390_cfaf_fda5_b685),
    (Dtype::IQ3_XXS, 0xf676_cd0e_cbec_a785),
    (Dtype::IQ3_S, 0x138f_0818_e13c_577e),
    (Dtype::IQ1_S, 0xc772_9623_9813_e81b),
    (Dtype::IQ1_M, 0xfdc1_b349_d66d_d2bf),
];

/// The bytes of `len` reference blocks: the same generator as in the script.
fn reference_blocks(dtype: Dtype, len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let mut bytes: Vec<u8> = (0..len * dtype.block_bytes()).map(|_| next()).collect();
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        // Every float below 2: its exponent has a bit clear, which is set in 2.
        let mut floats = vec![0; block.len()];
        put_floats(dtype, &mut floats, || 2.0);
        if !matches!(dtype, Dtype::MXFP4 | Dtype::NVFP4) {
            block.iter_mut().zip(floats).for_each(|(byte, exponent)| *byte &= !exponent);
        }
    }
    bytes
}

fn digest<F: Format>() {
    let Some((_, expected)) = DIGESTS.iter().find(|(dtype, _)| *dtype == F::DTYPE) else {
        return assert_eq!(F::DTYPE, Dtype::Q8_K, "the reference cannot decode this one");
    };
    let bytes = reference_blocks(F::DTYPE, 16);
    let mut digest = 0xcbf2_9ce4_8422_2325u64;
    for block in blocks::<F>(&bytes) {
        let mut out = vec![0.0; F::Shape::LEN];
        block.unpack().decode(&mut out);
        for byte in out.iter().flat_map(|x| x.to_le_bytes()) {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    assert_eq!(digest, *expected, "{}: {digest:#x}", F::DTYPE);
}

fn packs<F: Format>()
where
    F::Shape: PartialEq + std::fmt::Debug,
{
    let bytes = Random::new(2).row(F::DTYPE, 64 * F::Shape::LEN);
    let mut packed = bytes.clone();
    for (from, to) in blocks::<F>(&bytes).iter().zip(blocks_mut::<F>(&mut packed)) {
        *to = F::pack(&from.unpack());
        assert_eq!(from.unpack(), to.unpack(), "{}", F::DTYPE);
    }
    // What decoding does not see: the sums of Q8_K, which of 256 bytes stands for 243 values, which of two zeros.
    if matches!(F::DTYPE, Dtype::Q8_K | Dtype::TQ1_0 | Dtype::MXFP4 | Dtype::NVFP4) {
        return;
    }
    assert!(bytes == packed, "{}", F::DTYPE);
}

/// The sums of a product in i64: high, low, minima.
trait Sums: Shape {
    fn sums(&self, act: &ActBlock) -> [i64; 3];
    /// `[d, dmin]` with the sign that the product gives the minima.
    fn steps(&self) -> [f32; 2];
    /// How often they go into the product: all groups of weights are the same here.
    const TIMES: usize = 1;
}

impl Sums for MicroBlock {
    const TIMES: usize = 4;

    fn sums(&self, act: &ActBlock) -> [i64; 3] {
        let dot = |q: &[i8]| self.weights[0].iter().zip(q).map(|(&w, &q)| i64::from(w) * i64::from(q)).sum();
        [dot(&act.hi), dot(&act.lo), 0]
    }

    fn steps(&self) -> [f32; 2] {
        [self.scales[0], 0.0]
    }
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
        put_floats(F::DTYPE, &mut bytes, || 1.0);
        let block = blocks::<F>(&bytes)[0].unpack();
        for (hi, lo) in [(127, -128), (127, 127), (-127, -128), (-127, 127)] {
            let mut act = ActBlock { hi: [hi; 256], lo: [lo; 256], scale: 0.5, ..ActBlock::ZERO };
            act.set_sums(Precision::High);
            let ([h, l, m], [d, dmin]) = (block.sums(&act), block.steps());
            for sum in [h, l, m] {
                assert!(i32::try_from(sum).is_ok(), "{} byte {byte:#x}: {sum}", F::DTYPE);
            }
            let f = (h as f32).mul_add(256.0, l as f32);
            let mut expected = (0..F::Shape::TIMES).fold(1.0, |acc, _| (d * 0.5).mul_add(f, acc));
            if F::MINS {
                expected = (dmin * 0.5).mul_add(m as f32, expected);
            }
            let got = block.accumulate(1.0, &act, 0, Precision::High, F::MINS);
            assert_eq!(got.to_bits(), expected.to_bits(), "{} byte {byte:#x} act {hi} {lo}", F::DTYPE);
        }
    }
}
