//! Every entry of every level of this machine against scalar, byte for byte; scalar against plain f64.

use super::*;
use crate::quant::testing::{Random, put_floats, weight};
use crate::quant::{formats, interleave};
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

struct Product {
    dtype: Dtype,
    weights: Vec<u8>,
    rows: usize,
    depth: usize,
    tokens: usize,
}

impl Product {
    fn random(random: &mut Random, dtype: Dtype, rows: usize, depth: usize, tokens: usize) -> Product {
        let weights = (0..rows).flat_map(|_| random.row(dtype, depth)).collect();
        Product { dtype, weights, rows, depth, tokens }
    }

    /// Its weights in another layout, for [`Product::compute`].
    fn interleaved(&self) -> Vec<u8> {
        let mut out = vec![0; self.weights.len()];
        let group = self.weights.len() / (self.rows / INTERLEAVED_ROWS);
        for (rows, out) in self.weights.chunks(group).zip(out.chunks_mut(group)) {
            interleave(self.dtype, rows, out);
        }
        out
    }

    /// The result with a stride wider than it, and room around it that must stay as it was.
    fn compute(&self, kernels: &Kernels, input: Input, pairs: &[PairBlock]) -> Vec<f32> {
        self.compute_with(kernels, (&self.weights, Layout::Rows), input, pairs)
    }

    fn compute_with(&self, kernels: &Kernels, (weights, layout): (&[u8], Layout), input: Input, pairs: &[PairBlock]) -> Vec<f32> {
        const GUARD: f32 = 12345.0;
        let stride = self.rows + 3;
        let mut out = vec![GUARD; stride * self.tokens];
        let args = MatmulArgs {
            weights,
            layout,
            rows: self.rows,
            depth: self.depth,
            tokens: self.tokens,
            input,
            pairs,
            out: Window { ptr: out.as_mut_ptr(), stride },
        };
        // SAFETY: `out` has `tokens` rows of `stride` values.
        unsafe { kernels.matmul(self.dtype, &args) };
        assert!(out.chunks(stride).all(|row| row[self.rows..] == [GUARD; 3]), "writes outside the window");
        out.chunks(stride).flat_map(|row| &row[..self.rows]).copied().collect()
    }

    /// The same on all levels.
    fn check(&self, input: Input) {
        let (scalar, levels) = levels();
        let expected = self.compute(&scalar, input, &[]);
        for kernels in levels {
            let Product { dtype, rows, depth, tokens, .. } = self;
            let what = format!("{} {dtype} {rows} x {depth} x {tokens}", kernels.level);
            assert_same(&self.compute(&kernels, input, &[]), &expected, &what);
            let interleaved = kernels.layout(*dtype) == Layout::Interleaved && rows.is_multiple_of(INTERLEAVED_ROWS);
            let interleaved = interleaved.then(|| self.interleaved());
            if let Some(weights) = &interleaved {
                let got = self.compute_with(&kernels, (weights, Layout::Interleaved), input, &[]);
                assert_same(&got, &expected, &format!("{what} interleaved"));
            }
            match input {
                Input::Quantized(blocks, Precision::High) if kernels.paired[*dtype as usize] > 0 => {
                    let pairs = paired(&kernels, blocks, kernels.paired[*dtype as usize]);
                    assert_same(&self.compute(&kernels, input, &pairs), &expected, &format!("{what} by pairs"));
                    if let Some(weights) = &interleaved {
                        let got = self.compute_with(&kernels, (weights, Layout::Interleaved), input, &pairs);
                        assert_same(&got, &expected, &format!("{what} interleaved by pairs"));
                    }
                }
                _ => (),
            }
        }
    }
}

fn quantized(kernels: &Kernels, x: &[f32], depth: usize, precision: Precision) -> Vec<ActBlock> {
    let mut blocks = Vec::new();
    for x in x.chunks(depth) {
        let mut row = vec![ActBlock::ZERO; depth.div_ceil(BLOCK)];
        kernels.quantize(x, &mut row, precision);
        blocks.append(&mut row);
    }
    blocks
}

