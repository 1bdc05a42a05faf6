//! Text from outside, made harmless for a terminal.
//!
//! Owns the question which characters may reach a screen. Two answers: [`shown`] is for what a
//! person decides by (a command, a path, a question) and hides nothing: what would act on the
//! terminal is written out. [`Output`] is for what programs print: it drops colours and other
//! sequences, lets a progress bar overwrite itself, and writes out the rest. Neither lets a control
//! character through but tab and newline, nor a character that reorders or hides its neighbours.
//!
//! [`marked`] is for bytes that should be text and may not be.

use std::fmt::Write as _;

/// A line that is longer is passed on before its end is known.
const LINE_BYTES_MAX: usize = 8 << 10;
/// A sequence that is longer is no sequence: what follows is text again.
const SEQUENCE_CHARS_MAX: usize = 4 << 10;

/// The text with everything written out that would act on a terminal.
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        write_out(c, &mut out);
    }
    out
}

/// The same on one line: for titles.
pub fn shown_in_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push('\u{240A}'), // the picture of a newline
            '\t' => out.push(' '),
            c => write_out(c, &mut out),
        }
    }
    out
}

/// Bytes as text: what is not UTF-8 stands there as `\xNN`.
pub fn marked(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        mark(chunk.invalid(), &mut out);
    }
    out
}

/// Whether a terminal shows the character as it is.
pub fn is_harmless(c: char) -> bool {
    !c.is_control() && !hides(c) || matches!(c, '\n' | '\t')
}

/// Characters without a picture that change how their neighbours are seen: directions, zero
/// widths, separators, tags. The joiners of scripts and emoji (U+200C, U+200D) are text.
fn hides(c: char) -> bool {
    matches!(u32::from(c),
        0x61C | 0x180E | 0x200B | 0x200E | 0x200F | 0x2028..=0x202E | 0x2060..=0x206F
        | 0xFEFF | 0xFFF9..=0xFFFB | 0xE0000..=0xE007F)
}

/// One character: itself, its control picture, or its number.
fn write_out(c: char, out: &mut String) {
    let number = u32::from(c);
    match number {
        0..0x20 if !matches!(c, '\n' | '\t') => {
            out.push(char::from_u32(0x2400 + number).unwrap_or('\u{FFFD}'));
        }
        0x7F => out.push('\u{2421}'),
        _ if is_harmless(c) => out.push(c),
        _ => {
            let _ = write!(out, "<U+{number:04X}>"); // a String takes everything
        }
    }
}

fn mark(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        let _ = write!(out, "\\x{byte:02X}"); // a String takes everything
    }
}

/// What a program prints, piece by piece, in whatever pieces it comes.
///
/// Text is given back by whole lines, since a carriage return may still take back what stands on
/// one; [`Output::finish`] gives the rest.
#[derive(Debug, Default)]
pub struct Output {
    /// Bytes of a character that is not complete: three at most.
    part: Vec<u8>,
    line: String,
    /// A carriage return was read, and what follows it is not known yet.
    returned: bool,
    state: State,
    /// Characters of the sequence under way.
    sequence_chars: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC, and what stands between it and its last character.
    Escape,
    /// After `ESC [`: ends with a character from `@` to `~`.
    Control,
    /// A title, a link, a device's string: ends with BEL or `ESC \`.
    String,
    /// ESC inside of one.
    StringEscape,
}

impl Output {
    /// Takes a piece; gives the lines that are certain now.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        let mut out = String::new();
        let held = std::mem::take(&mut self.part);
        let joined = if held.is_empty() { None } else { Some([&held[..], bytes].concat()) };
        let bytes = joined.as_deref().unwrap_or(bytes);
        let mut rest = bytes.len();
        for chunk in bytes.utf8_chunks() {
            chunk.valid().chars().for_each(|c| self.take(c, &mut out));
            rest -= chunk.valid().len() + chunk.invalid().len();
            if rest == 0 && is_beginning(chunk.invalid()) {
                self.part = chunk.invalid().to_vec();
            } else {
                self.take_invalid(chunk.invalid());
            }
        }
        out
    }

    /// What stands on the line under way, and the end.
    pub fn finish(mut self) -> String {
        let part = std::mem::take(&mut self.part);
        self.take_invalid(&part);
        self.line
    }

    fn take_invalid(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.begin_again();
            mark(bytes, &mut self.line);
        }
    }

    /// What a carriage return means, now that more than a newline follows it.
    fn begin_again(&mut self) {
        if std::mem::take(&mut self.returned) {
            self.line.clear();
        }
    }

    fn take(&mut self, c: char, out: &mut String) {
        self.sequence_chars += 1;
        let too_long = self.sequence_chars > SEQUENCE_CHARS_MAX;
        match self.state {
            State::Text => self.take_text(c, out),
            State::Escape => match c {
                '[' => self.state = State::Control,
                ']' | 'P' | '_' | '^' | 'X' => self.state = State::String,
                ' '..='/' if !too_long => {}
                '\u{1b}' => self.begin(State::Escape),
                _ if c.is_control() => self.resume(c, out),
                _ => self.state = State::Text,
            },
            State::Control => match c {
                '@'..='~' => self.state = State::Text,
                ' '..='?' if !too_long => {}
                _ => self.resume(c, out),
            },
            State::String | State::StringEscape if c == '\n' || too_long => {
                self.resume(c, out);
            }
            State::String => match c {
                '\u{7}' | '\u{9c}' => self.state = State::Text,
                '\u{1b}' => self.state = State::StringEscape,
                _ => {}
            },
            State::StringEscape if c == '\\' => self.state = State::Text,
            State::StringEscape => {
                self.begin(State::Escape);
                self.take(c, out);
            }
        }
    }

    fn begin(&mut self, state: State) {
        self.state = state;
        self.sequence_chars = 0;
    }

    fn resume(&mut self, c: char, out: &mut String) {
        self.begin(State::Text);
        self.take_text(c, out);
    }

    fn take_text(&mut self, c: char, out: &mut String) {
        match c {
            '\n' => {
                self.returned = false;
                out.push_str(&self.line);
                out.push('\n');
                self.line.clear();
            }
            '\r' => self.returned = true,
            '\u{1b}' => self.begin(State::Escape),
            '\u{9b}' => self.begin(State::Control),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => self.begin(State::String),
            '\u{7}' => {}
            '\u{8}' => {
                self.begin_again();
                self.line.pop();
            }
            c => {
                self.begin_again();
                write_out(c, &mut self.line);
                if self.line.len() > LINE_BYTES_MAX {
                    out.push_str(&self.line);
                    self.line.clear();
                }
            }
        }
    }
}

