//! The loop: one turn after the other, and what is done between them.
//!
//! A turn is a prompt, then answers of the model with the results of their calls between them,
//! until an answer calls nothing. The state of all of it is [`Loop`]; how an answer is heard is
//! told in `answer.rs`, how calls are executed in `calls.rs`, how room is made in `compact.rs`,
//! what commands do in `commands.rs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use engine::Steer;
use engine::serve::Ticket;
use text::{Block, ToolResult, ToolSpec};

use crate::agent::{Open, Settings};
use crate::answer::Said;
use crate::desk::{Desk, Heard};
use crate::event::{Cost, Event, Past, Status, TurnEnd, Verdict, Wish};
use crate::format::{Format, THINK_MAX_CONTEXT, Thinking};
use crate::kept::Kept;
use crate::loops::Repeats;
use crate::sessions::new_id;
use crate::talk::{Kind, Record, Talk};
use crate::tools::Tool;
use crate::{Error, Model, commands};

/// Prompts and commands that may wait.
const WAITING_MAX: usize = 256;

/// Broken calls in a row that the model is told about; one more ends the turn.
const BROKEN_MAX: usize = 2;

/// The state of the agent's thread.
pub(crate) struct Loop {
    pub model: Arc<dyn Model>,
    pub tools: Vec<(ToolSpec, Arc<dyn Tool>)>,
    pub format: Format,
    pub settings: Settings,
    pub desk: Desk,
    pub talk: Talk,
    pub kept: Kept,
    pub thinking: Thinking,
    /// How answers are steered, if the person has said it.
    pub steer: Option<Steer>,
    /// Tokens that fit.
    pub context: usize,
    /// Prompts and commands that wait for the end of the turn.
    waiting: VecDeque<Wish>,
    /// The person wants the turn to end.
    pub stop: bool,
    quit: bool,
    /// What the person said to which call.
    pub verdict: Option<(usize, Verdict)>,
    /// Requests and calls so far, which names them.
    pub count: u64,
    /// Tokens per second of the last answer.
    pub speed: f64,
    /// Everything since the start.
    pub total: Cost,
    /// Times that conversations were summed up since the start.
    pub compactions: usize,
    /// The conversation was opened, and the model has not begun to read it.
    pub unread: bool,
    /// The request that reads it ahead.
    pub ahead: Option<(u64, Ticket)>,
}

impl Loop {
    pub fn new(
        model: Arc<dyn Model>,
        tools: Vec<Arc<dyn Tool>>,
        settings: Settings,
        desk: Desk,
    ) -> Result<Loop, Error> {
        let tools: Vec<_> = tools.into_iter().map(|tool| (tool.spec(), tool)).collect();
        let names = tools.iter().map(|(spec, _)| &spec.name);
        let twice = |(at, name): (usize, &String)| names.clone().skip(at + 1).any(|of| of == name);
        if let Some((_, name)) = names.clone().enumerate().find(|found| twice(*found)) {
            return Err(Error::Tools { name: name.clone() });
        }
        let specs = tools.iter().map(|(spec, _)| spec.clone()).collect();
        let format = Format::new(model.info(), settings.checkpoint, specs)?;
        let (context, info) = (model.info().context, model.info());
        let kept = Kept::new(settings.folder.as_deref(), &settings.tree, info)?;
        let thinking = settings.thinking;
        let mut agent = Loop {
            tools,
            format,
            desk,
            talk: Talk::default(),
            kept,
            thinking,
            steer: None,
            context,
            waiting: VecDeque::new(),
            stop: false,
            quit: false,
            verdict: None,
            count: 0,
            speed: 0.0,
            total: Cost::default(),
            compactions: 0,
            unread: true,
            ahead: None,
            model,
            settings,
        };
        agent.begin()?;
        if agent.thinking != thinking {
            agent.notice(no_room_to_think(agent.context));
        }
        let open = std::mem::take(&mut agent.settings.open);
        agent.open(open)?;
        Ok(agent)
    }

    fn open(&mut self, open: Open) -> Result<(), Error> {
        let id = match open {
            Open::New => None,
            Open::Last => self.kept.list(false)?.into_iter().next().map(|listed| listed.id),
            Open::Id(id) => Some(self.kept.find(&id)?),
        };
        match id {
            Some(id) => self.switch(&id),
            None => Ok(()),
        }
    }

    /// Begins a conversation: instructions and nothing else.
    pub fn begin(&mut self) -> Result<(), Error> {
        self.set_thinking(self.settings.thinking);
        let ids = self.format.beginning(&self.settings.system, self.thinking)?;
        if room_for(ids.len()) > self.context {
            return Err(Error::NoRoom { tokens: ids.len(), context: self.context });
        }
        self.kept.close();
        self.talk = Talk::default();
        self.unread = true;
        let ids = ids.iter().map(|id| id.0).collect();
        self.talk.apply(&Record::Tokens { kind: Kind::System, ids });
        Ok(())
    }

