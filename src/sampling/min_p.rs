//! Min-p: the tokens whose probability is not too far below the best one's.

use super::candidates::Candidates;

/// Cuts to the tokens of at least `p` times the probability of the best; 0 is off. A ratio of probabilities is a difference
/// of logits, so no softmax is needed.
pub(super) fn keep(candidates: &mut Candidates, p: f32) {
    if p > 0.0 {
        let max = candidates.max();
        candidates.keep_above(max + libm::logf(p));
    }
}
