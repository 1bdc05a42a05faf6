//! Rule group: things that may be done in one place only.
//!
//! Owns the lists of those places: conditional compilation where backends and where the sandbox of
//! commands are chosen, reading the environment and printing at the rim. Everything below the rim
//! thus behaves the same on every machine and speaks only through its return values. Tests may do
//! all of it. Start reading at `cfg`.

use super::Finding;
use crate::tree::{Rust, Tree};

const CFG_HOMES: [&str; 2] = ["crates/backend/src/lib.rs", "crates/agent/src/sandbox/mod.rs"];
const RIM: [&str; 2] = ["crates/cli/", "xtask/"];

/// `cfg(test)` everywhere, any other condition only where backends are chosen, and where the
/// operating system's own protection is: its libraries exist on that system only.
pub fn cfg(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rust in tree.rust().filter(|rust| !CFG_HOMES.contains(&rust.path)) {
        let source = rust.source;
        let attributes = source.attributes();
        let in_attribute = |open: &usize| attributes.iter().any(|tokens| tokens.contains(open));
        let mut conditions: Vec<usize> =
            ["cfg", "cfg_attr"].iter().flat_map(|&name| source.find(&[name, "("])).collect();
        conditions.iter_mut().for_each(|index| *index += 1);
        conditions.retain(in_attribute);
        conditions.extend(source.find(&["cfg", "!", "("]).into_iter().map(|at| at + 2));
        for open in conditions {
            if !matches!(source.inside(open)[..], ["test"] | ["test", ",", ..]) {
                let home = CFG_HOMES[0];
                let what = format!("conditional compilation; decide in {home} or at run time");
                findings.push(Finding::new(rust.path, source.tokens[open].line, what));
            }
        }
    }
    findings
}

/// The environment is read at the rim and handed down as data.
pub fn environment(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rust in tree.rust().filter(|rust| !at_rim(rust)) {
        let source = rust.source;
        let mut reads = source.find(&["option_env", "!"]);
        for name in ["var", "var_os", "vars", "vars_os", "set_var", "remove_var"] {
            reads.extend(source.find(&["env", ":", ":", name]));
        }
        reads.extend(source.find(&["env", ":", ":", "{"]).into_iter().filter(|&at| {
            let imported = source.inside(at + 3);
            imported.iter().any(|word| word.starts_with("var"))
        }));
        reads.extend(source.find(&["env", "!", "("]).into_iter().filter(|&at| {
            let name = source.inside(at + 2);
            !name.first().is_some_and(|name| name.starts_with("\"CARGO_"))
        }));
        for index in reads.into_iter().filter(|&index| !rust.is_test_token(index)) {
            let what = "reads the environment; let crates/cli read it and pass the value down";
            findings.push(Finding::new(rust.path, source.tokens[index].line, what));
        }
    }
    findings
}

/// Only the rim writes to the terminal.
pub fn printing(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rust in tree.rust().filter(|rust| !at_rim(rust)) {
        let source = rust.source;
        let macros = ["println", "eprintln", "print", "eprint"];
        let mut prints: Vec<usize> =
            macros.iter().flat_map(|&name| source.find(&[name, "!"])).collect();
        for stream in ["stdout", "stderr"] {
            prints.extend(source.find(&["io", ":", ":", stream]));
        }
        for index in prints.into_iter().filter(|&index| !rust.is_test_token(index)) {
            let what = "prints; return the value and let crates/cli show it";
            findings.push(Finding::new(rust.path, source.tokens[index].line, what));
        }
    }
    findings
}

fn at_rim(rust: &Rust<'_>) -> bool {
    RIM.iter().any(|folder| rust.path.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::super::fires;
    use super::*;

    #[test]
    fn conditions_stand_where_devices_and_protections_are_chosen() {
        let bad = concat!(
            "#[cfg(feature = \"cuda\")]\nmod cuda;\n",
            "#[cfg_attr(unix, inline)]\nfn f() { if cfg!(debug_assertions) {} }\n",
            "#[cfg(not(test))]\nmod real;\n",
        );
        let found = fires(cfg, &[("crates/model/src/lib.rs", bad)]);
        let lines = ["1", "3", "4", "5"].map(|line| format!("crates/model/src/lib.rs:{line}"));
        assert_eq!(found, lines);
        assert!(CFG_HOMES.iter().all(|home| fires(cfg, &[(home, bad)]).is_empty()));
    }

    #[test]
    fn test_conditions_and_plain_words_are_free() {
        let good = concat!(
            "// #[cfg(unix)]\n",
            "#[cfg(test)]\nmod tests { fn f() { cfg(unix); } }\n",
            "#[cfg_attr(test, derive(Debug))]\nstruct S;\n",
            "fn g() -> &'static str { \"#[cfg(unix)]\" }\n",
        );
        assert!(fires(cfg, &[("a.rs", good)]).is_empty());
    }

    #[test]
    fn the_environment_is_read_at_the_rim() {
        let bad = concat!(
            "fn f() { std::env::var(\"HOME\"); }\n",
            "use std::env::{args, var_os};\n",
            "const A: &str = env!(\"HOME\");\n",
            "const B: Option<&str> = option_env!(\"CARGO_X\");\n",
        );
        let found = fires(environment, &[("crates/engine/src/a.rs", bad)]);
        assert_eq!(found, [1, 2, 3, 4].map(|line| format!("crates/engine/src/a.rs:{line}")));
        let at_rim = [("crates/cli/src/main.rs", bad), ("crates/engine/tests/it/main.rs", bad)];
        assert!(fires(environment, &at_rim).is_empty());
        let good = concat!(
            "const D: &str = env!(\"CARGO_PKG_VERSION\");\n",
            "fn args() { std::env::args(); }\n",
            "#[cfg(test)]\nmod tests { fn f() { std::env::var(\"UPDATE\"); } }\n",
        );
        assert!(fires(environment, &[("crates/engine/src/a.rs", good)]).is_empty());
    }

    #[test]
    fn only_the_rim_prints() {
        let bad = "fn f() {\n    println!();\n    eprint!(\"\");\n    std::io::stdout();\n}\n";
        let found = fires(printing, &[("crates/model/src/a.rs", bad)]);
        assert_eq!(found, [2, 3, 4].map(|line| format!("crates/model/src/a.rs:{line}")));
        let free = ["crates/cli/src/a.rs", "xtask/src/a.rs", "crates/model/benches/a.rs"];
        assert!(fires(printing, &free.map(|path| (path, bad))).is_empty());
        let named = "/// Call `println!()`.\nfn print() { print(); }\n";
        assert!(fires(printing, &[("crates/model/src/a.rs", named)]).is_empty());
    }
}
