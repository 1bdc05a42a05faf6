//! Where a text falls apart into top-level blocks, decided line by line.
//!
//! A blank line ends a paragraph or a table at once. A list goes on after it if the next line
//! belongs to it, which that line decides; within a list, fences hide what looks like something
//! else. This file knows no more of CommonMark than that.

/// What a line does to the block under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It goes on with the line.
    Goes,
    /// It ended before the line, which begins another.
    Before,
    /// It ended before the line, which opens a fence.
    Fence(Fence),
}

/// Follows the lines of a text.
#[derive(Clone, Debug, Default)]
pub struct Cutter {
    /// The block has a list, whose items may go on after blank lines.
    in_list: bool,
    /// The line before was blank.
    after_blank: bool,
    /// A fence inside a list, until a line ends it.
    inner: Option<Fence>,
    /// Nothing but blank lines so far.
    has_text: bool,
}

impl Cutter {
    /// How many bytes the block may have, if `usual` is the measure: code inside a list may be
    /// longer, since a cut would show the rest of it as something else.
    pub fn open_bytes_max(&self, usual: usize) -> usize {
        if self.inner.is_some() { 4 * usual } else { usual }
    }

    /// Whether a line that looks like a fence is one of the top level.
    pub fn at_top(&self) -> bool {
        self.inner.is_none() && !self.in_list
    }

    /// The next line, without its end.
    pub fn line(&mut self, line: &str) -> Cut {
        if let Some(inner) = &self.inner {
            if inner.ends_with(line.trim_start()) {
                self.inner = None;
            }
            return Cut::Goes;
        }
        let indent = line.len() - line.trim_start().len();
        if indent == line.len() {
            return self.blank();
        }
        let after_blank = std::mem::take(&mut self.after_blank);
        let item = item_text(line);
        let belongs = self.in_list && (indent >= 2 || item.is_some());
        if !belongs && let Some(fence) = Fence::opened_by(line) {
            *self = Cutter::default();
            return Cut::Fence(fence);
        }
        let ends = self.has_text && !belongs && (self.in_list && after_blank || is_heading(line));
        if ends {
            *self = Cutter::default();
        }
        self.has_text = true;
        self.in_list |= item.is_some();
        if self.in_list {
            self.inner = Fence::opened_by(item.unwrap_or(line).trim_start());
        }
        if ends { Cut::Before } else { Cut::Goes }
    }

    fn blank(&mut self) -> Cut {
        self.after_blank = true;
        if self.in_list || !self.has_text {
            return Cut::Goes;
        }
        *self = Cutter::default();
        Cut::Before
    }
}

/// The mark that opens code, and what ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    mark: char,
    count: usize,
    indent: usize,
    language: String,
}

impl Fence {
    /// The language that it names.
    pub fn language(&self) -> &str {
        &self.language
    }

    /// The fence that a line opens.
    pub fn opened_by(line: &str) -> Option<Fence> {
        let rest = line.trim_start_matches(' ');
        let indent = line.len() - rest.len();
        let mark = rest.chars().next().filter(|c| matches!(c, '`' | '~'))?;
        let info = rest.trim_start_matches(mark);
        let count = rest.len() - info.len();
        let valid = indent <= 3 && count >= 3 && !(mark == '`' && info.contains('`'));
        let language = info.split([' ', ',', '{']).find(|word| !word.is_empty());
        let language = language.unwrap_or_default().trim().to_owned();
        valid.then_some(Fence { mark, count, indent, language })
    }

    /// Whether a line that is not complete may become one that opens a fence.
    pub fn may_begin_with(line: &str) -> bool {
        let rest = line.trim_start_matches(' ');
        let marks = |mark: char| rest.starts_with(mark) && rest.trim_start_matches(mark).is_empty();
        Fence::opened_by(line).is_some() || marks('`') || marks('~')
    }

    /// Whether a line ends it.
    pub fn ends_with(&self, line: &str) -> bool {
        let rest = line.trim();
        let indent = line.len() - line.trim_start_matches(' ').len();
        indent <= 3 && rest.len() >= self.count && rest.chars().all(|c| c == self.mark)
    }

    /// Whether a line that is not complete may become one that ends it.
    pub fn may_end_with(&self, line: &str) -> bool {
        let rest = line.trim();
        !rest.is_empty() && rest.chars().all(|c| c == self.mark)
    }

    /// A line of code without the indentation that the fence has.
    pub fn inside<'a>(&self, line: &'a str) -> &'a str {
        let spaces = line.len() - line.trim_start_matches(' ').len();
        &line[spaces.min(self.indent)..]
    }
}

/// What follows the mark of a list item.
fn item_text(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches(' ');
    if line.len() - rest.len() > 3 {
        return None;
    }
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let after = match digits {
        0 => rest.strip_prefix(['-', '*', '+'])?,
        1..=9 => rest[digits..].strip_prefix(['.', ')'])?,
        _ => return None,
    };
    (after.is_empty() || after.starts_with([' ', '\t'])).then_some(after)
}

fn is_heading(line: &str) -> bool {
    let after = line.trim_start_matches('#');
    let level = line.len() - after.len();
    (1..=6).contains(&level) && (after.is_empty() || after.starts_with(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of a text, as the cutter sees them; fences as their language.
    fn blocks(text: &str) -> Vec<String> {
        let mut cutter = Cutter::default();
        let mut fence: Option<Fence> = None;
        let mut blocks = vec![String::new()];
        for line in text.lines() {
            if let Some(open) = &fence {
                if open.ends_with(line) {
                    fence = None;
                }
                continue;
            }
            match cutter.line(line) {
                Cut::Goes => {}
                Cut::Before => blocks.push(String::new()),
                Cut::Fence(opened) => {
                    blocks.push(format!("<{}>", opened.language()));
                    blocks.push(String::new());
                    fence = Some(opened);
                    continue;
                }
            }
            let last = blocks.last_mut().unwrap();
            last.push_str(line);
            last.push('|');
        }
        blocks.retain(|block| !block.trim_matches('|').is_empty());
        blocks
    }

    #[test]
    fn where_blocks_end() {
        let cases: [(&str, &[&str]); 11] = [
            ("a\nb\n\nc", &["a|b|", "|c|"]),
            ("# h\ntext\n## i", &["# h|text|", "## i|"]),
            ("text\n# h", &["text|", "# h|"]),
            ("- a\n\n- b\n\n  more\n\nend", &["- a||- b||  more||", "end|"]),
            ("1. a\n   ```rust\n# x\n\n   ```\n2. b", &["1. a|   ```rust|# x||   ```|2. b|"]),
            ("so:\n```py\nx\n\n# y\n```\nend", &["so:|", "<py>", "end|"]),
            ("- a\n```\nx\n```\n- b", &["- a|", "<>", "- b|"]),
            ("````\n```\n````\nx", &["<>", "x|"]),
            ("~~~ c++\n```\n~~~\nx", &["<c++>", "x|"]),
            ("```not`a fence\nx", &["```not`a fence|x|"]),
            ("say -x\n*b*", &["say -x|*b*|"]),
        ];
        for (text, expected) in cases {
            assert_eq!(blocks(text), expected, "{text:?}");
        }
    }
}
