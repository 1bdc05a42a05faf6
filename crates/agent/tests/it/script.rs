//! A model that says what it is told to: answers as text, in Nano's tokens, by the engine's own
//! events.
//!
//! Special tokens are spelled in the text. A pause (U+23F8) waits until the request is cancelled.
//! The script asks the constraint what it may say, as the engine does, and keeps for every request
//! what an engine would have kept, so that tests see what would have been read twice.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agent::Model;
use engine::serve::{Event, Info, Offer, Request, Sink, Source, Ticket, Token, Usage};
use engine::{Engine, Error, Finish, OpenOptions, Progress, TokenSet};
use spec::TokenId;
use text::Tokenizer;

/// What a request was, and how much of it was known.
#[derive(Clone, Debug)]
pub struct Asked {
    pub prompt: Vec<TokenId>,
    /// The prompt as text, special tokens spelled.
    pub text: String,
    pub cached: usize,
    pub boundaries: Vec<usize>,
    /// Tokens that were wanted at most.
    pub most: usize,
    pub steer: Option<engine::Steer>,
}

/// A model that reads its answers from a list.
pub struct Script {
    info: Info,
    context: AtomicUsize,
    answers: Arc<Mutex<VecDeque<String>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// What a session of an engine would hold.
    held: Arc<Mutex<Vec<TokenId>>>,
    /// What was to be forgotten: how many tokens, and how many of them not.
    forgotten: Mutex<Vec<(usize, usize)>>,
}

pub fn nano_file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../nano/nano.gguf")
}

/// Nano on one thread.
pub fn open_nano(options: OpenOptions) -> Result<Engine, Error> {
    let threads = backend_threads();
    Engine::open(&nano_file(), engine::open_cpu(&threads, 1 << 30), options)
}

fn backend_threads() -> engine::Threads {
    engine::Threads { count: 1, processors: Vec::new() }
}

impl Script {
    /// A model with a context of so many tokens that says these answers.
    pub fn new(context: usize, answers: &[&str]) -> Arc<Script> {
        let options = OpenOptions { context: 256, ..OpenOptions::default() };
        let engine = open_nano(options).expect("Nano");
        let info = Info {
            shape: engine.shape().clone(),
            file: "script.gguf".to_owned(),
            device: engine.device(),
            context,
            options,
            steering: Some(engine::Steer::NONE),
            tokenizer: engine.tokenizer().ok(),
        };
        let answers = answers.iter().map(|text| (*text).to_owned()).collect();
        let answers = Arc::new(Mutex::new(answers));
        let (asked, held, forgotten) = (Arc::default(), Arc::default(), Mutex::default());
        Arc::new(Script { info, context: context.into(), answers, asked, held, forgotten })
    }

    /// More answers.
    pub fn add(&self, answers: &[&str]) {
        let mut list = self.answers.lock().unwrap();
        list.extend(answers.iter().map(|text| (*text).to_owned()));
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// What was to be forgotten so far.
    pub fn forgotten(&self) -> Vec<(usize, usize)> {
        self.forgotten.lock().unwrap().clone()
    }

    /// Answers that nobody asked for yet.
    pub fn left(&self) -> usize {
        self.answers.lock().unwrap().len()
    }
}

impl Model for Script {
    fn submit(&self, mut request: Request, sink: Box<dyn Sink>) -> Result<Ticket, Error> {
        let tokenizer = self.info.tokenizer.clone().expect("Nano has a tokenizer");
        let prompt = std::mem::take(&mut request.prompt);
        let mut held = self.held.lock().unwrap();
        let known = |at: &usize| prompt.get(..*at).is_some_and(|part| held.starts_with(part));
        let boundary = request.boundaries.iter().copied().filter(known).max().unwrap_or(0);
        let cached = if prompt.starts_with(&held) { held.len() } else { boundary };
        held.clone_from(&prompt);
        drop(held);
        let text = String::from_utf8_lossy(&tokenizer.decode(&prompt)).into_owned();
        let boundaries = request.boundaries.clone();
        let (most, whole) = (request.tokens_max, prompt.clone());
        let steer = request.steer;
        let asked = Asked { prompt: whole, text, cached, boundaries, most, steer };
        self.asked.lock().unwrap().push(asked);
        let answer = self.answers.lock().unwrap().pop_front();
        let ticket = Ticket::default();
        let room = self.context.load(Ordering::Relaxed).saturating_sub(prompt.len());
        let task = Task {
            request,
            sink,
            ticket: ticket.clone(),
            prompt: prompt.len(),
            cached,
            room,
            vocab: self.info.shape.vocab,
            held: self.held.clone(),
        };
        std::thread::spawn(move || task.answer(answer, &tokenizer));
        Ok(ticket)
    }

