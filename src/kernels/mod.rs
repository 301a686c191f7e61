//! The inner loops: no threads, no allocation, no word about models.
//!
//! [`Kernels`] is the contract: one table of functions per instruction-set level, chosen once when a model opens. `scalar`
//! holds the readable reference of every entry; a level overrides what it improves (see `select`). All levels give the
//! same bits, and `check` proves it. The methods of `Kernels` check shapes; the raw entries trust them.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(test)]
pub(crate) mod check;
#[cfg(test)]
pub(crate) mod marked;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod rows;
pub mod scalar;
mod select;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use crate::cpu::Level;
use crate::quant::{ActBlock, BLOCK, Batch, INTERLEAVED_ROWS, Layout, PairBlock, Precision};
use crate::tensor::Dtype;
use half::f16;
use std::slice;

/// Positions per attention block: absolute positions `256 * b .. 256 * (b + 1)`.
pub const KV_BLOCK: usize = 256;

/// Fewer tokens do not pay for the preparation of weights that products by pairs need.
pub const PAIRED_TOKENS: usize = 12;

/// So many tokens are multiplied as fast as weights can be read.
pub const FEW_TOKENS: usize = 4;

/// A window of an output matrix: element (token, row) lives at `ptr[token * stride + row]`. Threads hold windows of
/// different rows of one matrix, which `&mut` slices cannot express.
#[derive(Clone, Copy)]
pub struct Window {
    /// Element (0, 0).
    pub ptr: *mut f32,
    /// Elements from one token to the next.
    pub stride: usize,
}

impl Window {
    /// Where the element (token, row) lives.
    ///
    /// # Safety
    /// The element must be inside the matrix that `ptr` points into.
    #[inline]
    #[must_use]
    pub unsafe fn at(self, token: usize, row: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.ptr.add(token * self.stride + row) }
    }
}

/// Memory that belongs to a kernel while it runs.
#[derive(Clone, Copy)]
pub struct Room {
    /// The first value.
    pub ptr: *mut f32,
    /// How many there are.
    pub len: usize,
}

/// So many values beyond the outputs are room for unpacked weights, too, which would be too much of a small stack.
pub const UNPACKED: usize = 21 << 10;

/// Weights (rows x depth) times activations (tokens x depth).
pub struct MatmulArgs<'a> {
    /// `rows` rows of `dtype.row_bytes(depth)` bytes each, contiguous.
    pub weights: &'a [u8],
    /// How they lie there; a multiple of [`INTERLEAVED_ROWS`] rows can be interleaved.
    pub layout: Layout,
    /// Outputs.
    pub rows: usize,
    /// Length of the sums.
    pub depth: usize,
    /// Activation rows.
    pub tokens: usize,
    /// The activations.
    pub input: Input<'a>,
    /// The same activations in pairs made for this type (see [`Kernels::pairs`]), or none.
    pub pairs: Option<Batch<'a, PairBlock>>,
    /// Receives `rows` values for each token; must be valid for writes and written by nobody else meanwhile.
    pub out: Window,
    /// Room for as many values, where sums may stand until they are whole, in an order that the kernel likes; or none: `out` itself.
    /// Kernels walk over sums for every 256 activations, and rows of `out` are often a multiple of a page apart, of which caches
    /// keep few. Better still with [`UNPACKED`] more.
    pub sums: Option<Room>,
    /// Whether products are added to what `out` holds, which takes `sums`.
    pub add: bool,
}

