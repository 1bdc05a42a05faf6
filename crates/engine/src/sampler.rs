//! Sampling: from logits to a token.
//!
//! Candidates are narrowed in the usual order, temperature, top-k, top-p, min-p, and one is drawn.
//! The same seed, settings and logits give the same token: the generator is ChaCha8, and candidates
//! are ordered by probability, then by id.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spec::TokenId;

use crate::Error;
use crate::adjust::{Adjuster, Adjustments, mask};
use crate::constraint::TokenSet;

/// How to choose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most probable token.
    pub temperature: f32,
    /// Keep the most probable tokens up to this total probability; 1 keeps all.
    pub top_p: f32,
    /// Keep this many of the most probable tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep tokens at least this fraction as probable as the most probable one; 0 keeps all.
    pub min_p: f32,
}

impl Default for Sampling {
    /// The model card's temperature and top-p, and the small min-p that keeps long answers sane.
    fn default() -> Self {
        Self { temperature: 1.0, top_p: 1.0, top_k: 0, min_p: 0.05 }
    }
}

/// A source of choices.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
    /// (probability, id), reused between tokens.
    candidates: Vec<(f32, u32)>,
    adjuster: Adjuster,
    /// Adjusted logits, reused between tokens.
    adjusted: Vec<f32>,
}

/// Log-probabilities of one token's choice, of the model itself: before temperature, penalties and
/// masks.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    /// Of the token that was chosen.
    pub chosen: f32,
    /// The most probable tokens, the first first.
    pub top: Vec<(TokenId, f32)>,
}

impl Logprobs {
    /// Of `token` and the `top` most probable ones, from `logits` `[V]`.
    pub fn new(logits: &[f32], token: TokenId, top: usize) -> Logprobs {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|logit| f64::from(logit - max).exp()).sum();
        let log = |logit: f32| (f64::from(logit - max) - sum.ln()) as f32;
        let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
        let at = |id: u32| logits[id as usize];
        let order = |a: &u32, b: &u32| at(*b).total_cmp(&at(*a)).then(a.cmp(b));
        if top < ids.len() {
            ids.select_nth_unstable_by(top, order);
            ids.truncate(top);
        }
        ids.sort_unstable_by(order);
        let top = ids.into_iter().map(|id| (TokenId(id), log(at(id)))).collect();
        Logprobs { chosen: log(at(token.0)), top }
    }
}

impl Sampler {
    /// A sampler whose choices are determined by `seed`.
    ///
    /// # Errors
    /// A setting outside its range, which NaN always is.
    pub fn new(sampling: Sampling, seed: u64) -> Result<Sampler, Error> {
        let Sampling { temperature, top_p, min_p, .. } = sampling;
        for (setting, value, range) in [
            ("temperature", temperature, 0.0..=100.0),
            ("top-p", top_p, 0.0..=1.0),
            ("min-p", min_p, 0.0..=1.0),
        ] {
            if !range.contains(&value) {
                let (low, high) = range.into_inner();
                return Err(Error::Sampling { setting, value, low, high });
            }
        }
        let random = ChaCha8Rng::seed_from_u64(seed);
        let (candidates, adjusted) = (Vec::new(), Vec::new());
        Ok(Sampler { sampling, random, candidates, adjuster: Adjuster::default(), adjusted })
    }

    /// The same, choosing from adjusted logits.
    ///
    /// # Errors
    /// An adjustment outside its range.
    pub fn adjusting(self, adjustments: Adjustments) -> Result<Sampler, Error> {
        Ok(Sampler { adjuster: Adjuster::new(adjustments)?, ..self })
    }

    /// Takes note of the prompt, whose tokens the repetition penalty counts.
    pub fn read(&mut self, prompt: &[TokenId]) {
        self.adjuster.read(prompt);
    }

    /// Chooses a token, which is then part of the answer. `logits` `[V]`, all finite.
    pub fn pick(&mut self, logits: &[f32]) -> TokenId {
        self.pick_from(logits, None)
    }

