//! How the terminal was found, so that it can be left so, whatever ends the program.
//!
//! Who asks for a line or draws a screen gives the terminal back by itself when it ends in good
//! order. This is for the other ends: a signal while a line is asked for, a second one at any time.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// What the program was told from outside while it ran.
#[derive(Clone, Copy, Debug)]
pub struct Signals<'a> {
    /// Ctrl+C, where it is no key; taken back by whoever has heard it.
    pub interrupted: &'a AtomicBool,
    /// To end: by a service manager, or because the terminal goes away.
    pub ended: &'a AtomicBool,
}

impl Signals<'_> {
    /// Whether Ctrl+C was pressed since it was asked last.
    pub(crate) fn take_interrupt(&self) -> bool {
        self.interrupted.swap(false, Ordering::Relaxed)
    }

    /// Whether the program is to end.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// What a terminal is told when a program is done with it: pasted text comes as it is, the mouse is
/// not heard, the cursor is shown.
const PLAIN: &[u8] = b"\x1b[?2004l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?25h";

/// What leaves the alternate screen.
const FIRST_SCREEN: &[u8] = b"\x1b[?1049l";

/// The modes of the standard input's terminal.
#[derive(Clone, Debug)]
pub struct Found(Option<Termios>);

impl Found {
    /// Looks at them; there are none if it is no terminal.
    pub fn look() -> Found {
        Found(tcgetattr(io::stdin()).ok())
    }

    /// Brings them back: keys are echoed, and come by the line. Never waits.
    pub fn restore(&self) {
        if let Some(modes) = &self.0 {
            // There is nobody left to tell that it did not work.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, modes);
        }
    }

    /// Takes back what was written to the terminal as well. Waits for the terminal.
    ///
    /// # Errors
    /// It could not be written.
    pub fn leave(&self, out: &mut impl Write, is_alternate: bool) -> io::Result<()> {
        self.restore();
        if self.0.is_none() {
            return Ok(());
        }
        if is_alternate {
            out.write_all(FIRST_SCREEN)?;
        }
        out.write_all(PLAIN)?;
        out.flush()
    }
}
