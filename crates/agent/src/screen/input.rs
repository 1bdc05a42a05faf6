//! The line that is typed in, which may have many lines.
//!
//! It holds a text and a place in it, and knows the keys of shells for moving and cutting. What is
//! pasted stays whole; control characters in it are dropped, since nobody can see them. The text is
//! bounded. Drawing asks for rows of a width and the place of the cursor in them.

use crate::paint::{TAB_COLUMNS, drawable};

/// A prompt may have so many bytes.
pub const INPUT_BYTES_MAX: usize = 1 << 20;

/// A text that is being typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    text: String,
    /// A byte of `text` where a character begins that the cursor can stand on.
    cursor: usize,
    /// What was cut last.
    cut: String,
}

/// Rows of the input in some width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Laid {
    /// The visible rows.
    pub rows: Vec<String>,
    /// Row of the cursor, of those.
    pub row: usize,
    /// Its column.
    pub column: usize,
}

impl Input {
    /// What was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether nothing was.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Another text, with the cursor at its end.
    pub fn set(&mut self, text: &str) {
        self.text.clear();
        self.cursor = 0;
        self.insert(text);
    }

    /// The text, which is gone then.
    pub fn take(&mut self) -> String {
        self.cursor = 0;
        std::mem::take(&mut self.text)
    }

    /// Puts a text where the cursor is, as far as there is room; returns whether all of it was put.
    pub fn insert(&mut self, text: &str) -> bool {
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let kept: String =
            text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
        let room = INPUT_BYTES_MAX - self.text.len();
        let fits = &kept[..kept.floor_char_boundary(room.min(kept.len()))];
        self.text.insert_str(self.cursor, fits);
        self.cursor += fits.len();
        // A mark that was put before a character belongs to what is before the cursor now.
        self.cursor = self.settle(self.cursor);
        fits.len() == kept.len()
    }

    /// Puts what was cut last.
    pub fn yank(&mut self) {
        let cut = self.cut.clone();
        self.insert(&cut);
    }

    /// One character to the left.
    pub fn left(&mut self) {
        self.cursor = self.before(self.cursor);
    }

    /// One character to the right.
    pub fn right(&mut self) {
        self.cursor = self.after(self.cursor);
    }

    /// To the beginning of a word.
    pub fn word_left(&mut self) {
        self.cursor = self.word_before(self.cursor);
    }

    /// To the end of a word.
    pub fn word_right(&mut self) {
        self.cursor = self.word_after(self.cursor);
    }

    /// To the beginning of the line.
    pub fn home(&mut self) {
        self.cursor = self.line_start(self.cursor);
    }

    /// To the end of the line.
    pub fn end(&mut self) {
        self.cursor = self.line_end(self.cursor);
    }

    /// One line up; `false` if there is none.
    pub fn up(&mut self) -> bool {
        let start = self.line_start(self.cursor);
        if start == 0 {
            return false;
        }
        let column = self.text[start..self.cursor].chars().count();
        self.cursor = self.at_column(self.line_start(start - 1), column);
        true
    }

    /// One line down; `false` if there is none.
    pub fn down(&mut self) -> bool {
        let end = self.line_end(self.cursor);
        if end == self.text.len() {
            return false;
        }
        let column = self.text[self.line_start(self.cursor)..self.cursor].chars().count();
        self.cursor = self.at_column(end + 1, column);
        true
    }

    /// Takes the character before the cursor away.
    pub fn backspace(&mut self) {
        let from = self.before(self.cursor);
        self.text.replace_range(from..self.cursor, "");
        self.cursor = from;
    }

    /// Takes the character at the cursor away.
    pub fn delete(&mut self) {
        let until = self.after(self.cursor);
        self.text.replace_range(self.cursor..until, "");
    }

    /// Cuts up to the end of the line; at its end, the line end.
    pub fn cut_to_end(&mut self) {
        let end = self.line_end(self.cursor);
        let until = if end == self.cursor { self.after(end) } else { end };
        self.cut(self.cursor, until);
    }

