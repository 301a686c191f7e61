//! The chain against a naive one that sorts everything, in f64 where it is about distributions.

use super::*;

/// Numbers for tests, not for sampling: a multiplicative generator (L'Ecuyer 1999) whose upper half is good enough.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        unit(self.0)
    }

    fn logits(&mut self, count: usize, spread: f64) -> Vec<f32> {
        // A sum of four is bell-shaped enough; the rounding makes ties.
        (0..count).map(|_| ((0..4).map(|_| self.next() - 0.5).sum::<f64>() * spread * 8.0).round() as f32 / 8.0).collect()
    }
}

fn new_sampler(options: &SamplerOptions, vocab: usize) -> Result<Sampler> {
    Sampler::new(&mut Memory::system(), options, vocab, 0)
}

fn options(change: impl FnOnce(&mut SamplerOptions)) -> SamplerOptions {
    let mut options = SamplerOptions { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, ..SamplerOptions::default() };
    change(&mut options);
    options
}

/// The chain as its documentation says it: the kept tokens in ascending order with their probabilities.
fn reference(options: &SamplerOptions, history: &[i32], logits: &[f32]) -> Vec<(usize, f64)> {
    let mut logits = logits.to_vec();
    let recent = &history[history.len().saturating_sub(options.penalty_window)..];
    for (id, logit) in logits.iter_mut().enumerate() {
        let count = recent.iter().filter(|&&token| token as usize == id).count();
        if count > 0 {
            *logit *= if *logit > 0.0 { 1.0 / options.repetition_penalty } else { options.repetition_penalty };
            *logit -= count as f32 * options.frequency_penalty + options.presence_penalty;
        }
    }
    let mut ranked: Vec<usize> = (0..logits.len()).collect();
    ranked.sort_by(|&a, &b| logits[b].partial_cmp(&logits[a]).unwrap().then(a.cmp(&b)));
    let max = f64::from(logits[ranked[0]]);
    let weights = |kept: &[usize], temperature: f64| -> Vec<f64> {
        kept.iter().map(|&id| ((f64::from(logits[id]) - max) / temperature).exp()).collect()
    };
    if options.temperature == 0.0 {
        return vec![(ranked[0], 1.0)];
    }
    if options.top_k > 0 {
        ranked.truncate(options.top_k);
    }
    if options.top_p < 1.0 {
        let weights = weights(&ranked, 1.0);
        let mass = f64::from(options.top_p) * weights.iter().sum::<f64>();
        let mut sum = 0.0;
        let kept = weights
            .iter()
            .position(|weight| {
                sum += weight;
                sum >= mass
            })
            .map_or(ranked.len(), |last| last + 1);
        ranked.truncate(kept);
    }
    ranked.retain(|&id| f64::from(logits[id]) >= max + f64::from(options.min_p).ln());
    ranked.sort_unstable();
    let weights = weights(&ranked, f64::from(options.temperature));
    let total: f64 = weights.iter().sum();
    ranked.into_iter().zip(weights).map(|(id, weight)| (id, weight / total)).collect()
}

/// Where the reference distribution puts `point`; none when it is too close to a border to tell in f32.
fn invert(distribution: &[(usize, f64)], point: f64) -> Option<i32> {
    let mut sum = 0.0;
    for &(id, probability) in distribution {
        sum += probability;
        if (sum - point).abs() < 1e-6 {
            return None;
        }
        if sum > point {
            return Some(id as i32);
        }
    }
    None
}

