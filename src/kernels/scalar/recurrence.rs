//! Linear recurrences: one token of one head of a state-space or linear-attention layer.
//!
//! Sources: Mamba (Gu and Dao, arXiv 2312.00752), Mamba-2 (Dao and Gu, arXiv 2405.21060), gated delta networks (Yang et al.,
//! arXiv 2412.06464).

use super::exp::exp;
use super::lanes::LANES;
use crate::kernels::{RecurArgs, ScanArgs};

/// Columns that stay in registers while the rows of a state go by, in units of the virtual lanes.
const TILE: usize = 4;

/// Per column: with D = `exp(decay)`,
///
/// - added: `rate * value` or, by the delta rule, `rate * fma(-D, r, value)`, where r is one fma chain of `key * state` ascending
///   over rows, from +0;
/// - state: `fma(key, added, state * D)` in every row;
/// - out: one fma chain of `query * state` ascending over rows, from +0.
#[inline(always)]
pub(in crate::kernels) fn recur(args: &mut RecurArgs) {
    let (width, decay) = (args.value.len(), exp(args.decay));
    let whole = width - width % LANES;
    for first in (0..whole - whole % (TILE * LANES)).step_by(TILE * LANES) {
        recur_columns::<TILE, LANES>(args, decay, first);
    }
    for first in (whole - whole % (TILE * LANES)..whole).step_by(LANES) {
        recur_columns::<1, LANES>(args, decay, first);
    }
    for first in whole..width {
        recur_columns::<1, 1>(args, decay, first);
    }
}

/// The columns `first..first + T * N`.
#[inline(always)]
fn recur_columns<const T: usize, const N: usize>(args: &mut RecurArgs, decay: f32, first: usize) {
    let (width, columns) = (args.value.len(), first..first + T * N);
    let mut added = load::<T, N>(&args.value[columns.clone()]);
    if args.delta {
        let mut read = [[0.0; N]; T];
        for (&key, row) in args.key.iter().zip(args.state.chunks_exact(width)) {
            let row = row[columns.clone()].as_chunks::<N>().0;
            for (read, row) in read.iter_mut().zip(row) {
                for (read, &state) in read.iter_mut().zip(row) {
                    *read = key.mul_add(state, *read);
                }
            }
        }
        for (added, read) in added.as_flattened_mut().iter_mut().zip(read.as_flattened()) {
            *added = (-decay).mul_add(*read, *added);
        }
    }
    added.as_flattened_mut().iter_mut().for_each(|added| *added *= args.rate);

    let mut out = [[0.0; N]; T];
    for ((&key, &query), row) in args.key.iter().zip(args.query).zip(args.state.chunks_exact_mut(width)) {
        let row = row[columns.clone()].as_chunks_mut::<N>().0;
        for ((out, added), row) in out.iter_mut().zip(&added).zip(row) {
            for ((out, &added), state) in out.iter_mut().zip(added).zip(row) {
                *state = key.mul_add(added, *state * decay);
                *out = query.mul_add(*state, *out);
            }
        }
    }
    args.out[columns].copy_from_slice(out.as_flattened());
}

/// Per column and row: with D = `exp(step * decay)`, state becomes `fma(key, step * value, state * D)`; out: one fma chain of
/// `query * state` ascending over rows, from +0.
#[inline(always)]
pub(in crate::kernels) fn scan(args: &mut ScanArgs) {
    let width = args.value.len();
    let whole = width - width % LANES;
    for first in (0..whole).step_by(LANES) {
        scan_columns::<LANES>(args, first);
    }
    for first in whole..width {
        scan_columns::<1>(args, first);
    }
}

/// The columns `first..first + N`.
#[inline(always)]
fn scan_columns<const N: usize>(args: &mut ScanArgs, first: usize) {
    let (width, columns) = (args.value.len(), first..first + N);
    let [step] = load::<1, N>(&args.step[columns.clone()]);
    let [mut added] = load::<1, N>(&args.value[columns.clone()]);
    added.iter_mut().zip(&step).for_each(|(added, step)| *added *= step);
    let mut out = [0.0; N];
    let rows = args.state.chunks_exact_mut(width).zip(args.decay.chunks_exact(width));
    for ((&key, &query), (state, decay)) in args.key.iter().zip(args.query).zip(rows) {
        let (state, decay) = (&mut state[columns.clone()], &decay[columns.clone()]);
        for (column, (state, decay)) in state.iter_mut().zip(decay).enumerate() {
            *state = key.mul_add(added[column], *state * exp(step[column] * decay));
            out[column] = query.mul_add(*state, out[column]);
        }
    }
    args.out[columns].copy_from_slice(&out);
}

#[inline(always)]
fn load<const T: usize, const N: usize>(values: &[f32]) -> [[f32; N]; T] {
    let mut lanes = [[0.0; N]; T];
    lanes.as_flattened_mut().copy_from_slice(values);
    lanes
}
