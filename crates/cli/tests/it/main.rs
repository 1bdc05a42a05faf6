//! The program as people meet it: command lines in, output, messages and exit codes out.
//!
//! Every test runs the built binary on the golden files, or on damaged copies of them that
//! `support` makes. One module per command; `bad_input` is the table of everything that may go
//! wrong, `signals` is about Ctrl+C and closed pipes, `help` holds the help texts.

mod agent;
mod bad_input;
mod bench;
mod eval;
mod help;
mod imatrix;
mod inspect;
mod kv;
mod logits;
mod perplexity;
#[path = "../../../agent/tests/it/pty.rs"]
mod pty;
mod pull;
mod quantize;
mod run;
mod score;
mod serve;
mod signals;
#[expect(dead_code, reason = "the tests of the hub use all of it")]
#[path = "../../../hub/tests/it/site.rs"]
mod site;
mod steer;
mod support;
mod synth;
mod talk;
mod tokenize;
mod work;
