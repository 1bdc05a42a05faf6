//! Keeping states and going on from them: what the planner decides, done.
//!
//! Anchors are kept at multiples of an interval while a prompt is fed, and where the caller says:
//! at the ends of prompts and turns. They hold host memory up to a budget, and share row pages with
//! sessions; when pages are short, anchors give way to sessions.

use std::sync::Arc;

use model::{Snapshot, Steer};
use spec::TokenId;
use text::Tokenizer;

use crate::resume::{Asked, State, plan};
use crate::spelling::{hash, prefix_hashes, read, spell};
use crate::tree::{AnchorId, Kept, Spelled};
use crate::{Engine, Error, Plan, Resume, Session};

/// Fewer tokens are fed without looking for a state that would save them.
const LOOK_TOKENS_MIN: usize = 32;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Places that sessions can go on from.
    pub anchors: usize,
    /// Bytes that they hold on the host.
    pub anchor_bytes: usize,
    /// Row pages that can still be taken without letting anchors go.
    pub row_pages_left: usize,
    /// Row pages in all.
    pub row_pages: usize,
    /// Bytes of each of them.
    pub row_page_bytes: usize,
}

/// A state that was just kept.
#[derive(Clone, Debug)]
pub(crate) struct KeptState {
    pub id: AnchorId,
    /// What had to be read for it.
    pub snapshot: Arc<Snapshot>,
}

/// What is learnt about a state when the answer that led to it has been read.
///
/// The state after an answer holds what the model wrote, and that may include what clients do not
/// send back, such as reasoning. Whoever renders conversations knows how this one will look when it
/// comes back, and says so here; then the state is found by that as well, in memory and on disk,
/// and only what comes behind it is fed. What is hidden stays in the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remember {
    /// The conversation up to here as it will come back: what the state's tokens stand for. It
    /// must end where the state does, so without the token that ended the answer, which was not
    /// fed. Empty: only as it is.
    pub visible: Vec<TokenId>,
    /// Kept with the conversation's checkpoints instead of what was kept before, and not understood
    /// here; for example the exact text of tool calls. Empty: what was kept before.
    pub notes: Vec<u8>,
}

impl Engine {
    /// What is kept now.
    pub fn held(&self) -> Held {
        Held {
            anchors: self.tree.len(),
            anchor_bytes: self.tree.bytes(),
            row_pages_left: self.model.row_pages_left(),
            row_pages: self.options().model_options(self.shape()).limits.row_pages,
            row_page_bytes: self.page_bytes(),
        }
    }

    /// Whether there are states in memory to go on from.
    pub(crate) fn keeps_states(&self) -> bool {
        self.options().anchor_bytes_max > 0
    }

    /// How many tokens of `prompt` are known in memory or on disk, as computed in one way.
    pub(crate) fn known(&self, way: Steer, prompt: &[TokenId]) -> usize {
        let anchor = self.tree.find(way, prompt).map_or(0, |(_, tokens)| tokens);
        let found = self.found(way, prompt, &[]);
        found.first().map_or(0, |(found, _)| found.tokens).max(anchor)
    }

    /// Bytes of a row page: the compressed rows of 128 tokens.
    pub fn page_bytes(&self) -> usize {
        self.model.layout().page_bytes
    }

    /// Brings `session` to the nearest state before or at `prompt`; what is left to feed.
    ///
    /// # Errors
    /// The device has no memory for the page that a shared state needs: the session is as before.
    pub(crate) fn resume(
        &mut self,
        session: &mut Session,
        prompt: &[TokenId],
    ) -> Result<Resume, Error> {
        // A page that is filled in part is copied; nothing may be evicted once it is planned for.
        self.make_room(1);
        let (resume, found) = self.planned(session, prompt, true);
        if let Plan::Load { checkpoint, .. } = resume.plan {
            let ready = |session: &Session| !session.logits.is_empty() || !resume.feed.is_empty();
            match self.load(session, found[checkpoint]) {
                Ok(text) if ready(session) && self.begins(&session.tokens, &text, prompt) => {
                    self.keep(session, true);
                    return Ok(resume);
                }
                Ok(_) => {
                    let id = found[checkpoint].id.to_string();
                    self.tell_not_loaded(Error::Checkpoint { id }.to_string());
                }
                Err(error) => self.tell_not_loaded(error.to_string()),
            }
            session.clear();
            let (resume, _) = self.planned(session, prompt, false);
            return self.carry_out(session, resume, prompt);
        }
        self.carry_out(session, resume, prompt)
    }

