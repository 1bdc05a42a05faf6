//! Asking and answering in turns.
//!
//! A line is asked for, becomes a wish, and everything that happens is written down until the loop
//! behind waits for the next one, which it says by telling how things stand. Ctrl+C stops a turn
//! and keeps the conversation; a second one during the same turn ends the program.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use crate::event::{Event, Verdict, Wish};
use crate::terminal::Signals;

use super::line::{Asked, Asker};
use super::{Look, Paper};

/// The command that shows or hides reasoning. It is the prompt's own.
pub const REASONING: &str = "reasoning";
/// Between two looks at the flag of Ctrl+C.
const POLL: Duration = Duration::from_millis(50);
/// After a turn or an answer, so long is waited for what else belongs to it.
const SILENCE: Duration = Duration::from_millis(200);

/// What the model is told about a call that would have needed a yes.
const NOBODY: &str = "nobody can be asked here, so this call is refused. Go on without it.";

/// Holds a conversation until the person, a signal or the loop behind ends it. Ctrl+C, and not the
/// end, is taken back here.
///
/// # Errors
/// The terminal cannot be used, or what was typed cannot be remembered.
pub fn run<W: Write>(
    wishes: &Sender<Wish>,
    events: &Receiver<Event>,
    look: Look,
    out: W,
    signals: Signals,
) -> io::Result<()> {
    let asker = Asker::start(&look)?;
    let paper = Paper::new(out, &look);
    let mut chat = Chat { wishes, events, paper, signals, is_over: false };
    chat.hear(Waits::Idle)?;
    while !chat.is_over {
        match asker.ask(signals)? {
            Asked::Nothing => {}
            Asked::Interrupted => {
                chat.paper.event(&Event::Notice("Ctrl+D or /quit ends".into()))?;
                chat.paper.rest()?;
            }
            Asked::End => break,
            Asked::Line(line) => chat.line(line)?,
        }
    }
    if !chat.is_over {
        // A loop that has ended without a word cannot be told, and need not be.
        let _ = wishes.send(Wish::Quit);
        chat.hear(Waits::End)?;
    }
    Ok(())
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// The loop waits for a wish.
    Idle,
    /// A turn begins and ends.
    Turn,
    /// The loop ends.
    End,
}

struct Chat<'a, W: Write> {
    wishes: &'a Sender<Wish>,
    events: &'a Receiver<Event>,
    paper: Paper<W>,
    signals: Signals<'a>,
    is_over: bool,
}

impl<W: Write> Chat<'_, W> {
    fn line(&mut self, line: String) -> io::Result<()> {
        let trimmed = line.trim();
        let name = trimmed.strip_prefix('/').and_then(|rest| rest.split_whitespace().next());
        let is_command =
            name.is_some_and(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
        if name == Some(REASONING) {
            let now = if self.paper.toggle_reasoning() { "shown" } else { "hidden" };
            self.paper.event(&Event::Notice(format!("reasoning is {now} from now on")))?;
            return self.paper.rest();
        }
        let (wish, waits) = match name {
            Some("quit" | "exit") => (Wish::Quit, Waits::End),
            Some(_) if is_command => (Wish::Command(trimmed.to_owned()), Waits::Idle),
            _ => (Wish::Prompt(line), Waits::Turn),
        };
        self.signals.take_interrupt();
        if self.wishes.send(wish).is_err() {
            self.is_over = true;
            return Err(io::Error::other("the conversation has broken off"));
        }
        self.hear(waits)
    }

    /// Writes down what happens until what is waited for has come.
    fn hear(&mut self, mut waits: Waits) -> io::Result<()> {
        let mut running = false;
        let mut stops = 0;
        let mut quiet_since: Option<Instant> = None;
        loop {
            if waits != Waits::End && self.signals.take_interrupt() {
                stops += 1;
                let _ = self.wishes.send(Wish::Stop);
            }
            if waits != Waits::End && (stops > 1 || self.signals.is_ended()) {
                waits = Waits::End;
                let _ = self.wishes.send(Wish::Quit);
            }
            let event = match self.events.recv_timeout(POLL) {
                Ok(event) => event,
                Err(RecvTimeoutError::Disconnected) => {
                    self.is_over = true;
                    return Err(io::Error::other("the conversation has broken off"));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let silent = quiet_since.is_some_and(|since| since.elapsed() >= SILENCE);
                    if silent && !running && waits == Waits::Idle {
                        return self.paper.rest();
                    }
                    continue;
                }
            };
            if let Ok((width, height)) = crossterm::terminal::size() {
                self.paper.set_size(usize::from(width), usize::from(height))?;
            }
            self.paper.event(&event)?;
            match event {
                Event::TurnBegan { .. } => running = true,
                Event::TurnEnded { .. } => {
                    running = false;
                    if waits == Waits::Turn {
                        waits = Waits::Idle;
                    }
                    quiet_since = Some(Instant::now());
                }
                Event::Answer(_) | Event::Opened { .. } | Event::Notice(_) => {
                    quiet_since = Some(Instant::now());
                }
                Event::Status(_) if !running && waits == Waits::Idle => {
                    return self.paper.rest();
                }
                Event::Consent(consent) => {
                    let no = Verdict::No(Some(NOBODY.to_owned()));
                    let _ = self.wishes.send(Wish::Consent(consent.call, no));
                }
                Event::Closed => {
                    self.is_over = true;
                    return self.paper.rest();
                }
                _ => {}
            }
        }
    }
}
