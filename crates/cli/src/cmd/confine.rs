//! `dwarfstar confine ... -- COMMAND`: the agent's way to start a command that cannot do harm.
//!
//! No command for people, and in no help: the agent starts this program with it. What follows is
//! read by `agent::sandbox`, which also writes it, and never by the parser of flags, so that not a
//! byte of the command is understood as anything else.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::exit;

/// What shells give where a command was found and could not be started.
const NOT_STARTED: u8 = 126;

/// The arguments, if this is what the program was started for.
pub fn asked_for() -> Option<impl Iterator<Item = OsString>> {
    let mut arguments = std::env::args_os().skip(1);
    arguments.next().filter(|first| first == "confine").map(|_| arguments)
}

/// Becomes the command; comes back where that failed.
pub fn confine(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let why = agent::sandbox::confined(arguments);
    exit::say(&format!("dwarfstar: {why}"));
    NOT_STARTED.into()
}
