//! Every entry of every level of this machine against scalar, byte for byte; scalar against plain f64.

mod products;

use super::*;
use crate::quant::formats;
use crate::quant::testing::Random;
use std::ptr::fn_addr_eq;

/// The reference, and the levels to hold against it.
fn levels() -> (Kernels, Vec<Kernels>) {
    let mut levels = Level::ALL.iter().filter(|level| level.available()).map(|&level| Kernels::for_level(level));
    let scalar = levels.next().expect("scalar is always there");
    (scalar, levels.chain(emulated().map(|(kernels, _)| kernels)).collect())
}

/// The level whose instructions can be emulated where all others that it needs are there, and how many of them the calling
/// thread has done so far.
pub(crate) fn emulated() -> Option<(Kernels, fn() -> usize)> {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if Level::Avx512.available() && !Level::Amx.available() {
        x86_64::amx::emulated::install();
        return Some((Kernels::overlaid(Level::Amx), x86_64::amx::emulated::done));
    }
    None
}

fn products(kernels: &Kernels) -> Vec<Dtype> {
    Dtype::ALL.iter().copied().filter(|&dtype| kernels.supports(dtype)).collect()
}

/// Equal bits; any NaN is as good as any other.
#[track_caller]
fn assert_same(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!(a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(), "{what}: [{i}] is {a:e}, scalar says {b:e}");
    }
}

/// The blocks of a batch.
fn quantized(kernels: &Kernels, x: &[f32], depth: usize, precision: Precision) -> Vec<ActBlock> {
    let tokens = x.len() / depth;
    let mut blocks = vec![ActBlock::ZERO; tokens * depth.div_ceil(BLOCK)];
    for (token, x) in x.chunks(depth).enumerate() {
        for (unit, x) in x.chunks(BLOCK).enumerate() {
            kernels.quantize(x, &mut blocks[<Batch>::place(tokens, token, unit)], precision);
        }
    }
    blocks
}

/// Byte equality would also hold if a level were not there at all.
#[test]
fn levels_replace_every_entry() {
    macro_rules! list {
        ($($name:ident)*) => { [$(Dtype::$name),*] };
    }
    let own = formats! { list };
    let (mut lower, levels) = levels();
    for kernels in levels {
        let level = kernels.level;
        // On aarch64 the reference is made of NEON vectors already, and levels above the first one differ in products of
        // integers alone. Codewords bind no level but the first to products of its own.
        let (first, rows) = (lower.level == Level::Scalar, cfg!(not(target_arch = "aarch64")));
        // Tiles are for products of integers alone.
        let tiles = level == Level::Amx;
        let bound = |dtype: &Dtype| first || own.contains(dtype) || rows && !tiles && dtype.block_len() == 1;
        for dtype in products(&lower).into_iter().filter(bound) {
            let (a, b) = (kernels.matmul[dtype as usize].unwrap(), lower.matmul[dtype as usize].unwrap());
            assert!(!fn_addr_eq(a, b), "{level}: products of {dtype}");
        }
        for dtype in products(&lower) {
            match (kernels.interleaved[dtype as usize], lower.interleaved[dtype as usize]) {
                (Some(a), Some(b)) => assert!(!fn_addr_eq(a, b), "{level}: products of interleaved {dtype}"),
                (a, b) => assert!(a.is_some() || b.is_none(), "{level}: no products of interleaved {dtype}"),
            }
        }
        let interleaved = [Dtype::Q4_K, Dtype::Q5_K, Dtype::Q6_K, Dtype::Q4_0, Dtype::Q8_0];
        if level == Level::Avx512 {
            assert_eq!(interleaved.map(|dtype| kernels.layout(dtype)), [Layout::Interleaved; 5]);
        }
        macro_rules! replaced {
            ($($entry:ident)*) => { $(assert!(!fn_addr_eq(kernels.$entry, lower.$entry), "{level}: {}", stringify!($entry));)* };
        }
        if rows && !tiles {
            replaced! { pair rms_norm layer_norm rope swiglu activate gate softcap add add_scaled multiply_add scale merge normalize recur scan }
        }
        if (rows || first) && !tiles {
            replaced! { quantize narrow attend_f16 attend_f32 attend_adjusted_f16 attend_adjusted_f32 }
        }
        eprintln!("{level} runs");
        lower = kernels;
    }
}