/// The activations of a product, `tokens` rows.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// For quantized weights.
    Quantized(Batch<'a>, Precision),
    /// For F32, F16 and BF16 weights: `tokens * depth` values.
    Float(&'a [f32]),
}

/// Which of the 256 positions of a block a query sees: bit `p % 64` of word `p / 64`.
pub type BlockMask = [u64; KV_BLOCK / 64];

/// One KV head, one block of 256 positions, a tile of queries.
pub struct AttendArgs<'a, T> {
    /// Rows of the tile.
    pub queries: usize,
    /// Elements of a query or key.
    pub head_dim: usize,
    /// Elements of a value.
    pub value_dim: usize,
    /// `queries` rows of `head_dim`, not scaled.
    pub query: &'a [f32],
    /// `head_dim` rows of 256: dimension-major, so that vector lanes are positions.
    pub keys: &'a [T],
    /// 256 rows of `value_dim`.
    pub values: &'a [T],
    /// One mask per query. Positions after the last visible one of all queries are never read.
    pub masks: &'a [BlockMask],
    /// Multiplies every score after its sum.
    pub scale: f32,
    /// What else happens to the scores; most models: nothing.
    pub adjust: Option<Adjust<'a>>,
    /// Room for the scores, as [`score_scratch`] says.
    pub scores: &'a mut [f32],
    /// Receives the softmax state over this block alone.
    pub out: Partial<'a>,
}

/// Values that [`AttendArgs::scores`] has room for: 256 of each query, and of as many more as make them a multiple of 16, where
/// queries are in vector lanes.
pub const fn score_scratch(queries: usize) -> usize {
    queries.next_multiple_of(16) * KV_BLOCK
}

/// What some models do to scaled scores before the softmax: first the cap, then the slope.
#[derive(Clone, Copy)]
pub struct Adjust<'a> {
    /// `cap * tanh(score / cap)`; 0: no cap.
    pub cap: f32,
    /// Subtracted per position of distance (ALiBi), one slope per query; 0: nothing is.
    pub slopes: &'a [f32],
    /// Position of the block's first key minus that of the query, one per query.
    pub offsets: &'a [f32],
}

/// The softmax state of `queries` rows over some positions.
pub struct Partial<'a> {
    /// Greatest score per query; `-inf` where nothing is visible, and then `sum` is 0 and `acc` all 0.
    pub max: &'a mut [f32],
    /// Sum of `exp(score - max)` per query.
    pub sum: &'a mut [f32],
    /// `queries` rows of `value_dim`: values weighted by `exp(score - max)`, not yet divided by `sum`.
    pub acc: &'a mut [f32],
}

/// Which elements of a head rotate together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeStyle {
    /// (0, 1), (2, 3), ...: the order of converted LLaMA files.
    Interleaved,
    /// (0, n/2), (1, n/2 + 1), ...: GPT-NeoX.
    Halves,
}

