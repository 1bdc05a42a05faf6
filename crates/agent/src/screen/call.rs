//! A call, from its first sampled byte to its result.
//!
//! The arguments are JSON text that is not complete yet; they are read as far as they go, so that
//! a file is seen while it is written, and an edit as the change that it will be. What a tool
//! prints shows its last rows while it runs, and its first and last ones when it is over, unless
//! everything is unfolded. Start at [`Call::lines`].

use std::time::Duration;

use crate::begun::{Field, fields};
use crate::diff;
use crate::event::Shown;
use crate::highlight::Highlighter;
use crate::paint::{Face, Ink, Line, Run, Wrap};

/// Rows of output while a tool runs.
const LIVE_LINES: usize = 4;
/// Lines of a folded result: at its beginning, and at its end.
const FOLDED_LINES: (usize, usize) = (6, 4);
/// Lines of a change that is folded.
const FOLDED_CHANGE_LINES: usize = 24;
/// Of what a tool prints so much is kept for showing while it runs.
const LIVE_BYTES_MAX: usize = 16 * 1024;
/// Lines of an unfolded result; the rest is in the tool's own file.
const UNFOLDED_LINES_MAX: usize = 2_000;

/// How far a call has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// It is being sampled.
    Sampled,
    /// It is complete and waits.
    Waiting,
    /// It is executed.
    Running,
    /// It is over.
    Ended {
        /// What came of it.
        shown: Shown,
        /// Whether it failed.
        failed: bool,
        /// How long it took; `None` in a conversation that is shown again.
        took: Option<Duration>,
    },
    /// It was not executed, since the model broke it off; why.
    Dropped(String),
}

/// A call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The tool.
    pub name: String,
    /// JSON text of the arguments, as far as it has come.
    pub arguments: String,
    /// In a line, what it does; empty until it is known.
    pub title: String,
    /// What it has printed so far, its end.
    pub output: String,
    /// How far it has come.
    pub stage: Stage,
}

impl Call {
    /// A call of a tool, of which nothing else is known yet.
    pub fn new(name: &str) -> Call {
        Call {
            name: name.to_owned(),
            arguments: String::new(),
            title: String::new(),
            output: String::new(),
            stage: Stage::Sampled,
        }
    }

    /// The tool has printed something.
    pub fn print(&mut self, text: &str) {
        self.output.push_str(text);
        if self.output.len() > 2 * LIVE_BYTES_MAX {
            let from = self.output.ceil_char_boundary(self.output.len() - LIVE_BYTES_MAX);
            self.output.drain(..from);
        }
    }

    /// Bytes that it keeps.
    pub fn bytes(&self) -> usize {
        let shown = match &self.stage {
            Stage::Ended { shown: Shown::Text(text), .. } => text.len(),
            Stage::Ended { shown: Shown::Change { before, after, .. }, .. } => {
                before.as_ref().map_or(0, String::len) + after.len()
            }
            _ => 0,
        };
        shown + self.arguments.len() + self.output.len()
    }

    /// The call as lines.
    pub fn lines(&self, folded: bool) -> Vec<Line> {
        let mut lines = vec![self.head()];
        let body = match &self.stage {
            Stage::Sampled => self.draft(),
            Stage::Waiting => fold_end(self.draft(), FOLDED_CHANGE_LINES, folded),
            Stage::Running => last_lines(&self.output, LIVE_LINES),
            Stage::Ended { shown, failed, .. } => result(shown, *failed, folded),
            Stage::Dropped(why) => vec![Line::of(why.clone(), Face::ink(Ink::Red))],
        };
        let margin = Run::plain("  ");
        lines.extend(body.into_iter().map(|line| line.behind(&margin)));
        lines
    }

    fn head(&self) -> Line {
        let (mark, ink) = match &self.stage {
            Stage::Sampled | Stage::Waiting => ('\u{25cb}', Ink::Plain),
            Stage::Running => ('\u{25cf}', Ink::Yellow),
            Stage::Ended { failed: false, .. } => ('\u{25cf}', Ink::Green),
            Stage::Ended { failed: true, .. } => ('\u{2717}', Ink::Red),
            Stage::Dropped(_) => ('\u{2717}', Ink::Red),
        };
        let mut runs = vec![Run::new(self.name.clone(), Face::BOLD)];
        let title = if self.title.is_empty() { self.guessed_title() } else { self.title.clone() };
        if !title.is_empty() {
            runs.push(Run::plain(format!(" {title}")));
        }
        if let Stage::Ended { took: Some(took), failed, shown } = &self.stage {
            let mut notes = Vec::new();
            if let Shown::Change { before, after, .. } = shown {
                let change = diff::change(before.as_deref().unwrap_or_default(), after);
                notes.push(format!("+{} \u{2212}{}", change.added, change.removed));
            }
            if *failed {
                notes.push("failed".to_owned());
            }
            if *took >= Duration::from_millis(100) {
                notes.push(format!("{:.1} s", took.as_secs_f64()));
            }
            if !notes.is_empty() {
                runs.push(Run::new(format!("  {}", notes.join(", ")), Face::DIM));
            }
        }
        let lead = vec![Run::new(format!("{mark} "), Face::ink(ink))];
        Line { lead, hang: vec![Run::plain("  ")], runs, wrap: Wrap::Words }
    }

    /// A title as long as the tool has not given one: the first short argument.
    fn guessed_title(&self) -> String {
        let fields = fields(&self.arguments);
        let short = |field: &&Field| !is_text(&field.name) && !field.value.contains('\n');
        fields.iter().find(short).map(|field| field.value.clone()).unwrap_or_default()
    }

