//! The worker: one thread, one device, every session.
//!
//! Its loop is a page ([`Worker::run`]); the rest says what a turn of it does: take in what was
//! asked, end what nobody wants, give sessions to those who wait, and compute one step.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use kvstore::Reason;
use spec::TokenId;
use text::special;

use super::follow::{FOLLOW_TOKENS_MIN, Follow, leader};
use super::handle::{Command, Waiting};
use super::report::{Pace, Report};
use super::schedule::{Demand, Room, schedule};
use super::task::{Leaving, Part, Task};
use super::{Event, ServeOptions};
use crate::session::Advance;
use crate::{AnchorId, Engine, Error, Finish, Notice, Remember, Session};

pub(super) struct Worker {
    engine: Engine,
    options: ServeOptions,
    commands: Receiver<Command>,
    waiting: VecDeque<Waiting>,
    running: Vec<Task>,
    /// Requests that are over, and whose clients have not read to the end.
    leaving: Vec<Leaving>,
    /// The one that was used last is last.
    idle: Vec<Session>,
    /// Begins a turn of the user, if the model has a chat format.
    user: Option<TokenId>,
    /// Requests that ever had a session.
    started: u64,
    steps: usize,
    tokens: usize,
    pace: Pace,
    notices: SyncSender<Notice>,
}

/// Between two looks at clients that do not read, when nothing else is to be done.
const PAUSE: Duration = Duration::from_millis(5);

/// How long the end waits for clients that do not read.
const PARTING: Duration = Duration::from_millis(500);

impl Worker {
    pub fn new(
        engine: Engine,
        options: ServeOptions,
        commands: Receiver<Command>,
        notices: SyncSender<Notice>,
    ) -> Worker {
        let user = engine.tokenizer().ok().and_then(|text| text.special(special::USER));
        Worker {
            engine,
            options,
            commands,
            waiting: VecDeque::new(),
            running: Vec::new(),
            leaving: Vec::new(),
            idle: Vec::new(),
            user,
            started: 0,
            steps: 0,
            tokens: 0,
            pace: Pace::default(),
            notices,
        }
    }

    /// Serves until it is told to stop, or nobody can ask any more.
    pub fn run(mut self) {
        let mut moved = true;
        while self.listen(moved) {
            self.dismiss();
            self.admit();
            moved = self.step();
            self.tell_notices();
        }
        for task in std::mem::take(&mut self.running) {
            let (session, leaving) = task.finish(Finish::Cancelled, None);
            self.idle.push(session);
            self.leaving.push(leaving);
        }
        for waiting in std::mem::take(&mut self.waiting) {
            self.refuse(waiting, Error::Stopped);
        }
        self.part();
        // One after the other: the next need not read the pages that it shares with this one.
        for session in &mut self.idle {
            self.engine.save(session, Reason::Shutdown, None);
            self.engine.flush_checkpoints();
        }
        self.engine.flush_checkpoints();
        self.tell_notices();
    }

    /// Takes in what was asked meanwhile; waits for it if nothing else is to be done. `false`: end.
    fn listen(&mut self, moved: bool) -> bool {
        let mut wait = !moved;
        loop {
            let command = if !wait {
                self.commands
                    .try_recv()
                    .map_err(|error| error == std::sync::mpsc::TryRecvError::Empty)
            } else if self.is_idle() {
                self.commands.recv().map_err(|_| false)
            } else {
                let command = self.commands.recv_timeout(PAUSE);
                command.map_err(|error| error == RecvTimeoutError::Timeout)
            };
            wait = false;
            match command {
                Ok(Command::Generate(waiting)) => self.queue(*waiting),
                Ok(Command::Remember(state, remember)) => self.remember(state, &remember),
                Ok(Command::Forget(tokens, spared, sender)) => {
                    drop(sender.try_send(self.forget(&tokens, spared)));
                }
                Ok(Command::Context(tokens, sender)) => {
                    drop(sender.try_send(self.set_context(tokens)));
                }
                Ok(Command::Report(sender)) => drop(sender.try_send(self.report())),
                Ok(Command::Stop) | Err(false) => return false,
                Err(true) => return true,
            }
        }
    }