    /// Goes on with another conversation.
    pub fn switch(&mut self, id: &str) -> Result<(), Error> {
        self.talk = self.kept.open(id)?;
        if self.talk.awaits_answer() {
            // Whoever was to answer has ended before that.
            let ending = self.format.ending(self.format.opens_thinking(self.talk.tokens()));
            self.add(Kind::Answer, &ending);
        }
        let missing = self.calls_said().saturating_sub(self.talk.owed().len());
        if missing > 0 {
            // Whoever executed them has ended meanwhile.
            let mut owed = self.talk.owed().to_vec();
            owed.extend(std::iter::repeat_n(CUT_OFF.to_owned(), missing));
            self.note(Record::Owed(owed));
        }
        // How hard to reason is said where a conversation begins, and this one began before.
        let begins_hard = self.format.begins_hard(self.talk.tokens());
        self.thinking = match self.thinking {
            Thinking::On | Thinking::Max if begins_hard => Thinking::Max,
            Thinking::Max => Thinking::On,
            other => other,
        };
        self.unread = true;
        self.tell_opened();
        Ok(())
    }

    /// Says what is shown from now on.
    pub fn tell_opened(&mut self) {
        let (title, history) = (self.talk.title().to_owned(), self.talk.past().to_vec());
        self.desk.tell(Event::Opened { title, history });
    }

    /// Runs until somebody wants the end.
    pub fn run(mut self) {
        self.tell_status();
        while !self.quit {
            match self.waiting.pop_front() {
                Some(Wish::Prompt(prompt)) => self.turn(prompt),
                Some(Wish::Command(line)) => commands::run(&mut self, &line),
                Some(_) => {}
                None => {
                    self.read_ahead();
                    if let Some(Heard::ModelGone(of)) = self.hear(None) {
                        self.ahead.take_if(|(number, _)| *number == of);
                    }
                }
            }
        }
        if let Some((_, ticket)) = self.ahead.take() {
            ticket.cancel();
        }
        self.kept.close();
        self.desk.tell(Event::Closed);
        self.desk.part();
    }

    /// Waits for something. Wishes are dealt with here; of whatever else comes the caller decides.
    pub fn hear(&mut self, until: Option<Instant>) -> Option<Heard> {
        match self.desk.hear(until)? {
            Heard::Wish(wish) => {
                self.wish(wish);
                None
            }
            Heard::Notice(line) => {
                self.notice(line);
                None
            }
            other => Some(other),
        }
    }

    fn wish(&mut self, wish: Wish) {
        match wish {
            Wish::Command(line) if commands::is_instant(&line) => commands::run(self, &line),
            Wish::Prompt(_) | Wish::Command(_) if self.waiting.len() == WAITING_MAX => {
                self.notice(format!("not taken: {WAITING_MAX} prompts wait already"));
            }
            wish @ (Wish::Prompt(_) | Wish::Command(_)) => {
                self.waiting.push_back(wish);
                self.tell_queued();
            }
            Wish::Consent(call, verdict) => self.verdict = Some((call, verdict)),
            Wish::Stop => {
                self.stop = true;
                self.waiting.clear();
                self.tell_queued();
            }
            Wish::Quit => self.quit(),
        }
    }

    /// Ends the turn, and then the loop.
    pub fn quit(&mut self) {
        self.stop = true;
        self.quit = true;
        self.waiting.clear();
    }

    fn tell_queued(&mut self) {
        let queued = self.waiting.len();
        self.desk.tell(Event::Queued { queued });
    }

    /// A prompt that comes before those that wait: a command has made it.
    pub fn ask_next(&mut self, prompt: String) {
        self.waiting.push_front(Wish::Prompt(prompt));
    }

    fn turn(&mut self, prompt: String) {
        self.stop = false;
        self.verdict = None;
        self.desk.tell(Event::TurnBegan { prompt: prompt.clone(), queued: self.waiting.len() });
        let mut cost = Cost::default();
        let end = match self.take_prompt(prompt, &mut cost) {
            Ok(()) => self.answers(&mut cost),
            Err(end) => end,
        };
        let branch = crate::instructions::branch(&self.settings.tree);
        let (at, tokens) = (crate::clock::now(), self.talk.tokens().len());
        if !self.talk.is_fresh() {
            let title = self.talk.title().to_owned();
            self.note(Record::Turn { at, tokens, title, branch });
            if let Some(problem) = self.kept.sync() {
                self.notice(problem);
            }
        }
        add(&mut self.total, cost);
        self.stop = false;
        self.desk.tell(Event::TurnEnded { end, cost });
        self.tell_status();
    }