#[test]
fn decoding() {
    let (scalar, levels) = levels();
    let mut random = Random::new(4);
    for kernels in levels {
        for dtype in products(&scalar) {
            let len = 5 * dtype.block_len();
            let bytes = random.row(dtype, len);
            let (mut got, mut expected) = (vec![1.0; len], vec![2.0; len]);
            kernels.decode(dtype, &bytes, &mut got);
            scalar.decode(dtype, &bytes, &mut expected);
            assert_same(&got, &expected, &format!("{} {dtype}", kernels.level));
        }
    }
}

/// Numbers of every kind.
fn odd_numbers() -> Vec<f32> {
    let positive = [0.0, 1e-45, 1e-40, 1.2e-38, 1e-8, 0.5, 1.0, 86.9, 87.0, 87.1, 88.0, 88.1, 65503.0, 65520.0, 7e4, 1e30, 3e38];
    let odd = positive.into_iter().chain([f32::INFINITY, f32::NAN]);
    odd.flat_map(|x| [x, -x]).collect()
}

#[test]
fn quantization() {
    let (scalar, levels) = levels();
    let mut random = Random::new(5);
    for kernels in levels {
        for precision in [Precision::High, Precision::Fast] {
            for len in (1..70).chain([255, 256, 257, 512, 700]) {
                for factor in [1.0, 0.0, 1e-42, 1e-31, 1e30, f32::INFINITY, f32::NAN] {
                    let mut x = random.normals(len);
                    x[len / 2] *= factor;
                    let got = quantized(&kernels, &x, len, precision);
                    let expected = quantized(&scalar, &x, len, precision);
                    for (got, expected) in got.iter().zip(&expected) {
                        assert_same(&[got.scale], &[expected.scale], "scale");
                        assert!(got.hi == expected.hi && got.lo == expected.lo, "{} {len} x {factor}", kernels.level);
                        let sums = |block: &ActBlock| (block.hi_sum, block.lo_sum, block.sums);
                        assert!(sums(got) == sums(expected), "{} sums", kernels.level);
                    }
                }
            }
        }
    }
}

#[test]
fn rows() {
    let (scalar, levels) = levels();
    let mut random = Random::new(6);
    for kernels in levels {
        for width in (1..50).chain([64, 100, 256, 257, 2048]) {
            let (x, y) = (random.normals(width), random.normals(width));
            let compare = |what: &str, run: &dyn Fn(&Kernels, &mut [f32])| {
                let (mut got, mut expected) = (x.clone(), x.clone());
                run(&kernels, &mut got);
                run(&scalar, &mut expected);
                assert_same(&got, &expected, &format!("{} {what} of {width}", kernels.level));
            };
            compare("add", &|kernels, out| kernels.add(out, &y));
            compare("add scaled", &|kernels, out| kernels.add_scaled(out, &y, 0.3));
            compare("multiply add", &|kernels, out| kernels.multiply_add(out, &x, &y));
            compare("scale", &|kernels, out| kernels.scale(out, 0.3));
            compare("rms norm", &|kernels, out| kernels.rms_norm(&x, &y, 1e-5, out));
            compare("layer norm", &|kernels, out| kernels.layer_norm(&x, &y, &x, 1e-5, out));
            compare("swiglu", &|kernels, out| kernels.swiglu(out, &y));
            compare("softcap", &|kernels, out| kernels.softcap(out, 0.8));
            for activation in ACTIVATIONS {
                compare("activation", &|kernels, out| kernels.activate(out, activation));
                compare("gate", &|kernels, out| kernels.gate(out, &y, activation));
            }
            for style in [RopeStyle::Interleaved, RopeStyle::Halves] {
                for pairs in [width / 2, width / 3] {
                    compare("rope", &|kernels, out| kernels.rope(out, &y[..pairs], &x[..pairs], style));
                }
            }
            let narrow = |kernels: &Kernels| {
                let mut out = vec![f16::ZERO; width];
                kernels.narrow(&x, &mut out);
                out
            };
            assert_eq!(narrow(&kernels), narrow(&scalar), "{} narrow of {width}", kernels.level);
        }

        let odd = odd_numbers();
        let all = |kernels: &Kernels| {
            let (mut sum, mut gate, mut half) = (odd.clone(), odd.clone(), vec![f16::ZERO; odd.len()]);
            kernels.add(&mut sum, &odd);
            kernels.swiglu(&mut gate, &vec![1.0; odd.len()]);
            kernels.narrow(&odd, &mut half);
            let mut all = [sum, gate, half.into_iter().map(f16::to_f32).collect()].concat();
            for activation in ACTIVATIONS {
                let mut activated = odd.clone();
                kernels.activate(&mut activated, activation);
                all.append(&mut activated);
            }
            all
        };
        assert_same(&all(&kernels), &all(&scalar), "odd numbers");
    }
}

