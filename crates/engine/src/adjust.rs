//! Adjusting logits before a token is chosen: penalties for what was said, biases, and masks.
//!
//! ```text
//! repetition r     of tokens of prompt or answer: positive logits divided by r, others times r
//! frequency f      minus f for each time that the token is in the answer
//! presence p       minus p if the token is in the answer at all
//! bias             plus the bias of the token
//! ```
//!
//! In this order, as the APIs of the field do it, and before the temperature.

use std::collections::HashMap;

use spec::TokenId;

use crate::Error;
use crate::constraint::TokenSet;

/// What to adjust. The default changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Adjustments {
    /// -2 to 2.
    pub presence: f32,
    /// -2 to 2.
    pub frequency: f32,
    /// 0.01 to 100; 1 changes nothing.
    pub repetition: f32,
    /// Added to the logits of single tokens, -1000 to 1000.
    pub bias: Vec<(TokenId, f32)>,
}

impl Default for Adjustments {
    fn default() -> Self {
        Self { presence: 0.0, frequency: 0.0, repetition: 1.0, bias: Vec::new() }
    }
}

/// Adjustments and what they need to remember.
#[derive(Clone, Debug, Default)]
pub(crate) struct Adjuster {
    settings: Adjustments,
    /// How often a token is in the answer, by its id; 0 if it is in the prompt only.
    said: HashMap<u32, u32>,
}

impl Adjuster {
    /// # Errors
    /// A setting outside its range, which NaN always is.
    pub fn new(settings: Adjustments) -> Result<Adjuster, Error> {
        let Adjustments { presence, frequency, repetition, ref bias } = settings;
        let fixed = [
            ("presence penalty", presence, -2.0..=2.0),
            ("frequency penalty", frequency, -2.0..=2.0),
            ("repetition penalty", repetition, 0.01..=100.0),
        ];
        let biases = bias.iter().map(|(_, bias)| ("logit bias", *bias, -1000.0..=1000.0));
        for (setting, value, range) in fixed.into_iter().chain(biases) {
            if !range.contains(&value) {
                let (low, high) = range.into_inner();
                return Err(Error::Sampling { setting, value, low, high });
            }
        }
        Ok(Adjuster { settings, said: HashMap::new() })
    }

    /// Whether logits are left as they are, whatever was said.
    pub fn is_idle(&self) -> bool {
        self.settings == Adjustments::default()
    }

    fn counts(&self) -> bool {
        let Adjustments { presence, frequency, repetition, .. } = self.settings;
        (presence, frequency, repetition) != (0.0, 0.0, 1.0)
    }

    /// Takes note of a prompt.
    pub fn read(&mut self, tokens: &[TokenId]) {
        if self.settings.repetition != 1.0 {
            for token in tokens {
                self.said.entry(token.0).or_insert(0);
            }
        }
    }

    /// Takes note of a token of the answer.
    pub fn said(&mut self, token: TokenId) {
        if self.counts() {
            *self.said.entry(token.0).or_insert(0) += 1;
        }
    }

    /// Adjusts `logits`, `[V]`.
    pub fn apply(&self, logits: &mut [f32]) {
        let Adjustments { presence, frequency, repetition, bias } = &self.settings;
        for (&id, &times) in &self.said {
            let Some(logit) = logits.get_mut(id as usize) else { continue };
            *logit = if *logit > 0.0 { *logit / repetition } else { *logit * repetition };
            *logit -= frequency * times as f32 + if times > 0 { *presence } else { 0.0 };
        }
        for (token, bias) in bias {
            if let Some(logit) = logits.get_mut(token.0 as usize) {
                *logit += bias;
            }
        }
    }
}

/// Leaves only the tokens of `allowed`.
pub(crate) fn mask(logits: &mut [f32], allowed: &TokenSet) {
    for (id, logit) in (0..).zip(logits) {
        if !allowed.contains(TokenId(id)) {
            *logit = f32::NEG_INFINITY;
        }
    }
}