    /// Whether `tokens` begin `prompt`, or the text that they stand for does.
    fn begins(&self, tokens: &[TokenId], text: &[u8], prompt: &[TokenId]) -> bool {
        let spelled = |tokenizer: &Tokenizer| spell(tokenizer, prompt).starts_with(text);
        let known = self.tokenizer.as_deref().filter(|_| !text.is_empty());
        prompt.starts_with(tokens) || known.is_some_and(spelled)
    }

    fn carry_out(
        &mut self,
        session: &mut Session,
        resume: Resume,
        prompt: &[TokenId],
    ) -> Result<Resume, Error> {
        match resume.plan {
            Plan::Keep | Plan::Extend { .. } => {}
            Plan::Rewind { anchor, .. } | Plan::Fork { anchor, .. } => {
                match self.go_back(session, anchor) {
                    // Others hold all pages, one of which would have to be copied. What a session
                    // needs of its own is there, so the prompt is computed.
                    Err(Error::Model(model::Error::Pages { .. })) => {
                        session.clear();
                        return Ok(Resume { plan: Plan::Cold, feed: prompt.to_vec() });
                    }
                    done => done?,
                }
            }
            Plan::Load { .. } => unreachable!("no checkpoint was offered"),
            Plan::Cold => session.clear(),
        }
        Ok(resume)
    }

    /// The plan, and the checkpoints that it may name.
    fn planned(
        &self,
        session: &Session,
        prompt: &[TokenId],
        disk: bool,
    ) -> (Resume, Vec<kvstore::Found>) {
        let text = self.tokenizer().ok();
        let spelling = |tokens: &[TokenId]| {
            text.as_ref().map_or(Vec::new(), |tokenizer| spell(tokenizer, tokens))
        };
        let read = |bytes: &[u8]| text.as_ref().and_then(|tokenizer| read(tokenizer, bytes));
        let most = self.context().saturating_sub(1).max(prompt.len());
        let live = session.tokens.as_slice();
        let ready = !session.logits.is_empty();
        // The usual case: there is little left to feed, and nobody needs to look further.
        let agree = prompt.starts_with(live) && (ready || live.len() < prompt.len());
        if agree && prompt.len() - live.len() <= LOOK_TOKENS_MIN {
            let asked = Asked { tokens: prompt, spelling: &[], most, read: &read };
            let (len, tokens, spelling) = (live.len(), live.to_vec(), Vec::new());
            let live = State { id: (), len, tokens, spelling, ready };
            return (plan(&asked, &live, &[], &[]), Vec::new());
        }
        let spelled = spelling(prompt);
        let asked = Asked { tokens: prompt, spelling: &spelled, most, read: &read };
        let state = |(id, spelling): (AnchorId, &[u8])| {
            let tokens = self.tree.tokens(id);
            let (len, ready) = (tokens.len(), self.tree.is_ready(id));
            State { id, len, spelling: spelling.to_vec(), tokens, ready }
        };
        let way = session.steer();
        let by_tokens = self.tree.find(way, prompt).map(|(id, _)| (id, [].as_slice()));
        let by_text = self.tree.find_spelled(way, prefix_hashes(&spelled));
        // The hashes agree, so that is the text which the state stands for.
        let by_text = by_text.map(|(id, bytes)| (id, &spelled[..bytes]));
        let anchors: Vec<_> = by_tokens.into_iter().chain(by_text).map(state).collect();
        let (len, tokens, spelling) = (live.len(), live.to_vec(), spelling(live));
        let live = State { id: (), len, tokens, spelling, ready };
        let found = if disk { self.found(way, prompt, &spelled) } else { Vec::new() };
        let checkpoint = |(id, &(found, by_tokens)): (usize, &(kvstore::Found, bool))| {
            // The store has compared hashes of what is compared here.
            let spelling = spelled.get(..found.text_bytes).filter(|_| !by_tokens).unwrap_or(&[]);
            let tokens = prompt.get(..found.tokens).filter(|_| by_tokens).unwrap_or(&[]);
            let (tokens, spelling) = (tokens.to_vec(), spelling.to_vec());
            State { id, len: found.tokens, tokens, spelling, ready: true }
        };
        let checkpoints: Vec<_> = found.iter().enumerate().map(checkpoint).collect();
        let plan = plan(&asked, &live, &anchors, &checkpoints);
        (plan, found.into_iter().map(|(found, _)| found).collect())
    }

