//! Rule group: characters and words in sources and documents.
//!
//! Owns the reminder words, white space and the alphabet of the code. It reads lines, not meaning.
//! The words are put together from halves here, because this file is checked as well. Start
//! reading at `reminders`.

use super::Finding;
use crate::source::Kind;
use crate::tree::{Tree, is_training_text};

const REMINDERS: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

/// No word that postpones work; do it, or write it down as a note with a date.
pub fn reminders(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, number, line) in lines(tree).filter(|(path, ..)| !is_training_text(path)) {
        let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|word| REMINDERS.contains(word)) {
            let what = format!("the reminder word {word}; do it now or drop it");
            findings.push(Finding::new(path, number, what));
        }
    }
    findings
}

/// No tabs, nothing after the last visible character, one newline at the end of the file.
pub fn space(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, number, line) in lines(tree) {
        if line.contains('\t') {
            findings.push(Finding::new(path, number, "a tab; use spaces, or `\\t` in a string"));
        }
        if line.ends_with(char::is_whitespace) {
            findings.push(Finding::new(path, number, "space at the end of the line; delete it"));
        }
    }
    for file in &tree.files {
        let text = file.text.as_deref().unwrap_or_default();
        let one_newline = text.ends_with('\n') && !text.ends_with("\n\n");
        if !text.is_empty() && !one_newline {
            let what = "does not end in exactly one newline; correct the end";
            findings.push(Finding::new(&file.path, text.lines().count(), what));
        }
    }
    findings
}

/// Code outside `text`, tests and comments is ASCII; other characters are written as escapes.
pub fn ascii(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rust in tree.rust().filter(|rust| !rust.path.starts_with("crates/text/")) {
        for (index, token) in rust.source.tokens.iter().enumerate() {
            let speaks = matches!(token.kind, Kind::Word | Kind::Literal);
            if speaks && !token.text.is_ascii() && !rust.is_test_token(index) {
                let what = "a character outside ASCII; write it as `\\u{...}`";
                findings.push(Finding::new(rust.path, token.line, what));
            }
        }
    }
    findings
}

fn lines(tree: &Tree) -> impl Iterator<Item = (&str, usize, &str)> {
    tree.files.iter().flat_map(|file| {
        let text = file.text.as_deref().unwrap_or_default();
        // Split at newlines only, so that a carriage return counts as space at the line's end.
        let lines = text.split('\n').enumerate();
        lines.map(|(index, line)| (file.path.as_str(), index + 1, line))
    })
}

#[cfg(test)]
mod tests {
    use super::super::fires;
    use super::*;

    #[test]
    fn reminder_words_are_found_as_words_only() {
        for word in REMINDERS {
            let text = format!("fine\n// {word}: later\n");
            assert_eq!(fires(reminders, &[("a.rs", &text)]), ["a.rs:2"]);
            assert_eq!(fires(reminders, &[("a.md", &text)]), ["a.md:2"]);
            let part = format!("IQ2_{word}S {} A_{word}\n", word.to_lowercase());
            assert!(fires(reminders, &[("a.md", &part)]).is_empty());
        }
    }

    #[test]
    fn stray_white_space_is_found() {
        let bad = [("a.rs", "x\n\ty\n"), ("b.md", "x \n"), ("c.toml", "x\r\n"), ("d.md", "x")];
        assert_eq!(fires(space, &bad), ["a.rs:2", "b.md:1", "c.toml:1", "d.md:1"]);
        assert_eq!(fires(space, &[("a.rs", "x\n\n")]), ["a.rs:2"]);
        assert!(fires(space, &[("a.rs", "fn f() {\n    x();\n}\n"), ("b.rs", "")]).is_empty());
    }

    #[test]
    fn code_is_ascii_where_it_is_code() {
        let bad = "fn f() {\n    let s = \"\u{ff5c}\";\n}\nconst \u{3bb}: u8 = 0;\n";
        assert_eq!(
            fires(ascii, &[("crates/a/src/a.rs", bad)]),
            ["crates/a/src/a.rs:2", "crates/a/src/a.rs:4"]
        );
        let comment = "/// From \u{3b1} to \u{3c9}.\nfn f() {} // \u{3b1}\n";
        let test = "#[test]\nfn t() { f(\"\u{3b1}\"); }\n";
        let free = [("crates/text/src/a.rs", bad), ("a.rs", comment), ("b.rs", test)];
        assert!(fires(ascii, &free).is_empty());
    }
}
