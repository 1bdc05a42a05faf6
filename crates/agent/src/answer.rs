//! One answer of the model: asked for, heard, and brought into a form that can be gone on from.
//!
//! What was sampled stays as it was. An answer that was cut is brought to an end: reasoning is
//! closed, a call that a tool has refused while it was sampled is closed where it stands (its
//! beginning stays, so that nothing of it is read again), any other call that is not complete goes.

use engine::serve::{self, Request, Ticket, Usage};
use engine::{Finish, Sampler};
use spec::TokenId;
use text::{Ear, End, FinishReason, Region, Reply, ReplyCall};

use crate::desk::Heard;
use crate::event::{Cost, Event, Past, TurnEnd};
use crate::format::Thinking;
use crate::guide::Guide;
use crate::talk::Kind;
use crate::turn::Loop;

/// What an answer says.
pub(crate) enum Said {
    /// All that there was to say.
    Done,
    /// Calls, which may be executed.
    Calls {
        calls: Vec<ReplyCall>,
        /// Which of them a tool has refused while it was sampled, and why.
        refused: Option<(usize, String)>,
    },
    /// A call that cannot be read.
    Broken,
    /// A call was refused while it was sampled, and nothing of it is left.
    Dropped { why: String },
}

/// Bytes of arguments between two looks at them.
const GLANCE_BYTES: usize = 64;

/// Bytes of arguments of one call; a model that goes on is stopped.
const ARGUMENT_BYTES_MAX: usize = 4 << 20;

/// An answer while it is heard.
struct Hearing {
    ear: Ear,
    tokens: Vec<TokenId>,
    reply: Reply,
    /// So many tokens end where a call can be closed.
    closable: Option<usize>,
    /// So many tokens end before what may be the beginning of a call.
    plain: usize,
    /// Arguments of the call that is being sampled that were looked at.
    glanced: usize,
    refused: Option<(usize, String)>,
    broken: bool,
}

impl Hearing {
    fn new(ear: Ear) -> Hearing {
        Hearing {
            ear,
            tokens: Vec::new(),
            reply: Reply::default(),
            closable: None,
            plain: 0,
            glanced: 0,
            refused: None,
            broken: false,
        }
    }

    /// Hears a token, and says what it made certain.
    fn hear(&mut self, token: TokenId) -> Vec<text::Event> {
        self.tokens.push(token);
        let events = self.ear.hear(token);
        self.take(&events);
        if self.ear.region() == Region::StringBody {
            self.closable = Some(self.tokens.len());
        }
        events
    }

    fn take(&mut self, events: &[text::Event]) {
        use text::Event::{CallBegin, CallsDropped, Reasoning, ReasoningEnd, Text};
        for event in events {
            match event {
                Reasoning(_) | ReasoningEnd | Text(_) => self.plain = self.tokens.len(),
                CallBegin { .. } => {
                    self.glanced = 0;
                    self.closable = None;
                }
                CallsDropped { .. } => self.broken = true,
                _ => {}
            }
            self.reply.add(event.clone());
        }
    }

    fn reasons(&self) -> bool {
        self.ear.is_thinking()
    }
}

impl Loop {
    /// Asks for an answer to the conversation and takes it in.
    ///
    /// # Errors
    /// The turn ends here.
    pub fn answer(&mut self, cost: &mut Cost) -> Result<Said, TurnEnd> {
        let most = self.settings.answer_tokens_max;
        let prompt = self.talk.tokens().to_vec();
        let thinking = self.thinking;
        let (mut hearing, finish) = match self.hear_answer(prompt, thinking, most, true, cost) {
            Ok(heard) => heard,
            Err(end) => {
                // The answer was opened, and nothing came.
                self.add(Kind::Answer, &self.format.ending(thinking != Thinking::Off));
                return Err(end);
            }
        };
        let told = hearing.reply.calls.last().map_or(0, |call| call.arguments.len());
        let end = match finish {
            // What is complete is answered, also if that is only that it was stopped.
            _ if hearing.reply.sampled_calls.is_some() => End::Stop,
            _ if hearing.refused.is_some() && !self.stop => self.close_call(&mut hearing, told),
            Finish::Stop(_) => End::Stop,
            Finish::Length => End::Length,
            Finish::Context => End::ContextFull,
            Finish::Cancelled => End::Cancelled,
        };
        let in_call = hearing.ear.region() != Region::Outside || !hearing.reply.calls.is_empty();
        if end != End::Stop && in_call {
            // A call that is not complete is not executed, and nothing to go on from.
            hearing.tokens.truncate(hearing.plain);
        }
        let reasons = hearing.reasons();
        let last = hearing.ear.end(end);
        hearing.take(&last);
        self.tell_said(last);
        hearing.tokens.extend(self.format.ending(reasons));
        self.add(Kind::Answer, &hearing.tokens);
        self.keep_words(&hearing.reply);
        self.tell_status();
        let Hearing { reply, refused, broken, .. } = hearing;
        match (end, reply.finish) {
            (End::Cancelled, _) => match refused.filter(|_| !self.stop) {
                Some((_, why)) => Ok(Said::Dropped { why }),
                None => Err(TurnEnd::Stopped),
            },
            (End::Length, _) => Err(TurnEnd::Length),
            (End::ContextFull, _) => Err(TurnEnd::ContextFull),
            (_, Some(FinishReason::ToolCalls)) => Ok(Said::Calls { calls: reply.calls, refused }),
            _ if broken => Ok(Said::Broken),
            _ => Ok(Said::Done),
        }
    }

