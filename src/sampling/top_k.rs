//! Top-k: the k best tokens.

use super::candidates::Candidates;

/// Cuts to the `k` best; 0 is off.
pub(super) fn keep(candidates: &mut Candidates, k: usize) {
    if k > 0 {
        candidates.keep_best(k);
    }
}