    /// What the arguments say so far.
    fn draft(&self) -> Vec<Line> {
        let fields = fields(&self.arguments);
        let of = |names: &[&str]| fields.iter().find(|field| names.contains(&field.name.as_str()));
        if let Some(old) = of(&["old", "old_text", "old_string"]) {
            let new = of(&["new", "new_text", "new_string"]);
            let new = new.map(|field| field.value.as_str()).unwrap_or_default();
            return diff::change(&old.value, new).lines;
        }
        if let Some(content) = of(&["content", "text", "contents"]) {
            let path = of(&["path", "file", "file_path"]);
            let path = path.map(|field| field.value.as_str()).unwrap_or_default();
            return added(path, &content.value);
        }
        let title = if self.title.is_empty() { self.guessed_title() } else { self.title.clone() };
        let rest = fields.iter().filter(|field| !title.contains(&field.value));
        rest.flat_map(field_lines).collect()
    }
}

/// A new file's lines, as they come: the last ones while it grows.
fn added(path: &str, content: &str) -> Vec<Line> {
    let count = content.lines().count();
    let from = count.saturating_sub(FOLDED_CHANGE_LINES);
    let mut code = Highlighter::for_path(path);
    let sign = Run::new("+ ", Face::ink(Ink::Green));
    let mut lines = Vec::new();
    if from > 0 {
        lines.push(note(format!("\u{22ee} {from} lines above")));
    }
    for line in content.lines().skip(from) {
        let runs = code.line(line);
        lines.push(Line { runs, wrap: Wrap::Columns, ..Line::default() }.behind(&sign));
    }
    lines
}

fn result(shown: &Shown, failed: bool, folded: bool) -> Vec<Line> {
    match shown {
        Shown::Text(text) => output(text, failed, folded),
        Shown::Change { before, after, .. } => {
            let change = diff::change(before.as_deref().unwrap_or_default(), after);
            fold_end(change.lines, FOLDED_CHANGE_LINES, folded)
        }
    }
}

/// Output: folded, its first and its last lines.
fn output(text: &str, failed: bool, folded: bool) -> Vec<Line> {
    let face = if failed { Face::ink(Ink::Red) } else { Face::DIM };
    let line = |text: &str| Line::of(text, face).wrapped(Wrap::Columns);
    let all: Vec<&str> = text.trim_end().lines().collect();
    let (head, tail) = if folded { FOLDED_LINES } else { (UNFOLDED_LINES_MAX, 0) };
    if all.len() <= head + tail + 1 {
        return all.into_iter().map(line).collect();
    }
    let hidden = all.len() - head - tail;
    let how = if folded { " (Ctrl+O shows them)" } else { " that are not shown here" };
    let mut lines: Vec<Line> = all[..head].iter().map(|text| line(text)).collect();
    lines.push(note(format!("\u{22ee} {hidden} more lines{how}")));
    lines.extend(all[all.len() - tail..].iter().map(|text| line(text)));
    lines
}

fn fold_end(mut lines: Vec<Line>, most: usize, folded: bool) -> Vec<Line> {
    let most = if folded { most } else { UNFOLDED_LINES_MAX };
    if lines.len() > most + 1 {
        let hidden = lines.len() - most;
        lines.truncate(most);
        let how = if folded { " (Ctrl+O shows them)" } else { " that are not shown here" };
        lines.push(note(format!("\u{22ee} {hidden} more lines{how}")));
    }
    lines
}

fn last_lines(text: &str, count: usize) -> Vec<Line> {
    let all: Vec<&str> = text.trim_end().lines().collect();
    let last = &all[all.len().saturating_sub(count)..];
    last.iter().map(|line| Line::of(*line, Face::DIM).wrapped(Wrap::Columns)).collect()
}

fn note(text: String) -> Line {
    Line::of(text, Face { italic: true, ..Face::DIM })
}

fn is_text(name: &str) -> bool {
    ["content", "contents", "text", "old", "new", "old_text", "new_text"].contains(&name)
}

/// More of a call for somebody who is asked about it.
pub fn detail(shown: &Shown) -> Vec<Line> {
    match shown {
        Shown::Text(text) => text
            .trim_end()
            .lines()
            .map(|line| Line::of(line, Face::PLAIN).wrapped(Wrap::Columns))
            .collect(),
        Shown::Change { before, after, .. } => {
            diff::change(before.as_deref().unwrap_or_default(), after).lines
        }
    }
}

/// An argument, for people.
fn field_lines(field: &Field) -> Vec<Line> {
    let name = Run::new(format!("{}: ", field.name), Face::DIM);
    let mut all = field.value.lines().map(|line| Line::of(line, Face::PLAIN));
    let first = all.next().unwrap_or_default().behind(&name).wrapped(Wrap::Columns);
    let margin = Run::plain("  ");
    let rest = all.map(|line| line.behind(&margin).wrapped(Wrap::Columns));
    std::iter::once(first).chain(rest.take(LIVE_LINES * 4)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_that_runs_on_keeps_its_end_only() {
        let mut call = Call::new("bash");
        for n in 0..100_000 {
            call.print(&format!("line {n} \u{4e2d}\n"));
            assert!(call.output.len() <= 2 * LIVE_BYTES_MAX + 32);
        }
        assert!(call.output.ends_with("line 99999 \u{4e2d}\n"));
    }
}