/// Activation functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x`: a gate is a plain product.
    Identity,
    /// `ln(1 + exp(x))`.
    Softplus,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x * sigmoid(x)`.
    Silu,
    /// GELU in its tanh form: `x * sigmoid(2 * sqrt(2 / pi) * (x + 0.044715 * x^3))`.
    GeluTanh,
    /// GELU by its definition: x times the normal distribution function.
    GeluErf,
    /// `max(x, 0)^2`.
    ReluSquared,
    /// As gpt-oss has it: `x * sigmoid(1.702 * x)` with x at most 7; as a gate, what is gated becomes `1 + clamp(up, -7, 7)`.
    ClampedSilu,
}

/// One token of one head of a linear recurrence whose state decays as a whole (Mamba-2, linear attention with a delta rule).
/// State: `state = exp(decay) * state + key * added`, an outer product; then `out = query * state`.
pub struct RecurArgs<'a> {
    /// One row per element of a key, each as wide as a value.
    pub state: &'a mut [f32],
    /// What the rows are reached by.
    pub key: &'a [f32],
    /// What the rows are read by.
    pub query: &'a [f32],
    /// What is added.
    pub value: &'a [f32],
    /// Logarithm of what is left of the state.
    pub decay: f32,
    /// Multiplies what is added.
    pub rate: f32,
    /// Whether what the decayed state holds for the key is subtracted from the value before.
    pub delta: bool,
    /// Receives the result, as wide as a value.
    pub out: &'a mut [f32],
}

/// One token of some channels of a selective state space (Mamba), every element of which decays by itself:
/// `state = exp(step * decay) * state + key * step * value`; then `out = query * state`.
pub struct ScanArgs<'a> {
    /// One row per element of a key, each as wide as a value.
    pub state: &'a mut [f32],
    /// As `state`.
    pub decay: &'a [f32],
    /// One per channel.
    pub step: &'a [f32],
    /// What the rows are reached by.
    pub key: &'a [f32],
    /// What the rows are read by.
    pub query: &'a [f32],
    /// One per channel.
    pub value: &'a [f32],
    /// One per channel; receives the result.
    pub out: &'a mut [f32],
}

/// How much of a product of many tokens should be one piece of work: enough to pay for walking over the activations, and so
/// little that a pass can soon be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// Output rows.
    pub rows: usize,
    /// Multiplications.
    pub work: usize,
}

type MatmulFn = unsafe fn(&MatmulArgs);
type DecodeFn = unsafe fn(&[u8], &mut [f32]);
type PairFn = unsafe fn(&ActBlock, &mut PairBlock, u16);

/// The entries of one level. `None` in a per-type table: the type has no kernels.
pub struct Kernels {
    pub(crate) level: Level,
    pub(crate) portion: Portion,
    /// Whether products of more than a few tokens go from `sums` to `out` as they become whole.
    pub(crate) finished: [bool; Dtype::COUNT],
    pub(crate) matmul: [Option<MatmulFn>; Dtype::COUNT],
    /// Products with interleaved weights, for types that are faster so.
    pub(crate) interleaved: [Option<MatmulFn>; Dtype::COUNT],
    pub(crate) decode: [Option<DecodeFn>; Dtype::COUNT],
    pub(crate) quantize: unsafe fn(&[f32; BLOCK], &mut ActBlock, Precision),
    pub(crate) pair: PairFn,
    /// What weights of types that are best multiplied by pairs reach; 0 for others.
    pub(crate) paired: [u16; Dtype::COUNT],
    pub(crate) rms_norm: unsafe fn(&[f32], &[f32], f32, &mut [f32]),
    pub(crate) layer_norm: unsafe fn(&[f32], &[f32], &[f32], f32, &mut [f32]),
    pub(crate) rope: unsafe fn(&mut [f32], &[f32], &[f32], RopeStyle),
    pub(crate) swiglu: unsafe fn(&mut [f32], &[f32]),
    pub(crate) activate: unsafe fn(&mut [f32], Activation),
    pub(crate) gate: unsafe fn(&mut [f32], &[f32], Activation),
    pub(crate) softcap: unsafe fn(&mut [f32], f32),
    pub(crate) add: unsafe fn(&mut [f32], &[f32]),
    pub(crate) add_scaled: unsafe fn(&mut [f32], &[f32], f32),
    pub(crate) scale: unsafe fn(&mut [f32], f32),
    pub(crate) attend_f16: unsafe fn(&mut AttendArgs<f16>),
    pub(crate) attend_f32: unsafe fn(&mut AttendArgs<f32>),
    pub(crate) attend_adjusted_f16: unsafe fn(&mut AttendArgs<f16>),
    pub(crate) attend_adjusted_f32: unsafe fn(&mut AttendArgs<f32>),
    pub(crate) merge: unsafe fn(&mut Partial, &Partial, usize),
    pub(crate) normalize: unsafe fn(&Partial, usize, &mut [f32]),
    pub(crate) narrow: unsafe fn(&[f32], &mut [f16]),
    pub(crate) multiply_add: unsafe fn(&mut [f32], &[f32], &[f32]),
    pub(crate) recur: unsafe fn(&mut RecurArgs),
    pub(crate) scan: unsafe fn(&mut ScanArgs),
}

impl Kernels {
    /// The level these entries belong to.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// How products are best divided.
    #[must_use]
    pub fn portion(&self) -> Portion {
        self.portion
    }

    /// Whether a weight of this type can be multiplied.
    #[must_use]
    pub fn supports(&self, dtype: Dtype) -> bool {
        self.matmul[dtype as usize].is_some()
    }

    /// The layout in which weights of this type are multiplied fastest.
    #[must_use]
    pub fn layout(&self, dtype: Dtype) -> Layout {
        if self.interleaved[dtype as usize].is_some() { Layout::Interleaved } else { Layout::Rows }
    }

    /// Whether products of so many tokens with weights of this type, in high precision, are faster with activations in pairs:
    /// what these have to be made for.
    #[must_use]
    pub fn pairs(&self, dtype: Dtype, tokens: usize) -> Option<u16> {
        Some(self.paired[dtype as usize]).filter(|&reach| reach > 0 && tokens >= PAIRED_TOKENS)
    }

    /// `out[token][row] = sum over k of weights[row][k] * input[token][k]`, or that is added.
    ///
    /// # Panics
    /// When the slices do not hold what `rows`, `depth` and `tokens` say, or the type has no kernel for the layout.
    ///
    /// # Safety
    /// `args.out` must be valid for `tokens` rows of `rows` values and `args.sums` for the others that it says, and no other thread may
    /// touch those meanwhile.
    pub unsafe fn matmul(&self, dtype: Dtype, args: &MatmulArgs) {
        let row_bytes = dtype.row_bytes(args.depth).expect("depth is whole blocks");
        assert_eq!(args.weights.len(), args.rows * row_bytes, "weight bytes");
        assert!(args.tokens <= 1 || args.out.stride >= args.rows, "output stride");
        match args.input {
            Input::Quantized(blocks, _) => {
                assert!(dtype.block_len() > 1, "quantized input for a float type");
                assert!(blocks.holds(args.tokens, args.depth), "activation blocks");
                assert!(args.pairs.is_none_or(|pairs| pairs.holds(args.tokens, args.depth)), "activation pairs");
            }
            Input::Float(x) => {
                assert!(dtype.block_len() == 1, "float input for a quantized type");
                assert_eq!(x.len(), args.tokens * args.depth, "activations");
            }
        }
        let entry = match args.layout {
            Layout::Rows => self.matmul[dtype as usize],
            Layout::Interleaved => {
                assert!(args.rows.is_multiple_of(INTERLEAVED_ROWS), "interleaved rows");
                self.interleaved[dtype as usize]
            }
        };
        let entry = entry.expect("type has a kernel");
        let Some(sums) = args.sums else {
            assert!(!args.add, "adding takes room for sums");
            // SAFETY: the table was chosen for this machine, shapes were just checked, and the caller vouches for `out`.
            return unsafe { entry(args) };
        };
        assert!(sums.len >= args.tokens * args.rows, "room for sums");
        // Kernels may compute a row twice, where it is one of two groups.
        let once = !args.add || args.rows.is_multiple_of(INTERLEAVED_ROWS);
        if self.finished[dtype as usize] && once && args.tokens > FEW_TOKENS {
            // SAFETY: as above.
            return unsafe { entry(args) };
        }
        // SAFETY: as above; rows of `out` and of `sums` are different ones.
        unsafe {
            let sums = Window { ptr: sums.ptr, stride: args.rows };
            entry(&MatmulArgs { out: sums, sums: None, add: false, ..*args });
            for token in 0..args.tokens {
                let (from, to) = (sums.at(token, 0), args.out.at(token, 0));
                let (from, to) = (slice::from_raw_parts(from, args.rows), slice::from_raw_parts_mut(to, args.rows));
                if args.add { self.add(to, from) } else { to.copy_from_slice(from) }
            }
        }
    }

    /// Dequantizes whole blocks to f32.
    ///
    /// # Panics
    /// When `bytes` is not `dtype.row_bytes(out.len())` long or the type has no kernel.
    pub fn decode(&self, dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(Some(bytes.len()), dtype.row_bytes(out.len()), "bytes of {dtype}");
        let entry = self.decode[dtype as usize].expect("type has a kernel");
        // SAFETY: the table was chosen for this machine; lengths were just checked.
        unsafe { entry(bytes, out) }
    }

    /// Quantizes up to 256 neighbouring activations of a row; those that are not there are zeros.
    ///
    /// # Panics
    /// When there are more.
    pub fn quantize(&self, x: &[f32], block: &mut ActBlock, precision: Precision) {
        // SAFETY: as in `decode`.
        let quantize = |x, block| unsafe { (self.quantize)(x, block, precision) };
        if let Some(x) = x.as_array() {
            return quantize(x, block);
        }
        let mut padded = [0.0; BLOCK];
        padded[..x.len()].copy_from_slice(x);
        quantize(&padded, block);
    }

    /// Makes pairs of activations in high precision for the weights that are said to need them, and such that reach less far.
    pub fn pair(&self, block: &ActBlock, pair: &mut PairBlock, reach: u16) {
        // SAFETY: as in `decode`.
        unsafe { (self.pair)(block, pair, reach) }
    }

    /// `out = x / sqrt(mean(x^2) + eps) * weight`.
    pub fn rms_norm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        assert!(x.len() == weight.len() && x.len() == out.len(), "norm widths");
        // SAFETY: as in `decode`.
        unsafe { (self.rms_norm)(x, weight, eps, out) }
    }

    /// `out = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias`.
    pub fn layer_norm(&self, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
        assert!(x.len() == weight.len() && x.len() == bias.len() && x.len() == out.len(), "norm widths");
        // SAFETY: as in `decode`.
        unsafe { (self.layer_norm)(x, weight, bias, eps, out) }
    }

    /// Rotates the first `2 * cos.len()` elements of a head by the given angles.
    pub fn rope(&self, head: &mut [f32], cos: &[f32], sin: &[f32], style: RopeStyle) {
        assert!(cos.len() == sin.len() && head.len() >= 2 * cos.len(), "rope width");
        // SAFETY: as in `decode`.
        unsafe { (self.rope)(head, cos, sin, style) }
    }

    /// `gate = silu(gate) * up`.
    pub fn swiglu(&self, gate: &mut [f32], up: &[f32]) {
        assert_eq!(gate.len(), up.len(), "swiglu widths");
        // SAFETY: as in `decode`.
        unsafe { (self.swiglu)(gate, up) }
    }

    /// `x = activation(x)`.
    pub fn activate(&self, x: &mut [f32], activation: Activation) {
        // SAFETY: as in `decode`.
        unsafe { (self.activate)(x, activation) }
    }

    /// `gate = activation(gate) * up`.
    pub fn gate(&self, gate: &mut [f32], up: &[f32], activation: Activation) {
        assert_eq!(gate.len(), up.len(), "gate widths");
        match activation {
            Activation::Silu => self.swiglu(gate, up),
            // SAFETY: as in `decode`.
            _ => unsafe { (self.gate)(gate, up, activation) },
        }
    }

    /// `x = cap * tanh(x / cap)`.
    pub fn softcap(&self, x: &mut [f32], cap: f32) {
        // SAFETY: as in `decode`.
        unsafe { (self.softcap)(x, cap) }
    }

    /// `x *= factor`.
    pub fn scale(&self, x: &mut [f32], factor: f32) {
        // SAFETY: as in `decode`.
        unsafe { (self.scale)(x, factor) }
    }

    /// `x += factor * y`, fused.
    pub fn add_scaled(&self, x: &mut [f32], y: &[f32], factor: f32) {
        assert_eq!(x.len(), y.len(), "add widths");
        // SAFETY: as in `decode`.
        unsafe { (self.add_scaled)(x, y, factor) }
    }

    /// `out += x * y`, fused.
    pub fn multiply_add(&self, out: &mut [f32], x: &[f32], y: &[f32]) {
        assert!(out.len() == x.len() && out.len() == y.len(), "product widths");
        // SAFETY: as in `decode`.
        unsafe { (self.multiply_add)(out, x, y) }
    }

    /// One token of a recurrence that decays as a whole.
    pub fn recur(&self, args: &mut RecurArgs) {
        let (rows, width) = (args.key.len(), args.value.len());
        assert!(args.state.len() == rows * width && args.query.len() == rows && args.out.len() == width, "recurrence shapes");
        // SAFETY: as in `decode`.
        unsafe { (self.recur)(args) }
    }

    /// One token of a recurrence that decays by elements.
    pub fn scan(&self, args: &mut ScanArgs) {
        let (rows, width) = (args.key.len(), args.value.len());
        assert!(args.state.len() == rows * width && args.decay.len() == rows * width, "scan state");
        assert!(args.query.len() == rows && args.step.len() == width && args.out.len() == width, "scan widths");
        // SAFETY: as in `decode`.
        unsafe { (self.scan)(args) }
    }

    /// `x += y`.
    pub fn add(&self, x: &mut [f32], y: &[f32]) {
        assert_eq!(x.len(), y.len(), "add widths");
        // SAFETY: as in `decode`.
        unsafe { (self.add)(x, y) }
    }

    /// Attention of a tile of queries over one block of an F16 cache.
    pub fn attend_f16(&self, args: &mut AttendArgs<f16>) {
        args.check();
        let entry = if args.adjust.is_some() { self.attend_adjusted_f16 } else { self.attend_f16 };
        // SAFETY: as in `decode`.
        unsafe { entry(args) }
    }

    /// Attention of a tile of queries over one block of an F32 cache.
    pub fn attend_f32(&self, args: &mut AttendArgs<f32>) {
        args.check();
        let entry = if args.adjust.is_some() { self.attend_adjusted_f32 } else { self.attend_f32 };
        // SAFETY: as in `decode`.
        unsafe { entry(args) }
    }

    /// Folds `next`, the state over later positions, into `total`.
    pub fn merge(&self, total: &mut Partial, next: &Partial, value_dim: usize) {
        total.check(next.max.len(), value_dim);
        next.check(next.max.len(), value_dim);
        // SAFETY: as in `decode`.
        unsafe { (self.merge)(total, next, value_dim) }
    }

    /// `out = acc / sum`, zeros where nothing was visible.
    pub fn normalize(&self, total: &Partial, value_dim: usize, out: &mut [f32]) {
        total.check(total.max.len(), value_dim);
        assert_eq!(out.len(), total.acc.len(), "output width");
        // SAFETY: as in `decode`.
        unsafe { (self.normalize)(total, value_dim, out) }
    }

    /// f32 to f16, to nearest even; what is out of range becomes the greatest finite value, so that a masked position
    /// times zero stays zero.
    pub fn narrow(&self, x: &[f32], out: &mut [f16]) {
        assert_eq!(x.len(), out.len(), "narrow widths");
        // SAFETY: as in `decode`.
        unsafe { (self.narrow)(x, out) }
    }
}

impl<T> AttendArgs<'_, T> {
    fn check(&self) {
        assert_eq!(self.query.len(), self.queries * self.head_dim, "query size");
        assert_eq!(self.keys.len(), self.head_dim * KV_BLOCK, "key block size");
        assert_eq!(self.values.len(), self.value_dim * KV_BLOCK, "value block size");
        assert_eq!(self.masks.len(), self.queries, "one mask per query");
        assert!(self.scores.len() >= score_scratch(self.queries), "score scratch");
        let per_query = |values: &[f32]| values.len() == self.queries;
        assert!(self.adjust.is_none_or(|adjust| per_query(adjust.slopes) && per_query(adjust.offsets)), "adjustments");
        self.out.check(self.queries, self.value_dim);
    }
}

impl Partial<'_> {
    fn check(&self, queries: usize, value_dim: usize) {
        assert!(self.max.len() == queries && self.sum.len() == queries, "softmax state size");
        assert_eq!(self.acc.len(), queries * value_dim, "accumulator size");
    }
}

impl Partial<'_> {
    /// The same state, borrowed for a shorter time.
    pub fn reborrow(&mut self) -> Partial<'_> {
        Partial { max: self.max, sum: self.sum, acc: self.acc }
    }
}