    fn is_idle(&self) -> bool {
        let nobody = self.running.is_empty() && self.waiting.is_empty() && self.leaving.is_empty();
        nobody && !self.engine.is_saving()
    }

    /// Tells whoever listens to the service. If nobody does, or not often enough, it is forgotten.
    fn tell_notices(&mut self) {
        for notice in self.engine.notices() {
            let _ = self.notices.try_send(notice);
        }
    }

    /// Gives clients a moment to read to the end, when everything ends.
    fn part(&mut self) {
        let until = Instant::now() + PARTING;
        self.leaving.retain_mut(|leaving| {
            while !leaving.outbox.flush() && Instant::now() < until {
                std::thread::sleep(PAUSE);
            }
            false
        });
    }

    fn queue(&mut self, mut waiting: Waiting) {
        if let Some(state) = waiting.request.after.take() {
            // From here on its tokens are known, whatever becomes of the state while it waits.
            let Some(mut before) = self.engine.tokens_at(state) else {
                return self.refuse(waiting, Error::StateGone);
            };
            before.append(&mut waiting.request.prompt);
            waiting.request.prompt = before;
        }
        let ahead = self.waiting.len();
        if ahead > 0 || self.running.len() == self.engine.options().sessions {
            waiting.outbox.push(Event::Queued { ahead });
        }
        self.waiting.push_back(waiting);
    }

    /// Learns what the state after an answer stands for.
    fn remember(&mut self, state: AnchorId, remember: &Remember) {
        let idle = self.idle.iter_mut().find(|session| self.engine.is_at(session, state));
        self.engine.remember(state, remember, idle);
    }

    /// Forgets a conversation; a session that rests with it would be saved when everything ends.
    fn forget(&mut self, tokens: &[TokenId], spared: usize) -> Result<usize, Error> {
        let goes = |held: &[TokenId]| held.len() > spared && tokens.starts_with(held);
        self.idle.retain(|session| !goes(session.tokens()));
        self.engine.forget(tokens, spared)
    }

    /// Changes the context; a session that rests and is longer than that goes, and may be saved.
    fn set_context(&mut self, tokens: usize) -> Result<usize, Error> {
        if tokens < self.engine.context() && !self.running.is_empty() {
            return Err(Error::InUse { requests: self.running.len() });
        }
        self.engine.set_context(tokens)?;
        let context = self.engine.context();
        while let Some(i) = self.idle.iter().position(|idle| idle.tokens().len() > context) {
            let mut session = self.idle.remove(i);
            self.engine.save(&mut session, Reason::Evict, None);
        }
        Ok(context)
    }

    fn report(&self) -> Report {
        Report {
            running: self.running.len(),
            waiting: self.waiting.len(),
            idle: self.idle.len(),
            steps: self.steps,
            tokens: self.tokens,
            pace: self.pace,
            held: self.engine.held(),
            disk: self.engine.on_disk(),
            saves: self.engine.save_stats(),
        }
    }

    /// Ends what nobody wants any more.
    fn dismiss(&mut self) {
        let patience = self.options.patience;
        self.leaving
            .retain_mut(|Leaving { outbox, .. }| !outbox.flush() && !outbox.is_deaf(patience));
        self.waiting.retain(|waiting| !waiting.outbox.is_over(patience));
        let over = |task: &Task| task.outbox.is_over(patience);
        while let Some(i) = self.running.iter().position(over) {
            self.finish(i, Finish::Cancelled);
        }
    }

    /// Gives sessions to those who waited longest. Who follows another keeps its turn, and a
    /// session is left for it.
    fn admit(&mut self) {
        let mut following = 0;
        while self.running.len() + following < self.engine.options().sessions
            && following < self.waiting.len()
        {
            if self.follows(following) {
                following += 1;
                continue;
            }
            let waiting = self.waiting.remove(following).expect("one that waits");
            if let Err((waiting, error)) = self.start(waiting) {
                self.refuse(*waiting, error);
            }
        }
    }

