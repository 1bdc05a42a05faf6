//! A program in a terminal of its own: it is started, gets keys, and what stands on the screen is
//! looked at. It knows no particular program, so that tests of other crates can include this file.

#![allow(dead_code, reason = "whoever includes it uses what it needs")]

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};

/// A program and its terminal.
pub struct Pty {
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    screen: Arc<Screen>,
}

/// What the terminal shows, and a bell that rings when it changes.
struct Screen {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    parser: vt100::Parser,
    is_over: bool,
}

impl Pty {
    /// Starts a program in a terminal of `columns` and `rows`.
    pub fn start(mut command: CommandBuilder, columns: u16, rows: u16) -> Pty {
        let pair = native_pty_system().openpty(size(columns, rows)).expect("a terminal");
        command.env("TERM", "xterm-256color");
        command.env_remove("NO_COLOR");
        let child = pair.slave.spawn_command(command).expect("the program starts");
        // The program alone holds its side, so that its end is the end of the bytes.
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().expect("a reader");
        let keys = pair.master.take_writer().expect("a writer");
        let (height, width) = (NonZeroU16::new(rows).unwrap(), NonZeroU16::new(columns).unwrap());
        let parser = vt100::Parser::new(height, width, 1_000);
        let state = State { parser, is_over: false };
        let screen = Arc::new(Screen { state: Mutex::new(state), changed: Condvar::new() });
        let shared = Arc::clone(&screen);
        thread::spawn(move || {
            let mut buffer = [0; 64 * 1024];
            loop {
                let count = reader.read(&mut buffer).unwrap_or(0);
                let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.parser.process(&buffer[..count]);
                state.is_over = count == 0;
                shared.changed.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Pty { child, master: pair.master, keys, screen }
    }

    /// Sends keys as the bytes that a terminal sends for them.
    pub fn keys(&mut self, bytes: &str) {
        self.keys.write_all(bytes.as_bytes()).expect("the program reads");
        self.keys.flush().expect("the program reads");
    }

    /// Pastes text as a terminal with bracketed paste does.
    pub fn paste(&mut self, text: &str) {
        self.keys(&format!("\u{1b}[200~{text}\u{1b}[201~"));
    }

    /// Another size.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.master.resize(size(columns, rows)).expect("a size");
        let (height, width) = (NonZeroU16::new(rows).unwrap(), NonZeroU16::new(columns).unwrap());
        self.state().parser.screen_mut().set_size(height, width);
    }

    /// Sends signals to the program, one right after the other.
    pub fn signal(&self, names: &[&str]) {
        let id = self.child.process_id().expect("it runs");
        let kill = |name: &&str| format!("kill -{name} {id}");
        let script = names.iter().map(kill).collect::<Vec<_>>().join("; sleep 0.01; ");
        let status = std::process::Command::new("sh").args(["-c", &script]).status();
        assert!(status.expect("a shell").success());
    }

    /// Whether the terminal echoes keys and hands them over by the line.
    pub fn is_plain(&self) -> bool {
        let modes = self.master.get_termios().expect("a terminal has modes");
        let modes = format!("{:?}", modes.local_flags);
        modes.contains("ICANON") && modes.contains("ECHO")
    }

    /// What stands on the screen.
    pub fn shown(&self) -> String {
        self.state().parser.screen().contents()
    }

    /// Whether the program uses the alternate screen.
    pub fn is_alternate(&self) -> bool {
        self.state().parser.screen().alternate_screen()
    }

    /// Whether pasted text would be marked as such.
    pub fn is_bracketed(&self) -> bool {
        self.state().parser.screen().bracketed_paste()
    }

    /// The screen with all that a terminal knows of it.
    pub fn look<T>(&self, at: impl FnOnce(&vt100::Screen) -> T) -> T {
        at(self.state().parser.screen())
    }

    /// Waits until the screen is as asked; panics with the screen if it is not in time.
    pub fn wait(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        let mut state = self.state();
        loop {
            let shown = state.parser.screen().contents();
            if is_so(&shown) {
                return shown;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && !state.is_over, "no {what} on this screen:\n{shown}");
            (state, _) = self.screen.changed.wait_timeout(state, left).unwrap();
        }
    }

    /// Waits for a text.
    pub fn wait_for(&self, text: &str) -> String {
        self.wait(text, |shown| shown.contains(text))
    }

    /// Waits for the program's end.
    pub fn end(&mut self) -> ExitStatus {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().expect("a status") {
                let mut state = self.state();
                while !state.is_over && Instant::now() < until {
                    (state, _) =
                        self.screen.changed.wait_timeout(state, Duration::from_secs(1)).unwrap();
                }
                return status;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("the program does not end; its screen:\n{}", self.shown());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.screen.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(columns: u16, rows: u16) -> PtySize {
    PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }
}
