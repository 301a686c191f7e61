//! Temperature and the draw.

use super::candidates::Candidates;

/// Draws a candidate with probability proportional to e^(logit / `temperature`), which is above 0, by inverting the
/// distribution at `point` in [0, 1).
pub(super) fn draw(candidates: &mut Candidates, temperature: f32, point: f64) -> i32 {
    let max = candidates.max();
    let mut total = 0.0;
    // The weights take the place of the logits, which have served.
    candidates.find(|_, logit| {
        *logit = libm::expf((*logit - max) / temperature);
        total += f64::from(*logit);
        false
    });
    let (mut sum, mut drawn) = (0.0, 0);
    candidates.find(|id, weight| {
        sum += f64::from(*weight);
        // Rounding can put the point on the very end: then the last token that can be drawn is.
        if *weight > 0.0 {
            drawn = id;
        }
        sum > point * total
    });
    drawn as i32
}