fn paired(kernels: &Kernels, blocks: &[ActBlock], reach: u16) -> Vec<PairBlock> {
    let mut pairs = vec![PairBlock::ZERO; blocks.len()];
    kernels.pair(blocks, &mut pairs, reach);
    pairs
}

/// Runs `check` with the quantized forms of `x`, or with `x` itself for float types.
fn with_inputs(dtype: Dtype, x: &[f32], depth: usize, mut check: impl FnMut(Input)) {
    if dtype.block_len() == 1 {
        return check(Input::Float(x));
    }
    for precision in [Precision::High, Precision::Fast] {
        check(Input::Quantized(&quantized(&levels().0, x, depth, precision), precision));
    }
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
            replaced! { rms_norm layer_norm rope swiglu activate gate softcap add add_scaled multiply_add scale merge normalize recur scan }
        }
        if (rows || first) && !tiles {
            replaced! { quantize narrow attend_f16 attend_f32 attend_adjusted_f16 attend_adjusted_f32 }
        }
        eprintln!("{level} runs");
        lower = kernels;
    }
}

#[test]
fn products_of_all_shapes() {
    let mut random = Random::new(1);
    for dtype in products(&levels().0) {
        let step = dtype.block_len();
        let shapes = (1..=17).chain([31, 32, 35, 55]).map(|rows| (rows, 256, 1 + rows % 4));
        let shapes = shapes.chain([1, 2, 3, 7, 8, 9, 33].map(|tokens| (9 + tokens % 9, 512, tokens)));
        let depths = [step, 2 * step, 3 * step, 9 * step, 768, 1024].into_iter().filter(|depth| depth % step == 0);
        let odd = (1..20).filter(|_| step == 1);
        let large = [(16, 256, 16), (31, 512, 17), (64, 768, 33), (83, 256, 40), (17, 3 * step, 18)];
        // Also in groups of rows.
        let groups = [(48, 1024, 1), (48, 768, 2), (32, 3 * step, 1), (80, 512, 13)];
        for (rows, depth, tokens) in shapes.chain(large).chain(groups).chain(depths.chain(odd).map(|depth| (5, depth, 3))) {
            let product = Product::random(&mut random, dtype, rows, depth, tokens);
            with_inputs(dtype, &random.normals(depth * tokens), depth, |input| product.check(input));
        }
    }
}

/// Every tile of a product by tiles: taken, loaded, multiplied, stored, given back.
#[test]
fn products_run_on_tiles() {
    let Some((amx, done)) = emulated() else { return eprintln!("no tiles to emulate: skipped") };
    let mut random = Random::new(11);
    let mut count = |dtype, rows, tokens, precision| {
        let product = Product::random(&mut random, dtype, rows, 512, tokens);
        let acts = quantized(&amx, &random.normals(512 * tokens), 512, precision);
        let input = Input::Quantized(&acts, precision);
        let before = done();
        product.compute(&amx, input, &[]);
        let count = done() - before;
        if amx.layout(dtype) == Layout::Interleaved && rows % INTERLEAVED_ROWS == 0 {
            product.compute_with(&amx, (&product.interleaved(), Layout::Interleaved), input, &[]);
            assert_eq!(done() - before, 2 * count, "interleaved {dtype}");
        }
        count
    };
    for (precision, halves) in [(Precision::High, 2), (Precision::Fast, 1)] {
        // Four tiles are cleared; then what is loaded, multiplied and stored, of 256 activations in 64s, or of 64 in 32s.
        let supers = |digits| 4 + 4 * (digits + halves + digits * halves) + digits * halves;
        let small = 4 * (4 + 2 * (1 + halves + halves) + 2 * halves);
        let digits =
            [(Dtype::Q4_K, 2), (Dtype::Q5_K, 2), (Dtype::Q6_K, 2), (Dtype::Q3_K, 2), (Dtype::IQ4_XS, 2), (Dtype::Q2_K, 1)];
        let tiles = digits.map(|(dtype, digits)| (dtype, supers(digits))).into_iter();
        for (dtype, tile) in tiles.chain([(Dtype::Q8_0, small), (Dtype::Q4_1, small)]) {
            // 40 rows: three groups, the last of which overlaps. 33 tokens: three tiles.
            assert_eq!(count(dtype, 40, 33, precision), 2 + 2 * 3 * 3 * tile, "{dtype}");
            assert_eq!(count(dtype, 40, 15, precision), 0, "{dtype}: too few tokens");
            assert_eq!(count(dtype, 15, 33, precision), 0, "{dtype}: too few rows");
            assert_eq!(count(dtype, 48, 33, precision), 2 + 3 * 3 * 2 * tile, "{dtype}: whole groups");
        }
    }
}