#[test]
fn chain_equals_the_naive_one() {
    let mut numbers = Numbers(1);
    let mut compared = 0;
    for trial in 0..6_000 {
        let vocab = [1, 2, 63, 64, 65, 300, 3_000][trial % 7];
        let mut logits = numbers.logits(vocab, [0.0, 1.0, 8.0][trial % 3]);
        if trial % 5 == 0 {
            logits.iter_mut().skip(1).step_by(2).for_each(|logit| *logit = f32::NEG_INFINITY);
        }
        let mut choose = |values: &[f32]| values[(numbers.next() * values.len() as f64) as usize];
        let options = options(|options| {
            options.temperature = choose(&[0.0, 0.3, 1.0, 2.5]);
            options.top_k = choose(&[0.0, 1.0, 2.0, 40.0, 64.0, 65.0, 1_000.0, 1e6]) as usize;
            options.top_p = choose(&[0.0, 0.1, 0.5, 0.913, 0.9971, 1.0]);
            options.min_p = choose(&[0.0, 0.013, 0.2, 1.0]);
            options.repetition_penalty = choose(&[1.0, 2.0, 0.5]);
            options.frequency_penalty = choose(&[0.0, 0.25, -0.5]);
            options.presence_penalty = choose(&[0.0, 0.5, -1.0]);
            options.penalty_window = choose(&[0.0, 1.0, 5.0, 1e6]) as usize;
            options.seed = trial as u64;
        });
        let mut sampler = new_sampler(&options, vocab).unwrap();
        let history: Vec<i32> = (0..trial % 9).map(|_| (numbers.next() * vocab as f64 * 1.1) as i32).collect();
        history.iter().for_each(|&token| sampler.accept(token).unwrap());
        let distribution = reference(&options, &history, &logits);
        let token = sampler.sample(&logits).unwrap();
        let mut random = sampler.random.clone();
        random.set_word_pos(2 * history.len() as u128);
        if options.temperature == 0.0 {
            assert_eq!(token, distribution[0].0 as i32, "{options:?}");
        } else if let Some(expected) = invert(&distribution, unit(random.next_u64())) {
            assert_eq!(token, expected, "{options:?} {history:?}");
            compared += 1;
        }
        // Asking changes nothing.
        assert_eq!(sampler.sample(&logits).unwrap(), token);
    }
    assert!(compared > 4_000, "{compared}");
}

#[test]
fn draws_follow_the_distribution() {
    let logits = Numbers(7).logits(200, 5.0);
    for change in [
        (|options| options.temperature = 1.7) as fn(&mut SamplerOptions),
        |options| (options.top_k, options.temperature) = (12, 0.6),
        |options| (options.top_p, options.min_p) = (0.9, 0.02),
    ] {
        let options = options(change);
        let mut sampler = new_sampler(&options, logits.len()).unwrap();
        let mut counts = vec![0.0f64; logits.len()];
        let draws = 50_000;
        for _ in 0..draws {
            let token = sampler.sample(&logits).unwrap();
            counts[token as usize] += 1.0;
            sampler.accept(token).unwrap();
        }
        let distribution = reference(&options, &[], &logits);
        // Cells of few expected draws are not chi-square distributed; together they form one.
        let (mut statistic, mut cells, mut rare) = (0.0, 0, (0.0, 0.0));
        let mut add = |seen: f64, expected: f64| {
            statistic += (seen - expected).powi(2) / expected;
            cells += 1;
        };
        for (id, probability) in distribution {
            let (seen, expected) = (counts[id], probability * f64::from(draws));
            counts[id] = 0.0;
            if expected >= 10.0 { add(seen, expected) } else { rare = (rare.0 + seen, rare.1 + expected) }
        }
        if rare.1 >= 10.0 {
            add(rare.0, rare.1);
        }
        assert_eq!(counts.iter().sum::<f64>(), 0.0, "drew a token that was cut");
        // Mean plus four standard deviations of the chi-square distribution.
        let freedom = f64::from(cells - 1);
        assert!(statistic < freedom + 4.0 * (2.0 * freedom).sqrt(), "chi-square {statistic} of {freedom}");
    }
}

