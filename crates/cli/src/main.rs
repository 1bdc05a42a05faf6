//! The program `dwarfstar`: what was typed becomes what was meant, what was meant is done by one
//! function per command, and how that ended becomes an exit code.
//!
//! The commands are introductions: they hand files, flags and the terminal to the crates that know
//! the work, and print what comes back. Start at `cmd/run.rs`, the main job on one page.

mod cmd;
mod compute;
mod default;
mod exit;
mod folders;
mod human;
mod interrupt;
mod json;
mod machine;
mod meant;
mod nano;
mod npy;
mod open;
mod progress;
mod screen;
mod steering;
mod terminal;
mod typed;
mod whole;

use std::process::ExitCode;

use clap::Parser;

use crate::exit::Exit;
use crate::terminal::Terminal;
use crate::typed::{Command, Typed};

fn main() -> ExitCode {
    exit::explain_panics();
    // Not for people: a command of the agent is about to be confined.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == cmd::agent::CONFINE) {
        exit::say(&agent::sandbox::confined(arguments));
        return exit::NOT_STARTED.into();
    }
    let typed = match Typed::try_parse() {
        Ok(typed) => typed,
        Err(refusal) => return exit::refuse(&refusal),
    };
    exit::report(run(typed.command))
}

fn run(command: Command) -> anyhow::Result<Exit> {
    let terminal = Terminal::detect();
    match command {
        Command::Run(typed) => cmd::run::run(meant::run(typed)?, &terminal),
        Command::Chat(typed) => cmd::agent::chat(meant::agent::chat(typed)?, &terminal),
        Command::Agent(typed) => cmd::agent::agent(meant::agent::agent(typed)?, &terminal),
        Command::Serve(typed) => cmd::serve::serve(meant::serve::serve(typed)?, &terminal),
        Command::Inspect(typed) => cmd::inspect::inspect(&meant::inspect(typed)?, &terminal),
        Command::Tokenize(typed) => cmd::tokenize::tokenize(&meant::tokenize(typed)?),
        Command::Logits(typed) => cmd::logits::logits(&meant::logits(typed)?, &terminal),
        Command::Imatrix(typed) => {
            cmd::imatrix::imatrix(&meant::imatrix::imatrix(typed)?, &terminal)
        }
        Command::Quantize(typed) => {
            cmd::quantize::quantize(&meant::quantize::quantize(typed)?, &terminal)
        }
        Command::Splice(typed) => cmd::splice::splice(&meant::quantize::splice(typed)?, &terminal),
        Command::Bench(typed) => match meant::comparison(&typed)? {
            Some(comparison) => cmd::bench::compare(&comparison, &terminal),
            None => cmd::bench::bench(&meant::bench(typed)?, &terminal),
        },
        Command::Perplexity(typed) => {
            cmd::perplexity::perplexity(&meant::measure::perplexity(typed)?, &terminal)
        }
        Command::Score(typed) => cmd::score::score(&meant::measure::score(typed)?, &terminal),
        Command::Eval(typed) => cmd::eval::eval(meant::eval::eval(*typed)?, &terminal),
        Command::Kv(typed) => cmd::kv::kv(&meant::kv::kv(typed)?, &terminal),
        Command::Pull(typed) => cmd::pull::pull(&meant::pull::pull(typed)?, &terminal),
        Command::Steer(typed) => cmd::steer::steer(&meant::steer::steering(typed)?, &terminal),
        Command::Synth(typed) => cmd::synth::synth(&meant::synth(typed)?, &terminal),
    }
}