    /// Whether one who waits had better wait until another has computed what both begin with.
    fn follows(&mut self, i: usize) -> bool {
        let waiting = &mut self.waiting[i];
        if waiting.follows.is_some_and(|at| self.running.iter().any(|task| task.is_before(at))) {
            return true;
        }
        let first = waiting.follows.is_none();
        let prompt = waiting.request.prompt.as_slice();
        // One that cannot be steered is told so when it is its turn.
        let Ok(way) = self.engine.way(waiting.request.steer) else { return false };
        let alike = self.running.iter().filter(|task| task.session.steer() == way);
        let found = leader(prompt, alike.filter_map(Task::reading));
        // What is known already needs no waiting for.
        let pays = |at: &Follow| self.engine.known(way, prompt) + FOLLOW_TOKENS_MIN <= at.until;
        waiting.follows = found.filter(|_| self.engine.keeps_states()).filter(pays);
        let Some(Follow { task, until }) = waiting.follows else { return false };
        let mut tasks = self.running.iter_mut();
        tasks.find(|other| other.number == task).expect("one that reads").cut(until);
        if first {
            waiting.outbox.push(Event::Queued { ahead: i });
        }
        true
    }

    /// Who has heard everything is gone; the others are waited for.
    fn leave(&mut self, mut leaving: Leaving) {
        if !leaving.outbox.flush() {
            self.leaving.push(leaving);
        }
    }

    fn refuse(&mut self, waiting: Waiting, error: Error) {
        let Waiting { mut outbox, place, .. } = waiting;
        outbox.push(Event::Failed(Arc::new(error)));
        self.leave(Leaving { outbox, _place: place });
    }

    fn start(&mut self, mut waiting: Waiting) -> Result<(), (Box<Waiting>, Error)> {
        let began = Instant::now();
        let prompt = &waiting.request.prompt;
        if waiting.request.boundaries.is_empty()
            && let Some(user) = self.user
        {
            let turns = prompt.iter().enumerate().filter(|(_, token)| **token == user);
            let mut turns = turns.map(|(at, _)| at);
            // The first and the last: more would be kept and hardly used.
            let turns = turns.next().into_iter().chain(turns.next_back()).collect();
            waiting.request.boundaries = turns;
        }
        match self.session_for(&waiting) {
            Ok((session, resume)) => {
                self.started += 1;
                let number = self.started;
                let task = Task::new(number, waiting, session, resume, (began, &self.engine));
                self.running.push(task);
                let i = self.running.len() - 1;
                if self.running[i].is_read() {
                    self.begin(i);
                }
                Ok(())
            }
            Err(error) => Err((Box::new(waiting), error)),
        }
    }

    /// A session that holds a beginning of the prompt, and what is left to feed.
    fn session_for(&mut self, waiting: &Waiting) -> Result<(Session, crate::Resume), Error> {
        let prompt = waiting.request.prompt.as_slice();
        self.engine.check_prompt(prompt.len(), 1)?;
        self.engine.check_tokens(prompt)?;
        let way = self.engine.way(waiting.request.steer)?;
        // Of those that hold a beginning of the prompt the longest; of equal ones the first.
        let holds = |i: &usize| {
            let session = &self.idle[*i];
            session.steer() == way && prompt.starts_with(session.tokens())
        };
        let best = (0..self.idle.len()).rev().filter(holds);
        let mut session = match best.max_by_key(|i| self.idle[*i].tokens().len()) {
            Some(i) => self.idle.remove(i),
            None => self.empty_session()?,
        };
        self.engine.set_steer(&mut session, way)?;
        let resume = self.engine.resume(&mut session, prompt)?;
        self.engine.check_prompt(session.tokens().len() + resume.feed.len(), 1)?;
        Ok((session, resume))
    }

    /// An empty session; the idle one that was not used for longest makes room.
    fn empty_session(&mut self) -> Result<Session, Error> {
        if self.running.len() + self.idle.len() >= self.engine.options().sessions {
            self.close_idle();
        }
        self.engine.open_session()
    }

