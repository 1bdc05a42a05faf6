//! Ctrl+C: the first one asks, the second one ends the program.
//!
//! Long work reads [`requested`] between two steps and stops in good order. Nothing here knows what
//! that work is. A conversation tells apart who asks: Ctrl+C stops a turn of it ([`flag`]), a
//! service manager or a terminal that goes away ends it ([`ended`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit;
use crate::terminal::{PLAIN, Terminal};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static ENDED: AtomicBool = AtomicBool::new(false);

type Restore = Box<dyn FnOnce() + Send>;

/// Gives the terminal back when the program ends at once.
static RESTORE: Mutex<Option<Restore>> = Mutex::new(None);

/// A terminal that takes nothing is not waited for longer.
const RESTORING: Duration = Duration::from_millis(300);

/// Starts to listen: called where work begins that reads [`requested`], and not before, so that
/// until then Ctrl+C ends the program at once. So it does if nobody can listen.
pub fn listen(terminal: &Terminal) {
    let styled = terminal.messages && terminal.styles;
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
    let handle = signals.handle();
    let hear = move || {
        for signal in &mut signals {
            if signal != SIGINT {
                ENDED.store(true, Ordering::Relaxed);
            }
            if REQUESTED.swap(true, Ordering::Relaxed) {
                if styled {
                    exit::say(PLAIN);
                }
                restore();
                exit::at_once();
            }
        }
    };
    if std::thread::Builder::new().name("signals".to_owned()).spawn(hear).is_err() {
        handle.close();
    }
}

/// What is to be done for the terminal if the program ends at once.
pub fn restore_with(how: impl FnOnce() + Send + 'static) {
    *RESTORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(how));
}

fn restore() {
    let how = RESTORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(how) = how else { return };
    let (done, hear) = sync_channel(1);
    std::thread::spawn(move || {
        how();
        let _ = done.send(());
    });
    let _ = hear.recv_timeout(RESTORING);
}

/// Whether the person wants to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// The same, for libraries that read a flag. Who resets it has stopped what it was about.
pub fn flag() -> &'static AtomicBool {
    &REQUESTED
}

/// Set when the program, and not only what it is doing, is to end.
pub fn ended() -> &'static AtomicBool {
    &ENDED
}
