//! Everything that was said and done, in its order, and the part of it that is seen.
//!
//! The transcript hears the events that add to it and keeps entries; which rows are seen is a
//! place: the end, which is followed, or a row of an entry that stays where it is while more comes
//! below. Old entries go when there is too much of them. Start at [`Transcript::said`].

use std::time::Duration;

use crate::event::{Past, Shown};
use crate::paint::{Face, Ink, Row};

use super::call::{Call, Stage};
use super::entry::{Entry, Folds, Kind, Prose};

/// So much text is kept; when there is more, the older half goes.
const BYTES_MAX: usize = 16 << 20;
/// Of a conversation that is opened so much is shown.
const HISTORY_BYTES_MAX: usize = 512 << 10;
/// And of that, code has colours in so much at the end: they take most of the time.
const COLOURED_BYTES_MAX: usize = 16 << 10;

/// Where the rows are that are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The end, also when more comes.
    End,
    /// This row of this entry is the first.
    At(usize, usize),
}

/// The entries, and the place.
#[derive(Clone)]
pub struct Transcript {
    entries: Vec<Entry>,
    /// The entry of the text or reasoning that is coming.
    prose: Option<usize>,
    /// Entries of the calls of the answer under way, by the call's number.
    calls: Vec<usize>,
    /// The answer is over: what is said next belongs to another one.
    answered: bool,
    folds: Folds,
    place: Place,
    /// The width and height of the last drawing.
    width: usize,
    height: usize,
}

impl Transcript {
    /// An empty transcript.
    pub fn new(folds: Folds) -> Transcript {
        Transcript {
            entries: Vec::new(),
            prose: None,
            calls: Vec::new(),
            answered: true,
            folds,
            place: Place::End,
            width: 80,
            height: 1,
        }
    }

    /// What is folded.
    pub fn folds(&self) -> Folds {
        self.folds
    }

    /// Folds something, or unfolds it; what is seen stays as far as it can.
    pub fn set_folds(&mut self, folds: Folds) {
        self.folds = folds;
    }

    /// A prompt.
    pub fn prompt(&mut self, text: &str) {
        self.end_answer();
        self.trim();
        self.entries.push(Entry::new(Kind::Prompt(text.to_owned())));
    }

    /// A line about the conversation. Text under way goes on above it.
    pub fn notice(&mut self, text: &str, face: Face) {
        self.entries.push(Entry::new(Kind::Notice(text.to_owned(), face)));
    }

    /// What a command answers.
    pub fn answer(&mut self, markdown: &str) {
        self.entries.push(Entry::new(Kind::Text(Prose::of(markdown))));
    }

    /// Something was sampled.
    pub fn said(&mut self, event: &text::Event) {
        if std::mem::take(&mut self.answered) {
            self.calls.clear();
        }
        match event {
            text::Event::Reasoning(text) => self.reasoning(text),
            text::Event::ReasoningEnd => self.end_prose(),
            text::Event::Text(text) => self.text(text),
            text::Event::CallBegin { index, name } => self.begin_call(*index, name),
            text::Event::CallArguments(json) => {
                if let Some(call) = self.calls.last().copied().and_then(|at| self.call_at(at)) {
                    call.arguments.push_str(json);
                }
            }
            text::Event::CallEnd => {
                if let Some(call) = self.calls.last().copied().and_then(|at| self.call_at(at)) {
                    call.stage = Stage::Waiting;
                }
            }
            text::Event::CallsDropped { first, cause, .. } => {
                let why = match cause {
                    text::DropCause::Malformed => "not executed: the call broke its form",
                    text::DropCause::Truncated => "not executed: the answer ended inside the call",
                };
                for at in self.calls.get(*first..).unwrap_or_default().to_vec() {
                    if let Some(call) = self.call_at(at) {
                        call.stage = Stage::Dropped(why.to_owned());
                    }
                }
            }
            text::Event::Finish(_) => self.end_answer(),
            _ => {}
        }
    }

    /// A call is being executed.
    pub fn began(&mut self, index: usize, title: &str) {
        if let Some(call) = self.call(index) {
            call.title = title.to_owned();
            call.stage = Stage::Running;
        }
    }

