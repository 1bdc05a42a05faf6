//! The rules of the house, one file per group, and the list of all of them.
//!
//! Owns the shape of a finding and the order of the rules. It does not know how files are read or
//! how findings are printed. A rule is a function from the tree to findings, with its own tests on
//! bad and good snippets. To add one: write it in its group, add a line to `RULES`, and show in a
//! test that it fires. Start reading at `RULES`.

use std::fmt;

use crate::tree::Tree;

mod docs;
mod edges;
mod hygiene;
mod layout;
mod manifests;
mod panics;
mod places;
mod unsafety;
mod words;

/// One thing that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// File from the root.
    pub path: String,
    /// Line from 1.
    pub line: usize,
    /// Name of the rule; filled in by `check`.
    pub rule: &'static str,
    /// What is wrong, and what to do.
    pub what: String,
}

impl Finding {
    /// A finding whose rule name `check` fills in.
    pub fn new(path: &str, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: path.to_owned(), line, rule: "", what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}: {}", self.path, self.line, self.rule, self.what)
    }
}

/// A rule: its name, what it asks for, and the check.
pub struct Rule {
    /// Name as printed in findings.
    pub name: &'static str,
    /// One line: what the rule asks for.
    pub asks: &'static str,
    /// The check.
    pub check: fn(&Tree) -> Vec<Finding>,
}

const fn rule(name: &'static str, asks: &'static str, check: fn(&Tree) -> Vec<Finding>) -> Rule {
    Rule { name, asks, check }
}

/// All rules.
pub const RULES: &[Rule] = &[
    rule(
        "edges",
        "crates depend on each other as drawn in ARCHITECTURE.md, always downwards",
        edges::edges,
    ),
    rule("lexes", "every Rust file is made of Rust tokens", layout::lexes),
    rule(
        "header",
        "every Rust file opens with a `//!` header; 3 lines and 2 sentences above 100 lines",
        layout::header,
    ),
    rule("width", "Rust lines have at most 100 columns", layout::width),
    rule("file", "files have at most 1,200 lines without their test modules", layout::file_length),
    rule(
        "function",
        "functions have at most 70 lines unless listed in xtask/tidy.toml",
        layout::function_length,
    ),
    rule(
        "unsafe",
        "`unsafe` stands only in the files listed in xtask/tidy.toml, no oftener than listed",
        unsafety::places,
    ),
    rule("safety", "every `unsafe` has a SAFETY note above it", unsafety::notes),
    rule(
        "cfg",
        "only where backends and the sandbox are chosen code compiles conditionally; tests may",
        places::cfg,
    ),
    rule("environment", "only crates/cli reads the environment", places::environment),
    rule("printing", "only crates/cli and xtask print", places::printing),
    rule("panics", "no `unwrap()` and no panic without a reason outside tests", panics::panics),
    rule("unfinished", "nothing is left to do or to debug", panics::unfinished),
    rule("reminders", "no leftover reminder words", words::reminders),
    rule("space", "no tabs, no space at line ends, one newline at the end", words::space),
    rule("ascii", "Rust code is ASCII outside crates/text, tests and comments", words::ascii),
    rule("large", "no file above 32 MB", hygiene::large_files),
    rule("machine", "no path of somebody's machine", hygiene::machine_paths),
    rule("binaries", "one integration test binary per crate", hygiene::integration_binaries),
    rule("reasons", "every dependency says what it does for the user", manifests::reasons),
    rule("inherit", "members take versions and lints from the workspace", manifests::inherit),
    rule("unused", "every dependency is used where it is declared", manifests::unused),
    rule("rooms", "every crate has its row in the room table", docs::rooms),
    rule("paths", "paths named in the documents exist; five files to open", docs::paths),
    rule("length", "documents stay as short as promised", docs::length),
    rule(
        "glossary",
        "glossary sections are alphabetical and name things that exist",
        docs::glossary,
    ),
];

/// All findings, sorted by place.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in RULES {
        let found = (rule.check)(tree).into_iter();
        findings.extend(found.map(|finding| Finding { rule: rule.name, ..finding }));
    }
    findings.sort();
    findings.dedup();
    findings
}

/// The places (`path:line`) at which `check` fires in a tree of snippets.
#[cfg(test)]
fn fires(check: fn(&Tree) -> Vec<Finding>, files: &[(&str, &str)]) -> Vec<String> {
    let mut findings = check(&Tree::of(files));
    findings.sort();
    findings.iter().map(|finding| format!("{}:{}", finding.path, finding.line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_carry_their_rule_and_come_sorted() {
        let tree = Tree::of(&[("b.rs", "fn f() { x.unwrap(); }\n"), ("a.md", "end \n")]);
        let findings: Vec<String> = check(&tree).iter().map(Finding::to_string).collect();
        assert!(findings.is_sorted());
        assert!(findings.iter().any(|line| line.starts_with("a.md:1: space: ")));
        assert!(findings.iter().any(|line| line.starts_with("b.rs:1: panics: ")));
        assert!(findings.iter().any(|line| line.starts_with("b.rs:1: header: ")));
    }

    #[test]
    fn rule_names_are_distinct() {
        let mut names: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RULES.len());
    }
}
