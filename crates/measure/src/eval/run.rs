//! Asking: every item is a conversation of its own, several of which may be answered at once.
//!
//! A round takes the next token of every answer in one step of the model. What an answer becomes
//! depends on its item, its number and the settings alone: chance has a seed of its own for each,
//! and on a CPU a step of several sessions computes the same bits as one of each alone. So neither
//! the number of sessions nor an interruption changes a report.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use engine::{Engine, Flow, Progress, Sampler, Sampling, Session};
use spec::TokenId;
use text::{
    ArgumentTypes, Checkpoint, Ear, Effort, End, ParserOptions, RenderOptions, ThinkMode,
    Tokenizer, opens_thinking, render, special,
};

use super::budget::{Budget, Close};
use super::item::{Call, Item};
use super::report::{Answer, Finish, Settings, Thinking};
use crate::Error;

/// What whoever watches is told.
#[derive(Debug)]
pub enum Event<'a> {
    /// A question is put.
    Began {
        /// Which.
        item: &'a Item,
        /// Which of its answers.
        sample: usize,
    },
    /// A prompt is being read.
    Reading(Progress),
    /// So many tokens were answered.
    Tokens(usize),
    /// An answer is complete.
    Answered(&'a Answer),
}

/// An item as the model reads it.
#[derive(Clone, Debug)]
pub struct Prompt {
    tokens: Vec<TokenId>,
    thinking: bool,
}

/// An answer in the making.
struct Active<'a> {
    item: &'a Item,
    sample: usize,
    prompt_tokens: usize,
    session: Session,
    sampler: Sampler,
    ear: Ear,
    reply: text::Reply,
    closed: Option<Close>,
    began: Instant,
}

/// Everything that stays the same from answer to answer.
struct Ways<'a> {
    settings: &'a Settings,
    tokenizer: Arc<Tokenizer>,
    end_of_reply: Option<TokenId>,
    end_of_thinking: Option<TokenId>,
}

/// Makes the prompt of every item; none may be too long to be answered in `context` tokens.
///
/// # Errors
/// The item that is too long; a vocabulary that lacks a marker of the chat format.
pub fn prompts(
    tokenizer: &Tokenizer,
    items: &[Item],
    (thinking, checkpoint): (Thinking, Checkpoint),
    context: usize,
) -> Result<Vec<Prompt>, Error> {
    let (mode, effort) = match thinking {
        Thinking::Off => (ThinkMode::Chat, None),
        Thinking::On => (ThinkMode::Thinking, None),
        Thinking::Max => (ThinkMode::Thinking, Some(Effort::Max)),
    };
    let options = RenderOptions { mode, effort, checkpoint, ..RenderOptions::default() };
    let prompt = |item: &Item| {
        let rendered = render(&item.conversation(), &options).map_err(engine::Error::from)?;
        let tokens = tokenizer.encode_prompt(&rendered).map_err(engine::Error::from)?;
        if tokens.len() >= context {
            let id = item.id.clone();
            let length = tokens.len();
            let problem = format!("its prompt has {length} tokens, the context holds {context}");
            return Err(Error::Question { id, problem });
        }
        Ok(Prompt { tokens, thinking: opens_thinking(&rendered) })
    };
    items.iter().map(prompt).collect()
}

impl Prompt {
    /// How many tokens it has.
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }
}

/// Asks all items whose answers are not among `done`, as many at once as the engine has sessions.
/// `sink` is told what happens, and says whether to go on; `false` if it did not want to.
///
/// # Errors
/// As for [`Engine::sync`]; those of `sink`.
pub fn run(
    engine: &mut Engine,
    (items, prompts): (&[Item], &[Prompt]),
    settings: &Settings,
    done: &HashSet<(String, usize)>,
    sink: &mut dyn FnMut(Event) -> Result<Flow, Error>,
) -> Result<bool, Error> {
    let tokenizer = engine.tokenizer()?;
    let end_of_reply = tokenizer.special(special::EOS);
    let end_of_thinking = tokenizer.special(special::THINK_END);
    let ways = Ways { settings, tokenizer, end_of_reply, end_of_thinking };
    let all = (0..settings.repeat)
        .flat_map(|sample| items.iter().zip(prompts).map(move |pair| (pair, sample)));
    let mut waiting: VecDeque<((&Item, &Prompt), usize)> =
        all.filter(|((item, _), sample)| !done.contains(&(item.id.clone(), *sample))).collect();
    let mut active: Vec<Active> = Vec::new();
    loop {
        while active.len() < engine.options().sessions {
            let Some(((item, prompt), sample)) = waiting.pop_front() else { break };
            if sink(Event::Began { item, sample })? == Flow::Stop {
                return Ok(false);
            }
            match ways.begin(engine, (item, prompt), sample, sink)? {
                Some(begun) => active.push(begun),
                None => return Ok(false),
            }
        }
        if active.is_empty() {
            return Ok(true);
        }
        if !ways.round(engine, &mut active, sink)? {
            return Ok(false);
        }
    }
}

