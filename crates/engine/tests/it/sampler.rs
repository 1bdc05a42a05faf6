//! The choice of tokens.
//!
//! Settings are held against a naive statement of what they keep, seeds against stored choices.

use engine::{Sampler, Sampling};
use proptest::prelude::*;

const PLAIN: Sampling = Sampling { temperature: 1.0, top_p: 1.0, top_k: 0, min_p: 0.0 };

fn picks(sampling: Sampling, seed: u64, logits: &[f32], count: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(sampling, seed).expect("settings in range");
    (0..count).map(|_| sampler.pick(logits).0).collect()
}

/// The ids that the settings keep, by the definitions: sort, cut, cut, cut.
fn kept(sampling: Sampling, logits: &[f32]) -> Vec<u32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |l: f32| (((l - max) / sampling.temperature) as f64).exp();
    let mut all: Vec<(f64, u32)> =
        logits.iter().enumerate().map(|(i, &l)| (weight(l), i as u32)).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    if sampling.top_k > 0 {
        all.truncate(sampling.top_k);
    }
    let total: f64 = all.iter().map(|(w, _)| w).sum();
    let mut sum = 0.0;
    let mut nucleus = Vec::new();
    for (w, id) in all {
        // A little slack: `f32` sums may reach the limit one token later.
        if sum < (sampling.top_p as f64 + 1e-4) * total {
            nucleus.push((w, id));
        }
        sum += w;
    }
    nucleus.retain(|(w, _)| *w >= sampling.min_p as f64 - 1e-5);
    nucleus.into_iter().map(|(_, id)| id).collect()
}

#[test]
fn zero_temperature_takes_the_largest_and_of_equals_the_lowest() {
    let sampling = Sampling { temperature: 0.0, ..PLAIN };
    assert_eq!(picks(sampling, 1, &[0.0, 3.0, -1.0, 3.0], 3), [1, 1, 1]);
}

/// These numbers are part of the contract: a later version must not change what a seed means.
#[test]
fn a_seed_keeps_its_meaning() {
    let logits: Vec<f32> = (0..64).map(|i| ((i * 37) % 64) as f32 / 16.0).collect();
    assert_eq!(picks(PLAIN, 7, &logits, 8), STORED);
    assert_ne!(picks(PLAIN, 8, &logits, 8), STORED);
}

const STORED: [u32; 8] = [57, 57, 12, 57, 31, 41, 19, 60];

#[test]
fn settings_out_of_range_are_refused() {
    let refused = [
        (Sampling { temperature: f32::NAN, ..PLAIN }, "temperature must be 0 to 100, found NaN"),
        (Sampling { temperature: -1.0, ..PLAIN }, "temperature must be 0 to 100, found -1"),
        (Sampling { top_p: 2.0, ..PLAIN }, "top-p must be 0 to 1, found 2"),
        (Sampling { min_p: f32::INFINITY, ..PLAIN }, "min-p must be 0 to 1, found inf"),
    ];
    for (sampling, message) in refused {
        assert_eq!(Sampler::new(sampling, 0).unwrap_err().to_string(), message);
    }
}

#[test]
fn tokens_come_as_often_as_they_are_probable() {
    let logits = [0.0f32, 1.0, 2.0, -30.0];
    let draws = picks(PLAIN, 3, &logits, 40_000);
    let total: f32 = logits.iter().map(|l| l.exp()).sum();
    for (id, logit) in logits.iter().enumerate() {
        let expected = logit.exp() / total;
        let seen = draws.iter().filter(|&&d| d == id as u32).count() as f32 / draws.len() as f32;
        // Five standard deviations.
        let allowed = 5.0 * (expected * (1.0 - expected) / draws.len() as f32).sqrt();
        assert!((seen - expected).abs() <= allowed, "token {id}: {seen} instead of {expected}");
    }
}

proptest! {
    /// Nothing is chosen that the settings cut, whatever their combination.
    #[test]
    fn only_kept_tokens_are_chosen(
        logits in proptest::collection::vec(-8.0f32..8.0, 1..200),
        temperature in 0.1f32..3.0,
        top_p in 0.0f32..=1.0,
        top_k in 0usize..20,
        min_p in 0.0f32..=1.0,
        seed: u64,
    ) {
        for sampling in [
            Sampling { temperature, top_p, top_k, min_p },
            Sampling { temperature, top_k, ..PLAIN },
            Sampling { temperature, top_p, ..PLAIN },
            Sampling { temperature, min_p, ..PLAIN },
        ] {
            let kept = kept(sampling, &logits);
            for pick in picks(sampling, seed, &logits, 20) {
                prop_assert!(kept.contains(&pick), "{:?} chose {} of {:?}", sampling, pick, kept);
            }
        }
    }

    /// Every kept token can be chosen: with equal logits all of them come, and only they.
    #[test]
    fn cuts_keep_as_many_as_they_say(top_k in 1usize..8) {
        let sampling = Sampling { top_k, ..PLAIN };
        let mut seen = picks(sampling, 5, &[1.0; 8], 400);
        seen.sort();
        seen.dedup();
        prop_assert_eq!(seen, (0..top_k as u32).collect::<Vec<_>>());
    }
}
