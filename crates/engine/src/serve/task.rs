//! A request that has a session: what it needs next, and what becomes of the logits it gets.
//!
//! A task knows neither the device nor other tasks. It says what it could take, is told what it was
//! given, and chooses tokens from rows of logits until something ends the answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kvstore::Reason;
use spec::TokenId;

use super::follow::{Follow, Reading};
use super::handle::{Outbox, Place, Waiting};
use super::request::{Event, Request, Source, Token, Usage};
use super::schedule::Demand;
use crate::constraint::TokenSet;
use crate::draft::Drafter;
use crate::{AnchorId, Engine, Error, Finish, Logprobs, Progress, Resume, Session};

/// A running request.
pub(super) struct Task {
    /// Names it among all that the worker ever had.
    pub number: u64,
    pub session: Session,
    pub outbox: Outbox,
    request: Request,
    /// What is left of the prompt, from `fed` on.
    feed: Vec<TokenId>,
    fed: usize,
    /// Lengths of the session at which its state is worth keeping, ascending.
    cuts: Vec<usize>,
    /// Those at which it is to be saved.
    stops: Vec<(usize, Reason)>,
    /// Tokens of the session before the answer, and how many of them needed no work.
    prompt: usize,
    cached: usize,
    /// Chosen, told, and not fed.
    next: Option<TokenId>,
    drafter: Drafter,
    allowed: TokenSet,
    source: Source,
    generated: usize,
    drafted: usize,
    accepted: usize,
    waited: Duration,
    began: Instant,
    answering: Option<Instant>,
    /// Its state was let go for want of row pages, until somebody leaves some.
    paused: bool,
    place: Place,
}

/// A client that has not yet been told the end.
pub(super) struct Leaving {
    pub outbox: Outbox,
    /// Free when it has.
    pub _place: Place,
}

/// What a task takes part in a step with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Tokens to feed; of an answer the next token, then guesses.
    pub tokens: Vec<TokenId>,
    /// How many of the last want logits.
    pub outputs: usize,
}

impl Task {
    /// A request that goes on in `session`, which holds what `resume` does not leave to feed; it
    /// began when a session was first looked for.
    pub fn new(
        number: u64,
        waiting: Waiting,
        session: Session,
        resume: Resume,
        (began, engine): (Instant, &Engine),
    ) -> Task {
        let Waiting { mut request, outbox, arrived, place, .. } = waiting;
        let Resume { plan, feed } = resume;
        let kept = session.tokens().len();
        request.sampler.read(&request.prompt);
        let prompt = kept + feed.len();
        let mut cuts = cuts(&request, kept, &feed);
        // As a length of the session, which may have other tokens for the same text.
        let shift = |at: &usize| (at + prompt).checked_sub(request.prompt.len());
        let boundary = request.boundaries.first().and_then(shift);
        let stops = engine.stops(kept, prompt, boundary);
        cuts.extend(stops.iter().map(|(at, _)| *at).filter(|at| *at < prompt));
        cuts.sort_unstable();
        let vocab = engine.shape().vocab;
        let mut task = Task {
            number,
            prompt,
            cached: kept,
            stops,
            source: Source::of(&plan),
            allowed: TokenSet::new(if request.constraint.is_some() { vocab } else { 0 }),
            waited: began - arrived,
            began,
            answering: None,
            paused: false,
            fed: 0,
            next: None,
            drafter: Drafter::default(),
            generated: 0,
            drafted: 0,
            accepted: 0,
            session,
            outbox,
            request,
            feed,
            cuts,
            place,
        };
        task.tell_start(kept);
        task
    }

    fn tell_start(&mut self, cached: usize) {
        let (source, notes) = (self.source, self.session.notes.clone());
        if !self.request.notes.is_empty() {
            self.session.notes = std::mem::take(&mut self.request.notes);
        }
        self.outbox.push(Event::Resumed { source, cached, notes });
        self.tell_progress();
    }

