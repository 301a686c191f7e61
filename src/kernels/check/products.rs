//! Products, in every layout and by every way.

use super::{assert_same, emulated, levels, products, quantized};
use crate::kernels::{Input, Kernels, MatmulArgs, Room, UNPACKED, Window};
use crate::quant::testing::{Random, put_floats, weight};
use crate::quant::{ActBlock, BLOCK, Batch, INTERLEAVED_ROWS, Layout, PairBlock, Precision, interleave};
use crate::tensor::Dtype;
use std::iter;

/// What outputs hold before.
const BEFORE: f32 = 12345.0;

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

    fn compute_with(&self, kernels: &Kernels, weights: (&[u8], Layout), input: Input, pairs: &[PairBlock]) -> Vec<f32> {
        self.compute_into(kernels, weights, input, pairs, (None, false))
    }

    /// The result, with room for sums or none, added to a number or not, which comes last.
    fn compute_into(
        &self,
        kernels: &Kernels,
        (weights, layout): (&[u8], Layout),
        input: Input,
        pairs: &[PairBlock],
        (sums, add): (Option<Room>, bool),
    ) -> Vec<f32> {
        let stride = self.rows + 3;
        let mut out = vec![BEFORE; stride * self.tokens];
        let args = MatmulArgs {
            weights,
            layout,
            rows: self.rows,
            depth: self.depth,
            tokens: self.tokens,
            input,
            pairs: (!pairs.is_empty()).then(|| Batch::new(pairs, self.tokens)),
            out: Window { ptr: out.as_mut_ptr(), stride },
            sums,
            add,
        };
        // SAFETY: `out` has `tokens` rows of `stride` values; the caller's room has as many of `rows`.
        unsafe { kernels.matmul(self.dtype, &args) };
        assert!(out.chunks(stride).all(|row| row[self.rows..] == [BEFORE; 3]), "writes outside the window");
        out.chunks(stride).flat_map(|row| &row[..self.rows]).copied().collect()
    }

    /// That the last tokens of a batch are what they are among others.
    fn check_last(&self, kernels: &Kernels, input: Input, expected: &[f32]) {
        let Input::Quantized(blocks, precision) = input else { return };
        for tokens in [1, 3, 17].into_iter().filter(|&tokens| tokens < self.tokens) {
            let (first, weights) = (self.tokens - tokens, self.weights.clone());
            let input = Input::Quantized(blocks.skip(first), precision);
            let got = Product { weights, tokens, ..*self }.compute(kernels, input, &[]);
            assert_same(&got, &expected[first * self.rows..], &format!("{} {}: the last {tokens}", kernels.level, self.dtype));
        }
    }

    /// That room for sums changes nothing, nor adding anything but the number that is added.
    fn check_sums(&self, kernels: &Kernels, weights: (&[u8], Layout), input: Input, pairs: &[PairBlock], expected: &[f32]) {
        let added: Vec<f32> = expected.iter().map(|x| BEFORE + x).collect();
        for len in [0, UNPACKED].map(|more| self.rows * self.tokens + more) {
            let mut room = vec![BEFORE; len];
            let sums = Some(Room { ptr: room.as_mut_ptr(), len });
            assert_same(&self.compute_into(kernels, weights, input, pairs, (sums, false)), expected, "sums elsewhere");
            assert_same(&self.compute_into(kernels, weights, input, pairs, (sums, true)), &added, "added");
        }
    }

    /// The same on all levels.
    fn check(&self, input: Input) {
        let (scalar, levels) = levels();
        let expected = self.compute(&scalar, input, &[]);
        for kernels in levels {
            let Product { dtype, rows, depth, tokens, .. } = self;
            let what = format!("{} {dtype} {rows} x {depth} x {tokens}", kernels.level);
            let interleaved = kernels.layout(*dtype) == Layout::Interleaved && rows.is_multiple_of(INTERLEAVED_ROWS);
            let interleaved = interleaved.then(|| self.interleaved());
            let made = match input {
                Input::Quantized(blocks, Precision::High) if kernels.paired[*dtype as usize] > 0 => {
                    Some(paired(&kernels, blocks.blocks(), kernels.paired[*dtype as usize]))
                }
                _ => None,
            };
            self.check_last(&kernels, input, &expected);
            for pairs in iter::once(&[][..]).chain(made.as_deref()) {
                let layouts =
                    [Some((&self.weights, Layout::Rows)), interleaved.as_ref().map(|bytes| (bytes, Layout::Interleaved))];
                for (weights, layout) in layouts.into_iter().flatten() {
                    let what = format!("{what}, {layout:?}, {} pairs", pairs.len());
                    assert_same(&self.compute_with(&kernels, (weights, layout), input, pairs), &expected, &what);
                    self.check_sums(&kernels, (weights, layout), input, pairs, &expected);
                }
            }
        }
    }
}

