//! The last rows of a scrolling terminal, which may still change.
//!
//! Rows are settled or open. Settled rows are written once and never again; open ones are written
//! again from the first that differs, as far as it is still on the screen. The cursor stands at the
//! end of the last open row, or at the beginning of an empty line if there is none.

use std::io::{self, Write};

use crate::paint::{Ansi, Row};

/// Rows at the cursor.
#[derive(Debug)]
pub struct Region<W: Write> {
    out: W,
    ansi: Ansi,
    /// The cursor can be moved; otherwise open rows are not shown.
    moves: bool,
    open: Vec<Row>,
    height: usize,
}

impl<W: Write> Region<W> {
    /// Nothing is shown yet; the cursor stands at the beginning of a line.
    pub fn new(out: W, ansi: Ansi, moves: bool) -> Region<W> {
        Region { out, ansi, moves, open: Vec::new(), height: 24 }
    }

    /// The terminal has so many rows now.
    pub fn set_height(&mut self, height: usize) {
        self.height = height.max(2);
    }

    /// The terminal has broken its rows anew, so what was open stays as it is.
    pub fn let_go(&mut self) -> io::Result<()> {
        if !self.open.is_empty() {
            self.open.clear();
            self.out.write_all(b"\r\n")?;
        }
        Ok(())
    }

    /// Shows settled rows, then open ones, where open ones stand now.
    pub fn show(&mut self, settled: Vec<Row>, open: Vec<Row>) -> io::Result<()> {
        let mut rows = settled;
        let settled = rows.len();
        if self.moves {
            rows.extend(open);
        }
        if rows == self.open && settled == 0 {
            return Ok(());
        }
        let same = rows.iter().zip(&self.open).take_while(|(new, old)| new == old).count();
        // Rows that have left the screen cannot be reached; they stay as they were.
        let reach = self.open.len().saturating_sub(self.height - 1);
        // The last row is always written, since the cursor has to stand at its end.
        let from = same.max(reach).min(rows.len().saturating_sub(1));
        self.go_to(from)?;
        for (index, row) in rows.iter().enumerate().skip(from) {
            if index > from {
                self.out.write_all(b"\r\n")?;
            }
            self.out.write_all(self.ansi.row(row).as_bytes())?;
        }
        let has_open = rows.len() > settled;
        if !has_open && settled > 0 {
            self.out.write_all(b"\r\n")?;
        }
        rows.drain(..settled);
        self.open = rows;
        self.out.flush()
    }

    /// Puts the cursor at the beginning of an open row and clears from there on. The row after the
    /// last is the line below it.
    fn go_to(&mut self, row: usize) -> io::Result<()> {
        let Some(last) = self.open.len().checked_sub(1) else { return Ok(()) };
        if row > last {
            return self.out.write_all(b"\r\n");
        }
        if row < last {
            write!(self.out, "\u{1b}[{}A", last - row)?;
        }
        self.out.write_all(b"\r\x1b[J")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::{Face, Line};

    fn rows(text: &str) -> Vec<Row> {
        let mut rows = Vec::new();
        text.lines().for_each(|line| Line::of(line, Face::PLAIN).lay(20, &mut rows));
        rows
    }

    /// What a terminal of 20 columns shows, with what has scrolled away, after some steps.
    fn shown(height: u16, steps: &[(&str, &str)]) -> Vec<String> {
        let mut bytes = Vec::new();
        let ansi = Ansi { styles: false, colours: false };
        let mut region = Region::new(&mut bytes, ansi, true);
        region.set_height(usize::from(height));
        for (settled, open) in steps {
            region.show(rows(settled), rows(open)).unwrap();
        }
        let size = |n| std::num::NonZeroU16::new(n).unwrap();
        let mut parser = vt100::Parser::new(size(height), size(20), 100);
        parser.process(&bytes);
        let mut all = Vec::new();
        parser.screen_mut().set_scrollback(usize::MAX);
        let scrolled = parser.screen().scrollback();
        for back in (1..=scrolled).rev() {
            parser.screen_mut().set_scrollback(back);
            all.extend(parser.screen().rows(0, 20).next());
        }
        parser.screen_mut().set_scrollback(0);
        all.extend(parser.screen().rows(0, 20));
        while all.last().is_some_and(String::is_empty) {
            all.pop();
        }
        all
    }

    #[test]
    fn open_rows_change_and_settled_ones_stay() {
        let steps = [("", "a"), ("", "ab"), ("", "ab\nc"), ("AB", "c d"), ("c d", ""), ("", "e")];
        assert_eq!(shown(10, &steps[..3]), ["ab", "c"]);
        assert_eq!(shown(10, &steps[..4]), ["AB", "c d"]);
        assert_eq!(shown(10, &steps), ["AB", "c d", "e"]);
        assert_eq!(shown(10, &[("", "1\n2\n3"), ("", "")]), [""; 0]);
        assert_eq!(shown(10, &[("", "1\n2\n3"), ("", "1"), ("", "1\n4")]), ["1", "4"]);
    }

    #[test]
    fn rows_that_left_the_screen_are_not_written_again() {
        let long: String = (0..9).map(|n| format!("{n}\n")).collect();
        let changed = long.replace('0', "x").replace('7', "y");
        let rows = shown(4, &[("", &long), ("", &changed), (&changed, "")]);
        assert_eq!(rows, ["0", "1", "2", "3", "4", "5", "6", "y", "8"]);
    }

    #[test]
    fn a_full_row_is_one_row() {
        let full = "12345678901234567890";
        let steps = [("", full), ("", "12345678901234567890 1"), (full, "new")];
        assert_eq!(shown(6, &steps), [full, "new"]);
    }
}
