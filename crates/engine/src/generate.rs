//! Generating: sync to the prompt, then sample and step until something stops it.
//!
//! The last sampled token is not fed: nobody has asked yet what comes after it. A later prompt that
//! contains it extends the session by it.

use std::time::{Duration, Instant};

use spec::TokenId;

use crate::{Engine, Error, Flow, Plan, Progress, Sampler, Session};

/// What to generate.
#[derive(Clone, Debug)]
pub struct Generation<'a> {
    /// The whole prompt.
    pub prompt: &'a [TokenId],
    /// Tokens to generate at most.
    pub tokens_max: usize,
    /// Tokens that end the answer; they are reported, not fed.
    pub stop: &'a [TokenId],
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A part of the prompt was fed.
    Prefill(Progress),
    /// A token of the answer was sampled.
    Token(TokenId),
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model chose a stop token.
    Stop(TokenId),
    /// `tokens_max` is reached.
    Length,
    /// The context is full.
    Context,
    /// The callback said so.
    Cancelled,
}

/// What was done, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Why it ended.
    pub finish: Finish,
    /// What happened to the state that was there.
    pub plan: Plan,
    /// Prompt tokens computed.
    pub prompt_fed: usize,
    /// Tokens sampled, the stop token not counted.
    pub generated: usize,
    /// Time for the prompt.
    pub prefill: Duration,
    /// Time from the end of the prompt to the end of the answer.
    pub decode: Duration,
}

impl Engine {
    /// Generates an answer in `session`, telling `sink` about every event.
    ///
    /// `sink` decides after each event whether to go on. A token it has seen is part of the answer;
    /// the session then holds the prompt and every token of the answer but the last.
    ///
    /// # Errors
    /// As for [`Engine::sync`].
    pub fn generate(
        &mut self,
        session: &mut Session,
        generation: &Generation,
        sampler: &mut Sampler,
        sink: &mut dyn FnMut(Event) -> Flow,
    ) -> Result<Summary, Error> {
        let start = Instant::now();
        let mut report = |progress| sink(Event::Prefill(progress));
        let synced = self.sync(session, generation.prompt, &mut report)?;
        let prefill = start.elapsed();
        let (finish, generated) = if synced.complete {
            self.decode(session, generation, sampler, sink)?
        } else {
            (Finish::Cancelled, 0)
        };
        let decode = start.elapsed() - prefill;
        self.save_turn(session);
        let (plan, prompt_fed) = (synced.plan, synced.fed);
        Ok(Summary { finish, plan, prompt_fed, generated, prefill, decode })
    }

    fn decode(
        &mut self,
        session: &mut Session,
        generation: &Generation,
        sampler: &mut Sampler,
        sink: &mut dyn FnMut(Event) -> Flow,
    ) -> Result<(Finish, usize), Error> {
        let room = self.options().context - session.tokens().len();
        let mut generated = 0;
        loop {
            if generated == generation.tokens_max {
                return Ok((Finish::Length, generated));
            }
            if generated == room {
                return Ok((Finish::Context, generated));
            }
            let token = sampler.pick(session.logits());
            if generation.stop.contains(&token) {
                return Ok((Finish::Stop(token), generated));
            }
            generated += 1;
            if sink(Event::Token(token)) == Flow::Stop {
                return Ok((Finish::Cancelled, generated));
            }
            if generated < generation.tokens_max.min(room) {
                self.step(session, token)?;
            }
        }
    }
}
