//! Events as rows of a scrolling terminal.
//!
//! Reasoning is dimmed, or a line that counts its words where it is not wanted; text is Markdown,
//! whose settled rows are final; what is being read shows as a bar. Start at [`Paper::event`].

use std::io::{self, Write};

use crate::event::{Event, Past, Shown, TurnEnd};
use crate::markdown::{Element, Markdown};
use crate::paint::{Face, Ink, Line, Row, Run};
use crate::screen::call::{Call, Stage};
use crate::screen::status::{bar, short};
use crate::screen::view::summary;

use super::Look;
use super::region::Region;

/// What is being written.
enum Under {
    Nothing,
    /// Text, dimmed if it is reasoning; so many of its elements are settled already.
    Prose {
        markdown: Box<Markdown>,
        dimmed: bool,
        elements: usize,
    },
    /// Reasoning that is not shown: its words so far, and whether the last has ended.
    Counted {
        words: usize,
        in_word: bool,
    },
}

/// Writes a conversation down.
pub struct Paper<W: Write> {
    region: Region<W>,
    width: usize,
    /// Reasoning is shown.
    reasoning: bool,
    under: Under,
    calls: Vec<Call>,
    answered: bool,
    /// Lines that came in the middle of a text and wait for its end.
    notices: Vec<String>,
    /// A blank row is due before the next part.
    gap: bool,
}

impl<W: Write> Paper<W> {
    /// Empty paper; the cursor stands at the beginning of a line.
    pub fn new(out: W, look: &Look) -> Paper<W> {
        Paper {
            region: Region::new(out, look.ansi, look.moves),
            width: 80,
            reasoning: look.reasoning,
            under: Under::Nothing,
            calls: Vec::new(),
            answered: false,
            notices: Vec::new(),
            gap: false,
        }
    }

    /// The size of the terminal now.
    pub fn set_size(&mut self, width: usize, height: usize) -> io::Result<()> {
        self.region.set_height(height);
        // The last column stays free: terminals differ in what they do when it is written.
        let width = width.saturating_sub(1).max(1);
        if self.width != width {
            self.width = width;
            self.region.let_go()?;
        }
        Ok(())
    }

    /// Shows reasoning from now on, or hides it; returns which.
    pub fn toggle_reasoning(&mut self) -> bool {
        self.reasoning = !self.reasoning;
        self.reasoning
    }

