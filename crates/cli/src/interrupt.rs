//! Ctrl+C: the first one asks, the second one ends the program.
//!
//! Long work reads [`requested`] between two steps and stops in good order. Nothing here knows what
//! that work is.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit;
use crate::terminal::{PLAIN, Terminal};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Starts to listen: called where work begins that reads [`requested`], and not before, so that
/// until then Ctrl+C ends the program at once. So it does if no handler can be set.
pub fn listen(terminal: &Terminal) {
    let styled = terminal.messages && terminal.styles;
    let _ = ctrlc::set_handler(move || {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            if styled {
                exit::say(PLAIN);
            }
            exit::at_once();
        }
    });
}

/// Whether the person wants to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// The same, for libraries that read a flag.
pub fn flag() -> &'static AtomicBool {
    &REQUESTED
}
