//! What steering does to answers: the same questions, answered under one scale after the other.
//!
//! Answers are greedy, so that two of them differ by the scales alone. Each is also read by the
//! model as it is, not steered: how improbable its tokens are there (mean negative log-likelihood,
//! in nats per token) says when steering has left what the model would ever say.

use engine::{Engine, Finish, Flow, Generation, Sampler, Sampling, Session, Steer};
use regex::Regex;
use spec::TokenId;
use text::special;

use crate::Error;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its tokens.
    pub tokens: Vec<TokenId>,
    /// What they spell, markers included.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
}

/// What answers under one pair of scales are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// The scales.
    pub steer: Steer,
    /// Answers.
    pub answers: usize,
    /// Those that ended of themselves.
    pub ended: usize,
    /// Tokens of an answer, in the mean.
    pub tokens: f64,
    /// Nats per token under the model as it is; `None` if there were no tokens.
    pub nll: Option<f64>,
    /// How often the expression was found, if there was one.
    pub found: Option<usize>,
    /// Answers that are those of the first scales, token by token.
    pub same: usize,
}

/// What to do with each prompt.
#[derive(Clone, Debug)]
pub struct Sweep<'a> {
    /// Prompts, not empty.
    pub prompts: &'a [Vec<TokenId>],
    /// One row for each.
    pub ways: &'a [Steer],
    /// Tokens of an answer at most.
    pub tokens_max: usize,
    /// Is counted in answers.
    pub expression: Option<&'a Regex>,
}

/// Answers all prompts in all ways; `progress` is told how many answers are done, after each token.
/// `None` if it stopped. The engine must be opened for two sessions and all logits, and steer
/// nobody of itself.
///
/// # Errors
/// The engine's own.
pub fn sweep(
    engine: &mut Engine,
    sweep: &Sweep,
    progress: &mut dyn FnMut(usize) -> Flow,
) -> Result<Option<Vec<Row>>, Error> {
    let mut first: Vec<Vec<TokenId>> = Vec::new();
    let mut rows = Vec::with_capacity(sweep.ways.len());
    let mut session = engine.open_session()?;
    for steer in sweep.ways {
        let mut row = Row {
            steer: *steer,
            answers: 0,
            ended: 0,
            tokens: 0.0,
            nll: None,
            found: sweep.expression.map(|_| 0),
            same: 0,
        };
        let (mut tokens, mut nats) = (0, 0.0);
        for (i, prompt) in sweep.prompts.iter().enumerate() {
            let done = rows.len() * sweep.prompts.len() + i;
            let mut flow = Flow::Continue;
            let mut go_on = || {
                flow = progress(done);
                flow
            };
            let most = sweep.tokens_max;
            let given = answer(engine, &mut session, prompt, *steer, most, &mut go_on)?;
            if flow == Flow::Stop {
                return Ok(None);
            }
            row.answers += 1;
            row.ended += usize::from(matches!(given.finish, Finish::Stop(_)));
            if let (Some(expression), Some(found)) = (sweep.expression, &mut row.found) {
                *found += expression.find_iter(&given.text).count();
            }
            tokens += given.tokens.len();
            nats += nll(engine, prompt, &given.tokens)?;
            match first.get(i) {
                Some(first) => row.same += usize::from(*first == given.tokens),
                None => {
                    row.same += 1;
                    first.push(given.tokens);
                }
            }
        }
        row.tokens = tokens as f64 / row.answers.max(1) as f64;
        row.nll = (tokens > 0).then(|| nats / tokens as f64);
        rows.push(row);
    }
    Ok(Some(rows))
}

/// A greedy answer in `session`, steered like that. `go_on` is asked after each part of the prompt
/// and each token.
///
/// # Errors
/// No directions are loaded, or the engine's own.
pub fn answer(
    engine: &mut Engine,
    session: &mut Session,
    prompt: &[TokenId],
    steer: Steer,
    tokens_max: usize,
    go_on: &mut dyn FnMut() -> Flow,
) -> Result<Answer, Error> {
    engine.set_steer(session, steer)?;
    let tokenizer = engine.tokenizer()?;
    let stop: Vec<TokenId> = tokenizer.special(special::EOS).into_iter().collect();
    let generation = Generation { prompt, tokens_max, stop: &stop };
    let mut sampler = Sampler::new(Sampling { temperature: 0.0, ..Sampling::default() }, 0)?;
    let mut tokens = Vec::new();
    let summary = engine.generate(session, &generation, &mut sampler, &mut |event| {
        if let engine::Event::Token(token) = event {
            tokens.push(token);
        }
        go_on()
    })?;
    let bytes = tokenizer.decode(&tokens);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Answer { tokens, text, finish: summary.finish })
}

/// How improbable an answer is for the model as it is: the sum over its tokens, in nats.
fn nll(engine: &mut Engine, prompt: &[TokenId], answer: &[TokenId]) -> Result<f64, Error> {
    let Some((_, before)) = answer.split_last() else { return Ok(0.0) };
    let read = [prompt, before].concat();
    let vocab = engine.shape().vocab;
    let (mut nats, mut wanted) = (0.0, answer.iter());
    engine.logits_of_last(answer.len(), &read, &mut |_, rows| {
        for (row, token) in rows.chunks_exact(vocab).zip(wanted.by_ref()) {
            nats -= log_probability(row, token.0 as usize);
        }
        Flow::Continue
    })?;
    Ok(nats)
}

fn log_probability(logits: &[f32], token: usize) -> f64 {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
    let sum: f64 = logits.iter().map(|v| f64::from(v - largest).exp()).sum();
    f64::from(logits[token] - largest) - sum.ln()
}
