//! Several answers to one prompt, heard together.
//!
//! The first answer reads the prompt; the others begin when it has begun, and go on from the state
//! that it left. Dropping a [`Talk`] cancels what is under way: a client that goes away ends the
//! work within one step.
//!
//! Calls that break are sampled again, if nothing of them was told: the answer goes back to before
//! the block, and what follows has to be a block as the grammar of calls says. Answers that are
//! told whole tell calls when they are complete; in a stream, what was told cannot be taken back.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use engine::serve::{Event, Offer, Sink, Source, Ticket, Token};
use engine::{AnchorId, Finish, Remember};
use spec::TokenId;
use text::{DropCause, End, FinishReason, Reply};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::answer::prepare::{Attempt, Model, Prepared};
use crate::dialogue::GONE;
use crate::refusal::{Reason, Refusal};
use crate::replay::{Turn, notes};
use crate::said::{Prob, Seen, Usage};
use text::Ear;

/// Events of an answer that may wait for the client before it rests.
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
    /// How often calls that broke were sampled again.
    pub tries: usize,
}

/// Answers under way.
#[derive(Debug)]
pub struct Talk {
    model: Arc<Model>,
    prepared: Prepared,
    voices: Vec<Voice>,
    /// Whether what is said is told at once.
    stream: bool,
    /// The others than the first have begun.
    all_begun: bool,
    /// It was told what was known of the prompt.
    seen: bool,
    /// The voice that is heard first.
    turn: usize,
    open: usize,
    began: Instant,
    /// How it went so far.
    pub course: Course,
}

/// One answer.
#[derive(Debug, Default)]
struct Voice {
    ear: Option<Ear>,
    events: Option<Receiver<Event>>,
    ticket: Option<Ticket>,
    /// Of tokens whose text is not told yet.
    probs: Vec<Prob>,
    /// What was said so far; what came of earlier attempts stands at its beginning.
    attempt: Attempt,
    /// Tokens of this attempt, and how many of them came before the visible answer.
    heard: Vec<TokenId>,
    hidden: usize,
    /// Bytes of text that this attempt has told.
    told: usize,
    /// A call was told.
    called: bool,
    /// Events of calls that are told when they are complete.
    kept: Vec<Said>,
    /// The engine's state after the answer, and its tokens.
    state: Option<(AnchorId, usize)>,
}

/// The engine's end of one answer.
struct Numbered(Sender<Event>);

impl Sink for Numbered {
    fn offer(&mut self, event: Event) -> Offer {
        match self.0.try_send(event) {
            Ok(()) => Offer::Taken,
            Err(TrySendError::Full(event)) => Offer::Full(event),
            Err(TrySendError::Closed(_)) => Offer::Gone,
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.voices.iter().for_each(Voice::cancel);
    }
}

impl Voice {
    fn cancel(&self) {
        self.ticket.iter().for_each(Ticket::cancel);
    }
}

impl Talk {
    /// Begins so many answers; in a `stream` everything is told at once.
    ///
    /// # Errors
    /// All places are taken, or a setting means nothing.
    pub fn begin(
        model: Arc<Model>,
        prepared: Prepared,
        answers: usize,
        stream: bool,
    ) -> Result<Talk, Refusal> {
        let mut talk = Talk {
            model,
            prepared,
            voices: (0..answers).map(|_| Voice::default()).collect(),
            stream,
            all_begun: answers == 1,
            seen: false,
            turn: 0,
            open: answers,
            began: Instant::now(),
            course: Course::default(),
        };
        talk.course.usage.seen.prompt = talk.prepared.prompt();
        talk.submit(0)?;
        Ok(talk)
    }

