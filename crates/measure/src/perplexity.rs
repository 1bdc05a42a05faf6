//! How well a model predicts a text: the negative log-likelihood of its tokens, and the perplexity.
//!
//! A text is cut into chunks, each of which begins with the token that begins a text and is read
//! into an empty session. Chunks follow each other and do not overlap. The first tokens of a chunk
//! are read, and the rest is predicted and counted: with too little before it, no model predicts
//! well, and the figure would be about that. [`Chunks`] is this rule; [`read`] runs a model over
//! it, here and where two models are compared.

use engine::{Engine, Flow};
use rayon::prelude::*;
use spec::TokenId;

use crate::Error;
use crate::softmax::Row;
use crate::stats::Mean;

/// How a text is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Tokens of a chunk, with the one that begins it: at least 2.
    pub chunk: usize,
    /// Tokens of the text at the beginning of each chunk that are read and not counted; `None`
    /// takes half of a chunk.
    pub skip: Option<usize>,
    /// Use the first so many tokens of the text.
    pub tokens_max: Option<usize>,
}

/// A text in chunks.
#[derive(Clone, Debug)]
pub struct Chunks {
    begin: TokenId,
    text: Vec<TokenId>,
    chunk: usize,
    skip: usize,
}

/// One chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The token that begins a text, then some of its own.
    pub tokens: Vec<TokenId>,
    /// Tokens from here on are counted; at least 1.
    pub first: usize,
}

impl Chunks {
    /// Cuts a text. A text that is shorter than a chunk is one chunk of its own length.
    ///
    /// # Errors
    /// Nothing would be counted.
    pub fn new(begin: TokenId, mut text: Vec<TokenId>, cut: Cut) -> Result<Chunks, Error> {
        text.truncate(cut.tokens_max.unwrap_or(usize::MAX));
        let chunk = cut.chunk.min(text.len() + 1);
        let skip = cut.skip.unwrap_or(chunk / 2);
        let chunks = Chunks { begin, text, chunk, skip };
        match chunks.counted() {
            0 => Err(Error::TooShort { tokens: chunks.text.len(), chunk, skip }),
            _ => Ok(chunks),
        }
    }

    /// The chunks in order. What is left at the end is a chunk if it has a token that counts.
    pub fn iter(&self) -> impl Iterator<Item = Chunk> {
        self.pieces()
            .map(|piece| Chunk { tokens: [&[self.begin], piece].concat(), first: 1 + self.skip })
    }

    fn pieces(&self) -> impl Iterator<Item = &[TokenId]> {
        let own = self.chunk.saturating_sub(1).max(1);
        self.text.chunks(own).filter(|piece| piece.len() > self.skip)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pieces().count()
    }

    /// Whether there are none, which [`Chunks::new`] does not allow.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens that are counted.
    pub fn counted(&self) -> usize {
        self.pieces().map(|piece| piece.len() - self.skip).sum()
    }

    /// Tokens that a model reads for all chunks: the last of a chunk is predicted only.
    pub fn fed(&self) -> usize {
        self.pieces().map(<[TokenId]>::len).sum()
    }

    /// Room that a session needs for the longest chunk.
    pub fn context(&self) -> usize {
        self.pieces().map(<[TokenId]>::len).max().unwrap_or(0)
    }

    /// Tokens of the text.
    pub fn text_tokens(&self) -> usize {
        self.text.len()
    }

    /// Tokens of a chunk, with the one that begins it.
    pub fn chunk(&self) -> usize {
        self.chunk
    }

    /// Tokens at the beginning of each chunk that are not counted.
    pub fn skip(&self) -> usize {
        self.skip
    }

    /// The tokens that are counted, in order.
    pub fn targets(&self) -> impl Iterator<Item = TokenId> {
        self.pieces().flat_map(|piece| &piece[self.skip..]).copied()
    }
}

/// Some predictions of one chunk.
#[derive(Debug)]
pub struct Predictions<'a> {
    /// What followed.
    pub tokens: &'a [TokenId],
    /// What the model said before it, `[n, V]`.
    pub logits: &'a [f32],
    /// Tokens that were read since the last call.
    pub fed: usize,
}

impl Predictions<'_> {
    /// The rows and what followed each of them.
    pub fn rows(&self) -> impl IndexedParallelIterator<Item = (TokenId, &[f32])> {
        let vocab = self.logits.len() / self.tokens.len().max(1);
        let rows = self.logits.par_chunks_exact(vocab.max(1));
        self.tokens.par_iter().copied().zip(rows)
    }

    /// The negative log-likelihoods, in nats.
    pub fn nll(&self) -> Vec<f64> {
        self.rows().map(|(token, row)| -Row::new(row).log_probability(token)).collect()
    }
}

