//! How far a model is from another one, the reference, over the same tokens.
//!
//! Two models may be too large to be open at once, so they are not: the reference goes first and
//! its logits are kept ([`keep`]), the other reads the same chunks and is compared row by row with
//! what comes back ([`compare`]). What is kept are the logits as they are, 4 bytes each, so that a
//! model beside itself has a divergence of exactly 0. Where they are kept is the caller's business;
//! how much it will be is known before ([`kept_bytes`]).

use std::io::{Read, Write};

use engine::{Engine, Flow};
use rayon::prelude::*;
use spec::TokenId;
use text::Tokenizer;

use crate::Error;
use crate::perplexity::{self, Chunks, Perplexity};
use crate::softmax::Row;
use crate::stats::{self, Mean, Paired};

/// Bytes that [`keep`] writes.
pub fn kept_bytes(chunks: &Chunks, vocab: usize) -> u64 {
    (chunks.counted() as u64).saturating_mul(vocab as u64).saturating_mul(4)
}

/// Runs the reference and keeps its logits. `each` is as for [`perplexity::perplexity`].
///
/// # Errors
/// The engine's; the logits cannot be written.
pub fn keep(
    engine: &mut Engine,
    chunks: &Chunks,
    out: &mut dyn Write,
    each: &mut dyn FnMut(&Perplexity, usize) -> Flow,
) -> Result<Perplexity, Error> {
    let mut found = Perplexity::default();
    let mut bytes = Vec::new();
    found.complete = perplexity::read(engine, chunks, &mut |predictions| {
        bytes.clear();
        bytes.extend(predictions.logits.iter().flat_map(|logit| logit.to_le_bytes()));
        out.write_all(&bytes).map_err(|source| Error::Kept { what: "written", source })?;
        predictions.nll().into_iter().for_each(|nll| found.nll.add(nll));
        Ok(each(&found, predictions.fed))
    })?;
    out.flush().map_err(|source| Error::Kept { what: "written", source })?;
    Ok(found)
}

/// What was found of two models; differences are the model's value minus the reference's.
#[derive(Clone, Debug, Default)]
pub struct Divergence {
    /// Of the model.
    pub model: Perplexity,
    /// Of the reference.
    pub reference: Perplexity,
    /// Of the negative log-likelihoods.
    pub nll: Paired,
    /// `D(reference || model)`, in nats.
    pub kl: Mean,
    /// The same per counted token, in order.
    pub each: Vec<f64>,
    /// How often both find the same token most probable.
    pub same_top: usize,
    /// Squares of the differences of the probability of what followed.
    squares: Mean,
}

/// How the divergences of single tokens are distributed, in nats.
#[derive(Clone, Copy, Debug)]
pub struct Distribution {
    /// Half of them are smaller.
    pub median: f64,
    /// So many in a hundred are smaller.
    pub p90: f64,
    /// The same.
    pub p99: f64,
    /// The same, in a thousand.
    pub p999: f64,
    /// The largest.
    pub max: f64,
}

impl Divergence {
    /// How they are distributed; `None` of nothing.
    pub fn distribution(&self) -> Option<Distribution> {
        let mut kl = self.each.clone();
        kl.sort_by(f64::total_cmp);
        let at = |share| stats::percentile(&kl, share);
        Some(Distribution {
            median: at(0.5)?,
            p90: at(0.9)?,
            p99: at(0.99)?,
            p999: at(0.999)?,
            max: at(1.0)?,
        })
    }

    /// The share of tokens of which both find the same one most probable, with Wilson's interval
    /// at 95 %.
    pub fn agreement(&self) -> (f64, (f64, f64)) {
        let count = self.each.len();
        (self.same_top as f64 / count.max(1) as f64, stats::wilson(self.same_top, count))
    }

    /// Root of the mean square by which the probability of what followed differs.
    pub fn probability_rms(&self) -> f64 {
        self.squares.mean().sqrt()
    }

    fn add(&mut self, pair: &Pair) {
        let Pair { reference, model, kl, same_top } = *pair;
        self.reference.nll.add(reference);
        self.model.nll.add(model);
        self.nll.add(reference, model);
        self.kl.add(kl);
        self.each.push(kl);
        self.same_top += usize::from(same_top);
        let difference = (-model).exp() - (-reference).exp();
        self.squares.add(difference * difference);
    }
}

