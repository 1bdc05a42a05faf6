//! One block of Markdown: from `pulldown-cmark`'s events to lines.
//!
//! The writer keeps the margins of the lists and quotes that it is in, and the run of text under
//! way. Nothing is swallowed that a person may want to see: HTML stands as it was written, an
//! address stands behind its link, and definitions of links stay visible, since the blocks that
//! use them are read apart.

use std::borrow::Cow;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::table::Table;
use super::{Element, code_line};
use crate::highlight::Highlighter;
use crate::paint::{Face, Ink, Line, Run, Wrap};

/// Margins deeper than this are not added up: rows need room for words.
const DEPTH_MAX: usize = 8;

/// The elements of a block, `is_plain` without colours in code.
pub fn elements(text: &str, is_plain: bool) -> Vec<Element> {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let text = keep_definitions(text);
    let mut writer = Writer { is_plain, ..Writer::default() };
    for event in Parser::new_ext(&text, options) {
        writer.event(event);
    }
    writer.end_line();
    writer.elements
}

/// `[name]: address` would be taken away by a parser that sees one block at a time.
fn keep_definitions(text: &str) -> Cow<'_, str> {
    let defines = |line: &str| line.trim_start().starts_with('[') && line.contains("]:");
    if !text.lines().any(defines) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len() + 16);
    for line in text.split_inclusive('\n') {
        if defines(line) {
            let (space, rest) = line.split_at(line.len() - line.trim_start().len());
            kept.extend([space, "\\", rest]);
        } else {
            kept.push_str(line);
        }
    }
    Cow::Owned(kept)
}

/// A list or a quote that is being read.
struct Level {
    /// What stands before the first row of its next line, once.
    lead: Option<Run>,
    /// What stands before every other row.
    hang: Run,
}

#[derive(Default)]
struct Writer {
    elements: Vec<Element>,
    levels: Vec<Level>,
    /// The number of the next item, per list.
    numbers: Vec<Option<u64>>,
    runs: Vec<Run>,
    /// Styles that are on, the innermost last.
    faces: Vec<Face>,
    links: Vec<(String, usize)>,
    code: Option<Highlighter>,
    /// Code of which no line end has come yet.
    code_text: String,
    table: Option<Table>,
    /// A blank line is due before the next one.
    gap: bool,
    /// The block is HTML, which stands as it was written.
    html: bool,
    is_plain: bool,
}