    /// Computes one step. `false`: there was nothing to compute, and nothing to be saved.
    fn step(&mut self) -> bool {
        let parts = self.parts();
        if parts.is_empty() {
            return self.engine.go_on_saving();
        }
        let began = Instant::now();
        self.steps += 1;
        self.tokens += parts.iter().map(|(_, part)| part.tokens.len()).sum::<usize>();
        let mut feeds = Vec::with_capacity(parts.len());
        let mut tasks = self.running.iter_mut().enumerate();
        for (i, part) in &parts {
            let (_, task) = tasks.find(|(at, _)| at == i).expect("parts are in the tasks' order");
            let Part { tokens, outputs } = part;
            feeds.push(Advance { session: &mut task.session, tokens, outputs: *outputs });
        }
        match self.engine.advance(&mut feeds) {
            Ok(damaged) => {
                let (prefill, decode) = self.distribute(&parts, damaged);
                self.pace.add(prefill, decode, began.elapsed());
            }
            Err(error) => {
                let error = Arc::new(error);
                for (i, _) in parts.iter().rev() {
                    self.fail(*i, error.clone());
                }
            }
        }
        true
    }

    /// Who takes part in the next step, by the place in `running`.
    fn parts(&mut self) -> Vec<(usize, Part)> {
        let Worker { engine, running, .. } = self;
        let (options, context) = (engine.options(), engine.context());
        let demand = |task: &mut Task| {
            let held = task.session.tokens().len();
            task.demand(options.drafts_max, |left| engine.chunk(held, left))
        };
        let demands: Vec<Demand> = running.iter_mut().map(demand).collect();
        let slice_tokens = self.options.slice_tokens.max(1);
        let room = Room { step_tokens: options.step_tokens, slice_tokens };
        let given = schedule(&demands, room, self.steps);
        let wanted = given.into_iter().enumerate().filter(|(_, given)| *given > 0);
        let wanted: Vec<_> =
            wanted.map(|(i, given)| (i, running[i].part(given, context))).collect();
        let asked = !wanted.is_empty();
        let mut pages = 0;
        let mut parts = Vec::new();
        for (i, part) in wanted {
            let missing = self.engine.pages_missing(&self.running[i].session, part.tokens.len());
            if self.room_for(pages + missing) && self.can_take_back(i, &part) {
                pages += missing;
                parts.push((i, part));
            }
        }
        // Pages that are held for a save only come back.
        if asked && parts.is_empty() && !self.engine.is_holding_pages() {
            self.give_way();
        }
        parts
    }

    /// Nobody can go on for want of row pages: the request that came last lets its own go and waits
    /// until another ends. Alone, it has all that its context needs.
    fn give_way(&mut self) {
        let mut holding = self.running.iter().enumerate().filter(|(_, task)| !task.is_paused());
        let (_, last) = (holding.next(), holding.next_back().map(|(i, _)| i));
        if let Some(last) = last {
            return self.running[last].pause();
        }
        // One is left, and others cannot be: pages are lost.
        let last = self.running.iter().position(|task| !task.is_paused()).expect("one that asked");
        let position = self.running[last].session.tokens().len();
        let error = self.engine.no_room(position);
        self.fail(last, Arc::new(error));
    }

    /// Somebody has left pages.
    fn wake(&mut self) {
        self.running.iter_mut().for_each(Task::go_on);
    }

    /// Makes room for so many row pages, if need be by closing idle sessions. `false`: not now.
    fn room_for(&mut self, pages: usize) -> bool {
        while !self.engine.evict_anchors(pages) {
            if self.idle.is_empty() || self.engine.is_holding_pages() {
                return false;
            }
            self.close_idle();
        }
        true
    }

    /// Closes the session that was not used for longest; what it holds may be worth saving.
    fn close_idle(&mut self) {
        let mut session = self.idle.remove(0);
        self.engine.save(&mut session, Reason::Evict, None);
    }

