//! Rule group: the size and shape of Rust files.
//!
//! Owns the limits on width, file length and function length and the demand for a header. It does
//! not know what the code does. Functions over the limit stand in the ratchet list with their
//! exact length, so growth across the limit is a decision that somebody wrote down. Start reading
//! at `header`.

use super::Finding;
use crate::ratchet::{self, Ratchet};
use crate::tree::{Rust, Tree};

const WIDTH_MAX: usize = 100;
const FILE_LINES_MAX: usize = 1_200;
const FUNCTION_LINES_MAX: usize = 70;
/// A small file, or a test, may say what it is in one sentence.
const SMALL_FILE_LINES_MAX: usize = 100;
const HEADER_LINES_MIN: usize = 3;
const HEADER_LINES_MAX: usize = 40;
const HEADER_SENTENCES_MIN: usize = 2;

/// Files that do not lex escape the other rules, so they are findings themselves.
pub fn lexes(tree: &Tree) -> Vec<Finding> {
    let broken = tree.files.iter().filter_map(|file| {
        let error = file.source.as_ref()?.as_ref().err()?;
        Some(Finding::new(&file.path, 1, format!("does not lex ({error}); correct it")))
    });
    broken.collect()
}

/// The file opens with a header of sentences.
pub fn header(tree: &Tree) -> Vec<Finding> {
    tree.rust().filter_map(|rust| header_of(&rust)).collect()
}

fn header_of(rust: &Rust<'_>) -> Option<Finding> {
    let lines: Vec<&str> = rust.text.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let prose = lines.concat();
    let ends = prose.match_indices(['.', '?']).filter(|(at, _)| {
        let rest = &prose[at + 1..];
        rest.is_empty() || rest.starts_with(' ')
    });
    let (count, sentences) = (lines.len(), ends.count());
    let is_root = rust.path.ends_with("/lib.rs") || rust.path.ends_with("src/main.rs");
    let is_small = rust.is_test || (line_count(rust) <= SMALL_FILE_LINES_MAX && !is_root);
    let (count_min, sentences_min) =
        if is_small { (1, 1) } else { (HEADER_LINES_MIN, HEADER_SENTENCES_MIN) };
    let what = match count {
        0 => "no header; open the file with `//!` lines: what it owns, what it must not know, \
              where to start reading"
            .to_owned(),
        _ if count > HEADER_LINES_MAX => {
            format!("the header has {count} lines; cut it to {HEADER_LINES_MAX}")
        }
        _ if count < count_min || sentences < sentences_min => format!(
            "the header has {count} lines and {sentences} sentences; write at least \
             {count_min} and {sentences_min}"
        ),
        _ => return None,
    };
    Some(Finding::new(rust.path, 1, what))
}

/// Lines of the file; those of its test modules count only if all of the file is a test.
fn line_count(rust: &Rust<'_>) -> usize {
    let all = rust.text.lines().count();
    if rust.is_test { all } else { all - rust.source.test_line_count() }
}

/// Lines fit the width.
pub fn width(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rust in tree.rust() {
        for (index, line) in rust.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > WIDTH_MAX {
                let what = format!("{columns} columns; break the line at {WIDTH_MAX}");
                findings.push(Finding::new(rust.path, index + 1, what));
            }
        }
    }
    findings
}

/// Files stay below the ceiling.
pub fn file_length(tree: &Tree) -> Vec<Finding> {
    let long = tree.rust().filter_map(|rust| {
        let count = line_count(&rust);
        let what = || format!("{count} lines; split it below {FILE_LINES_MAX}, by nouns");
        (count > FILE_LINES_MAX).then(|| Finding::new(rust.path, 1, what()))
    });
    long.collect()
}

