//! The screen as cells: who gets which rows, and what stands in them.
//!
//! From the bottom: the status bar, the input, a hint, prompts that wait, a question; the rest is
//! the transcript's. Where there is little room they give way in the opposite order, and a screen
//! of any size, even of no cells, can be drawn on. Every cell is written through `paint::put`.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use crate::event::Consent;
use crate::paint::{Face, Ink, Line, Row, Run, Wrap, columns, put};

use super::status::{self, Activity};
use super::view::View;
use super::{call, help};

/// The input grows to so many rows.
const INPUT_ROWS_MAX: u16 = 10;
/// So many prompts that wait are shown.
const SENT_ROWS_MAX: usize = 3;
/// The mark before the input.
const MARK: &str = "\u{203a} ";

/// Rows of the screen, from the top.
#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    transcript: u16,
    question: u16,
    sent: u16,
    rule: u16,
    hint: u16,
    input: u16,
    status: u16,
}

impl View {
    /// Draws the screen, and returns where the cursor stands.
    pub fn draw(&mut self, area: Rect, buffer: &mut Buffer) -> Option<Position> {
        let area = area.intersection(buffer.area);
        for at in area.positions() {
            if let Some(cell) = buffer.cell_mut(at) {
                cell.reset();
            }
        }
        if area.is_empty() {
            return None;
        }
        if let Some(from) = self.help {
            self.draw_help(from, area, buffer);
            return None;
        }
        let width = usize::from(area.width);
        let question = self.consents.front().map(|consent| question(consent, width));
        let room = area.height.saturating_sub(1).min(INPUT_ROWS_MAX).min(area.height.div_ceil(3));
        let laid = self.input.lay(width.saturating_sub(2), usize::from(room));
        let plan = self.plan(area.height, laid.rows.len() as u16, question.as_ref().map(Vec::len));
        let mut pen = Pen { buffer, area, y: area.y, colours: self.look.colours };
        self.draw_transcript(plan, &mut pen);
        if let Some(question) = question {
            draw_question(&question, plan.question, &mut pen);
        }
        self.draw_sent(plan.sent, &mut pen);
        if plan.rule > 0 {
            let runs = self.rule(width);
            pen.row(&runs);
        }
        if plan.hint > 0 {
            let hint = self.hint.clone().unwrap_or_default();
            pen.row(&[Run::new(hint, Face::ink(Ink::Yellow))]);
        }
        let top = pen.y;
        for (index, row) in laid.rows.iter().take(usize::from(plan.input)).enumerate() {
            let mark = if index == 0 { MARK } else { "  " };
            let mark = Run::new(mark, Face::ink(Ink::Cyan).bold());
            pen.row(&[mark, Run::plain(row.as_str())]);
        }
        if plan.status > 0 {
            let runs = status::runs(&self.status, self.activity(), width);
            pen.row(&runs);
        }
        let x = area.x + (laid.column as u16 + 2).min(area.width - 1);
        Some(Position::new(x, (top + laid.row as u16).min(area.bottom() - 1)))
    }

    fn plan(&self, height: u16, input: u16, question: Option<usize>) -> Plan {
        let mut left = height;
        let mut take = |wanted: u16, keep: u16| {
            let taken = wanted.min(left.saturating_sub(keep));
            left -= taken;
            taken
        };
        let mut plan = Plan { input: take(input, 0), status: take(1, 0), ..Plan::default() };
        plan.hint = take(u16::from(self.hint.is_some()), 1);
        let wanted = question.unwrap_or(0) as u16;
        let unfolded = !self.transcript.folds().results;
        let most = if unfolded { height } else { (height / 2).max(3) };
        plan.question = take(wanted.min(most), 1);
        plan.rule = take(1, 4);
        let sent = self.sent.len().min(SENT_ROWS_MAX + 1) as u16;
        plan.sent = take(sent, 3);
        plan.transcript = left;
        plan
    }

    fn activity(&self) -> Activity {
        Activity {
            running: self.running,
            asks: !self.consents.is_empty(),
            leaving: self.leaving,
            prefill: self.prefill,
        }
    }

    fn draw_transcript(&mut self, plan: Plan, pen: &mut Pen<'_>) {
        let height = usize::from(plan.transcript);
        let width = usize::from(pen.area.width);
        self.transcript.lay(width, height);
        let seen = self.transcript.seen();
        let count = seen.len() as u16;
        // A short transcript stands at the bottom, near what is typed.
        pen.y += plan.transcript - count;
        for row in seen {
            pen.row(row.map_or(&[][..], |row| &row.runs));
        }
    }

