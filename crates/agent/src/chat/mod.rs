//! The prompt in an ordinary terminal: a line is asked for, the answer scrolls by.
//!
//! [`run()`] asks with `rustyline` and, while a turn runs, hands events to a [`Paper`], which
//! writes them as Markdown with the last rows still changing (`region.rs`). What scrolls away is
//! final. A terminal that is none is not a matter of this room. Start at `run.rs`.

mod line;
mod paper;
mod region;
mod run;

pub use paper::Paper;
pub use run::run;

use std::path::PathBuf;

use crate::paint::Ansi;

/// How the prompt looks and what it offers, as whoever starts it decides.
#[derive(Clone, Debug)]
pub struct Look {
    /// The styles that the terminal understands.
    pub ansi: Ansi,
    /// The cursor can be moved, so that the last rows may change.
    pub moves: bool,
    /// Reasoning is shown, dimmed.
    pub reasoning: bool,
    /// Where prompts are remembered.
    pub history: Option<PathBuf>,
    /// Commands that begin with a slash, without it, and what each does, in a line.
    pub commands: Vec<(String, String)>,
}

impl Default for Look {
    fn default() -> Look {
        let ansi = Ansi { styles: true, colours: true };
        Look { ansi, moves: true, reasoning: true, history: None, commands: Vec::new() }
    }
}