    /// Asks for an answer to `prompt` and hears it to its end. `shown` says whether people see it.
    fn hear_answer(
        &mut self,
        prompt: Vec<TokenId>,
        thinking: Thinking,
        most: usize,
        shown: bool,
        cost: &mut Cost,
    ) -> Result<(Hearing, Finish), TurnEnd> {
        let ear = || {
            let options = self.format.parser(thinking != Thinking::Off);
            Ear::new(self.format.tokenizer.clone(), options)
        };
        let mut hearing = Hearing::new(ear());
        let guide = Guide::new(ear(), self.format.end);
        if let Some((_, ticket)) = self.ahead.take() {
            ticket.cancel();
        }
        self.unread = false;
        self.count += 1;
        let number = self.count;
        let seed = self.settings.seed.wrapping_add(number);
        let sampler = Sampler::new(self.settings.sampling, seed).map_err(failed)?;
        let request = Request {
            constraint: Some(Box::new(guide)),
            stop: vec![self.format.end],
            boundaries: vec![self.talk.shared()],
            steer: self.steer,
            ..Request::new(prompt, sampler, most)
        };
        let ticket = self.model.submit(request, self.desk.sink(number)).map_err(failed)?;
        let mut ended: Option<Result<Usage, TurnEnd>> = None;
        loop {
            if self.stop {
                ticket.cancel();
            }
            match self.hear(None) {
                Some(Heard::Model(of, event)) if of == number => match event {
                    serve::Event::Token(token) => {
                        self.hear_token(&mut hearing, token.id, shown, &ticket);
                    }
                    serve::Event::Prefill(at) => {
                        self.desk.tell(Event::Prefill { done: at.done, total: at.total });
                    }
                    serve::Event::Finished(usage) => ended = Some(Ok(usage)),
                    serve::Event::Failed(error) => ended = Some(Err(failed(error))),
                    serve::Event::Queued { .. } | serve::Event::Resumed { .. } => {}
                },
                Some(Heard::ModelGone(of)) if of == number => break,
                _ => {}
            }
        }
        let gone = || TurnEnd::Failed("the engine has ended".to_owned());
        let usage = match ended {
            Some(ended) => ended?,
            None if self.stop => return Err(TurnEnd::Stopped),
            None => return Err(gone()),
        };
        self.take_usage(&usage, cost);
        Ok((hearing, usage.finish))
    }

    fn hear_token(&mut self, hearing: &mut Hearing, id: TokenId, shown: bool, ticket: &Ticket) {
        let events = hearing.hear(id);
        if !shown {
            return;
        }
        if hearing.refused.is_none()
            && let Some(why) = self.glance(hearing, &events)
        {
            hearing.refused = Some((hearing.reply.calls.len() - 1, why));
            ticket.cancel();
        }
        self.tell_said(events);
    }

    /// Lets the tool look at the arguments of its call, now and then; why it refuses it.
    fn glance(&self, hearing: &mut Hearing, events: &[text::Event]) -> Option<String> {
        let grown = |event: &text::Event| matches!(event, text::Event::CallArguments(_));
        if !events.iter().any(grown) {
            return None;
        }
        let call = hearing.reply.calls.last()?;
        let arguments = call.arguments.as_str();
        if arguments.len() > ARGUMENT_BYTES_MAX {
            return Some(format!("the arguments have more than {ARGUMENT_BYTES_MAX} bytes"));
        }
        // The beginning of another argument is where the one before it is complete.
        let complete = arguments.ends_with("\": ") || arguments.ends_with("\": \"");
        if !complete && arguments.len() < hearing.glanced + GLANCE_BYTES {
            return None;
        }
        hearing.glanced = arguments.len();
        let (_, tool) = self.tools.iter().find(|(spec, _)| spec.name == call.name)?;
        tool.glance(arguments)
    }