    /// What it could take in the next step. `chunk` says how much of a prompt may be fed before its
    /// state is to be kept.
    pub fn demand(&mut self, drafts_max: usize, chunk: impl Fn(usize) -> usize) -> Demand {
        if !self.outbox.flush() || self.paused {
            return Demand::Rest;
        }
        if self.is_answering() {
            return Demand::Answer { drafts: drafts_max };
        }
        let (at, left) = (self.session.tokens().len(), self.feed.len() - self.fed);
        let cut = self.cuts.iter().find(|cut| **cut > at).map_or(left, |cut| cut - at);
        Demand::Prompt { tokens: chunk(left.min(cut)) }
    }

    /// Its part of a step in which it was given so many tokens.
    pub fn part(&mut self, given: usize, context: usize) -> Part {
        let Some(next) = self.next.filter(|_| self.is_read()) else {
            let tokens = self.feed[self.fed..self.fed + given].to_vec();
            let outputs = (self.fed + given == self.feed.len()) as usize;
            return Part { tokens, outputs };
        };
        // The last token of an answer is not fed, so there is no use in guessing what follows it.
        let wanted = self.request.tokens_max - self.generated;
        let room = context - self.prompt - self.generated;
        let most = (given - 1).min(wanted.saturating_sub(1)).min(room.saturating_sub(1));
        let mut tokens = vec![next];
        if most > 0 {
            self.session.tokens.push(next);
            tokens.extend(self.drafter.draft(&self.session.tokens, most));
            self.session.tokens.pop();
        }
        Part { outputs: tokens.len(), tokens }
    }

    /// The prompt's part was fed.
    pub fn fed(&mut self, tokens: usize) {
        self.fed += tokens;
        if self.answering.is_none() {
            self.tell_progress();
        }
    }

    /// Whether the next token of the answer is to be fed.
    fn is_answering(&self) -> bool {
        self.answering.is_some() && self.is_read()
    }

    /// Whether the answer is still to begin, with the logits after the prompt.
    pub fn is_about_to_begin(&self) -> bool {
        self.answering.is_none() && self.is_read()
    }

    /// Whether it has let its state go, and waits for pages.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Lets its state go, so that others can go on: what was fed is to be fed again. Nothing that
    /// was told changes, and on a CPU nothing that will be.
    pub fn pause(&mut self) {
        let again = self.session.tokens().iter().chain(&self.feed[self.fed..]);
        self.feed = again.copied().collect();
        self.fed = 0;
        let notes = std::mem::take(&mut self.session.notes);
        self.session.clear();
        self.session.notes = notes;
        self.paused = true;
    }

    /// There may be pages again.
    pub fn go_on(&mut self) {
        self.paused = false;
    }

    /// Whether the whole prompt is in.
    pub fn is_read(&self) -> bool {
        self.fed == self.feed.len()
    }