    /// A call has printed something.
    pub fn printed(&mut self, index: usize, text: &str) {
        if let Some(call) = self.call(index) {
            call.print(text);
        }
    }

    /// A call is over.
    pub fn ended(&mut self, index: usize, shown: Shown, failed: bool, took: Duration) {
        if let Some(call) = self.call(index) {
            call.output.clear();
            call.stage = Stage::Ended { shown, failed, took: Some(took) };
        }
    }

    /// The turn is over: calls that were not executed will not be.
    pub fn end_turn(&mut self) {
        self.end_answer();
        for at in std::mem::take(&mut self.calls) {
            if let Some(call) = self.call_at(at)
                && matches!(call.stage, Stage::Sampled | Stage::Waiting | Stage::Running)
            {
                call.stage = Stage::Dropped("stopped".to_owned());
            }
        }
    }

    /// Another conversation is shown from now on.
    pub fn open(&mut self, history: &[Past]) {
        *self =
            Transcript { width: self.width, height: self.height, ..Transcript::new(self.folds) };
        let bytes = |past: &Past| match past {
            Past::Prompt(text) | Past::Reasoning(text) | Past::Text(text) | Past::Notice(text) => {
                text.len()
            }
            Past::Call { arguments, shown: Shown::Text(text), .. } => arguments.len() + text.len(),
            Past::Call { arguments, shown: Shown::Change { before, after, .. }, .. } => {
                arguments.len() + before.as_ref().map_or(0, String::len) + after.len()
            }
        };
        let mut room = HISTORY_BYTES_MAX;
        let shown = history.iter().rev().take_while(|past| {
            let fits = room > 0;
            room = room.saturating_sub(bytes(past) + 64);
            fits
        });
        let first = history.len() - shown.count();
        if first > 0 {
            let text = format!("{first} earlier entries are not shown; /history shows them");
            self.notice(&text, Face::DIM);
        }
        let mut room = COLOURED_BYTES_MAX;
        let entries = history[first..].iter().rev().map(|entry| {
            room = room.saturating_sub(bytes(entry));
            past(entry, room > 0)
        });
        let from = self.entries.len();
        self.entries.extend(entries);
        self.entries[from..].reverse();
    }

    /// Lays out what has changed for a size, and returns how many rows there are.
    pub fn lay(&mut self, width: usize, height: usize) -> usize {
        self.width = width;
        self.height = height;
        let folds = self.folds;
        let mut total = 0;
        let mut after_call = false;
        for entry in &mut self.entries {
            let is_call = matches!(entry.kind(), Kind::Call(_));
            total += entry.lay(width, folds) + gap_above(total == 0, is_call && after_call);
            after_call = is_call;
        }
        total
    }

    /// The rows that are seen, after [`Transcript::lay`]; `None` is a blank one.
    pub fn seen(&self) -> Vec<Option<&Row>> {
        let all = self.all();
        let top = self.top(&all);
        all.iter().skip(top).take(self.height).map(|&(entry, row)| self.row(entry, row)).collect()
    }

    /// Whether the end is followed.
    pub fn follows(&self) -> bool {
        self.place == Place::End
    }

    /// Moves by rows, up if negative.
    pub fn scroll(&mut self, rows: isize) {
        self.lay(self.width, self.height);
        let all = self.all();
        let bottom = all.len().saturating_sub(self.height);
        let top = self.top(&all).saturating_add_signed(rows).min(bottom);
        self.place = match all.get(top) {
            Some(&(entry, row)) if top < bottom => Place::At(entry, row),
            _ => Place::End,
        };
    }

    /// Moves by a screen, less one row.
    pub fn page(&mut self, down: bool) {
        let rows = self.height.saturating_sub(1).max(1) as isize;
        self.scroll(if down { rows } else { -rows });
    }

    /// To the beginning.
    pub fn go_to_start(&mut self) {
        self.scroll(isize::MIN / 2);
    }

    /// To the end, which is followed then.
    pub fn go_to_end(&mut self) {
        self.place = Place::End;
    }

    /// Every row as an entry and a row of it; blank ones above an entry count as its row 0.
    fn all(&self) -> Vec<(usize, usize)> {
        let mut all = Vec::new();
        let mut after_call = false;
        for (at, entry) in self.entries.iter().enumerate() {
            let is_call = matches!(entry.kind(), Kind::Call(_));
            let gap = gap_above(all.is_empty(), is_call && after_call);
            after_call = is_call;
            all.extend((0..gap).map(|_| (at, 0)));
            all.extend((1..=entry.rows().len()).map(|row| (at, row)));
        }
        all
    }

