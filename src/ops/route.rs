//! Routing: which experts a token goes to, and how much each of them counts.
//!
//! Sources: Mixtral (Jiang et al. 2024), DeepSeek-V2 and V3 (DeepSeek-AI 2024: groups, sigmoid scores, selection bias).

use std::cmp::Ordering;

/// What router logits become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    /// Probabilities over all experts.
    Softmax,
    /// Each by itself.
    Sigmoid,
    /// Probabilities over the selected experts alone.
    SoftmaxOfSelected,
}

/// How a layer selects experts.
#[derive(Clone, Debug)]
pub struct Router {
    /// Experts of the layer.
    pub experts: usize,
    /// Experts of a token; at most `experts`.
    pub used: usize,
    /// What logits become.
    pub scoring: Scoring,
    /// Added to scores for the selection alone, one per expert.
    pub bias: Option<Vec<f32>>,
    /// Groups that experts are divided into, at most 64, a divisor of `experts`; 1: none.
    pub groups: usize,
    /// Groups that a token may select from.
    pub groups_used: usize,
    /// Whether the weights of a token are divided by their sum.
    pub normalize: bool,
    /// Multiplies the weights.
    pub scale: f32,
}

/// An expert of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pick {
    /// Its index.
    pub expert: u32,
    /// How much it counts.
    pub weight: f32,
}

impl Router {
    /// Selects the experts of one token, in ascending order. Of equal scores the lower index wins.
    ///
    /// # Panics
    /// When `logits` or `scores` is not one value per expert, or `picks` not one per selected expert.
    pub fn route(&self, logits: &[f32], scores: &mut [f32], picks: &mut [Pick]) {
        assert!(logits.len() == self.experts && scores.len() == self.experts && picks.len() == self.used, "router widths");
        scores.copy_from_slice(logits);
        match self.scoring {
            Scoring::Softmax => softmax(scores, |x| x),
            Scoring::Sigmoid => scores.iter_mut().for_each(|x| *x = 1.0 / (1.0 + libm::expf(-*x))),
            Scoring::SoftmaxOfSelected => {}
        }
        let choice = |expert: usize| scores[expert] + self.bias.as_ref().map_or(0.0, |bias| bias[expert]);
        let (groups, size) = (self.groups(&choice), self.experts / self.groups);

        // Sorted by falling choice; whoever stands in the list stays in front of an equal.
        let mut found = 0;
        for expert in (0..self.experts).filter(|expert| groups >> (expert / size) & 1 == 1) {
            let weight = choice(expert);
            let place = picks[..found]
                .iter()
                .rposition(|pick| weight.partial_cmp(&pick.weight) != Some(Ordering::Greater))
                .map_or(0, |last| last + 1);
            if place < picks.len() {
                found = (found + 1).min(picks.len());
                picks[place..found].rotate_right(1);
                picks[place] = Pick { expert: expert as u32, weight };
            }
        }

        picks.iter_mut().for_each(|pick| pick.weight = scores[pick.expert as usize]);
        if self.scoring == Scoring::SoftmaxOfSelected {
            softmax(picks, |pick| &mut pick.weight);
        } else if self.normalize {
            let sum: f32 = picks.iter().map(|pick| pick.weight).sum();
            picks.iter_mut().for_each(|pick| pick.weight /= sum.max(f32::MIN_POSITIVE));
        }
        picks.iter_mut().for_each(|pick| pick.weight *= self.scale);
        picks.sort_unstable_by_key(|pick| pick.expert);
    }

