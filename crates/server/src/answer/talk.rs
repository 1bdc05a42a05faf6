//! Several answers to one prompt, heard together.
//!
//! The first answer reads the prompt; the others begin when it has begun, and go on from the state
//! that it left. Dropping a [`Talk`] cancels what is under way: a client that goes away ends the
//! work within one step.

use std::sync::Arc;
use std::time::Instant;

use engine::Finish;
use engine::serve::{Event, Offer, Sink, Source, Ticket, Token};
use text::End;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::answer::ear::Ear;
use crate::answer::prepare::{Model, Prepared};
use crate::refusal::{Reason, Refusal};
use crate::said::{Prob, Seen, Usage};

/// Events that may wait for the client before its answers rest.
const EVENTS: usize = 256;

/// What happens in a talk.
#[derive(Debug)]
pub enum Said {
    /// The prompt was looked up.
    Seen(Seen),
    /// Something was said in an answer.
    Event(usize, text::Event, Vec<Prob>),
    /// All answers are over.
    Over(Usage),
    /// There is no answer, or no more of it.
    Failed(Refusal),
}

/// How a talk went, for logs and figures.
#[derive(Clone, Copy, Debug, Default)]
pub struct Course {
    /// Where the beginning of the prompt came from.
    pub source: Option<Source>,
    /// Tokens taken.
    pub usage: Usage,
    /// Seconds of waiting, reading and answering.
    pub waited: f64,
    /// Seconds of reading the prompt.
    pub prefill: f64,
    /// Seconds of answering.
    pub decode: f64,
    /// Seconds from the request to the first token.
    pub first_token: Option<f64>,
}

/// Answers under way.
#[derive(Debug)]
pub struct Talk {
    model: Arc<Model>,
    prepared: Prepared,
    ears: Vec<Option<Ear>>,
    probs: Vec<Vec<Prob>>,
    tickets: Vec<Ticket>,
    /// For answers that have not begun.
    sender: Option<Sender<(usize, Event)>>,
    events: Receiver<(usize, Event)>,
    open: usize,
    began: Instant,
    /// How it went so far.
    pub course: Course,
}

/// The engine's end of one answer.
struct Numbered(usize, Sender<(usize, Event)>);

impl Sink for Numbered {
    fn offer(&mut self, event: Event) -> Offer {
        match self.1.try_send((self.0, event)) {
            Ok(()) => Offer::Taken,
            Err(TrySendError::Full((_, event))) => Offer::Full(event),
            Err(TrySendError::Closed(_)) => Offer::Gone,
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.tickets.iter().for_each(Ticket::cancel);
    }
}

impl Talk {
    /// Begins so many answers.
    ///
    /// # Errors
    /// All places are taken, or a setting means nothing.
    pub fn begin(model: Arc<Model>, prepared: Prepared, answers: usize) -> Result<Talk, Refusal> {
        let (sender, events) = channel(EVENTS);
        let ears = (0..answers).map(|_| Some(model.ear(&prepared))).collect();
        let mut talk = Talk {
            model,
            prepared,
            ears,
            probs: vec![Vec::new(); answers],
            tickets: Vec::new(),
            sender: Some(sender),
            events,
            open: answers,
            began: Instant::now(),
            course: Course::default(),
        };
        talk.course.usage.seen.prompt = talk.prepared.tokens.len();
        talk.submit(0)?;
        if answers == 1 {
            talk.sender = None;
        }
        Ok(talk)
    }

    fn submit(&mut self, answer: usize) -> Result<(), Refusal> {
        let Some(sender) = &self.sender else { return Ok(()) };
        let request = self.model.request(&self.prepared, answer)?;
        let sink = Numbered(answer, sender.clone());
        let ticket = self.model.handle.submit(request, Box::new(sink)).map_err(refusal)?;
        self.tickets.push(ticket);
        Ok(())
    }

    /// The first answer has begun: the state of the prompt is there for the others.
    fn submit_others(&mut self) -> Result<(), Refusal> {
        if self.sender.is_some() {
            for answer in 1..self.ears.len() {
                self.submit(answer)?;
            }
            self.sender = None;
        }
        Ok(())
    }

    /// What happens next; ends with [`Said::Over`] or [`Said::Failed`]. May be dropped while it
    /// waits.
    pub async fn next(&mut self) -> Vec<Said> {
        let Some((answer, event)) = self.events.recv().await else {
            let gone = Refusal::new(Reason::Failed, "the engine ended before the answer did");
            return vec![Said::Failed(gone)];
        };
        match self.take(answer, event) {
            Ok(said) => said,
            Err(refusal) => vec![Said::Failed(refusal)],
        }
    }