/// Whether more bytes could make a character of these.
fn is_beginning(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(error) if error.error_len().is_none())
}

/// All that a program printed, at once.
pub fn output(bytes: &[u8]) -> String {
    let mut output = Output::default();
    let mut text = output.push(bytes);
    text.push_str(&output.finish());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_person_decides_by_hides_nothing() {
        let rows = [
            ("ls -l\trüben\n", "ls -l\trüben\n"),
            ("rm -rf x\rls", "rm -rf x␍ls"),
            ("\u{1b}[31mred", "␛[31mred"),
            ("a\u{202e}cod.exe", "a<U+202E>cod.exe"),
            ("nul\0 del\u{7f} csi\u{9b}", "nul␀ del␡ csi<U+009B>"),
            ("tag\u{e0041} zero\u{200b}", "tag<U+E0041> zero<U+200B>"),
            ("👩\u{200d}🚀", "👩\u{200d}🚀"),
        ];
        for (given, expected) in rows {
            assert_eq!(shown(given), expected);
        }
        assert_eq!(shown_in_line("a\nb\tc"), "a␊b c");
    }

    #[test]
    fn what_programs_print_keeps_its_text_only() {
        let rows: [(&[u8], &str); 16] = [
            (b"\x1b[1;31mred\x1b[0m text\n", "red text\n"),
            (b"\x1b]0;new title\x07after\n", "after\n"),
            (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n", "link\n"),
            (b"\x1bP1$r0m\x1b\\dcs\n", "dcs\n"),
            (b"\x1b(Bset \x1b7saved\n", "set saved\n"),
            (b"10%\r50%\r100%\n", "100%\n"),
            (b"dos\r\nlines\r\n", "dos\nlines\n"),
            (b"N\x08NA\x08A\n", "NA\n"),
            (b"ding\x07\n", "ding\n"),
            (b"nul\0 so\x0e\n", "nul␀ so␎\n"),
            ("c1 \u{9b}31mred \u{9d}t\u{9c}x\n".as_bytes(), "c1 red x\n"),
            ("\u{202e}evil\n".as_bytes(), "<U+202E>evil\n"),
            (b"bad \xff\xfe bytes\n", "bad \\xFF\\xFE bytes\n"),
            (b"cut \xe2\x82", "cut \\xE2\\x82"),
            (b"\x1b]0;never ends\nstill here\n", "\nstill here\n"),
            (b"\x1b[12\x1b[2Jx\x1b", "x"),
        ];
        for (given, expected) in rows {
            assert_eq!(output(given), expected, "{}", String::from_utf8_lossy(given));
        }
    }

    #[test]
    fn a_sequence_without_end_does_not_swallow_what_follows() {
        let mut text = b"\x1b]0;".to_vec();
        text.extend(std::iter::repeat_n(b'a', 3 * SEQUENCE_CHARS_MAX));
        assert!(output(&text).len() > SEQUENCE_CHARS_MAX);
    }

    proptest! {
        #[test]
        fn whatever_comes_in_whatever_pieces_only_text_goes_out(
            pieces in prop::collection::vec(
                prop::collection::vec(
                    prop_oneof![
                        prop::sample::select(
                            b"\x1b[]P\\\x07\r\n\x08;m?\x9b\xc2\xe2\x80\xae".to_vec()
                        ),
                        any::<u8>(),
                    ],
                    0..12,
                ),
                0..12,
            ),
        ) {
            let mut stream = Output::default();
            let mut text = String::new();
            for piece in &pieces {
                text.push_str(&stream.push(piece));
            }
            text.push_str(&stream.finish());
            prop_assert!(text.chars().all(is_harmless), "{text:?}");
            prop_assert_eq!(&text, &output(&pieces.concat()));
            prop_assert!(shown(&marked(&pieces.concat())).chars().all(is_harmless));
        }
    }
}
