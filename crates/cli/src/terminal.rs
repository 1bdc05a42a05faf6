//! What the program talks to: a terminal or a pipe, with colours or without.
//!
//! The one place that reads the environment: NO_COLOR (any value but an empty one) and TERM=dumb
//! switch styles off. Styles mark, they never carry meaning. Nothing here writes.

use std::env;
use std::io::{self, IsTerminal};

/// What standard output and standard error are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// A person reads standard output.
    pub output: bool,
    /// A person reads standard error.
    pub messages: bool,
    /// Styles are wanted.
    pub styles: bool,
    /// The cursor can be moved.
    pub moves: bool,
}

/// Begins text that steps back.
pub const DIM: &str = "\u{1b}[2m";
/// Begins text that stands out.
pub const BOLD: &str = "\u{1b}[1m";
/// Ends both.
pub const PLAIN: &str = "\u{1b}[0m";

impl Terminal {
    /// Looks at the streams and the environment.
    pub fn detect() -> Terminal {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|value| value == "dumb");
        Terminal {
            output: io::stdout().is_terminal(),
            messages: io::stderr().is_terminal(),
            styles: !refused && !dumb,
            moves: !dumb,
        }
    }

    /// A heading for standard output.
    pub fn heading(&self, text: &str) -> String {
        if self.output && self.styles { format!("{BOLD}{text}{PLAIN}") } else { text.to_owned() }
    }
}