/// Pairs are what decides a product where they may, and nothing where they may not.
#[test]
fn products_run_by_pairs() {
    let mut random = Random::new(12);
    for kernels in levels().1 {
        for dtype in products(&kernels).into_iter().filter(|&dtype| kernels.paired[dtype as usize] > 0) {
            let product = Product::random(&mut random, dtype, 40, 512, 17);
            let blocks = quantized(&kernels, &random.normals(512 * 17), 512, Precision::High);
            let input = Input::Quantized(&blocks, Precision::High);
            let (want, mut pairs) =
                (product.compute(&kernels, input, &[]), paired(&kernels, &blocks, kernels.paired[dtype as usize]));
            pairs.iter_mut().for_each(|pair| pair.start = pair.start.wrapping_add(1 << 20));
            let wrong = product.compute(&kernels, input, &pairs);
            assert!(wrong.iter().zip(&want).all(|(wrong, want)| wrong != want), "{} {dtype}: without pairs", kernels.level);
            pairs.iter_mut().for_each(|pair| pair.length = [f32::INFINITY; 2]);
            assert_same(&product.compute(&kernels, input, &pairs), &want, &format!("{} {dtype}", kernels.level));
            eprintln!("{} {dtype} by pairs", kernels.level);
        }
    }
}

/// Blocks that are even, that have few great numbers or many: the levels agree, and the limits are right for the worst weights.
#[test]
fn pairs_keep_what_they_promise() {
    let (scalar, levels) = levels();
    let mut random = Random::new(13);
    for great in [0, 1, 2, 7, 8, 9, 100, 256] {
        let mut x = random.normals(BLOCK);
        x[..great].iter_mut().enumerate().for_each(|(i, x)| *x = if i % 3 == 0 { -9.0 } else { 9.0 });
        x.rotate_right(great / 2 + 77);
        let blocks = quantized(&scalar, &x, BLOCK, Precision::High);
        let pairs = paired(&scalar, &blocks, 977);
        levels.iter().for_each(|kernels| assert_eq!(paired(kernels, &blocks, 977), pairs, "{} {great}", kernels.level));
        let (block, pair) = (&blocks[0], &pairs[0]);
        let q: Vec<i64> = (0..BLOCK).map(|k| 256 * i64::from(block.hi[k]) + i64::from(block.lo[k])).collect();
        assert_eq!(i64::from(pair.sum), q.iter().sum::<i64>());
        if great > PairBlock::APART {
            assert!(!pair.fits(1.0, 1.0), "{great} great numbers");
            continue;
        }
        let mut again = pair.q.map(i64::from);
        let products = again.as_chunks().0.iter().map(|[a, c, b, d]| a * b + c * d).sum::<i64>();
        assert_eq!(-products as i32, pair.start, "modulo 2^32");
        for (apart, place) in pair.apart.iter().zip(pair.place.map(usize::from)) {
            again[2 * place] += i64::from(*apart as i16);
            again[2 * place + 1] += i64::from(apart >> 16);
        }
        again.as_chunks_mut::<4>().0.iter_mut().for_each(|four| four.swap(1, 2));
        assert_eq!(again[..], q, "{great} great numbers");
        for (h, half) in [&block.hi, &block.lo].into_iter().enumerate() {
            let sums = [0, 2, 1, 3, 4, 6, 5, 7].map(|i| half[32 * i..][..32].iter().map(|&q| i16::from(q)).sum::<i16>());
            assert_eq!(pair.sums[h], sums);
        }
        // For the worst weights there are: they point where the activations or their low halves do, and their mean adds to it.
        let halves = [q.clone(), block.lo.iter().map(|&lo| i64::from(lo)).collect()];
        let worst = halves.map(|q| ((q.iter().map(|q| q * q).sum::<i64>() as f64).sqrt(), q.iter().sum::<i64>().abs() as f64));
        let mut fitted = 0;
        for (mean, length) in (0..1000).map(|i| (f64::from(i % 40 * 40), f64::from(i / 40 * 1000))) {
            let within = |part: f64| {
                let reached = worst.map(|(most, shift)| mean * shift + length * most);
                reached[0] < part * 2f64.powi(31) && reached[1] <= part * 2f64.powi(24)
            };
            let fits = pair.fits(mean as f32, length as f32);
            // Halves of which the lengths are added are a little longer than the whole.
            assert!(!fits || within(1.0), "{great}: {mean} {length}");
            assert!(fits || !within(0.98), "{great}: {mean} {length}");
            fitted += usize::from(fits);
        }
        assert!((1..1000).contains(&fitted), "{great}: {fitted}");
    }
}

