//! The door to a scrolling terminal: a row becomes bytes.
//!
//! The only escape sequences are those written here; what stands in a row has to pass the guard
//! once more.

use super::face::{Face, Ink};
use super::glyph::drawable;
use super::line::Row;

/// Ends every style.
pub const RESET: &str = "\u{1b}[0m";

/// What a scrolling terminal understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ansi {
    /// Bold, dim and the like.
    pub styles: bool,
    /// The sixteen colours.
    pub colours: bool,
}

impl Ansi {
    /// The bytes of a row, without a line end; the terminal's style is plain before and after.
    pub fn row(self, row: &Row) -> String {
        let mut out = String::new();
        for run in &row.runs {
            let begin = self.begin(run.face);
            out.push_str(&begin);
            out.extend(run.text.chars().filter_map(drawable).map(|(c, _)| c));
            if !begin.is_empty() {
                out.push_str(RESET);
            }
        }
        out
    }

    /// What begins a face; nothing where the face is plain.
    fn begin(self, face: Face) -> String {
        let mut codes: Vec<&str> = Vec::new();
        if self.styles {
            let styles = [
                (face.bold, "1"),
                (face.dim, "2"),
                (face.italic, "3"),
                (face.underline, "4"),
                (face.reverse, "7"),
                (face.struck, "9"),
            ];
            codes.extend(styles.iter().filter(|(on, _)| *on).map(|(_, code)| *code));
        }
        if self.colours && self.styles {
            codes.extend(match face.ink {
                Ink::Plain => None,
                Ink::Red => Some("31"),
                Ink::Green => Some("32"),
                Ink::Yellow => Some("33"),
                Ink::Blue => Some("34"),
                Ink::Magenta => Some("35"),
                Ink::Cyan => Some("36"),
                Ink::Gray => Some("90"),
            });
        }
        if codes.is_empty() { String::new() } else { format!("\u{1b}[{}m", codes.join(";")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::Run;

    #[test]
    fn styles_stand_around_text_and_text_cannot_bring_its_own() {
        let face = Face::ink(Ink::Red).bold();
        let row = Row { runs: vec![Run::plain("a\u{1b}[2J"), Run::new("b\n", face)] };
        let all = Ansi { styles: true, colours: true };
        assert_eq!(all.row(&row), "a\u{fffd}[2J\u{1b}[1;31mb\u{fffd}\u{1b}[0m");
        let plain = Ansi { styles: true, colours: false };
        assert_eq!(plain.row(&row), "a\u{fffd}[2J\u{1b}[1mb\u{fffd}\u{1b}[0m");
        let none = Ansi { styles: false, colours: true };
        assert_eq!(none.row(&row), "a\u{fffd}[2Jb\u{fffd}");
    }
}