    fn go_back(&mut self, session: &mut Session, anchor: AnchorId) -> Result<(), Error> {
        let tokens = self.tree.tokens(anchor);
        let (pages, kept) = self.tree.resume(anchor);
        let (state, logits) = (kept.state.clone(), kept.logits.clone());
        // What the session held makes room first: its pages and the copy of one that is filled in
        // part are never needed together.
        session.clear();
        self.make_room(1);
        if self.model.row_pages_left() == 0 && self.tree.has(anchor) {
            // Nothing need be copied of a page that nobody else holds.
            self.tree.remove(anchor);
        }
        let Engine { model, backend, .. } = self;
        model.restore(&mut **backend, &mut session.cache, &state, pages)?;
        session.replace(tokens, &logits);
        Ok(())
    }

    /// Keeps the state that `session` has now. With `text`, a later prompt may find it by its text
    /// as well.
    pub(crate) fn keep(&mut self, session: &mut Session, text: bool) -> Option<KeptState> {
        if !self.keeps_states() || session.tokens.is_empty() {
            return None;
        }
        let state = Arc::new(self.model.snapshot(&mut *self.backend, &session.cache));
        let tokens = state.tokens;
        let (full, part) = session.cache.pages().split_at(tokens / backend::PAGE_TOKENS);
        let last = (!tokens.is_multiple_of(backend::PAGE_TOKENS)).then(|| part[0].clone());
        let texts = [session.tokens.as_slice(), &session.visible];
        let spelled = texts.into_iter().filter(|tokens| text && !tokens.is_empty());
        let spelled = spelled.filter_map(|tokens| self.spelled(tokens)).collect();
        let kept = Kept { state: state.clone(), last, logits: session.logits.clone(), spelled };
        let way = session.steer();
        let id = self.tree.insert(way, &session.tokens, full, kept);
        // Whoever computed the same before: from now on there is one page for both.
        for (i, page) in self.tree.pages(way, &session.tokens).into_iter().enumerate() {
            if !page.is(&session.cache.pages()[i]) {
                session.cache.share(i, page.clone());
            }
        }
        while self.tree.bytes() > self.options().anchor_bytes_max {
            self.tree.evict(false);
        }
        Some(KeptState { id, snapshot: state })
    }

    fn spelled(&self, tokens: &[TokenId]) -> Option<Spelled> {
        let spelling = spell(self.tokenizer.as_deref()?, tokens);
        Some((spelling.len(), hash(&spelling)))
    }