    /// Closes the call that a tool has refused, where it stands.
    fn close_call(&mut self, hearing: &mut Hearing, told: usize) -> End {
        let (Some(at), Ok(closing)) = (hearing.closable, self.format.closing()) else {
            return End::Cancelled;
        };
        let options = self.format.parser(self.thinking != Thinking::Off);
        let mut again = Hearing::new(Ear::new(self.format.tokenizer.clone(), options));
        let mut events: Vec<text::Event> = Vec::new();
        for token in hearing.tokens[..at].iter().chain(&closing) {
            events = again.hear(*token);
        }
        if again.reply.sampled_calls.is_none() {
            return End::Cancelled;
        }
        // People have seen the call's beginning.
        let arguments = again.reply.calls.last().map_or("", |call| call.arguments.as_str());
        let rest = arguments.get(told.min(arguments.len())..).unwrap_or("").to_owned();
        let ends = |event: &text::Event| matches!(event, text::Event::CallsEnd { .. });
        let mut tell = vec![text::Event::CallArguments(rest), text::Event::CallEnd];
        tell.extend(events.into_iter().filter(ends));
        self.tell_said(tell);
        again.refused = hearing.refused.take();
        *hearing = again;
        End::Stop
    }

    /// Lets the model read the conversation before anybody asks, once after it was opened. Whoever
    /// asks for an answer ends that, and goes on from what was read.
    pub fn read_ahead(&mut self) {
        if !self.settings.read_ahead || !std::mem::take(&mut self.unread) {
            return;
        }
        self.end_reading();
        self.count += 1;
        let Ok(sampler) = Sampler::new(self.settings.sampling, self.settings.seed) else { return };
        let boundaries = vec![self.talk.shared()];
        let request = Request {
            boundaries,
            steer: self.steer,
            ..Request::new(self.talk.tokens().to_vec(), sampler, 0)
        };
        // What goes wrong with it goes wrong again when somebody asks, and is told then.
        let ticket = self.model.submit(request, self.desk.sink(self.count)).ok();
        self.ahead = ticket.map(|ticket| (self.count, ticket));
    }

    /// Ends reading ahead, and waits for that.
    pub fn end_reading(&mut self) {
        let Some((number, ticket)) = self.ahead.take() else { return };
        ticket.cancel();
        while !matches!(self.hear(None), Some(Heard::ModelGone(of)) if of == number) {}
    }

    /// Calls of the answer that is last, if it is one that calls.
    pub fn calls_said(&self) -> usize {
        let Some((before, answer)) = self.talk.last_answer() else { return 0 };
        let options = self.format.parser(self.format.opens_thinking(before));
        let mut ear = Ear::new(self.format.tokenizer.clone(), options);
        let mut reply = Reply::default();
        let said = answer.iter().filter(|token| **token != self.format.end);
        let mut events: Vec<text::Event> = said.flat_map(|token| ear.hear(*token)).collect();
        events.extend(ear.end(End::Stop));
        events.into_iter().for_each(|event| reply.add(event));
        if reply.finish == Some(FinishReason::ToolCalls) { reply.calls.len() } else { 0 }
    }

    /// Asks for an answer that nobody sees, such as a summary. Its text; `None` if there is none.
    pub fn ask_aside(
        &mut self,
        prompt: Vec<TokenId>,
        most: usize,
        cost: &mut Cost,
    ) -> Result<Option<String>, TurnEnd> {
        let (mut hearing, finish) = self.hear_answer(prompt, Thinking::Off, most, false, cost)?;
        let last = hearing.ear.end(End::Stop);
        hearing.take(&last);
        if finish == Finish::Cancelled {
            return Err(TurnEnd::Stopped);
        }
        let text = hearing.reply.text.trim();
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    fn take_usage(&mut self, usage: &Usage, cost: &mut Cost) {
        cost.read += usage.prompt.saturating_sub(usage.cached);
        cost.cached += usage.cached;
        cost.prefill += usage.prefill;
        cost.written += usage.generated;
        cost.decode += usage.decode;
        if usage.generated > 0 {
            self.speed = usage.generated as f64 / usage.decode.as_secs_f64().max(1e-9);
        }
    }

    fn tell_said(&mut self, events: Vec<text::Event>) {
        for event in events {
            if !matches!(event, text::Event::Finish(_)) {
                self.desk.tell(Event::Said(event));
            }
        }
    }

    /// Keeps what was said, to be shown again. Calls are kept with what came of them.
    fn keep_words(&mut self, reply: &Reply) {
        use crate::talk::Record;
        if !reply.reasoning.trim().is_empty() {
            self.note(Record::Past(Past::Reasoning(reply.reasoning.clone())));
        }
        if !reply.text.trim().is_empty() {
            self.note(Record::Past(Past::Text(reply.text.clone())));
        }
    }
}

fn failed(error: impl std::fmt::Display) -> TurnEnd {
    TurnEnd::Failed(error.to_string())
}