    fn draw_sent(&self, rows: u16, pen: &mut Pen<'_>) {
        let rows = usize::from(rows);
        let shown = if self.sent.len() > rows { rows.saturating_sub(1) } else { rows };
        for prompt in self.sent.iter().take(shown) {
            let line = prompt.trim().lines().next().unwrap_or_default();
            pen.row(&[Run::new(format!("  waits: {line}"), Face::DIM)]);
        }
        if rows > shown {
            let more = self.sent.len() - shown;
            pen.row(&[Run::new(format!("  {more} more wait"), Face::DIM)]);
        }
    }

    /// The line above the input: the conversation's name, and whether more stands below.
    fn rule(&self, width: usize) -> Vec<Run> {
        let mut text = String::from("\u{2500}\u{2500}");
        if !self.status.title.is_empty() {
            text.push_str(&format!(" {} ", self.status.title));
        }
        let below = if self.transcript.follows() {
            ""
        } else {
            " more below: PageDown, Ctrl+End \u{2500}\u{2500}"
        };
        let taken = columns(&text) + columns(below);
        let bar = "\u{2500}".repeat(width.saturating_sub(taken));
        vec![Run::new(text + &bar, Face::DIM), Run::new(below, Face::ink(Ink::Yellow))]
    }

    fn draw_help(&mut self, from: usize, area: Rect, buffer: &mut Buffer) {
        let mut rows = Vec::new();
        let width = usize::from(area.width);
        help::lines(&self.look).iter().for_each(|line| line.lay(width, &mut rows));
        let height = usize::from(area.height).saturating_sub(1).max(1);
        let from = from.min(rows.len().saturating_sub(height));
        self.help = Some(from);
        let mut pen = Pen { buffer, area, y: area.y, colours: self.look.colours };
        for row in rows.iter().skip(from).take(height) {
            pen.row(&row.runs);
        }
        pen.y = area.bottom() - 1;
        let more = from + height < rows.len();
        let keys = if more { "Down shows more, any other key ends" } else { "any key ends" };
        pen.row(&[Run::new(keys, Face { reverse: true, ..Face::PLAIN })]);
    }
}

/// Puts rows below each other.
struct Pen<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    y: u16,
    colours: bool,
}

impl Pen<'_> {
    fn row(&mut self, runs: &[Run]) {
        put(self.buffer, self.area, self.y, runs, self.colours);
        self.y = self.y.saturating_add(1);
    }
}

/// A question as rows: its head, what it is about, its keys. The first and the last two are kept
/// where there is no room for all.
fn question(consent: &Consent, width: usize) -> Vec<Row> {
    let bar = Run::new("\u{258c} ", Face::ink(Ink::Yellow));
    let mut rows = Vec::new();
    let mut lay = |line: Line| line.behind(&bar).lay(width, &mut rows);
    let head = vec![
        Run::new(format!("{} ", consent.tool), Face::ink(Ink::Yellow).bold()),
        Run::plain(consent.title.clone()),
    ];
    lay(Line { runs: head, wrap: Wrap::Cut, ..Line::default() });
    lay(Line::of(consent.reason.clone(), Face::DIM));
    for line in call::detail(&consent.detail) {
        lay(line);
    }
    if let Some(always) = &consent.always {
        lay(Line::of(format!("always: {always}"), Face::DIM).wrapped(Wrap::Cut));
    }
    let key = |key: &str| Run::new(key, Face::BOLD);
    let texts = match width {
        0..34 => ["/", "/", " or type"],
        34..52 => [" once  ", " always  ", " no  or type"],
        _ => [" once  ", " always  ", " no  or type what to do instead"],
    };
    let mut keys = vec![key("y"), Run::plain(texts[0])];
    if consent.always.is_some() {
        keys.extend([key("a"), Run::plain(texts[1])]);
    }
    keys.extend([key("n"), Run::plain(texts[2])]);
    lay(Line { runs: keys, wrap: Wrap::Cut, ..Line::default() });
    rows
}

fn draw_question(rows: &[Row], height: u16, pen: &mut Pen<'_>) {
    let height = usize::from(height);
    if rows.len() <= height {
        rows.iter().for_each(|row| pen.row(&row.runs));
        return;
    }
    let tail = match height {
        0 => return,
        1..=3 => 1,
        _ => 2,
    };
    let head = height.saturating_sub(tail + usize::from(height > 3));
    rows[..head].iter().for_each(|row| pen.row(&row.runs));
    if height > 3 {
        let hidden = rows.len() - head - tail;
        let text = format!("\u{258c} \u{22ee} {hidden} more rows (Ctrl+O shows them)");
        pen.row(&[Run::new(text, Face::ink(Ink::Yellow))]);
    }
    rows[rows.len() - tail..].iter().for_each(|row| pen.row(&row.runs));
}
