//! Rule group: how code may stop.
//!
//! Owns the words that end a program without saying why, and those that mark unfinished work. Bugs
//! are asserted with a message, the world returns errors; neither needs `unwrap`. Tests may unwrap,
//! because there the line number is the message. Start reading at `panics`.

use super::Finding;
use crate::tree::Tree;

/// Outside tests every panic says why.
pub fn panics(tree: &Tree) -> Vec<Finding> {
    let silent: [(&[&str], &str); 6] = [
        (&[".", "unwrap", "(", ")"], "`unwrap()`; return an error, or `expect(\"why it holds\")`"),
        (&[".", "unwrap_err", "(", ")"], "`unwrap_err()`; use `expect_err(\"why it holds\")`"),
        (&["::", "unwrap"], "`unwrap` as a function; return an error, or use a closure"),
        (&[".", "expect", "(", "\"\"", ")"], "`expect` without a reason; say why it holds"),
        (&["panic", "!", "(", ")"], "`panic!` without a message; say what was expected and found"),
        (&["unreachable", "!", "(", ")"], "`unreachable!` without a message; say why"),
    ];
    let mut findings = Vec::new();
    for rust in tree.rust() {
        for (pattern, what) in silent {
            let pattern = spelled(pattern);
            for index in rust.source.find(&pattern) {
                if rust.is_test_token(index) {
                    continue;
                }
                findings.push(Finding::new(rust.path, rust.source.tokens[index].line, what));
            }
        }
    }
    findings
}

/// Nothing marks unfinished work or a debugging session, in tests neither.
pub fn unfinished(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rust in tree.rust() {
        for name in ["todo", "unimplemented", "dbg"] {
            for index in rust.source.find(&[name, "!"]) {
                let what = format!("`{name}!`; finish the work or return an error");
                findings.push(Finding::new(rust.path, rust.source.tokens[index].line, what));
            }
        }
    }
    findings
}

/// The pattern with `::` as the two tokens it is.
fn spelled<'a>(pattern: &[&'a str]) -> Vec<&'a str> {
    let mut tokens = Vec::new();
    for &text in pattern {
        match text {
            "::" => tokens.extend([":", ":"]),
            _ => tokens.push(text),
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::super::fires;
    use super::*;

    #[test]
    fn silent_panics_are_found() {
        let bad = concat!(
            "fn f() {\n",
            "    x.unwrap();\n",
            "    x.unwrap_err();\n",
            "    y.map(Option::unwrap);\n",
            "    x.expect(\"\");\n",
            "    panic!();\n",
            "    unreachable!();\n",
            "}\n",
        );
        let found = fires(panics, &[("crates/a/src/a.rs", bad)]);
        assert_eq!(found, [2, 3, 4, 5, 6, 7].map(|line| format!("crates/a/src/a.rs:{line}")));
    }

    #[test]
    fn tests_and_reasons_are_free() {
        let good = concat!(
            "fn f() { x.unwrap_or(0); x.expect(\"checked\"); panic!(\"expected {a}\"); }\n",
            "#[test]\nfn t() { x.unwrap(); }\n",
            "#[cfg(test)]\nmod tests { fn helper() { x.unwrap(); } }\n",
        );
        let test = ("crates/a/tests/it/main.rs", "fn f() { x.unwrap(); panic!(); }\n");
        assert!(fires(panics, &[("crates/a/src/a.rs", good), test]).is_empty());
    }

    #[test]
    fn unfinished_work_is_found_in_tests_as_well() {
        let bad = "fn f() { todo!() }\nfn g() { unimplemented!() }\n#[test]\nfn t() { dbg!(1); }\n";
        assert_eq!(fires(unfinished, &[("a.rs", bad)]), ["a.rs:1", "a.rs:2", "a.rs:4"]);
        assert!(fires(unfinished, &[("a.rs", "fn todo() {} // todo!()\n")]).is_empty());
    }
}
