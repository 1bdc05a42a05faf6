//! The project's own tasks. Today there is one: `cargo xtask tidy` checks the rules of the house.
//!
//! Owns the command line and the printing of findings. What the rules are it does not know: they
//! live in `rules`, one file per group, and work on a `Tree`. The same check runs as an ordinary
//! test, so `cargo test --workspace` cannot pass on an untidy tree. Start reading at `tidy`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

mod ratchet;
mod rules;
mod source;
mod tree;

use rules::{RULES, check};
use tree::Tree;

const USAGE: &str = "\
usage: cargo xtask tidy

  tidy    check the rules of the house on all files that git tracks or would track

Exceptions that may only shrink are listed in xtask/tidy.toml. The rules:
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tidy"] => tidy(),
        ["--help" | "-h" | "help"] | ["tidy", "--help" | "-h"] => {
            println!("{}", usage());
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{}", usage());
            ExitCode::from(2)
        }
    }
}

fn tidy() -> ExitCode {
    let findings = match read_tree() {
        Ok(tree) => check(&tree),
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("tidy: {} rules, no findings", RULES.len());
            ExitCode::SUCCESS
        }
        count => {
            println!("tidy: {} rules, {count} findings", RULES.len());
            ExitCode::FAILURE
        }
    }
}

fn read_tree() -> Result<Tree> {
    let own_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    Tree::read(own_folder.parent().expect("xtask lies in the repository root"))
}

fn usage() -> String {
    let lines = RULES.iter().map(|rule| format!("  {:<12}{}\n", rule.name, rule.asks));
    USAGE.to_owned() + lines.collect::<String>().trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_is_tidy() {
        let findings = check(&read_tree().expect("git lists the repository"));
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
    }

    #[test]
    fn help_lists_every_rule() {
        let usage = usage();
        assert!(RULES.iter().all(|rule| usage.contains(rule.asks)));
    }
}