    /// Something has happened.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Prefill { done, total } if done < total => self.progress(*done, *total),
            Event::Said(said) => self.said(said),
            Event::ToolBegan { call, title } => {
                if let Some(call) = self.calls.get_mut(*call) {
                    call.title.clone_from(title);
                    call.stage = Stage::Running;
                }
                Ok(())
            }
            Event::ToolEnded { call, shown, failed, took } => {
                let stage =
                    Stage::Ended { shown: shown.clone(), failed: *failed, took: Some(*took) };
                self.end_call(*call, stage)
            }
            Event::TurnEnded { end, cost } => {
                self.end_part()?;
                let face = match end {
                    TurnEnd::Done => Face::DIM,
                    TurnEnd::Stopped | TurnEnd::Length => Face::ink(Ink::Yellow),
                    TurnEnd::ContextFull | TurnEnd::Failed(_) => Face::ink(Ink::Red),
                };
                self.part([Line::of(summary(end, cost), face)])
            }
            Event::Notice(text) if matches!(self.under, Under::Nothing) => self.notice(text),
            Event::Notice(text) => {
                self.notices.push(text.clone());
                Ok(())
            }
            Event::Answer(markdown) => self.whole(markdown),
            Event::Opened { title, history } => self.opened(title, history),
            _ => Ok(()),
        }
    }

    /// A person is asked next: what is under way is complete, and stands apart from the question
    /// and from what comes after it.
    pub fn rest(&mut self) -> io::Result<()> {
        self.end_part()?;
        self.blank()?;
        self.gap = true;
        Ok(())
    }

    fn end_part(&mut self) -> io::Result<()> {
        self.end_under()?;
        let notices = std::mem::take(&mut self.notices);
        notices.iter().try_for_each(|text| self.notice(text))
    }

    fn notice(&mut self, text: &str) -> io::Result<()> {
        self.part(text.lines().map(|line| Line::of(line, Face::ink(Ink::Yellow))))
    }

    fn end_under(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.under, Under::Nothing) {
            Under::Nothing => self.region.show(Vec::new(), Vec::new()),
            Under::Counted { words, .. } => {
                let text = format!("\u{25b8} thought, {words} words (/reasoning shows them)");
                self.part([Line::of(text, Face::DIM)])
            }
            Under::Prose { mut markdown, dimmed, elements } => {
                markdown.finish();
                let rows = self.rows(&markdown.settled()[elements..], dimmed);
                self.gap = true;
                self.region.show(rows, Vec::new())
            }
        }
    }

    fn said(&mut self, said: &text::Event) -> io::Result<()> {
        if std::mem::take(&mut self.answered) {
            self.calls.clear();
        }
        match said {
            text::Event::Reasoning(text) if self.reasoning => self.prose(text, true),
            text::Event::Reasoning(text) => self.count(text),
            text::Event::ReasoningEnd => self.end_part(),
            text::Event::Text(text) => self.prose(text, false),
            text::Event::CallBegin { name, .. } => {
                self.end_part()?;
                self.calls.push(Call::new(name));
                Ok(())
            }
            text::Event::CallArguments(json) => {
                if let Some(call) = self.calls.last_mut() {
                    call.arguments.push_str(json);
                }
                Ok(())
            }
            text::Event::CallsDropped { first, .. } => {
                for call in *first..self.calls.len() {
                    self.end_call(call, Stage::Dropped("not executed".into()))?;
                }
                Ok(())
            }
            text::Event::Finish(_) => {
                self.answered = true;
                self.end_part()
            }
            _ => Ok(()),
        }
    }

    fn progress(&mut self, done: usize, total: usize) -> io::Result<()> {
        self.end_part()?;
        let mut runs = vec![Run::plain("reading ")];
        runs.extend(bar(done as f64 / total as f64, Ink::Cyan));
        runs.push(Run::plain(format!(" {}/{}", short(done), short(total))));
        self.live(Line::words(runs))
    }

    fn count(&mut self, text: &str) -> io::Result<()> {
        if !matches!(self.under, Under::Counted { .. }) {
            if text.trim().is_empty() {
                return Ok(());
            }
            self.end_part()?;
            self.under = Under::Counted { words: 0, in_word: false };
        }
        let Under::Counted { words, in_word } = &mut self.under else { return Ok(()) };
        for c in text.chars() {
            *words += usize::from(!c.is_whitespace() && !*in_word);
            *in_word = !c.is_whitespace();
        }
        let text = format!("\u{25b8} thinks, {words} words");
        self.live(Line::of(text, Face::DIM))
    }

    fn prose(&mut self, text: &str, dim: bool) -> io::Result<()> {
        let goes_on = matches!(self.under, Under::Prose { dimmed, .. } if dimmed == dim);
        let mut text = text;
        if !goes_on {
            text = text.trim_start_matches(['\n', '\r']);
            if text.trim().is_empty() {
                return Ok(());
            }
            self.end_part()?;
            self.blank()?;
            self.under = Under::Prose { markdown: Box::default(), dimmed: dim, elements: 0 };
        }
        let Under::Prose { markdown, elements, .. } = &mut self.under else { return Ok(()) };
        markdown.push(text);
        let from = std::mem::replace(elements, markdown.settled().len());
        let (settled, open) = (markdown.settled()[from..].to_vec(), markdown.open());
        let (settled, open) = (self.rows(&settled, dim), self.rows(&open, dim));
        self.region.show(settled, open)
    }

    /// A whole text in Markdown.
    fn whole(&mut self, markdown: &str) -> io::Result<()> {
        self.end_part()?;
        self.prose(markdown, false)?;
        self.end_part()
    }

    fn end_call(&mut self, index: usize, stage: Stage) -> io::Result<()> {
        let Some(call) = self.calls.get_mut(index) else { return Ok(()) };
        call.stage = stage;
        let lines = call.lines(true);
        self.end_part()?;
        self.part(lines)
    }

    fn opened(&mut self, title: &str, history: &[Past]) -> io::Result<()> {
        /// Entries of a conversation that show where it stands.
        const LAST: usize = 6;
        self.end_part()?;
        let shown = &history[history.len().saturating_sub(LAST)..];
        if !history.is_empty() {
            let left = history.len() - shown.len();
            let before = if left > 0 { format!(", {left} entries before") } else { String::new() };
            self.part([Line::of(format!("\u{2500}\u{2500} {title}{before}"), Face::DIM)])?;
        }
        for past in shown {
            match past {
                Past::Prompt(text) => {
                    let mark = Run::new("> ", Face::BOLD);
                    let lines = text.lines().take(10);
                    self.part(lines.map(|line| Line::of(line, Face::BOLD).behind(&mark)))?;
                }
                Past::Reasoning(_) => {}
                Past::Text(text) => self.whole(text)?,
                Past::Call { name, arguments, shown, failed } => {
                    self.past_call(name, arguments, shown, *failed)?;
                }
                Past::Notice(text) => {
                    self.part(text.lines().map(|line| Line::of(line, Face::DIM)))?;
                }
            }
        }
        Ok(())
    }

    fn past_call(&mut self, name: &str, json: &str, shown: &Shown, failed: bool) -> io::Result<()> {
        let mut call = Call::new(name);
        json.clone_into(&mut call.arguments);
        call.stage = Stage::Ended { shown: shown.clone(), failed, took: None };
        self.part(call.lines(true))
    }

    /// Lines that stand apart from what is above them.
    fn part(&mut self, lines: impl IntoIterator<Item = Line>) -> io::Result<()> {
        self.blank()?;
        let mut rows = Vec::new();
        lines.into_iter().for_each(|line| line.lay(self.width, &mut rows));
        self.gap = true;
        self.region.show(rows, Vec::new())
    }

    /// A row that goes when something else comes.
    fn live(&mut self, line: Line) -> io::Result<()> {
        let mut rows = Vec::new();
        line.wrapped(crate::paint::Wrap::Cut).lay(self.width, &mut rows);
        self.region.show(Vec::new(), rows)
    }

    fn blank(&mut self) -> io::Result<()> {
        self.region.show(Vec::new(), Vec::new())?;
        if std::mem::take(&mut self.gap) {
            self.region.show(vec![Row::default()], Vec::new())?;
        }
        Ok(())
    }

    fn rows(&self, elements: &[Element], dimmed: bool) -> Vec<Row> {
        let mut rows = Vec::new();
        elements.iter().for_each(|element| element.lay(self.width, &mut rows));
        if dimmed {
            let runs = rows.iter_mut().flat_map(|row| &mut row.runs);
            runs.for_each(|run| run.face = Face { ink: Ink::Plain, ..run.face.dim() });
        }
        rows
    }
}
