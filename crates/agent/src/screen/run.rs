//! The loop between a view and a terminal.
//!
//! Two threads wait, one for keys and one for events, and hand what comes to the loop, which
//! applies all that is there and then draws, at most sixty times a second and never without a
//! change. Whatever ends the loop, a panic in any thread included, the terminal is as it was
//! before. Nothing is decided here; see `view.rs`.

use std::io::{self, BufWriter, Write};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossterm::event::{
    self as terminal_event, DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste,
    EnableMouseCapture, KeyCode, KeyModifiers, MouseEventKind,
};
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{cursor, execute};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Position;

use super::keys::WHEEL_ROWS;
use super::{Look, View};
use crate::event::{Event, Wish};
use crate::highlight;

/// Time between two drawings.
const FRAME: Duration = Duration::from_millis(16);
/// So long the loop sleeps when nothing comes; then it looks whether the program is to end.
const IDLE: Duration = Duration::from_millis(100);
/// So long after the signal the program stands still, or nobody stops it.
const STOPPING: Duration = Duration::from_millis(50);
/// So much may wait to be applied; a key waits behind it.
const WAITING_MAX: usize = 64;

/// The conversation's loop is gone and has not said that it ends.
const BROKEN: &str = "the conversation has broken off; what was said up to the last turn is kept";

/// What the loop waits for.
enum Happened {
    Terminal(terminal_event::Event),
    Agent(Event),
    /// No events come any more; that they end is an event itself.
    Gone,
    /// No keys come any more.
    Deaf(io::Error),
}

/// Shows a conversation until the person or the loop behind it ends it. `open` gives the terminal
/// that is written to; `ended` says that the program has been told to end.
///
/// # Errors
/// The terminal cannot be used, or what was typed cannot be remembered.
pub fn run<W: Write + 'static>(
    wishes: &Sender<Wish>,
    events: Receiver<Event>,
    look: Look,
    open: fn() -> W,
    ended: &AtomicBool,
) -> io::Result<()> {
    let mouse = look.mouse;
    let mut view = View::new(look);
    let guard = Guard::enter(open, mouse)?;
    // A drawing leaves in one piece.
    let mut terminal = Terminal::new(CrosstermBackend::new(BufWriter::new(open())))?;
    let happened = listen(events, &guard.raised);
    let result = drive(&mut view, &mut terminal, &happened, wishes, &guard, ended);
    drop(terminal);
    drop(guard);
    let saved = view.save_prompts().map_err(io::Error::other);
    result.and(saved)
}