const ACTIVATIONS: [Activation; 9] = [
    Activation::Identity,
    Activation::Softplus,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Silu,
    Activation::GeluTanh,
    Activation::GeluErf,
    Activation::ReluSquared,
    Activation::ClampedSilu,
];

/// A tile of queries over one block.
struct Attention {
    queries: usize,
    head_dim: usize,
    value_dim: usize,
    query: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    masks: Vec<BlockMask>,
    /// Cap, and slopes and offsets, when scores are adjusted.
    adjust: Option<(f32, Vec<f32>, Vec<f32>)>,
}

/// Maximum, sum and accumulator of each query.
#[derive(Clone)]
struct State {
    max: Vec<f32>,
    sum: Vec<f32>,
    acc: Vec<f32>,
}

impl State {
    fn filled(value: f32, queries: usize, value_dim: usize) -> State {
        State { max: vec![value; queries], sum: vec![value; queries], acc: vec![value; queries * value_dim] }
    }

    fn empty(queries: usize, value_dim: usize) -> State {
        State { max: vec![f32::NEG_INFINITY; queries], ..State::filled(0.0, queries, value_dim) }
    }

    fn view(&mut self) -> Partial<'_> {
        Partial { max: &mut self.max, sum: &mut self.sum, acc: &mut self.acc }
    }

    fn all(&self) -> Vec<f32> {
        [&self.max[..], &self.sum, &self.acc].concat()
    }
}

impl Attention {
    fn random(random: &mut Random, queries: usize, head_dim: usize, value_dim: usize) -> Attention {
        // Every fourth mask is full, the next ones end somewhere, have holes, or show nothing.
        let masks = (0..queries).map(|query| {
            let end = (random.uniform() * 256.0) as usize;
            let mut mask = BlockMask::default();
            (0..256).for_each(|p| {
                let visible = match query % 4 {
                    0 => true,
                    1 => p <= end,
                    2 => random.uniform() < 0.3,
                    _ => false,
                };
                mask[p / 64] |= u64::from(visible) << (p % 64);
            });
            mask
        });
        Attention {
            queries,
            head_dim,
            value_dim,
            masks: masks.collect(),
            query: random.normals(queries * head_dim),
            // Exact in f16, so that both caches hold the same.
            keys: random.normals(256 * head_dim).iter().map(|x| f16::from_f32(*x).to_f32()).collect(),
            values: random.normals(256 * value_dim).iter().map(|x| f16::from_f32(*x).to_f32()).collect(),
            adjust: None,
        }
    }

    fn run<T: Copy>(&self, entry: impl Fn(&mut AttendArgs<T>), narrow: impl Fn(f32) -> T) -> State {
        let mut state = State::filled(7.0, self.queries, self.value_dim);
        let keys: Vec<T> = self.keys.iter().map(|&x| narrow(x)).collect();
        let values: Vec<T> = self.values.iter().map(|&x| narrow(x)).collect();
        entry(&mut AttendArgs {
            queries: self.queries,
            head_dim: self.head_dim,
            value_dim: self.value_dim,
            query: &self.query,
            keys: &keys,
            values: &values,
            masks: &self.masks,
            scale: 1.0 / (self.head_dim as f32).sqrt(),
            adjust: self.adjust.as_ref().map(|(cap, slopes, offsets)| Adjust { cap: *cap, slopes, offsets }),
            scores: &mut vec![f32::NAN; score_scratch(self.queries)],
            out: state.view(),
        });
        state
    }

    fn states(&self, kernels: &Kernels) -> [State; 2] {
        [self.run(|args| kernels.attend_f16(args), f16::from_f32), self.run(|args| kernels.attend_f32(args), |x| x)]
    }
}