    /// Cuts from the beginning of the line; at its beginning, the line end before it.
    pub fn cut_to_start(&mut self) {
        let start = self.line_start(self.cursor);
        let from = if start == self.cursor { self.before(start) } else { start };
        self.cut(from, self.cursor);
    }

    /// Cuts the word before the cursor.
    pub fn cut_word_left(&mut self) {
        self.cut(self.word_before(self.cursor), self.cursor);
    }

    /// Cuts the word after the cursor.
    pub fn cut_word_right(&mut self) {
        self.cut(self.cursor, self.word_after(self.cursor));
    }

    /// The text in `width` columns: at most `height` rows, those around the cursor.
    pub fn lay(&self, width: usize, height: usize) -> Laid {
        let width = width.max(1);
        let mut rows = vec![String::new()];
        let mut column = 0;
        let mut cursor = (0, 0);
        for (at, c) in self.text.char_indices() {
            let (drawn, columns) = match c {
                '\t' => (' ', TAB_COLUMNS - column % TAB_COLUMNS),
                '\n' => ('\n', 0),
                c => drawable(c).unwrap_or(('\n', 0)),
            };
            if columns > 0 && column + columns.min(width) > width {
                rows.push(String::new());
                column = 0;
            }
            if at == self.cursor {
                cursor = (rows.len() - 1, column);
            }
            if c == '\n' {
                rows.push(String::new());
                column = 0;
            } else if let Some(row) = rows.last_mut()
                && drawn != '\n'
                && columns <= width
            {
                let count = if c == '\t' { columns } else { 1 };
                row.extend(std::iter::repeat_n(drawn, count));
                column += columns;
            }
        }
        if self.cursor == self.text.len() {
            if column >= width {
                rows.push(String::new());
                column = 0;
            }
            cursor = (rows.len() - 1, column);
        }
        let height = height.max(1);
        let top = (cursor.0 + 1).saturating_sub(height);
        let rows: Vec<String> = rows.into_iter().skip(top).take(height).collect();
        Laid { rows, row: cursor.0 - top, column: cursor.1.min(width - 1) }
    }

    fn cut(&mut self, from: usize, until: usize) {
        if from < until {
            self.cut = self.text[from..until].to_owned();
            self.text.replace_range(from..until, "");
            self.cursor = from;
        }
    }

    /// The next place at or after `at` where a cursor can stand: marks stay with what bears them.
    fn settle(&self, mut at: usize) -> usize {
        while let Some(c) = self.text[at..].chars().next().filter(|&c| is_attached(c)) {
            at += c.len_utf8();
        }
        at
    }

    fn after(&self, at: usize) -> usize {
        match self.text[at..].chars().next() {
            Some(c) => self.settle(at + c.len_utf8()),
            None => at,
        }
    }

    fn before(&self, at: usize) -> usize {
        let mut back = self.text[..at].char_indices().rev();
        back.find(|&(_, c)| !is_attached(c)).map_or(0, |(at, _)| at)
    }

    fn word_before(&self, at: usize) -> usize {
        let head = self.text[..at].trim_end_matches(|c: char| !c.is_alphanumeric());
        head.trim_end_matches(|c: char| c.is_alphanumeric() || is_attached(c)).len()
    }

    fn word_after(&self, at: usize) -> usize {
        let tail = &self.text[at..];
        let rest = tail.trim_start_matches(|c: char| !c.is_alphanumeric());
        let rest = rest.trim_start_matches(|c: char| c.is_alphanumeric() || is_attached(c));
        self.settle(self.text.len() - rest.len())
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |end| end + 1)
    }

    fn line_end(&self, at: usize) -> usize {
        self.text[at..].find('\n').map_or(self.text.len(), |end| at + end)
    }

    /// The place `column` characters into the line that begins at `start`, or its end.
    fn at_column(&self, start: usize, column: usize) -> usize {
        let line = &self.text[start..self.line_end(start)];
        let at = line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
        self.settle(start + at)
    }
}

