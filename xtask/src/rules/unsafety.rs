//! Rule group: where `unsafe` may stand, how often, and what is said about it.
//!
//! Owns the comparison of the keyword's count per file with the ratchet list, and the search for
//! the note above each one. The compiler denies unsafe code by default; this group decides who may
//! lift that. Start reading at `places`.

use super::Finding;
use crate::ratchet::{self, Ratchet};
use crate::tree::{Rust, Tree};

/// The keyword, and the permission to use it, stand only in the listed files.
pub fn places(tree: &Tree) -> Vec<Finding> {
    let ratchet = match Ratchet::read(tree) {
        Ok(ratchet) => ratchet,
        Err(finding) => return vec![finding],
    };
    let mut findings = Vec::new();
    for rust in tree.rust() {
        let entries = ratchet.unsafe_file.iter().map(toml::Spanned::get_ref);
        let allowed =
            entries.filter(|entry| entry.path == rust.path).map(|entry| entry.count).max();
        let found = keyword_lines(&rust);
        if found.len() > allowed.unwrap_or(0) {
            let what = format!(
                "`unsafe` stands {} times in this file, {} allowed; do without it",
                found.len(),
                allowed.unwrap_or(0)
            );
            findings.push(Finding::new(rust.path, found[0], what));
        }
        if allowed.is_none() {
            let what =
                "unsafe code is allowed here, but the file is not listed; remove the attribute";
            let lines = permission_lines(&rust).into_iter();
            findings.extend(lines.map(|line| Finding::new(rust.path, line, what)));
        }
    }
    for entry in &ratchet.unsafe_file {
        let listed = entry.get_ref();
        let mut files = tree.rust().filter(|rust| rust.path == listed.path);
        let found = files.next().map(|rust| keyword_lines(&rust).len());
        let slack = ratchet::slack(&listed.path, listed.count, found, 0);
        let line = ratchet::line_of(tree, entry);
        findings.extend(slack.map(|what| Finding::new(ratchet::PATH, line, what)));
        if listed.reason.trim().is_empty() {
            findings.push(Finding::new(ratchet::PATH, line, "no reason; say what needs it"));
        }
    }
    findings
}

/// Above every `unsafe` stands why it is sound (`SAFETY:`) or what it asks for (`# Safety`).
pub fn notes(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rust in tree.rust() {
        let lines: Vec<&str> = rust.text.lines().collect();
        let bare = keyword_lines(&rust).into_iter().filter(|&line| !has_note(&lines, line));
        let what = "`unsafe` without a note; write `// SAFETY: ...` on the lines above";
        findings.extend(bare.map(|line| Finding::new(rust.path, line, what)));
    }
    findings
}

fn keyword_lines(rust: &Rust<'_>) -> Vec<usize> {
    let found = rust.source.find(&["unsafe"]).into_iter();
    found.map(|index| rust.source.tokens[index].line).collect()
}

fn permission_lines(rust: &Rust<'_>) -> Vec<usize> {
    let permits = |open: usize| {
        let inside = rust.source.inside(open);
        let lifts =
            inside.iter().any(|&word| word == "allow" || word == "expect" || word == "warn");
        lifts && inside.contains(&"unsafe_code")
    };
    let attributes = rust.source.attributes().into_iter().map(|tokens| *tokens.start());
    let permitting = attributes.filter(|&open| permits(open));
    permitting.map(|open| rust.source.tokens[open].line).collect()
}

/// Looks upwards from `line` (from 1) through comments, attributes and the beginning of the
/// statement that the keyword belongs to.
fn has_note(lines: &[&str], line: usize) -> bool {
    let is_note = |text: &str| text.contains("SAFETY:") || text.contains("# Safety");
    for text in lines[..line - 1].iter().rev().map(|text| text.trim()) {
        if text.starts_with("//") {
            if is_note(text) {
                return true;
            }
        } else if text.is_empty() || text.ends_with([';', '{', '}']) {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::fires;
    use super::*;

    const TWO: &str = concat!(
        "// SAFETY: the file is read-only.\n",
        "unsafe impl Send for Map {}\n",
        "/// Maps it.\n///\n/// # Safety\n/// Nobody may write.\n#[must_use]\n",
        "unsafe fn map() {}\n",
    );

    fn listed(count: usize) -> String {
        format!("[[unsafe]]\npath = \"map.rs\"\ncount = {count}\nreason = \"the memory map\"\n")
    }

    fn with(code: &str, count: usize) -> Vec<String> {
        fires(places, &[("map.rs", code), (ratchet::PATH, &listed(count))])
    }

    #[test]
    fn unsafe_stands_in_listed_files_only() {
        assert_eq!(fires(places, &[("map.rs", TWO)]), ["map.rs:2"]);
        assert!(with(TWO, 2).is_empty());
    }

    #[test]
    fn the_count_may_only_fall() {
        assert_eq!(with(TWO, 1), ["map.rs:2"]);
        assert_eq!(with(TWO, 3), ["xtask/tidy.toml:1"]);
        assert_eq!(with("// unsafe\n", 1), ["xtask/tidy.toml:1"]);
        assert_eq!(fires(places, &[(ratchet::PATH, &listed(1))]), ["xtask/tidy.toml:1"]);
    }

    #[test]
    fn permission_counts_even_without_use() {
        let code = "\n#![allow(dead_code, unsafe_code)]\n";
        assert_eq!(fires(places, &[("a.rs", code)]), ["a.rs:2"]);
        assert!(fires(places, &[("a.rs", "#![forbid(unsafe_code)]\n")]).is_empty());
    }

    #[test]
    fn every_unsafe_has_its_note() {
        let good = concat!(
            "fn f() {\n    // SAFETY: in bounds, as\n    // checked above.\n",
            "    let x =\n        unsafe { read() };\n}\n",
        );
        assert!(fires(notes, &[("a.rs", TWO), ("b.rs", good)]).is_empty());
        let bad = "// SAFETY: this one is fine.\nfn f() {\n    unsafe { read() };\n}\n";
        assert_eq!(fires(notes, &[("a.rs", bad)]), ["a.rs:3"]);
    }
}