    fn submit(&mut self, answer: usize) -> Result<(), Refusal> {
        let Talk { model, prepared, voices, .. } = self;
        let voice = &mut voices[answer];
        let request = model.request(prepared, answer, &voice.attempt)?;
        let (sender, events) = channel(EVENTS);
        let ticket = model.handle.submit(request, Box::new(Numbered(sender))).map_err(refusal)?;
        voice.ear = Some(model.ear(prepared, &voice.attempt));
        (voice.events, voice.ticket) = (Some(events), Some(ticket));
        Ok(())
    }

    /// The first answer has begun: the state of the prompt is there for the others.
    fn submit_others(&mut self) -> Result<(), Refusal> {
        if !std::mem::replace(&mut self.all_begun, true) {
            for answer in 1..self.voices.len() {
                self.submit(answer)?;
            }
        }
        Ok(())
    }

    /// The engine's state after an answer that ended of itself, and its tokens; while it is in
    /// memory.
    pub fn state(&self, answer: usize) -> Option<(AnchorId, usize)> {
        self.voices[answer].state
    }

    /// Turns of the history that were restored.
    pub fn turns(&self) -> &[Arc<Turn>] {
        &self.prepared.turns
    }

    /// Tells the engine how the conversation will look that `reply` led to, and what is kept of it.
    pub fn remember(&self, state: AnchorId, reply: &Reply, turn: &Arc<Turn>) {
        let visible = self.model.visible(&self.prepared, reply).unwrap_or_default();
        let turns = self.prepared.turns.iter().chain([turn]);
        let remember = Remember { visible, notes: notes(turns.map(Arc::as_ref)) };
        // Without an engine there is nothing to go on from.
        let _ = self.model.handle.remember(state, remember);
    }

    /// What happens next; ends with [`Said::Over`] or [`Said::Failed`]. May be dropped while it
    /// waits.
    pub async fn next(&mut self) -> Vec<Said> {
        let (answer, event) = poll_fn(|context| self.poll_event(context)).await;
        let Some(event) = event else {
            let gone = Refusal::new(Reason::Failed, "the engine ended before the answer did");
            return vec![Said::Failed(gone)];
        };
        match self.take(answer, event) {
            Ok(said) => said,
            Err(refusal) => vec![Said::Failed(refusal)],
        }
    }

    /// The next event of any answer, each in its turn.
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<(usize, Option<Event>)> {
        let answers = self.voices.len();
        for answer in (self.turn..answers).chain(0..self.turn) {
            let Some(events) = &mut self.voices[answer].events else { continue };
            if let Poll::Ready(event) = events.poll_recv(context) {
                self.turn = (answer + 1) % answers;
                return Poll::Ready((answer, event));
            }
        }
        Poll::Pending
    }