fn paired(kernels: &Kernels, blocks: &[ActBlock], reach: u16) -> Vec<PairBlock> {
    let mut pairs = vec![PairBlock::ZERO; blocks.len()];
    blocks.iter().zip(&mut pairs).for_each(|(block, pair)| kernels.pair(block, pair, reach));
    pairs
}

/// Runs `check` with the quantized forms of `x`, or with `x` itself for float types.
fn with_inputs(dtype: Dtype, x: &[f32], depth: usize, mut check: impl FnMut(Input)) {
    if dtype.block_len() == 1 {
        return check(Input::Float(x));
    }
    for precision in [Precision::High, Precision::Fast] {
        let blocks = quantized(&levels().0, x, depth, precision);
        check(Input::Quantized(Batch::new(&blocks, x.len() / depth), precision));
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
        let large =
            [(16, 256, 16), (31, 512, 17), (64, 768, 33), (83, 256, 40), (157, 512, 35), (17, 3 * step, 18), (17, 15 * step, 33)];
        // Also in groups of rows.
        let groups = [(48, 1024, 1), (48, 768, 2), (32, 3 * step, 1), (80, 512, 13)];
        // Few tokens and rows enough to be read far apart.
        let far = [(181, 2048, 1), (181, 2048, 3)];
        for (rows, depth, tokens) in
            shapes.chain(large).chain(groups).chain(far).chain(depths.chain(odd).map(|depth| (5, depth, 3)))
        {
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
        let input = Input::Quantized(Batch::new(&acts, tokens), precision);
        let before = done();
        product.compute(&amx, input, &[]);
        let count = done() - before;
        if amx.layout(dtype) == Layout::Interleaved && rows % INTERLEAVED_ROWS == 0 {
            product.compute_with(&amx, (&product.interleaved(), Layout::Interleaved), input, &[]);
            assert_eq!(done() - before, 2 * count, "interleaved {dtype}");
        }
        count
    };
    // In fast precision, tokens fill both operands.
    for (precision, together) in [(Precision::High, 16), (Precision::Fast, 32)] {
        // 33 tokens: after the last one alone, sums are stored that otherwise the next product would store.
        let products = 33_usize.div_ceil(together);
        // Sums are stored and cleared; in four parts, two operands and each factor are loaded and, in the end, cleared.
        let supers = |factors: usize| products * (2 * 2 * factors + 4 * (2 * (2 + factors) + 2 * factors)) + 6;
        // Two times four blocks of 32, each with operands and sums of its own.
        let small = 2 * (products * 4 * (2 * 2 + 2 * (2 + 1) + 2) + 6);
        let factors =
            [(Dtype::Q4_K, 2), (Dtype::Q5_K, 2), (Dtype::Q6_K, 2), (Dtype::Q3_K, 2), (Dtype::IQ4_XS, 2), (Dtype::Q2_K, 1)];
        let tiles = factors.map(|(dtype, factors)| (dtype, supers(factors))).into_iter();
        for (dtype, tiles) in tiles.chain([(Dtype::Q8_0, small), (Dtype::Q4_1, small)]) {
            // Taken and given back; two times 256 activations; 40 rows: three groups, the last of which overlaps.
            assert_eq!(count(dtype, 40, 33, precision), 2 + 2 * 3 * tiles, "{dtype}");
            assert_eq!(count(dtype, 40, together - 1, precision), 0, "{dtype}: too few tokens");
            assert_eq!(count(dtype, 15, 33, precision), 0, "{dtype}: too few rows");
            assert_eq!(count(dtype, 48, 33, precision), 2 + 2 * 3 * tiles, "{dtype}: whole groups");
        }
    }
}

/// A matrix without rows has no product, of one token or of many.
#[test]
fn products_of_no_rows() {
    let mut random = Random::new(15);
    let (scalar, levels) = levels();
    for kernels in iter::once(scalar).chain(levels) {
        for tokens in [1, 3, 18] {
            let x = random.normals(512 * tokens);
            let blocks = quantized(&kernels, &x, 512, Precision::High);
            for dtype in products(&kernels) {
                let float = dtype.block_len() == 1;
                let input = if float { Input::Float(&x) } else { Input::Quantized(Batch::new(&blocks, tokens), Precision::High) };
                let pairs = paired(&kernels, &blocks, 1);
                for pairs in [&[][..], &pairs[..if float { 0 } else { pairs.len() }]] {
                    // `compute` sees to it that nothing is written.
                    let product = Product::random(&mut random, dtype, 0, 512, tokens);
                    assert!(product.compute(&kernels, input, pairs).is_empty(), "{} {dtype}", kernels.level);
                }
            }
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
            let input = Input::Quantized(Batch::new(&blocks, 17), Precision::High);
            let (want, mut pairs) =
                (product.compute(&kernels, input, &[]), paired(&kernels, &blocks, kernels.paired[dtype as usize]));
            let different = |pairs: &[PairBlock]| {
                let got = product.compute(&kernels, input, pairs);
                got.iter().zip(&want).filter(|(got, want)| got != want).count()
            };
            pairs.iter_mut().for_each(|pair| pair.q[77] ^= 1 << 10);
            assert!(different(&pairs) > want.len() / 2, "{} {dtype}: without pairs", kernels.level);
            // Activations in one piece always do for blocks of 32.
            if dtype.block_len() == BLOCK {
                pairs.iter_mut().for_each(|pair| pair.length = f32::INFINITY);
                assert_same(&product.compute(&kernels, input, &pairs), &want, &format!("{} {dtype}", kernels.level));
            }
            pairs.iter_mut().for_each(|pair| pair.scale *= 2.0);
            assert_eq!(different(&pairs), want.len(), "{} {dtype}: without the blocks of pairs", kernels.level);
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
            assert!(!PairBlock::fits(pair.shift, pair.length, 1.0, 1.0), "{great} great numbers");
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
        let mut low_sums = pair.low_sums;
        low_sums.as_chunks_mut::<4>().0.iter_mut().for_each(|four| four.swap(1, 2));
        for (i, q) in q.chunks_exact(32).enumerate() {
            let sum = q.iter().sum::<i64>();
            assert_eq!(pair.sums.iter().fold(0, |sum, digits| 256 * sum + i64::from(digits[i])), sum);
            assert_eq!((i64::from(pair.high_sums[i]) << 15) + i64::from(low_sums[i]), sum);
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
            let fits = PairBlock::fits(pair.shift, pair.length, mean as f32, length as f32);
            // Halves whose lengths are added are longer than the whole, and the greater of two limits counts for both.
            assert!(!fits || within(1.0), "{great}: {mean} {length}");
            assert!(fits || !within(0.49), "{great}: {mean} {length}");
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
            // All tokens, or one of five, so that those beside it need not be multiplied once more.
            for (kind, every) in kinds.into_iter().flat_map(|kind| [(kind, 1), (kind, 5)]) {
                let mut blocks = vec![ActBlock::ZERO; tokens * depth / BLOCK];
                for (i, block) in blocks.iter_mut().enumerate() {
                    let great = i % tokens % every == every - 1;
                    for (k, noise) in random.bytes(BLOCK).into_iter().enumerate() {
                        let noise = i32::from(noise);
                        let q = if k == 100 {
                            32512
                        } else if great {
                            kind(k, noise)
                        } else {
                            10 * (noise - 128)
                        };
                        (block.hi[k], block.lo[k]) = (((q + 128) >> 8) as i8, q as i8);
                    }
                    block.set_sums(Precision::High);
                    block.scale = 1.0;
                }
                product.check(Input::Quantized(Batch::new(&blocks, tokens), Precision::High));
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
                let mut act = ActBlock { hi: [hi; 256], lo: [lo; 256], scale: 1.0, ..ActBlock::ZERO };
                // One, and enough for tiles.
                for tokens in [1, 32] {
                    product.tokens = tokens;
                    for precision in [Precision::High, Precision::Fast] {
                        act.set_sums(precision);
                        let acts = vec![act.clone(); tokens * depth / BLOCK];
                        product.check(Input::Quantized(Batch::new(&acts, tokens), precision));
                    }
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
        // Also when the last 256 weights are not whole: the numbers of those that are not there must not show.
        for (depth, tokens) in [(512, 17), (480, 33)].into_iter().filter(|(depth, _)| depth % dtype.block_len() == 0) {
            let mut product = Product::random(&mut random, dtype, 19, depth, tokens);
            let mut x = random.normals(depth * tokens);
            let factors = [0.0, 1e-42, 1e-30, 1e30, f32::INFINITY, f32::NAN];
            x.chunks_mut(depth).zip(factors.into_iter().cycle()).for_each(|(x, factor)| x.iter_mut().for_each(|x| *x *= factor));
            with_inputs(dtype, &x, depth, |input| product.check(input));
            product.weights = random.bytes(product.weights.len());
            with_inputs(dtype, &x, depth, |input| product.check(input));
        }
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