/// Functions stay below the limit, or at their listed length.
pub fn function_length(tree: &Tree) -> Vec<Finding> {
    let ratchet = match Ratchet::read(tree) {
        Ok(ratchet) => ratchet,
        Err(finding) => return vec![finding],
    };
    let mut findings = Vec::new();
    for rust in tree.rust() {
        for function in rust.source.functions() {
            let entries = ratchet.long_function.iter().map(toml::Spanned::get_ref);
            let mut own = entries.filter(|e| e.path == rust.path && e.name == function.name);
            let limit = own.next().map_or(FUNCTION_LINES_MAX, |entry| entry.lines);
            if function.line_count > limit {
                let (name, count) = (&function.name, function.line_count);
                let what = format!("fn {name} has {count} lines, {limit} allowed; split it");
                findings.push(Finding::new(rust.path, function.line, what));
            }
        }
    }
    for entry in &ratchet.long_function {
        let listed = entry.get_ref();
        let mut files = tree.rust().filter(|rust| rust.path == listed.path);
        let found = files.next().and_then(|rust| {
            let functions = rust.source.functions().into_iter();
            functions.filter(|f| f.name == listed.name).map(|f| f.line_count).max()
        });
        let name = format!("{} in {}", listed.name, listed.path);
        let slack = ratchet::slack(&name, listed.lines, found, FUNCTION_LINES_MAX);
        let line = ratchet::line_of(tree, entry);
        findings.extend(slack.map(|what| Finding::new(ratchet::PATH, line, what)));
        if listed.reason.trim().is_empty() {
            findings.push(Finding::new(ratchet::PATH, line, "no reason; say why it is long"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::fires;
    use super::*;

    fn function(name: &str, line_count: usize) -> String {
        format!("fn {name}() {{\n{}}}\n", "    work();\n".repeat(line_count - 2))
    }

    #[test]
    fn an_unfinished_bracket_is_found() {
        assert_eq!(fires(lexes, &[("a.rs", "fn f() {"), ("b.rs", "fn f() {}")]), ["a.rs:1"]);
    }

    #[test]
    fn headers_have_lines_and_sentences() {
        let code = "fn f() {}\n".repeat(SMALL_FILE_LINES_MAX);
        let with = |path, top: &str| fires(header, &[(path, &format!("{top}{code}"))]);
        let good = "//! Owns the map.\n//! It knows no names.\n//! Start at `open`.\n";
        assert!(with("a.rs", good).is_empty());
        let bad = [
            "",
            "\n//! One.\n//! Two.\n//! Three.\n",
            "//! Owns v1.2 files\n//! and a lot more,\n//! it says.\n",
            "//! Owns the map.\n//! Start at `open`.\n",
        ];
        for top in bad {
            assert_eq!(with("a.rs", top), ["a.rs:1"], "{top}");
        }
        assert_eq!(with("a.rs", &"//! A word.\n".repeat(41)), ["a.rs:1"]);
    }

    #[test]
    fn small_files_and_tests_need_one_sentence() {
        let good = "//! Plain loops.\nfn f() {}\n";
        let long = format!("//! Golden values.\n{}", "fn f() {}\n".repeat(200));
        assert!(fires(header, &[("a.rs", good), ("crates/a/tests/it/b.rs", &long)]).is_empty());
        let bad = [("a.rs", "fn f() {}\n"), ("b.rs", "//! loops\n"), ("c/src/lib.rs", good)];
        assert_eq!(fires(header, &bad), ["a.rs:1", "b.rs:1", "c/src/lib.rs:1"]);
    }

    #[test]
    fn width_counts_characters() {
        let fits = format!("// {}\n", "\u{e4}".repeat(97));
        let wide = format!("\n// {}\n", "x".repeat(98));
        assert_eq!(fires(width, &[("fits.rs", &fits), ("wide.rs", &wide)]), ["wide.rs:2"]);
    }

    #[test]
    fn test_modules_do_not_count_as_length() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(1_300));
        assert!(fires(file_length, &[("a.rs", &tests)]).is_empty());
        assert_eq!(fires(file_length, &[("a.rs", &"\n".repeat(1_201))]), ["a.rs:1"]);
    }

    #[test]
    fn functions_have_a_limit() {
        let (fits, long) = (function("f", 70), function("f", 71));
        assert_eq!(fires(function_length, &[("a.rs", &fits), ("b.rs", &long)]), ["b.rs:1"]);
    }

    #[test]
    fn listed_functions_may_be_long_but_not_grow_and_the_list_shrinks() {
        let entry = |lines: usize| {
            format!(
                "[[long_function]]\npath = \"a.rs\"\nname = \"f\"\nlines = {lines}\n\
                 reason = \"x\"\n"
            )
        };
        let with = |lines: usize, listed: usize| {
            let (code, list) = (function("f", lines), entry(listed));
            fires(function_length, &[("a.rs", &code), (ratchet::PATH, &list)])
        };
        assert!(with(80, 80).is_empty());
        assert_eq!(with(81, 80), ["a.rs:1"]);
        assert_eq!(with(79, 80), ["xtask/tidy.toml:1"]);
        assert_eq!(with(60, 80), ["xtask/tidy.toml:1"]);
        assert_eq!(fires(function_length, &[(ratchet::PATH, &entry(80))]), ["xtask/tidy.toml:1"]);
    }
}