/// One token: the two negative log-likelihoods, and how far the rows before it are apart.
struct Pair {
    reference: f64,
    model: f64,
    kl: f64,
    same_top: bool,
}

fn pair(token: TokenId, reference: &[f32], model: &[f32]) -> Pair {
    let (reference, model) = (Row::new(reference), Row::new(model));
    Pair {
        reference: -reference.log_probability(token),
        model: -model.log_probability(token),
        kl: reference.divergence(&model),
        same_top: reference.top() == model.top(),
    }
}

/// Runs the model over the chunks that the reference has read, with what [`keep`] wrote.
///
/// # Errors
/// The engine's; what was kept cannot be read.
pub fn compare(
    engine: &mut Engine,
    chunks: &Chunks,
    kept: &mut dyn Read,
    each: &mut dyn FnMut(&Divergence, usize) -> Flow,
) -> Result<Divergence, Error> {
    let mut found = Divergence::default();
    let (mut bytes, mut reference) = (Vec::new(), Vec::new());
    let complete = perplexity::read(engine, chunks, &mut |predictions| {
        bytes.resize(predictions.logits.len() * 4, 0);
        kept.read_exact(&mut bytes).map_err(|source| Error::Kept { what: "read back", source })?;
        reference.clear();
        let (words, _) = bytes.as_chunks();
        reference.extend(words.iter().map(|word| f32::from_le_bytes(*word)));
        let vocab = predictions.logits.len() / predictions.tokens.len().max(1);
        let rows = predictions.rows().zip(reference.par_chunks_exact(vocab.max(1)));
        let pairs: Vec<Pair> = rows.map(|((token, row), kept)| pair(token, kept, row)).collect();
        pairs.iter().for_each(|pair| found.add(pair));
        Ok(each(&found, predictions.fed))
    })?;
    (found.model.complete, found.reference.complete) = (complete, complete);
    Ok(found)
}

/// One side of a comparison: what messages call it, and its vocabulary.
pub type Side<'a> = (&'a str, &'a Tokenizer);

/// Whether two vocabularies have the same tokens, so that rows of logits can be compared.
///
/// # Errors
/// With the first token that differs.
pub fn same_vocabulary((a, one): Side<'_>, (b, other): Side<'_>) -> Result<(), Error> {
    let differ = |problem: String| Error::Vocabularies { problem };
    if one.len() != other.len() {
        let (one, other) = (one.len(), other.len());
        return Err(differ(format!("{a} has {one} tokens, {b} has {other}")));
    }
    for id in (0..one.len() as u32).map(TokenId) {
        let [first, second] = [one, other].map(|side| (side.token_text(id), side.token_kind(id)));
        if first.0 != second.0 {
            let (first, second) = (first.0, second.0);
            return Err(differ(format!("token {id} is {first:?} in {a} and {second:?} in {b}")));
        }
        if first.1 != second.1 {
            let (text, first, second) = (first.0, first.1, second.1);
            let kinds = format!("{first:?} in {a} and {second:?} in {b}");
            return Err(differ(format!("token {id} ({text:?}) is {kinds}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_made_up_tokens() {
        let mut found = Divergence::default();
        let tokens = [(0.5f64, 0.25f64, 0.1, true), (0.5, 0.75, 0.3, false), (0.2, 0.2, 0.0, true)];
        for (p, q, kl, same_top) in tokens {
            found.add(&Pair { reference: -p.ln(), model: -q.ln(), kl, same_top });
        }
        let near = |found: f64, expected: f64| (found - expected).abs() < 1e-12;
        assert!(near(found.probability_rms(), (2.0 * 0.0625f64 / 3.0).sqrt()));
        assert!(near(found.kl.mean(), 0.4 / 3.0));
        assert!(near(found.nll.difference.mean(), (2f64.ln() - 1.5f64.ln()) / 3.0));
        assert_eq!((found.nll.smaller, found.nll.larger, found.same_top), (1, 1, 2));
        let distribution = found.distribution().unwrap();
        assert!(near(distribution.median, 0.1) && near(distribution.max, 0.3));
        assert!(near(found.agreement().0, 2.0 / 3.0));
        assert!(Divergence::default().distribution().is_none());
    }
}
