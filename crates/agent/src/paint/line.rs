//! Lines without a width, and the rows that they become in one.
//!
//! Breaking is greedy: a word that fits goes into the row, one that does not begins the next, and
//! one that is wider than a row is cut. Rows are never wider than asked for, whatever the text;
//! what does not fit at all (two columns into one) is left out.

use super::face::{Face, Run};
use super::glyph::{MARKS_MAX, TAB_COLUMNS, drawable};

/// How a line is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wrap {
    /// Between words; white space at the break goes.
    #[default]
    Words,
    /// At the last column, nothing goes: code, output.
    Columns,
    /// Never; the rest of it is not shown.
    Cut,
}

/// A line of any length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// What stands before its first row: a bullet, a number.
    pub lead: Vec<Run>,
    /// What stands before its other rows.
    pub hang: Vec<Run>,
    /// The line.
    pub runs: Vec<Run>,
    /// How it is broken.
    pub wrap: Wrap,
}

impl Line {
    /// A line of words.
    pub fn words(runs: Vec<Run>) -> Line {
        Line { runs, ..Line::default() }
    }

    /// A line of one face.
    pub fn of(text: impl Into<String>, face: Face) -> Line {
        Line::words(vec![Run::new(text, face)])
    }

    /// The same, broken in another way.
    pub fn wrapped(self, wrap: Wrap) -> Line {
        Line { wrap, ..self }
    }

    /// The same behind a margin, which is repeated in every row.
    pub fn behind(mut self, margin: &Run) -> Line {
        self.lead.insert(0, margin.clone());
        self.hang.insert(0, margin.clone());
        self
    }

    /// Adds the rows of the line in `width` columns to `rows`: one at least.
    pub fn lay(&self, width: usize, rows: &mut Vec<Row>) {
        let mut layer = Layer::new(self, width, rows);
        match self.wrap {
            Wrap::Words => layer.words(&self.runs),
            Wrap::Columns | Wrap::Cut => layer.columns(&self.runs),
        }
        layer.end();
    }
}

/// The lines of a text, in one face.
pub fn plain(text: &str, face: Face, wrap: Wrap) -> impl Iterator<Item = Line> + '_ {
    text.lines().map(move |line| Line::of(line, face).wrapped(wrap))
}

/// A row of a terminal. Its text has passed the guard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The row, from its first column on.
    pub runs: Vec<Run>,
}

impl Row {
    /// The text without its look.
    pub fn text(&self) -> String {
        self.runs.iter().map(|run| run.text.as_str()).collect()
    }

    fn push(&mut self, c: char, face: Face) {
        match self.runs.last_mut() {
            Some(run) if run.face == face => run.text.push(c),
            _ => self.runs.push(Run::new(c, face)),
        }
    }

    fn trim_end(&mut self) {
        while let Some(run) = self.runs.last_mut() {
            run.text.truncate(run.text.trim_end_matches(' ').len());
            if !run.text.is_empty() {
                break;
            }
            self.runs.pop();
        }
    }
}

/// A line on its way into rows.
struct Layer<'a> {
    line: &'a Line,
    width: usize,
    rows: &'a mut Vec<Row>,
    row: Row,
    /// Columns of `row` in use.
    at: usize,
    /// Columns that lead or hang take.
    margin: usize,
    /// Marks on the last character.
    marks: usize,
    /// The word under way, which may begin the next row.
    word: Vec<(char, Face, usize)>,
    word_columns: usize,
    over: bool,
}