    /// The groups to select from, as bits: those of the greatest best choice or, with sigmoid scores, of the greatest sum of
    /// the best two.
    fn groups(&self, choice: &impl Fn(usize) -> f32) -> u64 {
        if self.groups_used >= self.groups {
            return u64::MAX;
        }
        let size = self.experts / self.groups;
        let value = |group: usize| {
            let (mut best, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
            for x in (group * size..(group + 1) * size).map(choice) {
                (best, second) = if x > best { (x, best) } else { (best, second.max(x)) };
            }
            if self.scoring == Scoring::Sigmoid && size > 1 { best + second } else { best }
        };
        let mut chosen = 0u64;
        for _ in 0..self.groups_used {
            let left = (0..self.groups).filter(|group| chosen >> group & 1 == 0);
            let best = left.reduce(|best, group| if value(group) > value(best) { group } else { best });
            chosen |= best.map_or(0, |group| 1 << group);
        }
        chosen
    }
}

/// Each value's `exp` over the sum of all, which is taken in ascending order.
pub(super) fn softmax<T>(values: &mut [T], at: impl Fn(&mut T) -> &mut f32) {
    let max = values.iter_mut().fold(f32::NEG_INFINITY, |max, value| max.max(*at(value)));
    let mut sum = 0.0;
    for value in &mut *values {
        let x = at(value);
        *x = libm::expf(*x - max);
        sum += *x;
    }
    values.iter_mut().for_each(|value| *at(value) /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(router: &Router, logits: &[f32]) -> Vec<(u32, f32)> {
        let (mut scores, mut picks) = (vec![0.0; router.experts], vec![Pick::default(); router.used]);
        router.route(logits, &mut scores, &mut picks);
        picks.iter().map(|pick| (pick.expert, pick.weight)).collect()
    }

    fn router(experts: usize, used: usize, scoring: Scoring) -> Router {
        Router { experts, used, scoring, bias: None, groups: 1, groups_used: 1, normalize: false, scale: 1.0 }
    }

    #[track_caller]
    fn assert_picks(got: &[(u32, f32)], want: &[(u32, f32)]) {
        assert!(got.len() == want.len(), "{got:?}");
        assert!(got.iter().zip(want).all(|(got, want)| got.0 == want.0 && (got.1 - want.1).abs() < 1e-6), "{got:?}, {want:?}");
    }

    /// Logits whose exponentials are 1, 4, 2, 4, 5: of 16 together.
    fn logits() -> Vec<f32> {
        [1.0f32, 4.0, 2.0, 4.0, 5.0].iter().map(|x| x.ln()).collect()
    }

    #[test]
    fn the_best_are_selected_and_weighted() {
        let softmax = router(5, 2, Scoring::Softmax);
        assert_picks(&route(&softmax, &logits()), &[(1, 4.0 / 16.0), (4, 5.0 / 16.0)]);
        let normalized = Router { normalize: true, scale: 2.0, ..softmax.clone() };
        assert_picks(&route(&normalized, &logits()), &[(1, 8.0 / 9.0), (4, 10.0 / 9.0)]);
        let selected = router(5, 3, Scoring::SoftmaxOfSelected);
        assert_picks(&route(&selected, &logits()), &[(1, 4.0 / 13.0), (3, 4.0 / 13.0), (4, 5.0 / 13.0)]);
        let sigmoid = router(5, 5, Scoring::Sigmoid);
        assert_picks(&route(&sigmoid, &logits()), &[(0, 0.5), (1, 0.8), (2, 2.0 / 3.0), (3, 0.8), (4, 5.0 / 6.0)]);
        // The bias selects, but does not weigh.
        let biased = Router { bias: Some(vec![1.0, 0.0, 1.0, 0.0, 0.0]), ..softmax };
        assert_picks(&route(&biased, &logits()), &[(0, 1.0 / 16.0), (2, 2.0 / 16.0)]);
    }

    #[test]
    fn groups_limit_the_selection() {
        let logits: Vec<f32> = [8.0f32, 1.0, 5.0, 6.0, 7.0, 1.0].iter().map(|x| x.ln()).collect();
        // Greatest best: groups 0 and 2. Greatest sum of two, by sigmoid: group 1.
        let softmax = Router { groups: 3, groups_used: 2, ..router(6, 3, Scoring::Softmax) };
        assert_eq!(route(&softmax, &logits).iter().map(|pick| pick.0).collect::<Vec<_>>(), [0, 1, 4]);
        let sigmoid = Router { groups: 3, groups_used: 1, ..router(6, 2, Scoring::Sigmoid) };
        assert_eq!(route(&sigmoid, &logits).iter().map(|pick| pick.0).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn odd_numbers_select_experts_all_the_same() {
        for logits in [[f32::NAN; 5], [f32::INFINITY; 5], [f32::NEG_INFINITY; 5]] {
            for scoring in [Scoring::Softmax, Scoring::Sigmoid, Scoring::SoftmaxOfSelected] {
                let picks = route(&router(5, 2, scoring), &logits);
                assert_eq!(picks.iter().map(|pick| pick.0).collect::<Vec<_>>(), [0, 1], "{scoring:?}");
            }
        }
    }
}