/// Products that 32 bits do not hold, or whose low halves f32 does not, though no activation is too great for a pair: all levels agree.
#[test]
fn products_too_great_for_pairs() {
    let mut random = Random::new(14);
    for (dtype, scales) in [(Dtype::Q4_K, 4..16), (Dtype::Q5_K, 4..16)] {
        let (rows, depth, tokens) = (32, 512, 18);
        // Great weights alone, or every other 32 of them, by greatest sub-scales.
        for (least, most) in [(0xee, 0xff), (0x0e, 0x0f)] {
            let mut weights = random.bytes(rows * dtype.row_bytes(depth).unwrap());
            weights.iter_mut().for_each(|byte| *byte = (*byte | least) & most);
            for block in weights.chunks_exact_mut(dtype.block_bytes()) {
                block[scales.clone()].fill(0xff);
                put_floats(dtype, block, || 1.0);
            }
            let product = Product { dtype, weights, rows, depth, tokens };
            // As great as they may be, with and without the signs of the weights; small ones with great low halves.
            let signs = |k: usize| if k % 64 < 32 { 1 } else { -1 };
            let kinds: [&dyn Fn(usize, i32) -> i32; 3] =
                [&|_, noise| 31700 - noise, &|k, noise| signs(k) * (31700 - noise), &|_, noise| 256 * (noise % 8) + 127];
            for kind in kinds {
                let mut blocks = vec![ActBlock::ZERO; tokens * depth / BLOCK];
                for block in &mut blocks {
                    for (k, noise) in random.bytes(BLOCK).into_iter().enumerate() {
                        let q = if k == 100 { 32512 } else { kind(k, i32::from(noise)) };
                        (block.hi[k], block.lo[k]) = (((q + 128) >> 8) as i8, q as i8);
                        block.hi_sum[k / 16] += i16::from(block.hi[k]);
                        block.lo_sum[k / 16] += i16::from(block.lo[k]);
                    }
                    block.scale = 1.0;
                }
                product.check(Input::Quantized(&blocks, Precision::High));
            }
        }
    }
}