    /// Guesses may be wrong: saves what they overwrite.
    fn can_take_back(&mut self, i: usize, part: &Part) -> bool {
        let task = &mut self.running[i];
        part.outputs <= 1 || self.engine.save_before_draft(&mut task.session).is_ok()
    }

    /// Hands the logits of a step to those who wanted them, and ends who is done. How many tokens
    /// of prompts were read, and how many more of answers there are.
    fn distribute(
        &mut self,
        parts: &[(usize, Part)],
        damaged: Vec<(usize, Error)>,
    ) -> (usize, usize) {
        let (mut prefill, mut decode) = (0, 0);
        let vocab = self.engine.shape().vocab;
        let context = self.engine.context();
        let mut ends: Vec<(usize, Result<Finish, Error>)> = Vec::new();
        let mut first = 0;
        let mut damaged = damaged.into_iter().peekable();
        for (place, (i, part)) in parts.iter().enumerate() {
            let several = if part.outputs > 1 { part.outputs } else { 0 };
            let rows = first * vocab..(first + several) * vocab;
            first += several;
            if let Some((_, error)) = damaged.next_if(|(damaged, _)| *damaged == place) {
                ends.push((*i, Err(error)));
                continue;
            }
            let task = &mut self.running[*i];
            if !task.is_read() {
                task.fed(part.tokens.len());
                prefill += part.tokens.len();
                self.keep_prompt(*i);
                if self.running[*i].is_about_to_begin() {
                    ends.extend(self.running[*i].begin(context).transpose().map(|end| (*i, end)));
                }
                continue;
            }
            let drafts = &part.tokens[1..];
            let last = std::mem::take(&mut task.session.logits);
            let wanted = if several > 0 { &self.engine.rows[rows.clone()] } else { &last };
            let chosen = task.choose(wanted, drafts, context);
            task.session.logits = last;
            match chosen {
                Ok((right, end)) => {
                    task.learn(drafts.len(), right);
                    decode += right + usize::from(!matches!(end, Some(Finish::Stop(_))));
                    let logits = rows.start + right * vocab;
                    self.engine.take_back(&mut task.session, drafts.len() - right, logits);
                    ends.extend(end.map(|end| (*i, Ok(end))));
                }
                Err(error) => ends.push((*i, Err(error))),
            }
        }
        for (i, end) in ends.into_iter().rev() {
            self.end(i, end);
        }
        (prefill, decode)
    }

    /// The prompt was in the session already.
    fn begin(&mut self, i: usize) {
        let context = self.engine.context();
        if let Some(end) = self.running[i].begin(context).transpose() {
            self.end(i, end);
        }
    }

    fn end(&mut self, i: usize, end: Result<Finish, Error>) {
        match end {
            Ok(finish) => self.finish(i, finish),
            Err(error) => self.fail(i, Arc::new(error)),
        }
    }

    /// Keeps the state of a prompt where an interval ends, others may depart, or it is whole.
    fn keep_prompt(&mut self, i: usize) {
        let task = &mut self.running[i];
        let state = if task.is_read() || task.is_at_cut() {
            self.engine.keep(&mut task.session, true)
        } else {
            self.engine.keep_at_interval(&mut task.session)
        };
        if let Some(reason) = task.stop() {
            self.engine.save(&mut task.session, reason, state.map(|kept| kept.snapshot));
        }
    }

    /// Ends a request; its state is kept, and its session waits for the next one.
    fn finish(&mut self, i: usize, finish: Finish) {
        let mut task = self.running.remove(i);
        let state = self.engine.keep(&mut task.session, true);
        let (mut session, leaving) = task.finish(finish, state.as_ref().map(|kept| kept.id));
        self.leave(leaving);
        self.engine.save(&mut session, Reason::TurnEnd, state.map(|kept| kept.snapshot));
        if !session.tokens().is_empty() {
            self.idle.push(session);
        }
        self.wake();
    }

    fn fail(&mut self, i: usize, error: Arc<Error>) {
        let leaving = self.running.remove(i).fail(error);
        self.leave(leaving);
        self.wake();
    }
}