    /// Takes a prompt into the conversation, if there is room for it.
    fn take_prompt(&mut self, prompt: String, cost: &mut Cost) -> Result<(), TurnEnd> {
        let failed = |error: Error| TurnEnd::Failed(error.to_string());
        let owed = self.talk.owed().iter().map(|text| result(text));
        let blocks: Vec<Block> = owed.chain([Block::Text(prompt.clone())]).collect();
        // Circumstances are told once, where the conversation begins.
        let reminder = self.settings.reminder.clone().filter(|_| self.talk.is_fresh());
        let asking =
            |agent: &Loop| agent.format.asking(reminder.as_deref(), blocks.clone(), agent.thinking);
        let ids = asking(self).map_err(failed)?;
        self.make_room(ids.len(), cost)?;
        if self.talk.tokens().len() + ids.len() >= self.context {
            return Err(TurnEnd::ContextFull);
        }
        let name = new_id();
        if let Some(keeper) = &mut self.settings.keeper {
            keeper.turn_begins(&name);
        }
        self.note(Record::Began(name));
        self.note(Record::Past(Past::Prompt(prompt)));
        self.add(Kind::Prompt, &ids);
        self.tell_status();
        Ok(())
    }

    fn answers(&mut self, cost: &mut Cost) -> TurnEnd {
        let (mut repeats, mut broken) = (Repeats::default(), 0);
        loop {
            let mut owed = Vec::new();
            let blocks = match self.answer(cost) {
                Ok(Said::Done) => return TurnEnd::Done,
                Ok(Said::Calls { calls, refused }) => {
                    broken = 0;
                    let called = self.calls(calls, refused, &mut repeats, cost);
                    if let Some(end) = called.end {
                        return end;
                    }
                    owed = called.results;
                    let results = owed.iter().map(|text| result(text));
                    results.chain(called.note.map(Block::Text)).collect()
                }
                Ok(Said::Dropped { why }) => vec![Block::Text(format!(
                    "Your call was stopped while you wrote it, and nothing was executed: {why}"
                ))],
                Ok(Said::Broken) if broken < BROKEN_MAX => {
                    broken += 1;
                    vec![Block::Text(BROKEN.to_owned())]
                }
                Ok(Said::Broken) => return TurnEnd::Failed(BROKEN_AGAIN.to_owned()),
                Err(end) => return end,
            };
            if let Err(end) = self.take_results(blocks, cost) {
                self.note(Record::Owed(owed));
                return end;
            }
        }
    }

    /// Lets something happen to the conversation, in memory and in its file.
    pub fn note(&mut self, record: Record) {
        let problem = self.kept.write(&self.talk, &record);
        self.talk.apply(&record);
        if let Some(problem) = problem {
            self.notice(problem);
        }
    }

    /// Adds a segment of tokens.
    pub fn add(&mut self, kind: Kind, ids: &[spec::TokenId]) {
        self.note(Record::Tokens { kind, ids: ids.iter().map(|id| id.0).collect() });
    }

    /// Tells the person something.
    pub fn notice(&mut self, line: impl Into<String>) {
        self.desk.tell(Event::Notice(line.into()));
    }

    /// Tells how things stand.
    pub fn tell_status(&mut self) {
        let status = Status {
            title: self.talk.title().to_owned(),
            tokens: self.talk.tokens().len(),
            context: self.context,
            speed: self.speed,
            queued: self.waiting.len(),
            branch: crate::instructions::branch(&self.settings.tree),
            thinking: self.thinking.name().to_owned(),
            mode: self.settings.gate.mode(),
            protection: self.settings.gate.protection(),
        };
        self.desk.tell(Event::Status(status));
    }

    /// Whether the model reasons from now on; as hard as possible needs room. Whether it was heard.
    pub fn set_thinking(&mut self, thinking: Thinking) -> bool {
        let heard = thinking != Thinking::Max || self.context >= THINK_MAX_CONTEXT;
        self.thinking = if heard { thinking } else { Thinking::On };
        heard
    }
}

/// The smallest context for so many tokens of instructions: a quarter of it is for the rest.
pub(crate) fn room_for(instructions: usize) -> usize {
    (instructions * 4).div_ceil(3)
}

/// Why the model does not reason as hard as possible.
pub(crate) fn no_room_to_think(context: usize) -> String {
    format!(
        "reasoning as hard as possible needs room: /ctx {THINK_MAX_CONTEXT} or more \
         (it is {context} now); until then the model reasons as usual"
    )
}

/// The result of a call. Results stand in the order of their calls, so they need no ids.
pub(crate) fn result(text: &str) -> Block {
    Block::ToolResult(ToolResult::text("", text))
}

fn add(total: &mut Cost, cost: Cost) {
    total.read += cost.read;
    total.cached += cost.cached;
    total.prefill += cost.prefill;
    total.written += cost.written;
    total.decode += cost.decode;
    total.calls += cost.calls;
}

const CUT_OFF: &str = "The program ended while this was to be executed. Whether it was done, and \
    what came of it, is not known: look before you do it again.";

const BROKEN: &str = "The tool call could not be read, so nothing was executed. Write the whole \
    call again, in exactly the form that is described under Tools.";

const BROKEN_AGAIN: &str = "the model's calls could not be read, three times in a row; ask again, \
    or in other words";
