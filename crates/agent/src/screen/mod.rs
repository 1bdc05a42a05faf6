//! The full screen: a transcript, a line to type in, and how things stand.
//!
//! Everything but the terminal itself is a value. A [`View`] hears events, keys and pasted text,
//! answers keys with wishes, and is drawn onto a buffer of cells; [`run()`] is the thin loop
//! between that and a terminal. So a test plays a conversation without one, and sees every cell.
//! Start at `view.rs`.

pub(crate) mod call;
mod draw;
mod entry;
mod help;
mod input;
mod keys;
mod past;
mod run;
pub(crate) mod status;
mod transcript;
pub(crate) mod view;

pub use input::INPUT_BYTES_MAX;
pub use run::run;
pub use view::View;

use std::path::PathBuf;

/// How the screen looks and what it offers, as whoever starts it decides.
#[derive(Clone, Debug)]
pub struct Look {
    /// The sixteen colours may be used; otherwise bold, dim and the like only.
    pub colours: bool,
    /// The mouse wheel scrolls, and selecting with the mouse needs a key held down.
    pub mouse: bool,
    /// Reasoning stays shown when it is over.
    pub reasoning: bool,
    /// Where prompts are remembered, up to [`HISTORY_ENTRIES_MAX`].
    pub history: Option<PathBuf>,
    /// Commands that begin with a slash, without it, and what each does, in a line.
    pub commands: Vec<(String, String)>,
}

/// So many prompts are remembered.
pub const HISTORY_ENTRIES_MAX: usize = 512;

impl Default for Look {
    fn default() -> Look {
        Look { colours: true, mouse: false, reasoning: false, history: None, commands: Vec::new() }
    }
}
