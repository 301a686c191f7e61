//! Top-p, or nucleus: the best tokens that reach a given probability together.

use super::candidates::Candidates;

/// Cuts to the fewest best tokens, at least one, whose probabilities reach `p`; 1 is off.
pub(super) fn keep(candidates: &mut Candidates, p: f32) {
    if p >= 1.0 {
        return;
    }
    let (p, total) = (f64::from(p), candidates.mass());
    // Weights of at most (1 - p) total / count add up to less than what may be left out, so tokens below that are never
    // needed; the margin of 1 is for rounding.
    let least = libm::log((1.0 - p) * total / candidates.len() as f64) - 1.0;
    let max = candidates.max();
    candidates.keep_above(max + least as f32);
    candidates.keep_mass(p * total);
}
