//! Markdown as it streams.
//!
//! Text comes in pieces of any size. It is cut into top-level blocks, line by line; a block that no
//! later text can change is laid out once and for all, and only the one under way is laid out
//! again. Code in a fence is settled line by line. Where the cuts fall depends on the text alone,
//! never on the pieces, so every way of cutting it gives the same lines in the end. Within a block
//! CommonMark is read by `pulldown-cmark`; a block that grows beyond all measure is cut at a line
//! end, and so is a line without an end. Start at [`Markdown`], then `block.rs`.

mod block;
mod cut;
mod table;

pub use table::Table;

use crate::highlight::Highlighter;
use crate::paint::{Face, Line, Row, Run, Wrap};
use cut::{Cut, Cutter, Fence};

/// A block under way may have so many bytes: what is laid out again when text comes.
const OPEN_BYTES_MAX: usize = 16 * 1024;

/// Something that is laid out by itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Element {
    /// A line of text, of a list, of code.
    Line(Line),
    /// A table, whose columns depend on the width.
    Table(Table),
    /// A line from one side to the other.
    Rule,
}

impl Element {
    /// Adds the rows of the element in `width` columns.
    pub fn lay(&self, width: usize, rows: &mut Vec<Row>) {
        match self {
            Element::Line(line) => line.lay(width, rows),
            Element::Table(table) => table.lay(width, rows),
            Element::Rule => Line::of("\u{2500}".repeat(width.min(60)), Face::DIM).lay(width, rows),
        }
    }
}

/// A text in Markdown that grows.
#[derive(Clone, Default)]
pub struct Markdown {
    settled: Vec<Element>,
    cutter: Cutter,
    /// The complete lines of the block under way.
    open: String,
    /// The line under way.
    line: String,
    fence: Option<(Fence, Highlighter)>,
    bytes: usize,
    /// Code has no colours.
    is_plain: bool,
}

impl Markdown {
    /// An empty text.
    pub fn new() -> Markdown {
        Markdown::default()
    }

    /// A whole text.
    pub fn of(text: &str) -> Markdown {
        let mut markdown = Markdown::new();
        markdown.push(text);
        markdown.finish();
        markdown
    }

    /// A whole text, whose code has no colours: a tenth of the work.
    pub fn without_colours(text: &str) -> Markdown {
        let mut markdown = Markdown { is_plain: true, ..Markdown::default() };
        markdown.push(text);
        markdown.finish();
        markdown
    }

    /// How much text has come.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// More text.
    pub fn push(&mut self, text: &str) {
        self.bytes += text.len();
        let mut rest = text;
        while !rest.is_empty() {
            let room = OPEN_BYTES_MAX - self.line.len();
            let end = rest.find('\n').unwrap_or(rest.len());
            if end > room {
                let (now, later) = rest.split_at(rest.floor_char_boundary(room));
                self.line.push_str(now);
                rest = later;
                self.cut_line();
            } else if end == rest.len() {
                self.line.push_str(rest);
                rest = "";
            } else {
                self.line.push_str(&rest[..end]);
                rest = &rest[end + 1..];
                let line = std::mem::take(&mut self.line);
                self.take(&line);
            }
        }
    }

    /// Nothing more comes.
    pub fn finish(&mut self) {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.take(&line);
        }
        self.settle();
        self.fence = None;
        self.cutter = Cutter::default();
    }

    /// What no later text can change.
    pub fn settled(&self) -> &[Element] {
        &self.settled
    }

    /// What stands below that for now.
    pub fn open(&self) -> Vec<Element> {
        let mut elements = Vec::new();
        if let Some((fence, code)) = &self.fence {
            if !self.line.is_empty() && !fence.may_end_with(&self.line) {
                elements.push(code_line(code.peek(fence.inside(&self.line))));
            }
            return elements;
        }
        let opens = self.cutter.at_top() && Fence::may_begin_with(&self.line);
        let text = if opens { self.open.clone() } else { format!("{}{}", self.open, self.line) };
        if !text.trim().is_empty() {
            self.gap(&mut elements);
            elements.extend(block::elements(&text, self.is_plain));
        }
        elements
    }

    /// A line has come as far as a line may: what is there is settled, the rest goes on.
    fn cut_line(&mut self) {
        let at = self.line.rfind(' ').map_or(self.line.len(), |at| at + 1);
        let rest = self.line.split_off(at);
        let line = std::mem::replace(&mut self.line, rest);
        self.take(&line);
        self.settle();
    }

    /// A complete line, without its end.
    fn take(&mut self, line: &str) {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if let Some((fence, code)) = &mut self.fence {
            if fence.ends_with(line) {
                self.fence = None;
            } else {
                let runs = code.line(fence.inside(line));
                self.settled.push(code_line(runs));
            }
            return;
        }
        if self.open.len() > self.cutter.open_bytes_max(OPEN_BYTES_MAX) {
            self.settle();
            self.cutter = Cutter::default();
        }
        match self.cutter.line(line) {
            Cut::Goes => {}
            Cut::Before => self.settle(),
            Cut::Fence(fence) => {
                self.settle();
                let mut gap = Vec::new();
                self.gap(&mut gap);
                self.settled.append(&mut gap);
                let language = if self.is_plain { "" } else { fence.language() };
                let code = Highlighter::new(language);
                self.fence = Some((fence, code));
                return;
            }
        }
        self.open.push_str(line);
        self.open.push('\n');
    }

    /// The block under way is over.
    fn settle(&mut self) {
        let open = std::mem::take(&mut self.open);
        if !open.trim().is_empty() {
            let mut elements = Vec::new();
            self.gap(&mut elements);
            elements.extend(block::elements(&open, self.is_plain));
            self.settled.append(&mut elements);
        }
    }

    /// Blocks stand apart.
    fn gap(&self, elements: &mut Vec<Element>) {
        if !self.settled.is_empty() {
            elements.push(Element::Line(Line::default()));
        }
    }
}

/// A line of code, set off to the right.
fn code_line(runs: Vec<Run>) -> Element {
    let margin = Run::plain("  ");
    Element::Line(Line {
        lead: vec![margin.clone()],
        hang: vec![margin],
        runs,
        wrap: Wrap::Columns,
    })
}