fn drive<W: Write + 'static>(
    view: &mut View,
    terminal: &mut Terminal<CrosstermBackend<BufWriter<W>>>,
    happened: &Receiver<Happened>,
    wishes: &Sender<Wish>,
    guard: &Guard<W>,
    ended: &AtomicBool,
) -> io::Result<()> {
    let began = Instant::now();
    let mut drawn_at: Option<Instant> = None;
    let mut changed = true;
    while !view.is_over() {
        if !guard.raised.load(Ordering::Acquire) {
            return Err(io::Error::other(BROKEN));
        }
        let now = Instant::now();
        let due = drawn_at.map_or(now, |at| at + FRAME);
        if changed && due <= now {
            draw(view, terminal)?;
            view.drawn(began.elapsed());
            drawn_at = Some(now);
            changed = false;
        }
        let wait = if changed { due.saturating_duration_since(now) } else { IDLE };
        let mut next = match happened.recv_timeout(wait) {
            Ok(next) => Some(next),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        // What is there is applied before the next drawing, as far as half a frame goes.
        let until = Instant::now() + FRAME / 2;
        while let Some(this) = next.take() {
            changed = true;
            if is_suspend(&this) {
                guard.suspend()?;
                clear(terminal)?;
            } else if !apply(view, this, began.elapsed(), wishes)? {
                return Ok(());
            }
            if Instant::now() < until && !view.is_over() {
                next = happened.try_recv().ok();
            }
        }
        if ended.load(Ordering::Relaxed) {
            // The loop behind is told; whether it hears does not matter any more.
            let _ = wishes.send(Wish::Quit);
            return Ok(());
        }
    }
    Ok(())
}

fn draw<W: Write>(
    view: &mut View,
    terminal: &mut Terminal<CrosstermBackend<BufWriter<W>>>,
) -> io::Result<()> {
    if view.takes_redraw() {
        clear(terminal)?;
    }
    terminal.draw(|frame| {
        let area = frame.area();
        if let Some(Position { x, y }) = view.draw(area, frame.buffer_mut()) {
            frame.set_cursor_position((x, y));
        }
    })?;
    Ok(())
}

/// Has all of the terminal drawn again. `Terminal::clear` would ask the terminal where its cursor
/// is, and wait for an answer that the thread for keys may take, or that never comes.
fn clear<W: Write>(terminal: &mut Terminal<CrosstermBackend<BufWriter<W>>>) -> io::Result<()> {
    let size = terminal.size()?;
    terminal.resize(size.into())
}

/// Applies what has happened; `false` if nothing more will.
fn apply(
    view: &mut View,
    happened: Happened,
    now: Duration,
    wishes: &Sender<Wish>,
) -> io::Result<bool> {
    let wanted = match happened {
        Happened::Agent(event) => {
            view.apply(event);
            Vec::new()
        }
        Happened::Gone => return Err(io::Error::other(BROKEN)),
        Happened::Deaf(error) => return Err(error),
        Happened::Terminal(event) => match event {
            terminal_event::Event::Key(key) => view.key(key, now),
            terminal_event::Event::Paste(text) => {
                view.paste(&text);
                Vec::new()
            }
            terminal_event::Event::Mouse(mouse) => {
                match mouse.kind {
                    MouseEventKind::ScrollUp => view.scroll(-WHEEL_ROWS),
                    MouseEventKind::ScrollDown => view.scroll(WHEEL_ROWS),
                    _ => {}
                }
                Vec::new()
            }
            _ => Vec::new(),
        },
    };
    // Who cannot be told any more has ended, which the events say.
    Ok(wanted.into_iter().all(|wish| wishes.send(wish).is_ok()))
}

fn is_suspend(happened: &Happened) -> bool {
    matches!(happened, Happened::Terminal(terminal_event::Event::Key(key))
        if key.code == KeyCode::Char('z') && key.modifiers.contains(KeyModifiers::CONTROL))
}

/// Starts the threads that wait. They end when nobody hears them any more; the one for keys looks
/// once in a while, so that it does not take keys from whoever reads the terminal next.
fn listen(events: Receiver<Event>, over: &Arc<AtomicBool>) -> Receiver<Happened> {
    let (tell, happened) = mpsc::sync_channel(WAITING_MAX);
    let keys = tell.clone();
    let up = Arc::clone(over);
    thread::spawn(move || listen_to_keys(&keys, &up));
    thread::spawn(move || {
        for event in events {
            if tell.send(Happened::Agent(event)).is_err() {
                return;
            }
        }
        let _ = tell.send(Happened::Gone);
    });
    thread::spawn(highlight::warm);
    happened
}

fn listen_to_keys(tell: &SyncSender<Happened>, up: &AtomicBool) {
    while up.load(Ordering::Acquire) {
        let event = match terminal_event::poll(IDLE) {
            Ok(false) => continue,
            Ok(true) => terminal_event::read(),
            Err(error) => Err(error),
        };
        let failed = event.is_err();
        let told = tell.send(event.map_or_else(Happened::Deaf, Happened::Terminal));
        if failed || told.is_err() {
            return;
        }
    }
}

type Hook = Box<dyn Fn(&panic::PanicHookInfo<'_>) + Send + Sync>;

/// Holds the terminal as the screen needs it, and gives it back.
struct Guard<W: Write + 'static> {
    open: fn() -> W,
    mouse: bool,
    /// The screen is up.
    raised: Arc<AtomicBool>,
    /// What was told about panics before.
    hook: Arc<Mutex<Option<Hook>>>,
}

impl<W: Write + 'static> Guard<W> {
    fn enter(open: fn() -> W, mouse: bool) -> io::Result<Guard<W>> {
        let raised = Arc::new(AtomicBool::new(false));
        let hook = Arc::new(Mutex::new(Some(panic::take_hook())));
        let (up, before) = (Arc::clone(&raised), Arc::clone(&hook));
        panic::set_hook(Box::new(move |info| {
            // The message has to be readable, so the screen goes first.
            lower(open, &up);
            if let Ok(before) = before.lock()
                && let Some(before) = before.as_ref()
            {
                before(info);
            }
        }));
        let guard = Guard { open, mouse, raised, hook };
        guard.raise()?;
        Ok(guard)
    }

    fn raise(&self) -> io::Result<()> {
        self.raised.store(true, Ordering::Release);
        enable_raw_mode()?;
        let mut out = (self.open)();
        execute!(out, EnterAlternateScreen, EnableBracketedPaste)?;
        if self.mouse {
            execute!(out, EnableMouseCapture)?;
        }
        Ok(())
    }

    /// Gives the terminal back, stops the program as Ctrl+Z does elsewhere, and takes the terminal
    /// again when it goes on.
    fn suspend(&self) -> io::Result<()> {
        restore(self.open)?;
        let stopped =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TSTP);
        // The signal may reach another thread first; this one must not go on before it is stopped.
        thread::sleep(STOPPING);
        self.raise()?;
        stopped.map_err(io::Error::from)
    }
}

impl<W: Write + 'static> Drop for Guard<W> {
    fn drop(&mut self) {
        lower(self.open, &self.raised);
        // A hook cannot be changed by a thread that panics; the one that is set does no harm.
        if !thread::panicking() {
            drop(panic::take_hook());
            if let Ok(mut before) = self.hook.lock()
                && let Some(before) = before.take()
            {
                panic::set_hook(before);
            }
        }
    }
}

/// Takes the screen down, if it is up.
fn lower<W: Write>(open: fn() -> W, raised: &AtomicBool) {
    if raised.swap(false, Ordering::AcqRel) {
        // There is nobody left to tell that it did not work.
        let _ = restore(open);
    }
}

fn restore<W: Write>(open: fn() -> W) -> io::Result<()> {
    let mut out = open();
    let written = execute!(
        out,
        DisableMouseCapture,
        DisableBracketedPaste,
        LeaveAlternateScreen,
        cursor::Show
    );
    disable_raw_mode().and(written)
}