    /// The prompt, while it is being read. Who waits for a client to read is no example to others.
    pub fn reading(&self) -> Option<Reading<'_>> {
        let (held, rest) = (self.session.tokens(), &self.feed[self.fed..]);
        let moves = !self.is_read() && !self.outbox.is_stuck() && !self.paused;
        moves.then_some(Reading { task: self.number, held, rest })
    }

    /// Whether somebody still has to wait for it.
    pub fn is_before(&self, follow: Follow) -> bool {
        let until = follow.until;
        self.reading().is_some_and(|at| at.task == follow.task && at.held.len() < until)
    }

    /// Its state is wanted by others when the session has so many tokens.
    pub fn cut(&mut self, at: usize) {
        self.cuts.push(at);
        self.cuts.sort_unstable();
    }

    /// Why the state of the prompt is to be saved here, if it is.
    pub fn stop(&self) -> Option<Reason> {
        let held = self.session.tokens().len();
        self.stops.iter().find(|(at, _)| *at == held).map(|(_, reason)| *reason)
    }

    /// Whether the state of the prompt is worth keeping here.
    pub fn is_at_cut(&self) -> bool {
        self.cuts.contains(&self.session.tokens().len())
    }

    fn tell_progress(&mut self) {
        let done = self.session.tokens().len();
        self.outbox.push(Event::Prefill(Progress { done, total: self.prompt }));
    }

    /// Begins the answer with the logits after the prompt.
    pub fn begin(&mut self, context: usize) -> Result<Option<Finish>, Error> {
        self.answering = Some(Instant::now());
        if self.request.tokens_max == 0 {
            return Ok(Some(Finish::Length));
        }
        let logits = std::mem::take(&mut self.session.logits);
        let chosen = self.choose(&logits, &[], context);
        self.session.logits = logits;
        Ok(chosen?.1)
    }

    /// Goes on with the logits `rows` after the next token and each of `drafts`: chooses tokens
    /// while guesses are right. How many were, and whether the answer ends.
    pub fn choose(
        &mut self,
        rows: &[f32],
        drafts: &[TokenId],
        context: usize,
    ) -> Result<(usize, Option<Finish>), Error> {
        let vocab = rows.len() / (1 + drafts.len());
        self.next = None;
        let mut right = 0;
        for row in rows.chunks_exact(vocab) {
            let token = self.pick(row)?;
            if self.request.stop.contains(&token) {
                return Ok((right, Some(Finish::Stop(token))));
            }
            self.generated += 1;
            let logprobs = self.request.logprobs.map(|top| Logprobs::new(row, token, top));
            self.outbox.push(Event::Token(Token { id: token, logprobs }));
            if self.generated == self.request.tokens_max {
                return Ok((right, Some(Finish::Length)));
            }
            if self.prompt + self.generated == context {
                return Ok((right, Some(Finish::Context)));
            }
            if drafts.get(right) != Some(&token) {
                self.next = Some(token);
                break;
            }
            right += 1;
        }
        Ok((right, None))
    }

    fn pick(&mut self, row: &[f32]) -> Result<TokenId, Error> {
        let Request { sampler, constraint, .. } = &mut self.request;
        let Some(constraint) = constraint else { return Ok(sampler.pick(row)) };
        let failed = |message| Error::Constraint { message };
        self.allowed.clear();
        constraint.allow(&mut self.allowed).map_err(failed)?;
        if self.allowed.is_empty() {
            return Err(failed("no token is allowed here".to_owned()));
        }
        let token = match constraint.is_greedy() {
            true => sampler.pick_greedily(row, &self.allowed),
            false => sampler.pick_from(row, Some(&self.allowed)),
        };
        constraint.accept(token).map_err(failed)?;
        Ok(token)
    }

    /// Takes note of guesses.
    pub fn learn(&mut self, drafted: usize, accepted: usize) {
        self.drafter.learn(drafted, accepted);
        self.drafted += drafted;
        self.accepted += accepted;
    }

    /// Tells the client that it is over, as soon as it reads, and where its state is kept; the
    /// session is free again.
    pub fn finish(mut self, finish: Finish, state: Option<AnchorId>) -> (Session, Leaving) {
        let answering = self.answering.unwrap_or_else(Instant::now);
        let usage = Usage {
            finish,
            state,
            prompt: self.prompt,
            cached: self.cached,
            source: self.source,
            generated: self.generated,
            drafted: self.drafted,
            accepted: self.accepted,
            waited: self.waited,
            prefill: answering - self.began,
            decode: answering.elapsed(),
        };
        if let Some(notes) = self.request.constraint.as_mut().and_then(|c| c.notes()) {
            self.session.notes = notes;
        }
        self.outbox.push(Event::Finished(usage));
        (self.session, Leaving { outbox: self.outbox, _place: self.place })
    }

    /// Tells the client what went wrong.
    pub fn fail(mut self, error: Arc<Error>) -> Leaving {
        self.outbox.push(Event::Failed(error));
        Leaving { outbox: self.outbox, _place: self.place }
    }
}

/// Boundaries of the prompt as lengths of the session. Where a state of the same text in other
/// tokens is gone on from, they lie elsewhere, but what follows it is the same.
fn cuts(request: &Request, kept: usize, feed: &[TokenId]) -> Vec<usize> {
    let before = request.prompt.len().saturating_sub(feed.len());
    if request.prompt.get(before..) != Some(feed) {
        return Vec::new();
    }
    let inside =
        request.boundaries.iter().filter(|at| (before + 1..request.prompt.len()).contains(at));
    let mut cuts: Vec<usize> = inside.map(|at| at - before + kept).collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}
