//! How the program ends: exit codes, and errors as one sentence.
//!
//! 0 is done, 1 is something in the world (a file, the memory, the model), 2 is a command line
//! that was not understood, 130 is Ctrl+C. A reader that closed our output early had what it
//! wanted: that is success. A panic is a bug and is reported as one.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::process::ExitCode;

/// How a command ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Done,
    /// It did what was asked, and that was to look for problems; there are some.
    Problems,
    /// Ctrl+C.
    Interrupted,
}

const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;
const INTERRUPTED: u8 = 130;

/// What shells say of a command that could not be started.
pub const NOT_STARTED: u8 = 126;

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        match exit {
            Exit::Done => ExitCode::SUCCESS,
            Exit::Problems => FAILED.into(),
            Exit::Interrupted => INTERRUPTED.into(),
        }
    }
}

/// A command line that makes no sense.
#[derive(Debug)]
struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Usage {}

/// An error of the command line, exit code 2.
pub fn usage(sentence: impl Into<String>) -> anyhow::Error {
    Usage(sentence.into()).into()
}

/// Prints what went wrong, if anything, and gives the exit code.
pub fn report(result: anyhow::Result<Exit>) -> ExitCode {
    let error = match result {
        Ok(exit) => return exit.into(),
        Err(error) if output_was_closed(&error) => return ExitCode::SUCCESS,
        Err(error) => error,
    };
    say(&format!("dwarfstar: {}", sentence(&error)));
    if error.is::<Usage>() { WRONG_USAGE.into() } else { FAILED.into() }
}

/// Prints what the flag parser has to say: help on standard output, refusals on standard error.
pub fn refuse(refusal: &clap::Error) -> ExitCode {
    if !refusal.use_stderr() {
        // Nothing can be done about a closed output.
        let _ = refusal.print();
        return ExitCode::SUCCESS;
    }
    let text = refusal.to_string();
    let text =
        text.strip_prefix("error: ").map(|rest| format!("dwarfstar: {rest}")).unwrap_or(text);
    say(text.trim_end());
    WRONG_USAGE.into()
}

/// Writes a line to standard error. If that is closed, nobody listens, and nothing is lost.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The second Ctrl+C: ends here and now.
pub fn at_once() -> ! {
    std::process::exit(INTERRUPTED.into())
}

/// Makes a panic one sentence that asks for a report.
pub fn explain_panics() {
    std::panic::set_hook(Box::new(|panic| say(&bug(panic))));
}

fn bug(panic: &PanicHookInfo<'_>) -> String {
    let what = panic.payload_as_str().unwrap_or("without a message");
    let place = panic.location().map(|at| format!(" at {}:{}", at.file(), at.line()));
    bug_report(what, &place.unwrap_or_default())
}

fn bug_report(what: &str, place: &str) -> String {
    let what = what.lines().collect::<Vec<_>>().join(" ");
    format!(
        "dwarfstar: this is a bug of dwarfstar, please report it with the command line and this \
         line: {what}{place}, version {}",
        env!("CARGO_PKG_VERSION")
    )
}

fn output_was_closed(error: &anyhow::Error) -> bool {
    let io = |cause: &(dyn Error + 'static)| cause.downcast_ref::<io::Error>().map(io::Error::kind);
    error.chain().any(|cause| io(cause) == Some(io::ErrorKind::BrokenPipe))
}

/// The error and its causes on one line. Many of our messages quote their cause already.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn causes_are_told_once_and_on_one_line() {
        let error = anyhow!("no such file").context("a.gguf: no such file").context("opening");
        assert_eq!(sentence(&error), "opening: a.gguf: no such file");
        let quoted = anyhow!("disk\nfull").context("could not write: disk\nfull");
        assert_eq!(sentence(&quoted), "could not write: disk full");
    }

    #[test]
    fn a_closed_pipe_is_recognized_through_contexts() {
        let closed: anyhow::Result<()> =
            Err(io::Error::from(io::ErrorKind::BrokenPipe)).context("printing");
        assert!(output_was_closed(&closed.unwrap_err()));
        assert!(!output_was_closed(&anyhow!("Broken pipe")));
    }

    #[test]
    fn a_bug_asks_for_a_report() {
        let text = bug_report("left 1\nright 2", " at a.rs:3");
        assert!(text.contains("please report it") && text.contains("left 1 right 2 at a.rs:3"));
        assert_eq!(text.lines().count(), 1);
    }
}
