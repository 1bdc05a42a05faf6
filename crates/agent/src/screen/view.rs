//! The state of the full screen: what it has heard, what is being typed, what waits for an answer.
//!
//! A view changes by events ([`View::apply`]), keys ([`View::key`], in `keys.rs`) and pasted text,
//! and is drawn by `draw.rs`. It knows no terminal and no clock; the time comes with each key, as
//! far as it matters how soon one follows another.

use std::collections::VecDeque;
use std::time::Duration;

use crate::event::{Consent, Cost, Event, Status, TurnEnd, Verdict, Wish};
use crate::paint::{Face, Ink};

use super::Look;
use super::entry::Folds;
use super::input::Input;
use super::past::Prompts;
use super::transcript::Transcript;

/// The screen as a value.
#[derive(Clone)]
pub struct View {
    pub(super) look: Look,
    pub(super) transcript: Transcript,
    pub(super) input: Input,
    pub(super) prompts: Prompts,
    /// Prompts that were sent and whose turn has not come.
    pub(super) sent: VecDeque<String>,
    /// Calls that wait for an answer; the first is shown.
    pub(super) consents: VecDeque<Consent>,
    /// When the first of them was first drawn, as the next key tells it.
    pub(super) asked_at: Option<Duration>,
    pub(super) status: Status,
    pub(super) prefill: Option<(usize, usize)>,
    pub(super) running: bool,
    /// Rows of the help that are above the screen, while it is shown.
    pub(super) help: Option<usize>,
    /// A line above the input: what a key would do, how a word goes on.
    pub(super) hint: Option<String>,
    /// When Ctrl+C was pressed last.
    pub(super) interrupted_at: Option<Duration>,
    /// The person wants to leave.
    pub(super) leaving: bool,
    over: bool,
    pub(super) redraw: bool,
}

impl View {
    /// A screen on which nothing has happened.
    pub fn new(look: Look) -> View {
        let prompts = Prompts::load(look.history.as_deref());
        let folds = Folds { reasoning: !look.reasoning, results: true };
        View {
            look,
            transcript: Transcript::new(folds),
            input: Input::default(),
            prompts,
            sent: VecDeque::new(),
            consents: VecDeque::new(),
            asked_at: None,
            status: Status::default(),
            prefill: None,
            running: false,
            help: None,
            hint: None,
            interrupted_at: None,
            leaving: false,
            over: false,
            redraw: false,
        }
    }

    /// Whether the screen can be taken down.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Takes the screen down, whatever the loop still does.
    pub fn leave_now(&mut self) {
        self.over = true;
    }

    /// Whether all of the terminal is to be drawn again; asked once.
    pub fn takes_redraw(&mut self) -> bool {
        std::mem::take(&mut self.redraw)
    }