    /// How it went so far; of answers that were cut, what was heard of them.
    pub fn so_far(&self) -> Course {
        let mut course = self.course;
        for ear in self.voices.iter().filter_map(|voice| voice.ear.as_ref()) {
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
        let first = answer == 0 && self.voices[0].attempt.tries == 0;
        match event {
            Event::Resumed { source, .. } if first => {
                self.course.source = Some(source);
                self.course.waited = self.began.elapsed().as_secs_f64();
                Ok(Vec::new())
            }
            // The first comes at once after that, and says what is left to feed.
            Event::Prefill(progress) if first && !self.seen => {
                self.seen = true;
                let seen = &mut self.course.usage.seen;
                let left = progress.total - progress.done;
                seen.cached = seen.prompt.saturating_sub(left);
                Ok(vec![Said::Seen(*seen)])
            }
            Event::Token(token) => {
                let since = self.began.elapsed().as_secs_f64();
                self.course.first_token.get_or_insert(since);
                self.submit_others()?;
                self.token(answer, &token)
            }
            Event::Finished(usage) => {
                self.submit_others()?;
                self.course.waited = self.course.waited.max(usage.waited.as_secs_f64());
                self.course.prefill = self.course.prefill.max(usage.prefill.as_secs_f64());
                self.course.decode = self.course.decode.max(usage.decode.as_secs_f64());
                self.finish(answer, &usage)
            }
            Event::Failed(error) => Err(refusal_of(&error)),
            Event::Queued { .. } | Event::Prefill(_) | Event::Resumed { .. } => Ok(Vec::new()),
        }
    }

    fn token(&mut self, answer: usize, token: &Token) -> Result<Vec<Said>, Refusal> {
        let voice = &mut self.voices[answer];
        let Some(ear) = &mut voice.ear else { return Ok(Vec::new()) };
        let was_thinking = ear.is_thinking();
        let events = ear.hear(token.id);
        voice.heard.push(token.id);
        if was_thinking {
            voice.hidden = voice.heard.len();
        }
        if let (Some(logprobs), false) = (&token.logprobs, was_thinking) {
            let bytes = |id| self.model.tokenizer.token_bytes(id).to_vec();
            let top = logprobs.top.iter().map(|(id, logprob)| (bytes(*id), *logprob)).collect();
            let prob = Prob { bytes: bytes(token.id), logprob: logprobs.chosen, top };
            voice.probs.push(prob);
        }
        self.said(answer, events)
    }

    /// What is told of events. Calls that broke are sampled again if they can be.
    fn said(&mut self, answer: usize, events: Vec<text::Event>) -> Result<Vec<Said>, Refusal> {
        let ended = events.contains(&text::Event::Finish(FinishReason::Stop));
        let mut said = Vec::new();
        for event in events {
            if is_broken(&event, ended) && self.can_try_again(answer) {
                self.try_again(answer)?;
                return Ok(said);
            }
            self.voices[answer].say(answer, event, self.stream, &mut said);
        }
        Ok(said)
    }

    fn can_try_again(&self, answer: usize) -> bool {
        let voice = &self.voices[answer];
        let told = self.stream && voice.called;
        let tokens = voice.attempt.before.len() + voice.hidden + voice.told;
        !told
            && voice.attempt.tries < self.prepared.tries_max()
            && self.prepared.leaves_room(tokens)
    }

    /// Goes back to the end of the text that was told, and asks for calls from there.
    fn try_again(&mut self, answer: usize) -> Result<(), Refusal> {
        let voice = &mut self.voices[answer];
        voice.cancel();
        let (hidden, visible) = voice.heard.split_at(voice.hidden);
        let stands = stands(&self.model, visible, voice.told);
        let usage = &mut self.course.usage;
        usage.generated += hidden.len() + stands.len();
        usage.reasoning += hidden.len();
        voice.attempt.before.extend_from_slice(hidden);
        voice.attempt.before.extend(stands);
        voice.attempt.tries += 1;
        self.course.tries += 1;
        voice.heard.clear();
        voice.probs.clear();
        voice.kept.clear();
        voice.attempt.reply.calls.clear();
        (voice.hidden, voice.told, voice.called) = (0, 0, false);
        self.submit(answer)
    }

    fn finish(
        &mut self,
        answer: usize,
        usage: &engine::serve::Usage,
    ) -> Result<Vec<Said>, Refusal> {
        let voice = &mut self.voices[answer];
        let Some(mut ear) = voice.ear.take() else { return Ok(Vec::new()) };
        let end = match usage.finish {
            Finish::Stop(_) => End::Stop,
            Finish::Length => End::Length,
            Finish::Context => End::ContextFull,
            Finish::Cancelled => {
                self.course.usage.generated += ear.tokens;
                self.course.usage.reasoning += ear.reasoning;
                let reason = "the answer was cut: the server ends, or the client did not read";
                return Ok(vec![Said::Failed(Refusal::new(Reason::Busy, reason))]);
            }
        };
        voice.events = None;
        let events = ear.end(end);
        let mut said = self.said(answer, events)?;
        let voice = &mut self.voices[answer];
        if voice.events.is_some() {
            return Ok(said); // Another attempt.
        }
        self.course.usage.generated += ear.tokens;
        self.course.usage.reasoning += ear.reasoning;
        let tokens = usage.prompt + usage.generated;
        // Behind a stop text, the state holds what the client was not told.
        let whole = matches!(
            voice.attempt.reply.finish,
            Some(FinishReason::Stop | FinishReason::ToolCalls)
        );
        let state = usage.state.filter(|_| end == End::Stop && whole);
        voice.state = state.map(|state| (state, tokens));
        self.open -= 1;
        if self.open == 0 {
            said.push(Said::Over(self.course.usage));
        }
        Ok(said)
    }
}

impl Voice {
    /// Tells an event, or keeps it until the calls that it belongs to are complete. Probabilities
    /// go with the first text that comes after their tokens.
    fn say(&mut self, answer: usize, event: text::Event, stream: bool, said: &mut Vec<Said>) {
        use text::Event::{CallArguments, CallBegin, CallEnd, CallsDropped, Text};
        let event = match event {
            // Nothing of it was told, so it is as good as text.
            CallsDropped { first: 0, sampled, cause: DropCause::Malformed } if !self.called => {
                Text(sampled)
            }
            event => event,
        };
        let probs = match &event {
            Text(text) => {
                self.told += text.len();
                std::mem::take(&mut self.probs)
            }
            _ => Vec::new(),
        };
        self.called |= matches!(event, CallBegin { .. });
        self.attempt.reply.add(event.clone());
        let waits = matches!(event, CallBegin { .. } | CallArguments(_) | CallEnd);
        self.kept.push(Said::Event(answer, event, probs));
        if stream || !waits {
            said.append(&mut self.kept);
        }
    }
}

/// Whether calls broke that the model went on to end its turn with, or that broke its turn.
fn is_broken(event: &text::Event, ended: bool) -> bool {
    match event {
        text::Event::CallsDropped { first: 0, cause: DropCause::Malformed, .. } => true,
        text::Event::CallsDropped { first: 0, cause: DropCause::Truncated, .. } => ended,
        _ => false,
    }
}

/// The first of `tokens`, as far as their text was told: so many bytes. A token that was told in
/// part is cut anew.
fn stands(model: &Model, tokens: &[TokenId], told: usize) -> Vec<TokenId> {
    let tokenizer = &model.tokenizer;
    let bytes = |token: TokenId| match tokenizer.token_kind(token).is_added() {
        true => tokenizer.token_text(token).as_bytes().to_vec(),
        false => tokenizer.token_bytes(token).to_vec(),
    };
    let (mut whole, mut rest) = (Vec::new(), Vec::new());
    let mut left = told;
    for &token in tokens {
        let spelled = bytes(token);
        if spelled.len() > left {
            rest = spelled[..left].to_vec();
            break;
        }
        left -= spelled.len();
        whole.push(token);
    }
    // A character may be spread over several tokens.
    loop {
        match std::str::from_utf8(&rest) {
            Ok(rest) => break whole.extend(tokenizer.encode_text(rest)),
            Err(_) => match whole.pop() {
                Some(token) => rest = [bytes(token), rest].concat(),
                None => break,
            },
        }
    }
    whole
}

fn refusal(error: engine::Error) -> Refusal {
    refusal_of(&error)
}

/// What the engine says, as clients are told.
fn refusal_of(error: &engine::Error) -> Refusal {
    use engine::Error::*;
    let reason = match error {
        error if error.is_temporary() => Reason::Busy,
        StateGone => return Refusal::new(Reason::Gone, GONE),
        PromptTooLong { prompt, context, .. } => {
            Reason::TooLong { tokens: *prompt, context: *context }
        }
        PromptBeyondRows { prompt, rows } => Reason::TooLong { tokens: *prompt, context: *rows },
        EmptyPrompt | Sampling { .. } => Reason::Invalid,
        _ => Reason::Failed,
    };
    Refusal::new(reason, error.to_string())
}

#[cfg(test)]
mod tests;
