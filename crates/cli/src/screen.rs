//! Where a reply is shown: the answer as it comes, reasoning stepping back.
//!
//! On a terminal reasoning is dimmed, without styles it stands between `<think>` and `</think>`. A
//! terminal gets no control characters that the model made up; a pipe gets the text as it is.
//! Which parts are shown is decided by the caller. Nothing here knows tokens.

use std::borrow::Cow;
use std::io::{self, Write};

use crate::terminal::{DIM, PLAIN};

/// What is shown, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub answer: bool,
    pub reasoning: bool,
    /// A person reads it.
    pub terminal: bool,
    pub styles: bool,
}

/// A reply on its way to `out`.
#[derive(Debug)]
pub struct Screen<W: Write> {
    out: W,
    layout: Layout,
    /// Reasoning was begun and not ended.
    in_reasoning: bool,
    /// Something was written, and it did not end its line.
    in_line: bool,
}

impl<W: Write> Screen<W> {
    /// An empty screen.
    pub fn new(out: W, layout: Layout) -> Screen<W> {
        Screen { out, layout, in_reasoning: false, in_line: false }
    }

    /// More reasoning.
    pub fn reasoning(&mut self, text: &str) -> io::Result<()> {
        if !self.layout.reasoning || text.is_empty() {
            return Ok(());
        }
        if !self.in_reasoning {
            self.in_reasoning = true;
            self.out.write_all(if self.layout.styles { DIM.as_bytes() } else { b"<think>\n" })?;
        }
        self.text(text)
    }

    /// The reasoning is over.
    pub fn end_reasoning(&mut self) -> io::Result<()> {
        if !self.in_reasoning {
            return Ok(());
        }
        self.in_reasoning = false;
        let line_end = if self.in_line { "\n" } else { "" };
        let mark = if self.layout.styles { PLAIN } else { "</think>\n" };
        self.in_line = false;
        writeln!(self.out, "{line_end}{mark}")?;
        self.out.flush()
    }

    /// More of the answer.
    pub fn answer(&mut self, text: &str) -> io::Result<()> {
        if !self.layout.answer || text.is_empty() {
            return Ok(());
        }
        self.text(text)
    }

    /// Leaves the terminal as it was, at the beginning of a line.
    pub fn finish(mut self) -> io::Result<()> {
        if self.in_reasoning && self.layout.styles {
            self.out.write_all(PLAIN.as_bytes())?;
        }
        if self.in_line && self.layout.terminal {
            self.out.write_all(b"\n")?;
        }
        self.out.flush()
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        let shown = if self.layout.terminal { harmless(text) } else { Cow::Borrowed(text) };
        self.out.write_all(shown.as_bytes())?;
        self.in_line = !text.ends_with('\n');
        self.out.flush()
    }
}

/// Text that cannot steer a terminal.
fn harmless(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(steers) {
        Cow::Owned(text.replace(steers, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Layout = Layout { answer: true, reasoning: false, terminal: false, styles: false };

    fn shown(layout: Layout, parts: &[(&str, &str)]) -> String {
        let mut out = Vec::new();
        let mut screen = Screen::new(&mut out, layout);
        for (kind, text) in parts {
            match *kind {
                "reasoning" => screen.reasoning(text).unwrap(),
                "end" => screen.end_reasoning().unwrap(),
                _ => screen.answer(text).unwrap(),
            }
        }
        screen.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    const REPLY: [(&str, &str); 5] = [
        ("reasoning", "Night"),
        ("reasoning", "."),
        ("end", ""),
        ("answer", "It is\u{1b}[31m"),
        ("answer", " late"),
    ];

    #[test]
    fn a_pipe_gets_the_answer_as_it_is() {
        assert_eq!(shown(PIPE, &REPLY), "It is\u{1b}[31m late");
    }

    #[test]
    fn a_terminal_gets_dimmed_reasoning_and_no_steering() {
        let layout = Layout { reasoning: true, terminal: true, styles: true, ..PIPE };
        let expected = "\u{1b}[2mNight.\n\u{1b}[0m\nIt is\u{fffd}[31m late\n";
        assert_eq!(shown(layout, &REPLY), expected);
        let cut = shown(layout, &REPLY[..1]);
        assert_eq!(cut, "\u{1b}[2mNight\u{1b}[0m\n", "an interrupted reply restores the terminal");
    }

    #[test]
    fn without_styles_reasoning_is_marked() {
        let layout = Layout { reasoning: true, ..PIPE };
        let expected = "<think>\nNight.\n</think>\n\nIt is\u{1b}[31m late";
        assert_eq!(shown(layout, &REPLY), expected);
    }

    #[test]
    fn nothing_is_shown_for_machines() {
        assert_eq!(shown(Layout { answer: false, ..PIPE }, &REPLY), "");
    }
}