/// Runs a model over all chunks. `each` is called after every step of the model, also where nothing
/// of it is counted; `false` if it stopped.
///
/// The engine must have been opened with `all_logits`.
///
/// # Errors
/// The engine's, and those of `each`.
pub fn read(
    engine: &mut Engine,
    chunks: &Chunks,
    each: &mut dyn FnMut(Predictions<'_>) -> Result<Flow, Error>,
) -> Result<bool, Error> {
    for Chunk { tokens, first } in chunks.iter() {
        let fed = &tokens[..tokens.len() - 1];
        let (mut next, mut before) = (first, 0);
        let mut flow = Ok(Flow::Continue);
        engine.logits_of_last(tokens.len() - first, fed, &mut |done, logits| {
            // Row `i` speaks about token `i + 1`. A step before the first wanted row has none.
            let end = (done + 1).max(next);
            let predictions = Predictions {
                tokens: &tokens[next..end],
                logits: if end > next { logits } else { &[] },
                fed: done - before,
            };
            (next, before) = (end, done);
            flow = each(predictions);
            if let Ok(Flow::Continue) = flow { Flow::Continue } else { Flow::Stop }
        })?;
        if flow? == Flow::Stop {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What was found of a text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Perplexity {
    /// Negative log-likelihood of the counted tokens, in nats.
    pub nll: Mean,
    /// All of the text was read.
    pub complete: bool,
}

impl Perplexity {
    /// The exponential of the mean, and its standard error: that of the mean of the tokens'
    /// negative log-likelihoods, carried over by the derivative.
    pub fn perplexity(&self) -> (f64, Option<f64>) {
        let value = self.nll.mean().exp();
        (value, self.nll.standard_error().map(|error| value * error))
    }
}

/// Measures. `each` is called after every step, with what is known so far and the tokens that were
/// read since the last call.
///
/// # Errors
/// The engine's.
pub fn perplexity(
    engine: &mut Engine,
    chunks: &Chunks,
    each: &mut dyn FnMut(&Perplexity, usize) -> Flow,
) -> Result<Perplexity, Error> {
    let mut found = Perplexity::default();
    found.complete = read(engine, chunks, &mut |predictions| {
        predictions.nll().into_iter().for_each(|nll| found.nll.add(nll));
        Ok(each(&found, predictions.fed))
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: u32, chunk: usize, skip: Option<usize>) -> Result<Chunks, Error> {
        let text = (1..=text).map(TokenId).collect();
        Chunks::new(TokenId(0), text, Cut { chunk, skip, tokens_max: None })
    }

    fn shown(chunks: &Chunks) -> Vec<(Vec<u32>, usize)> {
        let ids = |chunk: Chunk| chunk.tokens.iter().map(|token| token.0).collect();
        chunks.iter().map(|chunk| (ids(chunk.clone()), chunk.first)).collect()
    }

    #[test]
    fn chunks_begin_alike_and_do_not_overlap() {
        let chunks = cut(7, 4, Some(1)).unwrap();
        // 7 is left over, and behind one that is not counted there is nothing.
        assert_eq!(shown(&chunks), [(vec![0, 1, 2, 3], 2), (vec![0, 4, 5, 6], 2)]);
        assert_eq!((chunks.len(), chunks.counted(), chunks.fed(), chunks.context()), (2, 4, 6, 3));
        let targets: Vec<u32> = chunks.targets().map(|token| token.0).collect();
        assert_eq!(targets, [2, 3, 5, 6]);
        let all = cut(7, 4, Some(0)).unwrap();
        assert_eq!((all.counted(), shown(&all)[2].clone()), (7, (vec![0, 7], 1)));
        let short = cut(7, 2048, None).unwrap();
        assert_eq!(shown(&short), [(vec![0, 1, 2, 3, 4, 5, 6, 7], 5)]);
    }

    #[test]
    fn nothing_to_count_is_told() {
        for (text, chunk, skip) in [(0, 4, None), (0, 4, Some(0)), (5, 4, Some(3)), (9, 4, Some(9))]
        {
            let error = cut(text, chunk, skip).expect_err("nothing is left").to_string();
            assert!(error.contains("nothing would be counted"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_token_is_used_once_at_most(
            text in 0u32..300,
            chunk in 2usize..40,
            skip in 0usize..40,
        ) {
            let Ok(chunks) = cut(text, chunk, Some(skip)) else { return Ok(()) };
            let counted: Vec<u32> = chunks.targets().map(|token| token.0).collect();
            assert_eq!(counted.len(), chunks.counted());
            assert!(counted.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(chunks.iter().all(|chunk| chunk.tokens.len() - 1 <= chunks.context()));
            assert!(chunks.iter().all(|chunk| chunk.first < chunk.tokens.len()));
        }
    }
}