    fn forget(&self, tokens: &[TokenId], spared: usize) -> Result<usize, Error> {
        self.forgotten.lock().unwrap().push((tokens.len(), spared));
        Ok(1)
    }

    fn set_context(&self, tokens: usize) -> Result<usize, Error> {
        let (context, native) = (tokens, self.info.shape.context_max);
        if context > native {
            return Err(Error::ContextTooLarge { context, native });
        }
        self.context.store(tokens, Ordering::Relaxed);
        Ok(tokens)
    }

    fn info(&self) -> &Info {
        &self.info
    }
}

struct Task {
    request: Request,
    sink: Box<dyn Sink>,
    ticket: Ticket,
    prompt: usize,
    cached: usize,
    room: usize,
    vocab: usize,
    held: Arc<Mutex<Vec<TokenId>>>,
}

impl Task {
    fn answer(mut self, answer: Option<String>, tokenizer: &Tokenizer) {
        let (prompt, cached) = (self.prompt, self.cached);
        self.tell(Event::Resumed { source: Source::Session, cached, notes: Vec::new() });
        self.tell(Event::Prefill(Progress { done: prompt, total: prompt }));
        let Some(answer) = answer else {
            return self.tell(Event::Failed(Arc::new(Error::Stopped)));
        };
        let end = self.request.stop[0];
        let mut finish = None;
        let mut generated = 0;
        'parts: for (place, part) in answer.split('\u{23f8}').enumerate() {
            if place > 0 && self.is_cancelled_within(Duration::from_secs(10)) {
                break;
            }
            for token in tokenizer.encode_rendered(part) {
                finish = self.say(token, &mut generated);
                if finish.is_some() {
                    break 'parts;
                }
            }
        }
        if finish.is_none() && !self.ticket.is_cancelled() {
            finish = self.say(end, &mut generated);
        }
        let usage = Usage {
            finish: finish.unwrap_or(Finish::Cancelled),
            state: None,
            prompt,
            cached,
            source: Source::Session,
            generated,
            drafted: 0,
            accepted: 0,
            waited: Duration::ZERO,
            prefill: Duration::from_millis(1),
            decode: Duration::from_millis(1),
        };
        self.tell(Event::Finished(usage));
    }

    /// Says a token, if it may; why the answer ends with it.
    fn say(&mut self, wanted: TokenId, generated: &mut usize) -> Option<Finish> {
        if self.ticket.is_cancelled() {
            return Some(Finish::Cancelled);
        }
        let end = self.request.stop[0];
        let mut token = wanted;
        if let Some(constraint) = &mut self.request.constraint {
            let mut allowed = TokenSet::new(self.vocab);
            constraint.allow(&mut allowed).expect("it may say something");
            if !allowed.contains(token) {
                assert!(allowed.contains(end), "only the end is left where a token is refused");
                token = end;
            }
            constraint.accept(token).expect("allowed");
        }
        if token == end {
            return Some(Finish::Stop(end));
        }
        // The last token of an answer is not fed.
        self.held.lock().unwrap().push(token);
        *generated += 1;
        self.tell(Event::Token(Token { id: token, logprobs: None }));
        match *generated {
            n if n == self.request.tokens_max => Some(Finish::Length),
            n if n == self.room => Some(Finish::Context),
            _ => None,
        }
    }

    fn tell(&mut self, mut event: Event) {
        while let Offer::Full(back) = self.sink.offer(event) {
            event = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn is_cancelled_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if self.ticket.is_cancelled() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("nobody cancelled the request");
    }
}