    fn row(&self, entry: usize, row: usize) -> Option<&Row> {
        self.entries.get(entry)?.rows().get(row.checked_sub(1)?)
    }

    fn top(&self, all: &[(usize, usize)]) -> usize {
        let bottom = all.len().saturating_sub(self.height);
        match self.place {
            Place::End => bottom,
            Place::At(entry, row) => all.partition_point(|&at| at < (entry, row)).min(bottom),
        }
    }

    fn call(&mut self, index: usize) -> Option<&mut Call> {
        self.calls.get(index).copied().and_then(|at| self.call_at(at))
    }

    fn call_at(&mut self, at: usize) -> Option<&mut Call> {
        match self.entries.get_mut(at)?.change() {
            Kind::Call(call) => Some(call),
            _ => None,
        }
    }

    fn begin_call(&mut self, index: usize, name: &str) {
        self.end_prose();
        self.calls.truncate(index);
        self.entries.push(Entry::new(Kind::Call(Box::new(Call::new(name)))));
        self.calls.push(self.entries.len() - 1);
    }

    fn reasoning(&mut self, text: &str) {
        match self.under_way() {
            Some(Kind::Reasoning { prose, .. }) => prose.push(text),
            _ if text.trim().is_empty() => {}
            _ => self.begin_prose(text, |prose| Kind::Reasoning { prose, over: false }),
        }
    }

    fn text(&mut self, text: &str) {
        match self.under_way() {
            Some(Kind::Text(prose)) => prose.push(text),
            _ if text.trim().is_empty() => {}
            _ => self.begin_prose(text, Kind::Text),
        }
    }

    /// Text or reasoning that is coming. Notices may stand below it already.
    fn under_way(&mut self) -> Option<&mut Kind> {
        Some(self.entries.get_mut(self.prose?)?.change())
    }

    fn begin_prose(&mut self, text: &str, kind: impl FnOnce(Prose) -> Kind) {
        self.end_prose();
        let mut prose = Prose::default();
        prose.push(text.trim_start_matches('\n'));
        self.prose = Some(self.entries.len());
        self.entries.push(Entry::new(kind(prose)));
    }

    /// Text or reasoning under way is complete.
    fn end_prose(&mut self) {
        match self.under_way() {
            Some(Kind::Reasoning { prose, over }) => {
                *over = true;
                prose.finish();
            }
            Some(Kind::Text(prose)) => prose.finish(),
            _ => {}
        }
        self.prose = None;
    }

    fn end_answer(&mut self) {
        self.end_prose();
        self.answered = true;
    }

    fn trim(&mut self) {
        let bytes: usize = self.entries.iter().map(Entry::bytes).sum();
        if bytes > BYTES_MAX {
            self.calls.clear();
            let half = self.entries.len() / 2;
            self.entries.drain(..half);
            self.place = Place::End;
            self.entries.insert(
                0,
                Entry::new(Kind::Notice("what came before is not kept here".into(), Face::DIM)),
            );
        }
    }
}

/// Blank rows above an entry: calls stand close to each other.
fn gap_above(is_first: bool, is_close: bool) -> usize {
    usize::from(!is_first && !is_close)
}

fn past(past: &Past, colours: bool) -> Entry {
    let prose = |text: &str| if colours { Prose::of(text) } else { Prose::without_colours(text) };
    Entry::new(match past {
        Past::Prompt(text) => Kind::Prompt(text.clone()),
        Past::Reasoning(text) => Kind::Reasoning { prose: prose(text), over: true },
        Past::Text(text) => Kind::Text(prose(text)),
        Past::Notice(text) => Kind::Notice(text.clone(), Face::ink(Ink::Yellow)),
        Past::Call { name, arguments, shown, failed } => {
            let mut call = Call::new(name);
            call.arguments.clone_from(arguments);
            call.stage = Stage::Ended { shown: shown.clone(), failed: *failed, took: None };
            Kind::Call(Box::new(call))
        }
    })
}