impl<'a> Layer<'a> {
    fn new(line: &'a Line, width: usize, rows: &'a mut Vec<Row>) -> Layer<'a> {
        let mut layer = Layer {
            line,
            width: width.max(1),
            rows,
            row: Row::default(),
            at: 0,
            margin: 0,
            marks: 0,
            word: Vec::new(),
            word_columns: 0,
            over: false,
        };
        layer.put_margin(&line.lead);
        layer
    }

    /// Begins a row; of a margin that would leave less than half of it, the half is shown.
    fn put_margin(&mut self, margin: &[Run]) {
        let most = self.width / 2;
        for run in margin {
            for c in run.text.chars() {
                if let Some((c, columns)) = drawable(c)
                    && self.at + columns <= most
                {
                    self.row.push(c, run.face);
                    self.at += columns;
                }
            }
        }
        self.margin = self.at;
    }

    fn words(&mut self, runs: &[Run]) {
        for run in runs {
            for c in run.text.chars() {
                if c == ' ' || c == '\t' || c == '\n' {
                    self.end_word();
                    // White space at the beginning of a row that a break began goes.
                    if self.at > self.margin && self.at < self.width {
                        self.put(' ', run.face, 1);
                    }
                    continue;
                }
                let Some((c, columns)) = drawable(c) else { continue };
                if columns == 2 {
                    self.end_word();
                }
                self.word.push((c, run.face, columns));
                self.word_columns += columns;
                if columns == 2 || self.word_columns >= self.width {
                    self.end_word();
                }
            }
        }
        self.end_word();
        self.row.trim_end();
    }

    fn end_word(&mut self) {
        if self.at > self.margin && self.at + self.word_columns > self.width {
            self.row.trim_end();
            self.end_row();
        }
        for (c, face, columns) in std::mem::take(&mut self.word) {
            self.put(c, face, columns);
        }
        self.word_columns = 0;
    }

    fn columns(&mut self, runs: &[Run]) {
        for run in runs {
            for c in run.text.chars() {
                if c == '\t' {
                    for _ in 0..TAB_COLUMNS - (self.at - self.margin) % TAB_COLUMNS {
                        self.put(' ', run.face, 1);
                    }
                } else if let Some((c, columns)) = drawable(c) {
                    self.put(c, run.face, columns);
                }
                if self.over {
                    return;
                }
            }
        }
    }

    fn put(&mut self, c: char, face: Face, columns: usize) {
        if columns == 0 {
            // A mark needs something to sit on.
            if self.at > self.margin && self.marks < MARKS_MAX {
                self.marks += 1;
                if let Some(run) = self.row.runs.last_mut() {
                    run.text.push(c);
                }
            }
            return;
        }
        if self.at + columns > self.width {
            if self.line.wrap == Wrap::Cut {
                self.over = true;
                return;
            }
            self.end_row();
            if self.at + columns > self.width {
                return;
            }
        }
        self.marks = 0;
        self.row.push(c, face);
        self.at += columns;
    }

    fn end_row(&mut self) {
        self.rows.push(std::mem::take(&mut self.row));
        self.at = 0;
        let line = self.line;
        self.put_margin(&line.hang);
    }

    fn end(mut self) {
        self.rows.push(std::mem::take(&mut self.row));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::columns;

    fn laid(line: &Line, width: usize) -> Vec<String> {
        let mut rows = Vec::new();
        line.lay(width, &mut rows);
        rows.iter().map(Row::text).collect()
    }

    #[test]
    fn words_break_between_words() {
        let line = |text: &str| Line::of(text, Face::PLAIN);
        let cases: [(&str, usize, &[&str]); 8] = [
            ("", 10, &[""]),
            ("one two three", 7, &["one two", "three"]),
            ("one two three", 8, &["one two", "three"]),
            ("abcdefghij", 4, &["abcd", "efgh", "ij"]),
            ("a abcdefghij", 4, &["a", "abcd", "efgh", "ij"]),
            ("\u{4e2d}\u{6587}\u{5b57}", 4, &["\u{4e2d}\u{6587}", "\u{5b57}"]),
            ("\u{4e2d}", 1, &[""]),
            ("a\u{1b}[31mb", 20, &["a\u{fffd}[31mb"]),
        ];
        for (text, width, expected) in cases {
            let rows = laid(&line(text), width);
            let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
            let shown: Vec<&str> = rows.iter().copied().filter(|row| !row.is_empty()).collect();
            let expected: Vec<&str> =
                expected.iter().copied().filter(|row| !row.is_empty()).collect();
            assert_eq!(shown, expected, "{text:?} in {width}");
            assert!(!rows.is_empty());
        }
    }

    #[test]
    fn margins_repeat_and_leave_half_of_the_width() {
        let mut line = Line::of("one two", Face::PLAIN);
        line.lead = vec![Run::plain("- ")];
        line.hang = vec![Run::plain("  ")];
        assert_eq!(laid(&line, 6), ["- one", "  two"]);
        assert_eq!(laid(&line, 2), ["-o", " n", " e", " t", " w", " o"]);
    }

    #[test]
    fn code_keeps_its_white_space() {
        let code = Line::of("\tif a {  }", Face::PLAIN).wrapped(Wrap::Columns);
        assert_eq!(laid(&code, 9), ["    if a ", "{  }"]);
        let cut = Line::of("abcdef", Face::PLAIN).wrapped(Wrap::Cut);
        assert_eq!(laid(&cut, 4), ["abcd"]);
    }

    #[test]
    fn rows_are_never_wider_than_asked_for() {
        let nasty = "a\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{4e2d}\t \u{200b}xyz\u{202e}w ";
        for wrap in [Wrap::Words, Wrap::Columns, Wrap::Cut] {
            for width in 1..12 {
                let mut line = Line::of(nasty.repeat(3), Face::PLAIN).wrapped(wrap);
                line.lead = vec![Run::plain("\u{4e2d}12")];
                for row in laid(&line, width) {
                    assert!(columns(&row) <= width, "{row:?} in {width}");
                    assert!(!row.contains("\u{301}\u{301}\u{301}\u{301}\u{301}"));
                }
            }
        }
    }
}