    /// Writes the prompts that are new to the file that remembers them.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save_prompts(&mut self) -> Result<(), String> {
        match &self.look.history {
            Some(path) => self
                .prompts
                .save(path)
                .map_err(|error| format!("{}: cannot be written: {error}", path.display())),
            None => Ok(()),
        }
    }

    /// Something has happened.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::TurnBegan { prompt, queued } => self.begin_turn(&prompt, queued),
            Event::Queued { queued } => self.status.queued = queued,
            Event::Prefill { done, total } => {
                self.prefill = (done < total).then_some((done, total));
            }
            Event::Said(said) => {
                self.prefill = None;
                self.transcript.said(&said);
            }
            Event::Consent(consent) => {
                self.help = None;
                self.consents.push_back(consent);
            }
            Event::ToolBegan { call, title } => {
                self.answered(call);
                self.transcript.began(call, &title);
            }
            Event::ToolOutput { call, text } => self.transcript.printed(call, &text),
            Event::ToolEnded { call, shown, failed, took } => {
                self.answered(call);
                self.transcript.ended(call, shown, failed, took);
            }
            Event::TurnEnded { end, cost } => self.end_turn(&end, &cost),
            Event::Notice(text) => self.transcript.notice(&text, Face::ink(Ink::Yellow)),
            Event::Status(status) => self.status = status,
            Event::Answer(markdown) => self.transcript.answer(&markdown),
            Event::Opened { title, history } => {
                self.status.title = title;
                self.transcript.open(&history);
            }
            Event::Closed => self.over = true,
        }
    }

    /// Text was pasted. A question is not answered by it.
    pub fn paste(&mut self, text: &str) {
        self.help = None;
        self.hint = None;
        if !self.input.insert(text) {
            let most = super::INPUT_BYTES_MAX >> 20;
            self.hint = Some(format!("a prompt has {most} MiB at most; the rest was left out"));
        }
    }

    /// What was typed becomes a wish.
    pub(super) fn send(&mut self) -> Vec<Wish> {
        let text = self.input.take();
        let line = text.trim();
        if line.is_empty() {
            return Vec::new();
        }
        self.prompts.add(line);
        self.transcript.go_to_end();
        match command(line) {
            Some("help") => {
                self.help = Some(0);
                return Vec::new();
            }
            Some("quit" | "exit") => return self.quit(),
            Some(_) => return vec![Wish::Command(line.to_owned())],
            None => {}
        }
        if let Some(consent) = self.consents.pop_front() {
            self.asked_at = None;
            return vec![Wish::Consent(consent.call, Verdict::No(Some(line.to_owned())))];
        }
        self.sent.push_back(text.clone());
        vec![Wish::Prompt(text)]
    }

    /// The person wants to leave; the second time nothing is waited for.
    pub(super) fn quit(&mut self) -> Vec<Wish> {
        self.over = self.leaving;
        self.leaving = true;
        self.hint = Some("ending; Ctrl+C ends at once".into());
        vec![Wish::Quit]
    }

    fn begin_turn(&mut self, prompt: &str, queued: usize) {
        if let Some(at) = self.sent.iter().position(|sent| sent.trim() == prompt.trim()) {
            self.sent.remove(at);
        }
        self.status.queued = queued;
        self.running = true;
        self.transcript.prompt(prompt);
    }

    fn end_turn(&mut self, end: &TurnEnd, cost: &Cost) {
        self.running = false;
        self.prefill = None;
        self.consents.clear();
        self.asked_at = None;
        self.transcript.end_turn();
        let text = summary(end, cost);
        let face = match end {
            TurnEnd::Done => Face::DIM,
            TurnEnd::Stopped | TurnEnd::Length => Face::ink(Ink::Yellow),
            TurnEnd::ContextFull | TurnEnd::Failed(_) => Face::ink(Ink::Red),
        };
        self.transcript.notice(&text, face);
        if *end == TurnEnd::Stopped {
            self.status.queued = 0;
            self.take_back();
        }
    }

    /// Prompts that waited stand in the input again, before what is being typed.
    fn take_back(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        let mut lines: Vec<String> = self.sent.drain(..).collect();
        lines.extend(Some(self.input.take()).filter(|typed| !typed.is_empty()));
        self.input.set(&lines.join("\n"));
        self.hint = Some("prompts that waited are here again".into());
    }

    /// A call does not wait any more.
    fn answered(&mut self, call: usize) {
        self.consents.retain(|consent| consent.call != call);
        self.asked_at = None;
    }
}

/// The name of the command that a line is, without its slash. A path is not one.
fn command(line: &str) -> Option<&str> {
    let word = line.strip_prefix('/')?.split_whitespace().next()?;
    word.chars().all(|c| c.is_ascii_lowercase() || c == '-').then_some(word)
}

/// The line at the end of a turn.
pub fn summary(end: &TurnEnd, cost: &Cost) -> String {
    let mut parts = Vec::new();
    match end {
        TurnEnd::Done => {}
        TurnEnd::Stopped => parts.push("stopped".to_owned()),
        TurnEnd::Length => parts.push("the answer came to its greatest length".to_owned()),
        TurnEnd::ContextFull => {
            parts.push("the context is full; /compact makes room, /new begins anew".to_owned());
        }
        TurnEnd::Failed(why) => parts.push(why.clone()),
    }
    let rate = |tokens: usize, time: Duration| {
        let seconds = time.as_secs_f64();
        if seconds > 0.0 { format!(", {:.1} t/s", tokens as f64 / seconds) } else { String::new() }
    };
    if cost.read > 0 {
        parts.push(format!("read {}{}", cost.read, rate(cost.read, cost.prefill)));
    }
    if cost.cached > 0 {
        parts.push(format!("{} kept", cost.cached));
    }
    if cost.written > 0 {
        parts.push(format!("wrote {}{}", cost.written, rate(cost.written, cost.decode)));
    }
    match cost.calls {
        0 => {}
        1 => parts.push("1 call".to_owned()),
        calls => parts.push(format!("{calls} calls")),
    }
    if parts.is_empty() { "done".to_owned() } else { parts.join(" \u{b7} ") }
}