#[test]
fn attention_blocks() {
    let (scalar, levels) = levels();
    let mut random = Random::new(7);
    for kernels in levels {
        for queries in (1..=9).chain([12, 15, 16, 21, 27, 28, 30, 32, 61]) {
            for (head_dim, value_dim) in [(64, 64), (128, 128), (80, 80), (7, 20), (1, 1), (16, 72)] {
                let what = format!("{}: {queries} queries, {head_dim}, {value_dim}", kernels.level);
                let mut attention = Attention::random(&mut random, queries, head_dim, value_dim);
                attention.adjust = match queries % 3 {
                    0 => None,
                    1 => Some((1.5, random.normals(queries), vec![-7.0; queries])),
                    _ => Some((0.0, random.normals(queries), random.normals(queries).iter().map(|x| x.round()).collect())),
                };
                let (got, expected) = (attention.states(&kernels), attention.states(&scalar));
                assert_same(&got[0].all(), &expected[0].all(), &what);
                assert_same(&got[1].all(), &expected[0].all(), &what);

                // Shifted by some queries, so that either side is empty where the other is not.
                let mut next = expected[0].clone();
                next.max.rotate_left(queries / 2);
                next.sum.rotate_left(queries / 2);
                next.acc.rotate_left(queries / 2 * value_dim);
                let joined = |kernels: &Kernels| {
                    let (mut total, mut next) = (expected[0].clone(), next.clone());
                    let mut out = vec![7.0; queries * value_dim];
                    kernels.merge(&mut total.view(), &next.view(), value_dim);
                    kernels.normalize(&total.view(), value_dim, &mut out);
                    [total.all(), out].concat()
                };
                assert_same(&joined(&kernels), &joined(&scalar), &what);
            }
        }
    }
}

/// A query gets the same bits alone as among others that see more.
#[test]
fn attention_does_not_depend_on_the_tile() {
    let (scalar, levels) = levels();
    let mut random = Random::new(8);
    for kernels in levels.iter().chain([&scalar]) {
        let (queries, head_dim, value_dim) = (7, 32, 24);
        let whole = Attention::random(&mut random, queries, head_dim, value_dim);
        let [together, _] = whole.states(kernels);
        for q in 0..queries {
            let (query, masks) = (whole.query[q * head_dim..][..head_dim].to_vec(), vec![whole.masks[q]]);
            let (keys, values) = (whole.keys.clone(), whole.values.clone());
            let alone = Attention { queries: 1, head_dim, value_dim, query, keys, values, masks, adjust: None };
            let [alone, _] = alone.states(kernels);
            let row = [&together.max[q..=q], &together.sum[q..=q], &together.acc[q * value_dim..][..value_dim]];
            assert_same(&alone.all(), &row.concat(), &format!("{} query {q}", kernels.level));
        }
    }
}

/// Block after block against the plain formula in f64, for causal and for arbitrary masks.
#[test]
fn attention_is_attention() {
    let (scalar, levels) = levels();
    let mut random = Random::new(9);
    let (blocks, queries, head_dim, value_dim) = (3, 6, 64, 48);
    for kernels in levels.iter().chain([&scalar]) {
        for causal in [true, false] {
            let mut parts: Vec<_> = (0..blocks).map(|_| Attention::random(&mut random, queries, head_dim, value_dim)).collect();
            let query = parts[0].query.clone();
            for (block, part) in parts.iter_mut().enumerate() {
                part.query.clone_from(&query);
                for (q, mask) in part.masks.iter_mut().enumerate().filter(|_| causal) {
                    let visible = |p: usize| block * 256 + p <= 100 + 120 * q;
                    *mask = std::array::from_fn(|word| (0..64).map(|bit| u64::from(visible(64 * word + bit)) << bit).sum());
                }
            }
            let mut total = State::empty(queries, value_dim);
            for part in &parts {
                let [mut state, _] = part.states(kernels);
                kernels.merge(&mut total.view(), &state.view(), value_dim);
            }
            let mut out = vec![0.0; queries * value_dim];
            kernels.normalize(&total.view(), value_dim, &mut out);

            for q in 0..queries {
                let (mut sum, mut exact) = (0.0, vec![0.0; value_dim]);
                for part in &parts {
                    for p in (0..256).filter(|p| part.masks[q][p / 64] >> (p % 64) & 1 == 1) {
                        let dot = |d: usize| f64::from(query[q * head_dim + d]) * f64::from(part.keys[d * 256 + p]);
                        let weight = ((0..head_dim).map(dot).sum::<f64>() / (head_dim as f64).sqrt()).exp();
                        sum += weight;
                        let values = &part.values[p * value_dim..][..value_dim];
                        exact.iter_mut().zip(values).for_each(|(exact, &value)| *exact += weight * f64::from(value));
                    }
                }
                for (got, exact) in out[q * value_dim..].iter().zip(&exact) {
                    let exact = if sum == 0.0 { 0.0 } else { exact / sum };
                    assert!((f64::from(*got) - exact).abs() < 1e-5, "{} query {q}: {got} {exact}", kernels.level);
                }
            }
        }
    }
}

