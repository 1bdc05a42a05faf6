//! An entry of the transcript, and the rows that it has in some width.
//!
//! Rows are kept until the width or the entry changes. Text that streams keeps the rows of what is
//! settled and lays out the rest again, so a long answer costs no more per token than a short one.
//! Start at [`Entry`].

use crate::markdown::{Element, Markdown};
use crate::paint::{Face, Ink, Line, Row, Run, Wrap};

use super::call::Call;

/// What stands in a transcript.
#[derive(Clone)]
pub enum Kind {
    /// What the person asked.
    Prompt(String),
    /// What the model reasons.
    Reasoning {
        /// The text.
        prose: Prose,
        /// It is over.
        over: bool,
    },
    /// What the model says, or what a command answers.
    Text(Prose),
    /// A call. Boxed, since it is larger than the others.
    Call(Box<Call>),
    /// A line about the conversation.
    Notice(String, Face),
}

/// What is folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folds {
    /// Reasoning that is over.
    pub reasoning: bool,
    /// Long results.
    pub results: bool,
}

/// An entry with its rows.
#[derive(Clone)]
pub struct Entry {
    kind: Kind,
    rows: Vec<Row>,
    laid: Option<(usize, Folds)>,
}

impl Entry {
    /// An entry without rows yet.
    pub fn new(kind: Kind) -> Entry {
        Entry { kind, rows: Vec::new(), laid: None }
    }

    /// What it is.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// What it is, to be changed; its rows are laid out again when they are asked for.
    pub fn change(&mut self) -> &mut Kind {
        self.laid = None;
        &mut self.kind
    }

    /// Bytes of text that it keeps, roughly.
    pub fn bytes(&self) -> usize {
        match &self.kind {
            Kind::Prompt(text) | Kind::Notice(text, _) => text.len(),
            Kind::Reasoning { prose, .. } | Kind::Text(prose) => prose.markdown.len(),
            Kind::Call(call) => call.bytes(),
        }
    }

    /// Lays the rows out for `width` columns, unless they are, and returns how many there are.
    pub fn lay(&mut self, width: usize, folds: Folds) -> usize {
        if self.laid == Some((width, folds)) {
            return self.rows.len();
        }
        self.laid = Some((width, folds));
        match &mut self.kind {
            Kind::Reasoning { prose, over: true } if folds.reasoning => {
                let words = prose.words();
                let text = format!("\u{25b8} thought, {words} words (Ctrl+T shows them)");
                prose.forget_rows();
                self.rows = rows([Line::of(text, Face::DIM)], width);
            }
            Kind::Reasoning { prose, .. } => prose.lay(width, Some(Face::DIM), &mut self.rows),
            Kind::Text(prose) => prose.lay(width, None, &mut self.rows),
            Kind::Prompt(text) => self.rows = rows(prompt(text), width),
            Kind::Call(call) => self.rows = rows(call.lines(folds.results), width),
            Kind::Notice(text, face) => {
                self.rows = rows(text.lines().map(|line| Line::of(line, *face)), width);
            }
        }
        self.rows.len()
    }

    /// The rows that [`Entry::lay`] has laid out last.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }
}

fn rows(lines: impl IntoIterator<Item = Line>, width: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    lines.into_iter().for_each(|line| line.lay(width, &mut rows));
    rows
}

/// A prompt behind its mark. Of a long one, the beginning.
fn prompt(text: &str) -> Vec<Line> {
    const LINES_MAX: usize = 40;
    let mark = Run::new("\u{203a} ", Face::ink(Ink::Cyan).bold());
    let margin = Run::plain("  ");
    let line = |(at, text): (usize, &str)| Line {
        lead: vec![if at == 0 { mark.clone() } else { margin.clone() }],
        hang: vec![margin.clone()],
        runs: vec![Run::new(text, Face::BOLD)],
        wrap: Wrap::Words,
    };
    let mut lines: Vec<Line> = text.lines().take(LINES_MAX).enumerate().map(line).collect();
    let hidden = text.lines().count() - lines.len();
    if hidden > 0 {
        lines.push(Line::of(format!("  \u{22ee} {hidden} more lines"), Face::DIM));
    }
    lines
}

/// Text in Markdown, and which of its rows are settled.
#[derive(Clone, Default)]
pub struct Prose {
    /// The text.
    pub markdown: Markdown,
    /// Words, as white space parts them, and whether the last has ended.
    words: usize,
    in_word: bool,
    /// How many rows of the entry are settled, from how many elements, in which width.
    settled: (usize, usize, usize),
}

impl Prose {
    /// More text.
    pub fn push(&mut self, text: &str) {
        for c in text.chars() {
            self.words += usize::from(!c.is_whitespace() && !self.in_word);
            self.in_word = !c.is_whitespace();
        }
        self.markdown.push(text);
    }

    /// Nothing more comes.
    pub fn finish(&mut self) {
        self.markdown.finish();
    }

    /// A whole text.
    pub fn of(text: &str) -> Prose {
        let mut prose = Prose::default();
        prose.push(text);
        prose.finish();
        prose
    }

    /// A whole text whose code has no colours.
    pub fn without_colours(text: &str) -> Prose {
        let markdown = Markdown::without_colours(text);
        let words = text.split_whitespace().count();
        Prose { markdown, words, ..Prose::default() }
    }

    /// How many words there are.
    pub fn words(&self) -> usize {
        self.words
    }

    /// Brings `rows`, which nobody else has changed since, up to date; `over` is a face for all.
    fn lay(&mut self, width: usize, over: Option<Face>, rows: &mut Vec<Row>) {
        let (mut settled_rows, mut elements, laid_width) = self.settled;
        if laid_width != width {
            (settled_rows, elements) = (0, 0);
        }
        rows.truncate(settled_rows);
        let new = &self.markdown.settled()[elements..];
        lay_elements(new, width, over, rows);
        self.settled = (rows.len(), elements + new.len(), width);
        lay_elements(&self.markdown.open(), width, over, rows);
    }

    /// The rows have been used for something else.
    fn forget_rows(&mut self) {
        self.settled = (0, 0, 0);
    }
}

fn lay_elements(elements: &[Element], width: usize, over: Option<Face>, rows: &mut Vec<Row>) {
    let from = rows.len();
    elements.iter().for_each(|element| element.lay(width, rows));
    if let Some(over) = over {
        let runs = rows[from..].iter_mut().flat_map(|row| &mut row.runs);
        runs.for_each(|run| run.face = Face { ink: over.ink, ..run.face.dim() });
    }
}