impl Ways<'_> {
    /// Reads a prompt; `None` if nobody wants it any more.
    fn begin<'a>(
        &self,
        engine: &mut Engine,
        (item, prompt): (&'a Item, &Prompt),
        sample: usize,
        sink: &mut dyn FnMut(Event) -> Result<Flow, Error>,
    ) -> Result<Option<Active<'a>>, Error> {
        let began = Instant::now();
        let mut session = engine.open_session()?;
        let mut failed = None;
        let synced = engine.sync(&mut session, &prompt.tokens, &mut |progress| {
            sink(Event::Reading(progress)).unwrap_or_else(|error| {
                failed = Some(error);
                Flow::Stop
            })
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let options = ParserOptions {
            thinking: prompt.thinking,
            tools_offered: !item.tools.is_empty(),
            special_tokens: true,
            types: ArgumentTypes::of(&item.tools),
            ..ParserOptions::default()
        };
        let Settings { temperature, top_p, top_k, min_p, seed, .. } = *self.settings;
        let sampling = Sampling { temperature, top_p, top_k, min_p };
        Ok(synced.complete.then_some(Active {
            item,
            sample,
            prompt_tokens: prompt.tokens.len(),
            session,
            sampler: Sampler::new(sampling, seed_of(seed, &item.id, sample))?,
            ear: Ear::new(self.tokenizer.clone(), options),
            reply: text::Reply::default(),
            closed: None,
            began,
        }))
    }

    /// One more token of every answer; `false` if nobody wants more.
    fn round(
        &self,
        engine: &mut Engine,
        active: &mut Vec<Active>,
        sink: &mut dyn FnMut(Event) -> Result<Flow, Error>,
    ) -> Result<bool, Error> {
        let context = engine.context();
        let mut next = Vec::with_capacity(active.len());
        let mut place = 0;
        while place < active.len() {
            match self.choose(&mut active[place], context) {
                Ok(token) => {
                    next.push(token);
                    place += 1;
                }
                Err(finish) => {
                    let answer = active.remove(place).finish(finish);
                    if sink(Event::Answered(&answer))? == Flow::Stop {
                        return Ok(false);
                    }
                }
            }
        }
        if sink(Event::Tokens(next.len()))? == Flow::Stop {
            return Ok(false);
        }
        let mut steps: Vec<(&mut Session, TokenId)> =
            active.iter_mut().map(|a| &mut a.session).zip(next).collect();
        if !steps.is_empty() {
            engine.step_each(&mut steps)?;
        }
        Ok(true)
    }

    /// The next token of an answer, which is heard; or why there is none.
    fn choose(&self, active: &mut Active, context: usize) -> Result<TokenId, Finish> {
        let Active { session, sampler, ear, reply, closed, .. } = active;
        let room = context - session.tokens().len();
        let Budget { tokens_max, .. } = self.settings.budget;
        let left = (tokens_max - ear.tokens).min(room);
        if left == 0 {
            return Err(if room == 0 { Finish::Context } else { Finish::Length });
        }
        let close = self.end_of_thinking.filter(|_| ear.is_thinking()).and_then(|end| {
            let how = self.settings.budget.close(left, session.logits(), end)?;
            Some((end, how))
        });
        let chosen = sampler.pick(session.logits());
        let token = match close {
            Some((end, how)) if end != chosen => {
                *closed = Some(how);
                end
            }
            _ => chosen,
        };
        if Some(token) == self.end_of_reply {
            return Err(Finish::Stop);
        }
        reply.extend(ear.hear(token));
        if ear.is_done() { Err(Finish::Stop) } else { Ok(token) }
    }
}

impl Active<'_> {
    fn finish(mut self, finish: Finish) -> Answer {
        let (tokens, reasoning_tokens) = (self.ear.tokens, self.ear.reasoning);
        let end = match finish {
            Finish::Stop => End::Stop,
            Finish::Length => End::Length,
            Finish::Context => End::ContextFull,
        };
        self.reply.extend(self.ear.end(end));
        let text::Reply { reasoning, text, calls, .. } = self.reply;
        let mut answer = Answer {
            id: self.item.id.clone(),
            sample: self.sample,
            asked: self.item.asked(),
            right: false,
            found: None,
            finish,
            closed: self.closed,
            prompt_tokens: self.prompt_tokens,
            tokens,
            reasoning_tokens,
            seconds: self.began.elapsed().as_secs_f64(),
            reasoning,
            text,
            calls: calls.into_iter().map(call).collect(),
        };
        answer.judge(self.item);
        answer
    }
}

/// A call as it was made. Arguments that no reader of JSON takes are kept as what they are.
fn call(made: text::ReplyCall) -> Call {
    let arguments = serde_json::from_str(&made.arguments).unwrap_or_else(|_| {
        [("unreadable".to_owned(), serde_json::Value::String(made.arguments))].into_iter().collect()
    });
    Call { name: made.name, arguments }
}

/// The seed of one answer.
fn seed_of(seed: u64, id: &str, sample: usize) -> u64 {
    let hash = blake3::hash(format!("{seed} {sample} {id}").as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