/// All bits of the integers set, clear, or only signs, times the greatest activations there are.
#[test]
fn products_of_extremes() {
    let scalar = levels().0;
    for dtype in products(&scalar).into_iter().filter(|dtype| dtype.block_len() > 1) {
        let (rows, depth) = (16, 512);
        for fill in [0x00, 0xff, 0x80, 0x7f, 0xf0, 0x0f] {
            let mut weights = vec![fill; rows * dtype.row_bytes(depth).unwrap()];
            for block in weights.chunks_exact_mut(dtype.block_bytes()) {
                put_floats(dtype, block, || 1.0);
            }
            let mut product = Product { dtype, weights, rows, depth, tokens: 0 };
            for (hi, lo) in [(127, 127), (127, -128), (-127, -128), (-127, 127)] {
                let act = ActBlock {
                    hi: [hi; 256],
                    lo: [lo; 256],
                    hi_sum: [16 * i16::from(hi); 16],
                    lo_sum: [16 * i16::from(lo); 16],
                    scale: 1.0,
                };
                // One, and enough for tiles.
                for tokens in [1, 16] {
                    product.tokens = tokens;
                    let acts = vec![act.clone(); tokens * depth / BLOCK];
                    product.check(Input::Quantized(&acts, Precision::High));
                    product.check(Input::Quantized(&acts, Precision::Fast));
                }
            }
        }
    }
}

/// Activations of zeros, denormals and great magnitude; weights whose scales are anything, so that products overflow.
#[test]
fn products_of_odd_numbers() {
    let mut random = Random::new(2);
    for dtype in products(&levels().0) {
        let (rows, depth, tokens) = (19, 512, 17);
        let mut product = Product::random(&mut random, dtype, rows, depth, tokens);
        let mut x = random.normals(depth * tokens);
        let factors = [0.0, 1e-42, 1e-30, 1e30, f32::INFINITY, f32::NAN];
        x.chunks_mut(depth).zip(factors.into_iter().cycle()).for_each(|(x, factor)| x.iter_mut().for_each(|x| *x *= factor));
        with_inputs(dtype, &x, depth, |input| product.check(input));
        product.weights = random.bytes(product.weights.len());
        with_inputs(dtype, &x, depth, |input| product.check(input));
    }
}

#[test]
fn products_are_accurate() {
    let (scalar, levels) = levels();
    let mut random = Random::new(3);
    for kernels in levels.iter().chain([&scalar]) {
        for dtype in products(kernels) {
            let (rows, depth, tokens) = (40, 1024, 4);
            let product = Product::random(&mut random, dtype, rows, depth, tokens);
            let x = random.normals(depth * tokens);
            let (block_len, row_bytes) = (dtype.block_len(), dtype.row_bytes(depth).unwrap());
            let exact = x.chunks(depth).flat_map(|x| {
                product.weights.chunks(row_bytes).map(|row| {
                    let blocks = row.chunks(dtype.block_bytes()).zip(x.chunks(block_len));
                    let product = |(block, x): (&[u8], &[f32])| {
                        x.iter().enumerate().map(|(i, &x)| weight(dtype, block, i) * f64::from(x)).sum::<f64>()
                    };
                    blocks.map(product).sum::<f64>()
                })
            });
            let exact: Vec<f64> = exact.collect();
            with_inputs(dtype, &x, depth, |input| {
                let got = product.compute(kernels, input, &[]);
                let error = got.iter().zip(&exact).map(|(&got, exact)| (f64::from(got) - exact).powi(2)).sum::<f64>();
                let error = (error / exact.iter().map(|exact| exact * exact).sum::<f64>()).sqrt();
                let limit = if matches!(input, Input::Quantized(_, Precision::Fast)) { 2.5e-2 } else { 1e-4 };
                assert!(error <= limit, "{} {dtype}: {error:e}", kernels.level);
            });
        }
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
                        assert!(got.hi_sum == expected.hi_sum && got.lo_sum == expected.lo_sum, "{} sums", kernels.level);
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
            scores: &mut vec![f32::NAN; 256 * self.queries],
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
        for queries in 1..=9 {
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
