//! Saving a state without holding anybody up: three parts of the work, in three places.
//!
//! ```text
//! at once          what the next step writes over: the snapshot, the page filled in part
//! between steps    pages that are filled and that the store has not: a few per step, in line
//! on the writer    hashing, spelling, putting together, the disk
//! ```
//!
//! A page that is filled does not change, so it may be read later; until then it is held. Its name
//! is the hash that the writer computes, and is put on the page's label when the save is reported.
//! A page that has a name and is in the store is not read at all.
//!
//! What goes wrong here fails no request. It is told by a [`Notice`], once.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use backend::PAGE_TOKENS;
use kvstore::{Entry, Outcome, PageKey, PageSource, Reason, Refused, Store, Ticket};
use model::{Label, Page, Snapshot};
use spec::TokenId;
use text::Tokenizer;

use crate::checkpoints::{Checkpoints, QUEUE};
use crate::spelling::spell;
use crate::{Engine, Session};

/// Pages that are read per step at most: 3.6 MB of the published model.
pub const STEP_PAGES: usize = 8;

/// Outcomes and notices that are kept for whoever asks late; older ones are forgotten.
const LATE_MAX: usize = 1024;

/// Something that whoever runs the program should know, although no request fails of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A conversation was not saved. Told once, until a save succeeds again: of a disk that stays
    /// full one line is enough.
    NotSaved {
        /// Why.
        why: String,
    },
    /// A checkpoint was found and could not be used; its tokens are computed again.
    NotLoaded {
        /// Why.
        why: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::NotSaved { why } => write!(f, "a conversation was not saved: {why}"),
            Notice::NotLoaded { why } => {
                write!(f, "a saved conversation could not be used and is computed again: {why}")
            }
        }
    }
}

/// What saving took from the thread that owns the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SaveStats {
    /// States that were taken to be saved.
    pub states: usize,
    /// Pages read between steps.
    pub pages_read: usize,
    /// The most of them between two steps.
    pub pages_at_once: usize,
    /// Pages that needed no reading.
    pub pages_known: usize,
}

/// What is between the engine and the writer.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    /// States that are being read, in line.
    line: VecDeque<Saving>,
    /// Handed to the writer: labels of the pages, for the names that come back.
    handed: VecDeque<(Ticket, Vec<Label>)>,
    outcomes: VecDeque<Outcome>,
    notices: VecDeque<Notice>,
    /// The last save failed, and that was told.
    failed: bool,
    stats: SaveStats,
}

/// A state that is being saved.
#[derive(Debug)]
struct Saving {
    tokens: Vec<TokenId>,
    visible: Vec<TokenId>,
    logits: Vec<f32>,
    notes: Vec<u8>,
    reason: Reason,
    variant: String,
    snapshot: Arc<Snapshot>,
    /// The bytes of the page that is filled in part.
    part: Vec<u8>,
    /// Full pages that were not looked at yet.
    left: VecDeque<Page>,
    /// Those that were.
    pages: Vec<PageSource>,
    labels: Vec<Label>,
}

impl Saving {
    /// Looks at pages, and reads up to [`STEP_PAGES`] of those that `store` has not.
    fn look(&mut self, store: &Store, mut read: impl FnMut(&Page) -> Vec<u8>) -> SaveStats {
        let mut stats = SaveStats::default();
        while let Some(page) = self.left.front() {
            let known = page.label().get().map(|name| PageKey(*name));
            let source = match known.filter(|key| store.has_page(key)) {
                Some(key) => {
                    stats.pages_known += 1;
                    PageSource::Known(key)
                }
                None if stats.pages_read == STEP_PAGES => break,
                None => {
                    stats.pages_read += 1;
                    PageSource::New(read(page))
                }
            };
            self.pages.push(source);
            self.labels.push(page.label().clone());
            self.left.pop_front();
        }
        stats.pages_at_once = stats.pages_read;
        stats
    }

    /// Bytes that wait for the writer.
    fn bytes(&self) -> usize {
        let page = |page: &PageSource| match page {
            PageSource::Known(_) => size_of::<PageKey>(),
            PageSource::New(bytes) => bytes.len(),
        };
        let pages: usize = self.pages.iter().map(page).sum();
        let numbers = (self.tokens.len() + self.logits.len()) * size_of::<f32>();
        pages + numbers + self.snapshot.bytes.len() + self.part.len() + self.notes.len()
    }