/// A head of a linear recurrence: state, key, query, value.
struct Recurrence {
    state: Vec<f32>,
    key: Vec<f32>,
    query: Vec<f32>,
    value: Vec<f32>,
}

impl Recurrence {
    fn random(random: &mut Random, rows: usize, width: usize) -> Recurrence {
        let [key, query] = [(); 2].map(|()| random.normals(rows).iter().map(|x| x / (rows as f32).sqrt()).collect());
        Recurrence { state: random.normals(rows * width), key, query, value: random.normals(width) }
    }

    /// State and result of an entry.
    fn run(&self, entry: impl FnOnce(&mut [f32], &mut [f32])) -> Vec<f32> {
        let (mut state, mut out) = (self.state.clone(), vec![7.0; self.value.len()]);
        entry(&mut state, &mut out);
        [state, out].concat()
    }

    fn recur(&self, kernels: &Kernels, decay: f32, rate: f32, delta: bool) -> Vec<f32> {
        let Recurrence { key, query, value, .. } = self;
        self.run(|state, out| kernels.recur(&mut RecurArgs { state, key, query, value, decay, rate, delta, out }))
    }

    fn scan(&self, kernels: &Kernels, decay: &[f32], step: &[f32]) -> Vec<f32> {
        let Recurrence { key, query, value, .. } = self;
        self.run(|state, out| kernels.scan(&mut ScanArgs { state, decay, step, key, query, value, out }))
    }

    /// The same in f64: the state's rows decay by `decay(row, column)`, and `added` says what a column adds, given what the
    /// decayed state holds for the key.
    fn exact(&self, decay: impl Fn(usize, usize) -> f64, added: impl Fn(usize, f64) -> f64) -> Vec<f64> {
        let (rows, width) = (self.key.len(), self.value.len());
        let mut state: Vec<f64> = self.state.iter().map(|&x| f64::from(x)).collect();
        let mut out = vec![0.0; width];
        for column in 0..width {
            (0..rows).for_each(|row| state[row * width + column] *= decay(row, column));
            let held = (0..rows).map(|row| f64::from(self.key[row]) * state[row * width + column]).sum();
            for row in 0..rows {
                state[row * width + column] += f64::from(self.key[row]) * added(column, held);
                out[column] += f64::from(self.query[row]) * state[row * width + column];
            }
        }
        [state, out].concat()
    }
}

#[test]
fn recurrences() {
    let (scalar, levels) = levels();
    let mut random = Random::new(10);
    let close = |got: &[f32], exact: &[f64]| got.iter().zip(exact).all(|(&got, exact)| (f64::from(got) - exact).abs() < 2e-5);
    for (rows, width) in [(1, 1), (3, 5), (16, 64), (16, 40), (128, 64), (128, 128), (7, 17), (64, 215), (20, 33)] {
        let head = Recurrence::random(&mut random, rows, width);
        let (decay, rate) = (-random.uniform(), random.uniform());
        for delta in [false, true] {
            let expected = head.recur(&scalar, decay, rate, delta);
            let added =
                |column: usize, held: f64| f64::from(rate) * (f64::from(head.value[column]) - if delta { held } else { 0.0 });
            assert!(close(&expected, &head.exact(|_, _| f64::from(decay).exp(), added)), "{rows} x {width}");
            for kernels in &levels {
                let what = format!("{}: recurrence of {rows} x {width}", kernels.level);
                assert_same(&head.recur(kernels, decay, rate, delta), &expected, &what);
            }
        }
        let decays: Vec<f32> = random.normals(rows * width).iter().map(|x| -x.abs()).collect();
        let steps: Vec<f32> = random.normals(width).iter().map(|x| x.abs()).collect();
        let expected = head.scan(&scalar, &decays, &steps);
        let decay = |row: usize, column: usize| (f64::from(steps[column]) * f64::from(decays[row * width + column])).exp();
        let added = |column: usize, _: f64| f64::from(steps[column]) * f64::from(head.value[column]);
        assert!(close(&expected, &head.exact(decay, added)), "scan of {rows} x {width}");
        for kernels in &levels {
            assert_same(&head.scan(kernels, &decays, &steps), &expected, &format!("{}: scan of {rows} x {width}", kernels.level));
        }
    }
}
