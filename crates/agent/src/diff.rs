//! A change of a text as what it takes away and adds.
//!
//! Equal lines at both ends are cut off first, so that the usual edit costs what it changes and not
//! what the file holds; a middle that is too large for a comparison is shown as taken away and
//! added whole. Start at [`change`].

use similar::{ChangeTag, TextDiff};

use crate::paint::{Face, Ink, Line, Run, Wrap};

/// Lines around a change that are shown with it.
const CONTEXT_LINES: usize = 3;
/// Lines on both sides together that are compared; the time grows with the square at worst.
const COMPARED_LINES_MAX: usize = 4_000;

/// A change, ready to be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// The lines: numbers, signs and text.
    pub lines: Vec<Line>,
    /// Lines that are new.
    pub added: usize,
    /// Lines that are gone.
    pub removed: usize,
}

/// The change from one text to another.
pub fn change(before: &str, after: &str) -> Diff {
    let old: Vec<&str> = before.lines().collect();
    let new: Vec<&str> = after.lines().collect();
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail_max = old.len().min(new.len()) - head;
    let ends = old.iter().rev().zip(new.iter().rev()).take(tail_max);
    let tail = ends.take_while(|(a, b)| a == b).count();
    let from = head.saturating_sub(CONTEXT_LINES);
    let until = |count: usize| count - tail + tail.min(CONTEXT_LINES);
    let mut writer = Writer::new(old.len().max(new.len()));
    let (old_part, new_part) = (&old[from..until(old.len())], &new[from..until(new.len())]);
    if old_part.len() + new_part.len() > COMPARED_LINES_MAX {
        whole(&mut writer, &old[head..old.len() - tail], &new[head..new.len() - tail], head);
    } else {
        compared(&mut writer, old_part, new_part, from);
    }
    writer.diff
}

fn whole(writer: &mut Writer, old: &[&str], new: &[&str], offset: usize) {
    for (index, line) in old.iter().enumerate() {
        writer.line(ChangeTag::Delete, offset + index, line);
    }
    for (index, line) in new.iter().enumerate() {
        writer.line(ChangeTag::Insert, offset + index, line);
    }
}

fn compared(writer: &mut Writer, old: &[&str], new: &[&str], offset: usize) {
    let diff = TextDiff::from_slices(old, new);
    for (index, group) in diff.grouped_ops(CONTEXT_LINES).iter().enumerate() {
        if index > 0 {
            writer.gap();
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let at = match change.tag() {
                ChangeTag::Delete => change.old_index(),
                ChangeTag::Equal | ChangeTag::Insert => change.new_index(),
            };
            writer.line(change.tag(), offset + at.unwrap_or_default(), change.value());
        }
    }
}

struct Writer {
    diff: Diff,
    /// Columns of the largest line number.
    digits: usize,
}

impl Writer {
    fn new(lines: usize) -> Writer {
        Writer { diff: Diff::default(), digits: lines.max(1).to_string().len() }
    }

    fn line(&mut self, tag: ChangeTag, index: usize, text: &str) {
        let (sign, face) = match tag {
            ChangeTag::Equal => (' ', Face::DIM),
            ChangeTag::Insert => ('+', Face::ink(Ink::Green)),
            ChangeTag::Delete => ('-', Face::ink(Ink::Red)),
        };
        match tag {
            ChangeTag::Equal => {}
            ChangeTag::Insert => self.diff.added += 1,
            ChangeTag::Delete => self.diff.removed += 1,
        }
        let digits = self.digits;
        self.diff.lines.push(Line {
            lead: vec![
                Run::new(format!("{:>digits$} ", index + 1), Face::DIM),
                Run::new(format!("{sign} "), face),
            ],
            hang: vec![Run::plain(" ".repeat(digits + 3))],
            runs: vec![Run::new(text, face)],
            wrap: Wrap::Columns,
        });
    }

    fn gap(&mut self) {
        let dots = format!("{:>width$} ", "\u{22ee}", width = self.digits);
        self.diff.lines.push(Line::of(dots, Face::DIM).wrapped(Wrap::Cut));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::Row;

    fn shown(before: &str, after: &str) -> Vec<String> {
        let mut rows = Vec::new();
        change(before, after).lines.iter().for_each(|line| line.lay(60, &mut rows));
        rows.iter().map(Row::text).collect()
    }

    #[test]
    fn a_change_has_its_surroundings() {
        let before: String = (1..=20).map(|n| format!("line {n}\n")).collect();
        let after = before.replace("line 9\n", "nine\nand a half\n").replace("line 20", "end");
        let expected = [
            " 6   line 6",
            " 7   line 7",
            " 8   line 8",
            " 9 - line 9",
            " 9 + nine",
            "10 + and a half",
            "11   line 10",
            "12   line 11",
            "13   line 12",
            " \u{22ee} ",
            "18   line 17",
            "19   line 18",
            "20   line 19",
            "20 - line 20",
            "21 + end",
        ];
        assert_eq!(shown(&before, &after), expected);
    }

    #[test]
    fn edges() {
        assert_eq!(shown("", ""), [""; 0]);
        assert_eq!(shown("same\n", "same\n"), [""; 0]);
        assert_eq!(shown("", "a\nb\n"), ["1 + a", "2 + b"]);
        assert_eq!(shown("a\n", ""), ["1 - a"]);
        assert_eq!(shown("a\na\n", "a\na\na\n"), ["1   a", "2   a", "3 + a"]);
    }

    #[test]
    fn a_change_too_large_to_compare_is_shown_whole() {
        let text = |word: &str| format!("top\n{}end\n", format!("{word}\n").repeat(3_000));
        let diff = change(&text("old"), &text("new"));
        assert_eq!((diff.added, diff.removed, diff.lines.len()), (3_000, 3_000, 6_000));
    }
}