    /// As the store takes it. Spelling all tokens takes a while: on the writer's thread.
    fn entry(self, tokenizer: Option<&Tokenizer>) -> Entry {
        let spelled = |tokens: &[TokenId]| tokenizer.map_or(Vec::new(), |text| spell(text, tokens));
        Entry {
            text: spelled(&self.tokens),
            also: spelled(&self.visible),
            tokens: self.tokens.iter().map(|token| token.0).collect(),
            pages: self.pages,
            tail: [self.snapshot.bytes.as_slice(), &self.part].concat(),
            logits: self.logits,
            notes: self.notes,
            reason: self.reason,
            variant: self.variant,
        }
    }
}

impl Desk {
    /// Tells what went wrong.
    fn tell(&mut self, notice: Notice) {
        if self.notices.len() == LATE_MAX {
            self.notices.pop_front();
        }
        self.notices.push_back(notice);
    }

    /// A save failed; the one before as well, perhaps.
    fn tell_failure(&mut self, why: String) {
        if !std::mem::replace(&mut self.failed, true) {
            self.tell(Notice::NotSaved { why });
        }
    }

    /// Takes note of what became of a save.
    fn hear(&mut self, outcome: Outcome) {
        while let Some((_, labels)) =
            self.handed.pop_front_if(|(ticket, _)| *ticket <= outcome.ticket)
        {
            let keys = outcome.result.iter().flat_map(|saved| &saved.pages);
            for (label, key) in labels.iter().zip(keys) {
                label.get_or_init(|| key.0);
            }
        }
        match &outcome.result {
            Ok(_) => self.failed = false,
            Err(error) => self.tell_failure(error.to_string()),
        }
        if self.outcomes.len() == LATE_MAX {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back(outcome);
    }
}

impl Checkpoints {
    /// Takes note of what the writer has done since the last call.
    fn hear(&mut self) {
        if self.desk.handed.is_empty() {
            return;
        }
        self.writer.outcomes().into_iter().for_each(|outcome| self.desk.hear(outcome));
        if self.writer.is_gone() {
            self.desk.handed.clear();
        }
    }

    /// Hands the first state in line to the writer, if that has room.
    fn hand_over(&mut self, tokenizer: Option<Arc<Tokenizer>>) -> bool {
        let Some(mut saving) = self.desk.line.pop_front() else { return false };
        let labels = std::mem::take(&mut saving.labels);
        let make = move |saving: Saving| saving.entry(tokenizer.as_deref());
        match self.writer.submit_parts(saving.bytes(), saving, make) {
            Ok(ticket) => self.desk.handed.push_back((ticket, labels)),
            Err((Refused::Full, saving)) => {
                self.desk.line.push_front(Saving { labels, ..saving });
                return false;
            }
            Err((Refused::Gone, _)) => {
                self.desk.line.clear();
                self.desk.tell_failure("the thread that saves has ended".to_owned());
            }
        }
        true
    }
}

impl Drop for Engine {
    /// What was taken to be saved is saved.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.flush_checkpoints();
        }
    }
}

impl Engine {
    /// Saves what `session` holds at the end of a turn, if the policy wants it.
    pub fn save_turn(&mut self, session: &mut Session) {
        self.save(session, Reason::TurnEnd, None);
    }

    /// Takes the state of `session` to be saved, if there is a folder for it and the policy wants
    /// it: what the next step would write over now, the rest between the next steps. `snapshot` is
    /// of this state, if there is one already.
    pub(crate) fn save(
        &mut self,
        session: &mut Session,
        reason: Reason,
        snapshot: Option<Arc<Snapshot>>,
    ) {
        let Some(kept) = &self.checkpoints else { return };
        let tokens = session.tokens.len();
        if tokens > 0 && kept.policy.wants(reason, tokens, session.saved) {
            self.take(session, reason, snapshot);
        }
    }

    /// What `session` holds was saved perhaps, and more is known about it now.
    pub(crate) fn save_again(&mut self, session: &mut Session, snapshot: Arc<Snapshot>) {
        let variant = self.variant(session.steer());
        let Some(kept) = &mut self.checkpoints else { return };
        let mut line = kept.desk.line.iter_mut();
        let same =
            |saving: &&mut Saving| saving.tokens == session.tokens && saving.variant == variant;
        if let Some(saving) = line.find(same) {
            saving.notes.clone_from(&session.notes);
            saving.visible.clone_from(&session.visible);
        } else if session.saved == session.tokens.len() {
            self.take(session, Reason::TurnEnd, Some(snapshot));
        }
    }