    /// The most probable of the tokens of `allowed`, which has some; it is then part of the answer.
    pub fn pick_greedily(&mut self, logits: &[f32], allowed: &TokenSet) -> TokenId {
        let temperature = std::mem::replace(&mut self.sampling.temperature, 0.0);
        let token = self.pick_from(logits, Some(allowed));
        self.sampling.temperature = temperature;
        token
    }

    /// [`Sampler::pick`] among the tokens of `allowed`, which has some.
    pub fn pick_from(&mut self, logits: &[f32], allowed: Option<&TokenSet>) -> TokenId {
        let token = if self.adjuster.is_idle() && allowed.is_none() {
            self.draw(logits)
        } else {
            let mut adjusted = std::mem::take(&mut self.adjusted);
            adjusted.clear();
            adjusted.extend_from_slice(logits);
            self.adjuster.apply(&mut adjusted);
            allowed.into_iter().for_each(|allowed| mask(&mut adjusted, allowed));
            let token = self.draw(&adjusted);
            self.adjusted = adjusted;
            token
        };
        self.adjuster.said(token);
        token
    }

    fn draw(&mut self, logits: &[f32]) -> TokenId {
        if self.sampling.temperature <= 0.0 {
            return most_probable(logits);
        }
        self.weigh(logits);
        self.narrow();
        let total: f32 = self.candidates.iter().map(|(p, _)| p).sum();
        let mut rest = self.random.random::<f32>() * total;
        for &(p, id) in &self.candidates {
            rest -= p;
            if rest < 0.0 {
                return TokenId(id);
            }
        }
        // Rounding left a crumb: the last candidate has it.
        TokenId(self.candidates.last().expect("at least one candidate is kept").1)
    }

    /// Candidates with their probability relative to the most probable one, which has 1.
    fn weigh(&mut self, logits: &[f32]) {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let Sampling { temperature, min_p, .. } = self.sampling;
        let weight = |(id, &logit): (usize, &f32)| (((logit - max) / temperature).exp(), id as u32);
        self.candidates.clear();
        // Below min-p nothing is kept in the end, and above it nothing changes: whoever is cut
        // here is less probable than everyone who stays.
        let floor = if self.sampling.top_p >= 1.0 { min_p } else { 0.0 };
        let weighed =
            logits.iter().enumerate().map(weight).filter(|(p, _)| *p > 0.0 && *p >= floor);
        self.candidates.extend(weighed);
    }

    /// Applies top-k, top-p and min-p, and leaves the candidates most probable first.
    fn narrow(&mut self) {
        let Sampling { top_p, top_k, min_p, .. } = self.sampling;
        let candidates = &mut self.candidates;
        let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if top_k > 0 && top_k < candidates.len() {
            candidates.select_nth_unstable_by(top_k - 1, order);
            candidates.truncate(top_k);
        }
        candidates.sort_unstable_by(order);
        if top_p < 1.0 {
            let total: f32 = candidates.iter().map(|(p, _)| p).sum();
            let mut sum = 0.0;
            let reached = candidates.iter().position(|(p, _)| {
                sum += p;
                sum >= top_p * total
            });
            candidates.truncate(reached.map_or(candidates.len(), |last| last + 1));
        }
        let kept = candidates.partition_point(|(p, _)| *p >= min_p);
        candidates.truncate(kept.max(1));
    }
}

/// The largest logit; of equal ones the lowest id.
///
/// By lanes, which the compiler turns into vectors: a vocabulary is looked through for every token.
fn most_probable(logits: &[f32]) -> TokenId {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; 16];
    let chunks = logits.chunks_exact(lanes.len());
    let rest = chunks.remainder().iter().copied().fold(f32::NEG_INFINITY, larger);
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &logit)| *lane = larger(*lane, logit));
    }
    let largest = lanes.into_iter().fold(rest, larger);
    TokenId(logits.iter().position(|&logit| logit == largest).unwrap_or(0) as u32)
}