/// Whether it is drawn on, or hidden behind, the character before it.
fn is_attached(c: char) -> bool {
    !matches!(c, '\n' | '\t') && drawable(c).is_none_or(|(_, columns)| columns == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text with a bar where the cursor is.
    fn shown(input: &Input) -> String {
        format!("{}|{}", &input.text[..input.cursor], &input.text[input.cursor..])
    }

    fn at(text: &str) -> Input {
        let (before, after) = text.split_once('|').unwrap();
        let mut input = Input::default();
        input.set(&format!("{before}{after}"));
        input.cursor = before.len();
        input
    }

    #[test]
    fn keys_move_and_cut() {
        type Key = fn(&mut Input);
        let cases: [(&str, Key, &str); 20] = [
            ("ab|", Input::left, "a|b"),
            ("|ab", Input::left, "|ab"),
            ("|ab", Input::right, "a|b"),
            ("ab|", Input::right, "ab|"),
            ("e\u{301}|x", Input::left, "|e\u{301}x"),
            ("|e\u{301}x", Input::right, "e\u{301}|x"),
            ("e\u{301}|x", Input::backspace, "|x"),
            ("|e\u{301}x", Input::delete, "|x"),
            ("one two|", Input::word_left, "one |two"),
            ("one |two", Input::word_left, "|one two"),
            ("one| two", Input::word_right, "one two|"),
            ("a\nbc|d\ne", Input::home, "a\n|bcd\ne"),
            ("a\nb|cd\ne", Input::end, "a\nbcd|\ne"),
            ("a b|c\nd", Input::cut_to_end, "a b|\nd"),
            ("a|\nd", Input::cut_to_end, "a|d"),
            ("a\nbc|d", Input::cut_to_start, "a\n|d"),
            ("a\n|d", Input::cut_to_start, "a|d"),
            ("one two|!", Input::cut_word_left, "one |!"),
            ("one| two!", Input::cut_word_right, "one|!"),
            ("\u{4e2d}\u{6587}|", Input::backspace, "\u{4e2d}|"),
        ];
        for (before, key, after) in cases {
            let mut input = at(before);
            key(&mut input);
            assert_eq!(shown(&input), after, "{before}");
        }
    }

    #[test]
    fn lines_up_and_down_keep_the_column() {
        let mut input = at("long line\nab\nlong|er");
        assert!(input.up());
        assert_eq!(shown(&input), "long line\nab|\nlonger");
        assert!(input.up());
        assert_eq!(shown(&input), "lo|ng line\nab\nlonger");
        assert!(!input.up());
        assert!(input.down() && input.down() && !input.down());
    }

    #[test]
    fn what_was_cut_comes_back() {
        let mut input = at("one two|");
        input.cut_word_left();
        input.home();
        input.yank();
        assert_eq!(shown(&input), "two|one ");
    }

    #[test]
    fn pasted_text_stays_whole_without_control_characters_and_is_bounded() {
        let mut input = Input::default();
        assert!(input.insert("a\r\nb\rc\u{1b}[31m\u{7}\td"));
        assert_eq!(input.text(), "a\nb\nc[31m\td");
        input.set("");
        assert!(input.insert(&"\u{4e2d}".repeat(300_000)));
        assert!(!input.insert(&"\u{4e2d}".repeat(300_000)));
        assert!(input.text().len() <= INPUT_BYTES_MAX);
        assert!(!input.insert("abcd"));
    }

    #[test]
    fn rows_around_the_cursor() {
        let laid = at("abcdef\n\u{4e2d}\u{6587}|x").lay(4, 10);
        assert_eq!(laid.rows, ["abcd", "ef", "\u{4e2d}\u{6587}", "x"]);
        assert_eq!((laid.row, laid.column), (3, 0));
        let laid = at("1\n2\n3\n4|\n5").lay(4, 2);
        assert_eq!((laid.rows, laid.row, laid.column), (vec!["3".into(), "4".into()], 1, 1));
        let laid = at("abcd|").lay(4, 5);
        assert_eq!((laid.row, laid.column), (1, 0), "the cursor has a row to stand in");
        assert_eq!(at("|").lay(0, 0).rows, [""]);
        assert_eq!(at("\t\u{4e2d}|").lay(1, 9).column, 0);
    }
}