    fn take(&mut self, session: &mut Session, reason: Reason, snapshot: Option<Arc<Snapshot>>) {
        let variant = self.variant(session.steer());
        let Engine { model, backend, checkpoints: Some(kept), .. } = self else { return };
        let tokens = session.tokens.len();
        if kept.desk.line.len() == QUEUE.entries {
            let why = format!("{} others wait for the disk", QUEUE.entries);
            return kept.desk.tell_failure(why);
        }
        let snapshot =
            snapshot.unwrap_or_else(|| Arc::new(model.snapshot(&mut **backend, &session.cache)));
        let (full, part) = session.cache.pages().split_at(tokens / PAGE_TOKENS);
        let part = match part.first().filter(|_| !tokens.is_multiple_of(PAGE_TOKENS)) {
            Some(page) => model.page_bytes(&mut **backend, page),
            None => Vec::new(),
        };
        session.saved = tokens;
        kept.desk.stats.states += 1;
        kept.desk.line.push_back(Saving {
            tokens: session.tokens.clone(),
            visible: session.visible.clone(),
            logits: session.logits.clone(),
            notes: session.notes.clone(),
            reason,
            variant,
            snapshot,
            part,
            left: full.iter().cloned().collect(),
            pages: Vec::new(),
            labels: Vec::new(),
        });
    }

    /// Does a bounded part of what is left of saving. Whether anything was done.
    pub(crate) fn go_on_saving(&mut self) -> bool {
        let Engine { model, backend, checkpoints: Some(kept), tokenizer, .. } = self else {
            return false;
        };
        kept.hear();
        let Some(saving) = kept.desk.line.front_mut() else { return false };
        let read = |page: &Page| model.page_bytes(&mut **backend, page);
        let looked = saving.look(kept.writer.store(), read);
        let complete = saving.left.is_empty();
        let stats = &mut kept.desk.stats;
        stats.pages_read += looked.pages_read;
        stats.pages_known += looked.pages_known;
        stats.pages_at_once = stats.pages_at_once.max(looked.pages_at_once);
        let moved = looked.pages_read + looked.pages_known > 0;
        (complete && kept.hand_over(tokenizer.clone())) || moved
    }

    /// Whether a save is under way, or its outcome not known yet.
    pub(crate) fn is_saving(&self) -> bool {
        let desk = self.checkpoints.as_ref().map(|kept| &kept.desk);
        desk.is_some_and(|desk| !desk.line.is_empty() || !desk.handed.is_empty())
    }

    /// Whether row pages are held that wait to be read for a save.
    pub(crate) fn is_holding_pages(&self) -> bool {
        let desk = self.checkpoints.as_ref().map(|kept| &kept.desk);
        desk.is_some_and(|desk| desk.line.iter().any(|saving| !saving.left.is_empty()))
    }

    /// Lets go of all row pages that are held for saves, by reading them now. May wait for the
    /// disk.
    pub(crate) fn let_pages_go(&mut self) {
        while self.is_holding_pages() {
            if !self.go_on_saving()
                && let Some(kept) = &self.checkpoints
            {
                kept.writer.flush();
            }
        }
    }

    /// What became of checkpoints since the last call.
    pub fn saved(&mut self) -> Vec<Outcome> {
        let Some(kept) = &mut self.checkpoints else { return Vec::new() };
        kept.hear();
        kept.desk.outcomes.drain(..).collect()
    }

    /// Waits until all checkpoints are written; what became of them since somebody last asked.
    pub fn flush_checkpoints(&mut self) -> Vec<Outcome> {
        self.write_checkpoints();
        self.saved()
    }

    /// Waits until all checkpoints are written.
    pub(crate) fn write_checkpoints(&mut self) {
        while self.is_saving() {
            if !self.go_on_saving()
                && let Some(kept) = &self.checkpoints
            {
                kept.writer.flush();
            }
        }
    }

    /// What there is to tell whoever runs the program, since the last call.
    pub fn notices(&mut self) -> Vec<Notice> {
        let Some(kept) = &mut self.checkpoints else { return Vec::new() };
        kept.hear();
        kept.desk.notices.drain(..).collect()
    }

    /// A checkpoint could not be used.
    pub(crate) fn tell_not_loaded(&mut self, why: String) {
        if let Some(kept) = &mut self.checkpoints {
            kept.desk.tell(Notice::NotLoaded { why });
        }
    }

    /// What saving took so far.
    pub fn save_stats(&self) -> SaveStats {
        self.checkpoints.as_ref().map_or(SaveStats::default(), |kept| kept.desk.stats)
    }
}