    /// How it went so far; of answers that were cut, what was heard of them.
    pub fn so_far(&self) -> Course {
        let mut course = self.course;
        for ear in self.ears.iter().flatten() {
            course.usage.generated += ear.tokens;
            course.usage.reasoning += ear.reasoning;
        }
        if let (Some(first), 0.0) = (course.first_token, course.decode) {
            course.prefill = (first - course.waited).max(0.0);
            course.decode = (self.began.elapsed().as_secs_f64() - first).max(0.0);
        }
        course
    }

    fn take(&mut self, answer: usize, event: Event) -> Result<Vec<Said>, Refusal> {
        match event {
            Event::Resumed { source, cached, .. } if answer == 0 => {
                self.course.source = Some(source);
                self.course.waited = self.began.elapsed().as_secs_f64();
                self.course.usage.seen.cached = cached.min(self.course.usage.seen.prompt);
                Ok(vec![Said::Seen(self.course.usage.seen)])
            }
            Event::Token(token) => {
                let since = self.began.elapsed().as_secs_f64();
                self.course.first_token.get_or_insert(since);
                self.submit_others()?;
                Ok(self.token(answer, &token))
            }
            Event::Finished(usage) => {
                self.submit_others()?;
                self.course.waited = self.course.waited.max(usage.waited.as_secs_f64());
                self.course.prefill = self.course.prefill.max(usage.prefill.as_secs_f64());
                self.course.decode = self.course.decode.max(usage.decode.as_secs_f64());
                Ok(self.finish(answer, usage.finish))
            }
            Event::Failed(error) => Err(refusal_of(&error)),
            Event::Queued { .. } | Event::Prefill(_) | Event::Resumed { .. } => Ok(Vec::new()),
        }
    }

    fn token(&mut self, answer: usize, token: &Token) -> Vec<Said> {
        let Some(ear) = &mut self.ears[answer] else { return Vec::new() };
        let was_thinking = ear.is_thinking();
        let events = ear.hear(token.id);
        if let (Some(logprobs), false) = (&token.logprobs, was_thinking) {
            let bytes = |id| self.model.tokenizer.token_bytes(id).to_vec();
            let top = logprobs.top.iter().map(|(id, logprob)| (bytes(*id), *logprob)).collect();
            let prob = Prob { bytes: bytes(token.id), logprob: logprobs.chosen, top };
            self.probs[answer].push(prob);
        }
        self.said(answer, events)
    }

    /// Probabilities go with the first text that comes after their tokens.
    fn said(&mut self, answer: usize, events: Vec<text::Event>) -> Vec<Said> {
        let said = |event: text::Event| {
            let probs = match event {
                text::Event::Text(_) => std::mem::take(&mut self.probs[answer]),
                _ => Vec::new(),
            };
            Said::Event(answer, event, probs)
        };
        events.into_iter().map(said).collect()
    }

    fn finish(&mut self, answer: usize, finish: Finish) -> Vec<Said> {
        let Some(mut ear) = self.ears[answer].take() else { return Vec::new() };
        self.course.usage.generated += ear.tokens;
        self.course.usage.reasoning += ear.reasoning;
        let end = match finish {
            Finish::Stop(_) => End::Stop,
            Finish::Length => End::Length,
            Finish::Context => End::ContextFull,
            Finish::Cancelled => {
                let reason = "the answer was cut: the server ends, or the client did not read";
                return vec![Said::Failed(Refusal::new(Reason::Busy, reason))];
            }
        };
        let events = ear.end(end);
        let mut said = self.said(answer, events);
        self.open -= 1;
        if self.open == 0 {
            said.push(Said::Over(self.course.usage));
        }
        said
    }
}

fn refusal(error: engine::Error) -> Refusal {
    refusal_of(&error)
}

/// What the engine says, as clients are told.
fn refusal_of(error: &engine::Error) -> Refusal {
    use engine::Error::*;
    let reason = match error {
        Busy { .. } | Stopped => Reason::Busy,
        PromptTooLong { prompt, context, .. } => {
            Reason::TooLong { tokens: *prompt, context: *context }
        }
        EmptyPrompt | Sampling { .. } => Reason::Invalid,
        _ => Reason::Failed,
    };
    Refusal::new(reason, error.to_string())
}
