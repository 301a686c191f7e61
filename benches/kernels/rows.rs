//! What works on rows: limited at best by what the second-level cache gives and takes.

use crate::ceiling::RESIDENT;
use crate::report::{Limit, Report, Work};
use crate::{bytes, floats};
use chord::cpu::Level;
use chord::kernels::{Activation, Kernels, RecurArgs, RopeStyle, ScanArgs};
use chord::quant::{ActBlock, BLOCK, Precision};
use chord::tensor::Dtype;
use half::f16;

/// Values of a row.
const WIDTH: usize = 2048;
/// Rows of each of up to three matrices.
const ROWS: usize = RESIDENT / (3 * 4 * WIDTH);

pub fn all(report: &mut Report, levels: &[Kernels]) {
    for kernels in levels {
        normal(report, kernels);
        elementwise(report, kernels);
        converting(report, kernels);
        recurrent(report, kernels);
    }
}

/// The work of reading and writing `values` f32 per value of all rows.
fn work(values: usize) -> Work {
    Work::new(Limit::Cache, 4 * values * ROWS * WIDTH)
}

fn normal(report: &mut Report, kernels: &Kernels) {
    let (x, weight, mut out) = (floats(ROWS * WIDTH), floats(WIDTH), floats(ROWS * WIDTH));
    let mut measure = |name: &str, call: &mut dyn FnMut(&[f32], &mut [f32])| {
        report.measure("rows", name, kernels.level(), work(2), || {
            x.chunks(WIDTH).zip(out.chunks_mut(WIDTH)).for_each(|(x, out)| call(x, out));
        });
    };
    measure("rms_norm", &mut |x, out| kernels.rms_norm(x, &weight, 1e-5, out));
    measure("layer_norm", &mut |x, out| kernels.layer_norm(x, &weight, &weight, 1e-5, out));
}

/// Entries that change a row in place get a fresh one each time where repetition would lead to zeros or infinities: the
/// copy, from cache to cache, is a part of what is measured.
fn elementwise(report: &mut Report, kernels: &Kernels) {
    let (x, y, mut out) = (floats(ROWS * WIDTH), floats(ROWS * WIDTH), floats(ROWS * WIDTH));
    let mut measure = |name: &str, fresh: bool, values: usize, call: &mut dyn FnMut(&mut [f32], &[f32])| {
        report.measure("rows", name, kernels.level(), work(values), || {
            for ((x, y), out) in x.chunks(WIDTH).zip(y.chunks(WIDTH)).zip(out.chunks_mut(WIDTH)) {
                if fresh {
                    out.copy_from_slice(x);
                }
                call(out, y);
            }
        });
    };
    measure("swiglu", true, 3, &mut |x, y| kernels.swiglu(x, y));
    measure("gate GeluTanh", true, 3, &mut |x, y| kernels.gate(x, y, Activation::GeluTanh));
    for activation in [
        Activation::Softplus,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Silu,
        Activation::GeluTanh,
        Activation::GeluErf,
        Activation::ReluSquared,
        Activation::ClampedSilu,
    ] {
        measure(&format!("activate {activation:?}"), true, 2, &mut |x, _| kernels.activate(x, activation));
    }
    measure("softcap", true, 2, &mut |x, _| kernels.softcap(x, 30.0));
    measure("add", false, 3, &mut |x, y| kernels.add(x, y));
    measure("add_scaled", false, 3, &mut |x, y| kernels.add_scaled(x, y, 0.5));
    measure("multiply_add", false, 3, &mut |x, y| kernels.multiply_add(x, y, y));
    measure("scale", false, 2, &mut |x, _| kernels.scale(x, -1.0));
    const HEAD: usize = 64;
    for style in [RopeStyle::Interleaved, RopeStyle::Halves] {
        // No growth: the cosine of 0 and the sine of 0.
        let (cos, sin) = ([1.0; HEAD / 2], [0.0; HEAD / 2]);
        measure(&format!("rope {style:?}"), false, 2, &mut |x, _| {
            x.chunks_mut(HEAD).for_each(|head| kernels.rope(head, &cos, &sin, style));
        });
    }
}

fn converting(report: &mut Report, kernels: &Kernels) {
    let (x, level) = (floats(ROWS * WIDTH), kernels.level());
    let mut half = vec![f16::ZERO; ROWS * WIDTH];
    let narrow = Work::new(Limit::Cache, 6 * x.len());
    report.measure("rows", "narrow", level, narrow, || kernels.narrow(&x, &mut half));
    let mut blocks = vec![ActBlock::ZERO; (ROWS * WIDTH).div_ceil(BLOCK)];
    for (precision, bytes) in [(Precision::High, 6), (Precision::Fast, 5)] {
        let work = Work::new(Limit::Cache, bytes * x.len());
        report.measure("rows", &format!("quantize {precision:?}"), level, work, || {
            x.chunks(BLOCK).zip(&mut blocks).for_each(|(x, block)| kernels.quantize(x, block, precision));
        });
    }
    // Levels share the entries for rows of embeddings.
    for dtype in [Dtype::F16, Dtype::Q4_0, Dtype::Q8_0, Dtype::Q4_K, Dtype::Q6_K].into_iter().filter(|_| level == Level::Scalar) {
        let weights = bytes(dtype.row_bytes(ROWS * WIDTH).expect("whole blocks"));
        let (mut out, work) = (vec![0.0; ROWS * WIDTH], Work::new(Limit::Cache, weights.len() + 4 * ROWS * WIDTH));
        report.measure("rows", &format!("decode {dtype}"), level, work, || kernels.decode(dtype, &weights, &mut out));
    }
}

/// One token of a head of linear attention, and of some channels of a state space: shapes of Qwen3-Next and of Mamba.
fn recurrent(report: &mut Report, kernels: &Kernels) {
    let (heads, rows, width) = (4, 128, 128);
    let mut states = floats(heads * rows * width);
    let (key, value, mut out) = (vec![0.01; rows], floats(width), floats(width));
    let moved = Work::new(Limit::Cache, 8 * states.len());
    for (name, delta) in [("recur", false), ("recur, delta rule", true)] {
        report.measure("rows", name, kernels.level(), moved, || {
            for state in states.chunks_mut(rows * width) {
                let (key, query, value, out) = (&key, &key, &value, &mut out);
                kernels.recur(&mut RecurArgs { state, key, query, value, decay: -0.01, rate: 0.5, delta, out });
            }
        });
    }
    let (rows, width, parts) = (16, 64, 32);
    let (mut states, decay) = (floats(parts * rows * width), vec![-0.01; parts * rows * width]);
    let (key, step, value, mut out) = (vec![0.1; rows], vec![0.5; width], floats(width), floats(width));
    let moved = Work::new(Limit::Cache, 12 * states.len());
    report.measure("rows", "scan", kernels.level(), moved, || {
        for (state, decay) in states.chunks_mut(rows * width).zip(decay.chunks(rows * width)) {
            let (step, key, query, value, out) = (&step, &key, &key, &value, &mut out);
            kernels.scan(&mut ScanArgs { state, decay, step, key, query, value, out });
        }
    });
}