#[test]
fn rewinding_repeats() {
    let options = options(|options| {
        options.repetition_penalty = 1.3;
        options.penalty_window = 5;
    });
    let mut numbers = Numbers(3);
    let logits: Vec<Vec<f32>> = (0..40).map(|_| numbers.logits(500, 3.0)).collect();
    let mut sampler = new_sampler(&options, 500).unwrap();
    let run = |sampler: &mut Sampler| -> Vec<i32> {
        let from = sampler.position();
        let step = |logits: &Vec<f32>| {
            let token = sampler.sample(logits).unwrap();
            sampler.accept(token).unwrap();
            token
        };
        logits[from..].iter().map(step).collect()
    };
    let all = run(&mut sampler);
    for position in [40, 39, 17, 3, 0] {
        sampler.rewind(position);
        assert_eq!(sampler.position(), position);
        assert_eq!(run(&mut sampler), all[position..]);
    }
    sampler.reset();
    assert_eq!(run(&mut sampler), all);
    let mut other = SamplerOptions::clone(&options);
    other.set_seed(1);
    assert_ne!(run(&mut new_sampler(&other, 500).unwrap()), all);
}

/// Pins the stream of the seed: a change here changes every caller's texts.
#[test]
fn golden_draws() {
    let mut sampler = new_sampler(&options(|options| options.seed = 42), 1_000).unwrap();
    let tokens: Vec<i32> = (0..6)
        .map(|_| {
            let token = sampler.sample(&[0.0; 1_000]).unwrap();
            sampler.accept(token).unwrap();
            token
        })
        .collect();
    assert_eq!(tokens, [348, 285, 493, 367, 825, 67]);
}

#[test]
fn ties_go_to_the_lower_id() {
    let mut logits = vec![-1.0f32; 200];
    // Both zeros are the same number.
    (logits[70], logits[71], logits[150]) = (-0.0, 0.0, 0.0);
    let greedy = options(|options| options.temperature = 0.0);
    assert_eq!(new_sampler(&greedy, 200).unwrap().sample(&logits).unwrap(), 70);
    for seed in 0..50 {
        let one = options(|options| (options.top_k, options.seed) = (1, seed));
        assert_eq!(new_sampler(&one, 200).unwrap().sample(&logits).unwrap(), 70);
        let two = options(|options| (options.top_k, options.seed) = (2, seed));
        assert!([70, 71].contains(&new_sampler(&two, 200).unwrap().sample(&logits).unwrap()));
    }
}

#[test]
fn bad_logits_are_errors() {
    for temperature in [0.0, 1.0] {
        let mut sampler = new_sampler(&options(|options| options.temperature = temperature), 100).unwrap();
        for (id, bad) in [(0, f32::NAN), (63, -f32::NAN), (99, f32::INFINITY)] {
            let mut logits = vec![1.0; 100];
            logits[id] = bad;
            let message = sampler.sample(&logits).unwrap_err().to_string();
            assert!(message.starts_with(&format!("the logit of token {id} is ")), "{message}");
        }
        assert!(sampler.sample(&[f32::NEG_INFINITY; 100]).unwrap_err().to_string().contains("excluded"));
        assert!(matches!(sampler.sample(&[0.0; 99]), Err(Error::InvalidArgument(_))));
        assert!(matches!(sampler.sample(&[0.0; 100]), Ok(0..100)));
    }
    assert!(new_sampler(&SamplerOptions::default(), 0).is_err());
}

#[test]
fn setters_check() {
    let mut options = SamplerOptions::default();
    for bad in [-0.1, f32::NAN, f32::INFINITY] {
        for result in
            [options.set_temperature(bad), options.set_top_p(bad), options.set_min_p(bad), options.set_repetition_penalty(bad)]
        {
            assert!(result.unwrap_err().to_string().ends_with(&format!("not {bad}")));
        }
    }
    assert!(options.set_top_p(1.1).is_err() && options.set_min_p(1.1).is_err() && options.set_repetition_penalty(0.0).is_err());
    assert!(options.set_frequency_penalty(f32::NAN).is_err() && options.set_presence_penalty(f32::NAN).is_err());
    let message = options.set_temperature(-1.0).unwrap_err().to_string();
    assert_eq!(message, "temperature must be at least 0, not -1");
    assert_eq!(options.temperature, 0.8);
}
