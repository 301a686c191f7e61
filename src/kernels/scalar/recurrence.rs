//! Linear recurrences: one token of one head of a state-space or linear-attention layer.
//!
//! Sources: Mamba (Gu and Dao, arXiv 2312.00752), Mamba-2 (Dao and Gu, arXiv 2405.21060), gated delta networks (Yang et al.,
//! arXiv 2412.06464).

use super::exp::exp;
use crate::kernels::{RecurArgs, ScanArgs};

/// Columns at a time: what goes with them stays in the nearest cache while the rows of a state go by.
const TILE: usize = 128;

/// Per column: with D = `exp(decay)`,
///
/// - added: `rate * value` or, by the delta rule, `rate * fma(-D, r, value)`, where r is one fma chain of `key * state` ascending
///   over rows, from +0;
/// - state: `fma(key, added, state * D)` in every row;
/// - out: one fma chain of `query * state` ascending over rows, from +0.
#[inline(always)]
pub(in crate::kernels) fn recur(args: &mut RecurArgs) {
    let (width, decay) = (args.value.len(), exp(args.decay));
    for first in (0..width).step_by(TILE) {
        let columns = first..width.min(first + TILE);
        let mut added = [0.0; TILE];
        let added = &mut added[..columns.len()];
        if args.delta {
            for (&key, row) in args.key.iter().zip(args.state.chunks_exact(width)) {
                for (read, &state) in added.iter_mut().zip(&row[columns.clone()]) {
                    *read = key.mul_add(state, *read);
                }
            }
            for (added, &value) in added.iter_mut().zip(&args.value[columns.clone()]) {
                *added = (-decay).mul_add(*added, value);
            }
        } else {
            added.copy_from_slice(&args.value[columns.clone()]);
        }
        added.iter_mut().for_each(|added| *added *= args.rate);

        let out = &mut args.out[columns.clone()];
        out.fill(0.0);
        for ((&key, &query), row) in args.key.iter().zip(args.query).zip(args.state.chunks_exact_mut(width)) {
            for ((state, &added), out) in row[columns.clone()].iter_mut().zip(&*added).zip(&mut *out) {
                *state = key.mul_add(added, *state * decay);
                *out = query.mul_add(*state, *out);
            }
        }
    }
}

/// Per column and row: with D = `exp(step * decay)`, state becomes `fma(key, step * value, state * D)`; out: one fma chain of
/// `query * state` ascending over rows, from +0.
#[inline(always)]
pub(in crate::kernels) fn scan(args: &mut ScanArgs) {
    let width = args.value.len();
    args.out.fill(0.0);
    let rows = args.state.chunks_exact_mut(width).zip(args.decay.chunks_exact(width));
    for ((&key, &query), (row, decay)) in args.key.iter().zip(args.query).zip(rows) {
        let columns = row.iter_mut().zip(decay).zip(args.step).zip(args.value).zip(&mut *args.out);
        for ((((state, decay), step), value), out) in columns {
            *state = key.mul_add(step * value, *state * exp(step * decay));
            *out = query.mul_add(*state, *out);
        }
    }
}
