//! Tables whose entries count how often they are entered, for the proof that a level ran.

use super::*;
use crate::quant::all_formats;
use std::ptr::fn_addr_eq;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The tables of the levels that were marked so far.
static ORIGINALS: [OnceLock<Kernels>; Level::ALL.len()] = [const { OnceLock::new() }; Level::ALL.len()];
/// Which of them marked entries call: one at a time.
static ORIGINAL: AtomicUsize = AtomicUsize::new(0);
static ENTRIES: [AtomicUsize; NAMES.len()] = [const { AtomicUsize::new(0) }; NAMES.len()];
static PRODUCTS: [AtomicUsize; Dtype::COUNT] = [const { AtomicUsize::new(0) }; Dtype::COUNT];
static ROWS: [AtomicUsize; Dtype::COUNT] = [const { AtomicUsize::new(0) }; Dtype::COUNT];

fn original() -> &'static Kernels {
    ORIGINALS[ORIGINAL.load(Ordering::Relaxed)].get().expect("marked entries are in tables that `marked` made")
}

unsafe fn matmul<const DTYPE: usize>(args: &MatmulArgs) {
    PRODUCTS[DTYPE].fetch_add(1, Ordering::Relaxed);
    // SAFETY: the caller's promise.
    unsafe { original().matmul[DTYPE].unwrap()(args) }
}

unsafe fn decode<const DTYPE: usize>(bytes: &[u8], out: &mut [f32]) {
    ROWS[DTYPE].fetch_add(1, Ordering::Relaxed);
    // SAFETY: the caller's promise.
    unsafe { original().decode[DTYPE].unwrap()(bytes, out) }
}

macro_rules! entries {
    ($($entry:ident($($arg:ident: $type:ty),*);)*) => {
        const NAMES: &[&str] = &[$(stringify!($entry)),*];

        #[allow(non_camel_case_types)]
        enum Entry { $($entry),* }

        $(unsafe fn $entry($($arg: $type),*) {
            ENTRIES[Entry::$entry as usize].fetch_add(1, Ordering::Relaxed);
            // SAFETY: the caller's promise.
            unsafe { (original().$entry)($($arg),*) }
        })*

        fn mark(kernels: &mut Kernels) {
            $(kernels.$entry = $entry;)*
        }

        /// Whether both tables have the same functions.
        pub(crate) fn same(a: &Kernels, b: &Kernels) -> bool {
            let products = a.matmul.iter().zip(&b.matmul).all(|pair| match pair {
                (Some(a), Some(b)) => fn_addr_eq(*a, *b),
                (a, b) => a.is_none() && b.is_none(),
            });
            products $(&& fn_addr_eq(a.$entry, b.$entry))*
        }
    };
}
entries! {
    quantize(x: &[f32; BLOCK], block: &mut ActBlock, precision: Precision);
    pair(block: &ActBlock, pair: &mut PairBlock, reach: u16);
    rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]);
    layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]);
    rope(head: &mut [f32], cos: &[f32], sin: &[f32], style: RopeStyle);
    swiglu(gate: &mut [f32], up: &[f32]);
    activate(x: &mut [f32], activation: Activation);
    gate(gate: &mut [f32], up: &[f32], activation: Activation);
    softcap(x: &mut [f32], cap: f32);
    add(x: &mut [f32], y: &[f32]);
    add_scaled(x: &mut [f32], y: &[f32], factor: f32);
    scale(x: &mut [f32], factor: f32);
    attend_f16(args: &mut AttendArgs<f16>);
    attend_f32(args: &mut AttendArgs<f32>);
    attend_adjusted_f16(args: &mut AttendArgs<f16>);
    attend_adjusted_f32(args: &mut AttendArgs<f32>);
    merge(total: &mut Partial, next: &Partial, value_dim: usize);
    normalize(total: &Partial, value_dim: usize, out: &mut [f32]);
    narrow(x: &[f32], out: &mut [f16]);
    multiply_add(out: &mut [f32], x: &[f32], y: &[f32]);
    recur(args: &mut RecurArgs);
    scan(args: &mut ScanArgs);
}

/// The table of a level, marked; all counts are 0. Another one must not be in use.
pub(crate) fn marked(level: Level) -> Kernels {
    let mut kernels = Kernels::for_level(level);
    mark(&mut kernels);
    macro_rules! types {
        ($($name:ident)*) => { $({
            const DTYPE: usize = Dtype::$name as usize;
            kernels.matmul[DTYPE] = kernels.matmul[DTYPE].map(|_| matmul::<DTYPE> as MatmulFn);
            kernels.decode[DTYPE] = kernels.decode[DTYPE].map(|_| decode::<DTYPE> as DecodeFn);
        })* };
    }
    all_formats! { types }
    types! { F32 F16 BF16 }
    ENTRIES.iter().chain(&PRODUCTS).chain(&ROWS).for_each(|count| count.store(0, Ordering::Relaxed));
    ORIGINALS[level as usize].get_or_init(|| Kernels::for_level(level));
    ORIGINAL.store(level as usize, Ordering::Relaxed);
    kernels
}

/// The marked entries that were entered, and how often.
pub(crate) fn entered() -> Vec<(String, usize)> {
    let types = |what: &'static str, counts: &'static [AtomicUsize]| {
        Dtype::ALL.iter().zip(counts).map(move |(dtype, count)| (format!("{what} {dtype}"), count))
    };
    let entries = NAMES.iter().map(|name| (*name).to_owned()).zip(&ENTRIES);
    let all = entries.chain(types("matmul", &PRODUCTS)).chain(types("decode", &ROWS));
    all.map(|(name, count)| (name, count.load(Ordering::Relaxed))).filter(|&(_, count)| count > 0).collect()
}