impl Writer {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.code.is_some() => self.code_text.push_str(&text),
            Event::Text(text) => self.text(&text, Face::PLAIN),
            Event::Code(text) => self.text(&text, Face::ink(Ink::Cyan)),
            Event::InlineMath(text) | Event::DisplayMath(text) => self.text(&text, Face::PLAIN),
            Event::InlineHtml(text) => self.text(&text, Face::PLAIN),
            Event::Html(text) => self.lines(&text),
            Event::FootnoteReference(text) => self.text(&format!("[^{text}]"), Face::PLAIN),
            Event::SoftBreak => self.text(" ", Face::PLAIN),
            Event::HardBreak => self.end_line(),
            Event::Rule => {
                self.begin_block();
                self.elements.push(Element::Rule);
                self.gap = true;
            }
            Event::TaskListMarker(done) => {
                self.text(if done { "[x] " } else { "[ ] " }, Face::PLAIN);
            }
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph | Tag::HtmlBlock => {
                self.begin_block();
                self.html = matches!(tag, Tag::HtmlBlock);
            }
            Tag::Heading { level, .. } => {
                self.begin_block();
                let underline = level == HeadingLevel::H1;
                let ink = if level <= HeadingLevel::H2 { Ink::Cyan } else { Ink::Plain };
                self.faces.push(Face { underline, ..Face::ink(ink).bold() });
            }
            Tag::BlockQuote(_) => {
                self.begin_block();
                let bar = Run::new("\u{2502} ", Face::DIM);
                self.levels.push(Level { lead: None, hang: bar });
            }
            Tag::CodeBlock(kind) => {
                self.begin_block();
                let language = match kind {
                    CodeBlockKind::Fenced(info) => info.to_string(),
                    CodeBlockKind::Indented => String::new(),
                };
                let word = language.split([' ', ',', '{']).next().unwrap_or_default();
                self.code = Some(Highlighter::new(if self.is_plain { "" } else { word }));
            }
            Tag::List(first) => {
                self.end_line();
                if self.levels.is_empty() {
                    self.begin_block();
                }
                self.numbers.push(first);
            }
            Tag::Item => self.start_item(),
            Tag::Table(alignments) => {
                self.begin_block();
                self.table = Some(Table::new(alignments));
            }
            Tag::Emphasis => self.faces.push(Face { italic: true, ..Face::PLAIN }),
            Tag::Strong => self.faces.push(Face::BOLD),
            Tag::Strikethrough => self.faces.push(Face { struck: true, ..Face::PLAIN }),
            Tag::Link { dest_url, .. } => self.start_link(&dest_url, ""),
            Tag::Image { dest_url, .. } => self.start_link(&dest_url, "image: "),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::HtmlBlock => {
                self.end_line();
                self.gap = true;
            }
            TagEnd::Heading(_) => {
                self.end_line();
                self.faces.pop();
                self.gap = true;
            }
            TagEnd::BlockQuote(_) => {
                self.levels.pop();
                self.gap = true;
            }
            TagEnd::CodeBlock => self.end_code(),
            TagEnd::List(_) => {
                self.numbers.pop();
                self.gap |= self.numbers.is_empty();
            }
            TagEnd::Item => {
                self.end_line();
                self.levels.pop();
            }
            TagEnd::TableCell => {
                let runs = std::mem::take(&mut self.runs);
                if let Some(table) = &mut self.table {
                    table.cell(runs);
                }
            }
            TagEnd::TableHead | TagEnd::TableRow => {
                if let Some(table) = &mut self.table {
                    table.end_row();
                }
            }
            TagEnd::Table => {
                self.elements.extend(self.table.take().map(Element::Table));
                self.gap = true;
            }
            TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough => {
                self.faces.pop();
            }
            TagEnd::Link | TagEnd::Image => self.end_link(),
            _ => {}
        }
    }

    fn start_item(&mut self) {
        self.end_line();
        let bullet = match self.numbers.last_mut() {
            Some(Some(number)) => {
                *number = number.saturating_add(1);
                format!("{}. ", *number - 1)
            }
            _ => "\u{2022} ".to_owned(),
        };
        let hang = Run::plain(" ".repeat(bullet.chars().count()));
        self.levels.push(Level { lead: Some(Run::plain(bullet)), hang });
    }

    fn start_link(&mut self, address: &str, kind: &str) {
        self.faces.push(Face { underline: true, ..Face::ink(Ink::Blue) });
        self.links.push((address.to_owned(), self.runs.len()));
        if !kind.is_empty() {
            self.text(kind, Face::PLAIN);
        }
    }

    fn end_link(&mut self) {
        self.faces.pop();
        let Some((address, from)) = self.links.pop() else { return };
        let shown = self.runs.get(from..).unwrap_or_default();
        let shown: String = shown.iter().map(|run| run.text.as_str()).collect();
        let bare = address.strip_prefix("mailto:").unwrap_or(&address);
        if !address.is_empty() && shown != bare && shown != address {
            self.text(&format!(" ({address})"), Face::DIM);
        }
    }

    /// A block begins: apart from the one before, except where an item has just begun.
    fn begin_block(&mut self) {
        self.end_line();
        let item_begins = self.levels.last().is_some_and(|level| level.lead.is_some());
        if std::mem::take(&mut self.gap) && !item_begins && !self.elements.is_empty() {
            let line = self.margins(Line::default());
            self.elements.push(Element::Line(line));
        }
    }

    fn text(&mut self, text: &str, face: Face) {
        let face = self.faces.iter().fold(face, |all, on| Face {
            ink: if all.ink == Ink::Plain { on.ink } else { all.ink },
            bold: all.bold || on.bold,
            dim: all.dim || on.dim,
            italic: all.italic || on.italic,
            underline: all.underline || on.underline,
            struck: all.struck || on.struck,
            reverse: false,
        });
        match self.runs.last_mut() {
            Some(run) if run.face == face => run.text.push_str(text),
            _ => self.runs.push(Run::new(text, face)),
        }
    }

    /// Text whose line ends count.
    fn lines(&mut self, text: &str) {
        for line in text.lines() {
            self.text(line, Face::PLAIN);
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        if self.table.is_some() || self.runs.is_empty() {
            return;
        }
        let runs = std::mem::take(&mut self.runs);
        let wrap = if self.html { Wrap::Columns } else { Wrap::Words };
        let line = self.margins(Line { runs, wrap, ..Line::default() });
        self.elements.push(Element::Line(line));
    }

    fn end_code(&mut self) {
        let Some(mut code) = self.code.take() else { return };
        let text = std::mem::take(&mut self.code_text);
        for line in text.lines() {
            if let Element::Line(line) = code_line(code.line(line)) {
                let line = self.margins(line);
                self.elements.push(Element::Line(line));
            }
        }
        self.gap = true;
    }

    /// Puts the margins of all levels before a line; a bullet is used up by it.
    fn margins(&mut self, mut line: Line) -> Line {
        let mut leads = Vec::new();
        let mut hangs = Vec::new();
        for level in self.levels.iter_mut() {
            leads.push(level.lead.take().unwrap_or_else(|| level.hang.clone()));
            hangs.push(level.hang.clone());
        }
        let skip = leads.len().saturating_sub(DEPTH_MAX);
        line.lead.splice(0..0, leads.into_iter().skip(skip));
        line.hang.splice(0..0, hangs.into_iter().skip(skip));
        line
    }
}