    /// Learns what the state at an anchor stands for; `idle` is the session that holds it, if one
    /// does. A checkpoint that was made of it is made anew: its blocks are there already.
    pub(crate) fn remember(
        &mut self,
        state: AnchorId,
        remember: &Remember,
        idle: Option<&mut Session>,
    ) {
        if !self.tree.has(state) {
            return;
        }
        if !remember.visible.is_empty()
            && let Some(spelled) = self.spelled(&remember.visible)
        {
            self.tree.learn(state, spelled);
        }
        let Some(session) = idle else { return };
        session.visible.clone_from(&remember.visible);
        if !remember.notes.is_empty() {
            session.notes.clone_from(&remember.notes);
        }
        let (_, kept) = self.tree.resume(state);
        let snapshot = kept.state.clone();
        self.save_again(session, snapshot);
    }

    /// Whether `session` holds the state at an anchor.
    pub(crate) fn is_at(&self, session: &Session, state: AnchorId) -> bool {
        self.tree.has(state)
            && self.tree.way(state) == session.steer()
            && self.tree.tokens(state) == session.tokens
    }

    /// The tokens of a state in memory.
    pub(crate) fn tokens_at(&self, state: AnchorId) -> Option<Vec<TokenId>> {
        self.tree.has(state).then(|| self.tree.tokens(state))
    }

    /// Keeps the state of a prompt that is being fed, if an interval ends here.
    pub(crate) fn keep_at_interval(&mut self, session: &mut Session) -> Option<KeptState> {
        let ends = session.tokens.len().is_multiple_of(self.options().anchor_tokens);
        if ends { self.keep(session, false) } else { None }
    }

    /// How many of `left` tokens may be fed to a session of `held` tokens before its state is to be
    /// kept.
    pub(crate) fn chunk(&self, held: usize, left: usize) -> usize {
        let interval = self.options().anchor_tokens;
        match self.options().anchor_bytes_max {
            0 => left,
            _ => left.min(interval - held % interval),
        }
    }

    /// Row pages that `session` needs to take for so many more tokens.
    pub(crate) fn pages_missing(&self, session: &Session, tokens: usize) -> usize {
        self.model.row_pages_missing(&session.cache, tokens)
    }

    /// Saves what the next step overwrites in `session`, so that it can be taken back.
    ///
    /// # Errors
    /// No slot page left.
    pub(crate) fn save_before_draft(&mut self, session: &mut Session) -> Result<(), Error> {
        let Engine { model, backend, .. } = self;
        Ok(model.save_before_draft(&mut **backend, &mut session.cache)?)
    }

    /// Takes the last `tokens` tokens of `session` back, which the step before fed. The logits
    /// after what is left begin at `logits` in that step's rows.
    pub(crate) fn take_back(&mut self, session: &mut Session, tokens: usize, logits: usize) {
        if tokens == 0 {
            return;
        }
        let left = session.tokens.len() - tokens;
        let Engine { model, backend, rows, .. } = self;
        model.take_back(&mut **backend, &mut session.cache, left);
        session.tokens.truncate(left);
        let vocab = session.logits.len();
        session.logits.copy_from_slice(&rows[logits..logits + vocab]);
    }

    /// Makes room for so many row pages, whatever it takes; if there is none, whoever takes them
    /// will hear it.
    pub(crate) fn make_room(&mut self, pages: usize) {
        if !self.evict_anchors(pages) {
            self.let_pages_go();
            self.evict_anchors(pages);
        }
    }

    /// Lets anchors go until so many row pages can be taken, or none is left that would help.
    /// Whether they can.
    pub(crate) fn evict_anchors(&mut self, pages: usize) -> bool {
        while self.model.row_pages_left() < pages {
            if self.tree.evict(true).is_none() {
                return false;
            }
        }
        true
    }

    /// A session that goes on from where `session` is, without disturbing it.
    ///
    /// # Errors
    /// All sessions are in use, or no room for the page that is filled in part.
    pub fn fork_session(&mut self, session: &Session) -> Result<Session, Error> {
        self.make_room(1);
        let mut fork = self.open_session()?;
        let Engine { model, backend, .. } = self;
        model.fork(&mut **backend, &session.cache, &mut fork.cache)?;
        fork.replace(session.tokens.clone(), &session.logits);
        Ok(fork)
    }
}
