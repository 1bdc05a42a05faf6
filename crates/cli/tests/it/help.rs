//! The help texts as people see them, held as reviewed text.
//!
//! A flag that appears, disappears or changes its default shows up here.

use crate::support::works;

fn help(command: &str) -> String {
    works(&[command, "--help"]).text().to_owned()
}

#[test]
fn of_the_program() {
    insta::assert_snapshot!(works(&["--help"]).text());
}

#[test]
fn of_run() {
    insta::assert_snapshot!(help("run"));
}

#[test]
fn of_chat() {
    insta::assert_snapshot!(help("chat"));
}

#[test]
fn of_agent() {
    insta::assert_snapshot!(help("agent"));
}

#[test]
fn of_serve() {
    insta::assert_snapshot!(help("serve"));
}

#[test]
fn of_inspect() {
    insta::assert_snapshot!(help("inspect"));
}

#[test]
fn of_steer() {
    insta::assert_snapshot!(help("steer"));
    for command in ["build", "apply", "sweep"] {
        let text = works(&["steer", command, "--help"]).text().to_owned();
        insta::assert_snapshot!(format!("of_steer_{command}"), text);
    }
}

#[test]
fn of_tokenize() {
    insta::assert_snapshot!(help("tokenize"));
}

#[test]
fn of_logits() {
    insta::assert_snapshot!(help("logits"));
}

#[test]
fn of_imatrix() {
    insta::assert_snapshot!(help("imatrix"));
}

#[test]
fn of_quantize() {
    insta::assert_snapshot!(help("quantize"));
}

#[test]
fn of_splice() {
    insta::assert_snapshot!(help("splice"));
}

#[test]
fn of_bench() {
    insta::assert_snapshot!(help("bench"));
}

#[test]
fn of_perplexity() {
    insta::assert_snapshot!(help("perplexity"));
}

#[test]
fn of_score() {
    insta::assert_snapshot!(help("score"));
}

#[test]
fn of_eval() {
    insta::assert_snapshot!(help("eval"));
}

#[test]
fn of_kv() {
    insta::assert_snapshot!(help("kv"));
}

#[test]
fn of_pull() {
    insta::assert_snapshot!(help("pull"));
}

#[test]
fn of_synth() {
    insta::assert_snapshot!(help("synth"));
}

#[test]
fn no_help_is_wider_than_a_page() {
    let commands = [
        "run",
        "chat",
        "agent",
        "serve",
        "inspect",
        "tokenize",
        "logits",
        "quantize",
        "bench",
        "kv",
        "pull",
        "splice",
        "synth",
        "perplexity",
        "score",
        "eval",
    ];
    for command in commands {
        for line in help(command).lines() {
            assert!(line.chars().count() <= 105, "{command}: {line}");
        }
    }
}
