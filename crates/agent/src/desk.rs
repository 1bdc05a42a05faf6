//! Where everything comes in and goes out that concerns the loop's thread.
//!
//! What comes in (wishes, events of the model, what tools print) comes through one channel, so that
//! the loop waits in one place and hears a stop whatever it is doing. What goes out never makes the
//! loop wait: whoever shows events may be slow, and then neighbours of a kind are joined until it
//! catches up. Nothing here knows what wishes and events mean for the conversation.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use engine::serve::{self, Offer, Sink};

use crate::event::{Event, Wish};
use crate::tools::Outcome;

/// Something that the loop hears.
pub(crate) enum Heard {
    /// A person wants something.
    Wish(Wish),
    /// The model, of a request.
    Model(u64, serve::Event),
    /// Nothing more comes of a request.
    ModelGone(u64),
    /// The engine has something to say to the person.
    Notice(String),
    /// A call prints.
    Print(u64, String),
    /// A call is over; `None` if it broke.
    Ran(u64, Option<Outcome>),
}

/// Events that may wait in the channel to whoever shows them.
pub(crate) const EVENTS: usize = 1024;

/// Events of the model, or pieces of output, that may wait for the loop; more wait where they come
/// from.
const HEARD_MAX: usize = 1024;

/// Between two attempts to tell somebody who is slow.
const PAUSE: Duration = Duration::from_millis(10);

/// Bytes of joined output of a tool: of more the beginning goes.
const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// How long the end waits for whoever shows events.
const PARTING: Duration = Duration::from_secs(2);

/// The loop's place.
pub(crate) struct Desk {
    heard: Receiver<Heard>,
    sender: Sender<Heard>,
    waiting: Arc<AtomicUsize>,
    events: SyncSender<Event>,
    backlog: VecDeque<Event>,
    gone: bool,
}

impl Desk {
    pub fn new(sender: Sender<Heard>, heard: Receiver<Heard>, events: SyncSender<Event>) -> Desk {
        let (waiting, backlog) = (Arc::default(), VecDeque::new());
        Desk { heard, sender, waiting, events, backlog, gone: false }
    }

    /// Tells an event, now or when there is room.
    pub fn tell(&mut self, event: Event) {
        if self.gone {
            return;
        }
        let rest = match self.backlog.back_mut() {
            Some(last) => join(last, event),
            None => Some(event),
        };
        self.backlog.extend(rest);
        self.flush();
    }

    /// Tells what is left, and waits for that a little.
    pub fn part(&mut self) {
        let until = Instant::now() + PARTING;
        self.flush();
        while !self.backlog.is_empty() && Instant::now() < until {
            std::thread::sleep(PAUSE);
            self.flush();
        }
    }

    /// Waits for something, but not longer than `until`.
    pub fn hear(&mut self, until: Option<Instant>) -> Option<Heard> {
        loop {
            self.flush();
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let pause = (!self.backlog.is_empty()).then_some(PAUSE);
            let heard = match left.into_iter().chain(pause).min() {
                // The desk holds a sender itself, so this waits until something comes.
                None => self.heard.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(time) => self.heard.recv_timeout(time),
            };
            match heard {
                Ok(heard) => {
                    if matches!(heard, Heard::Model(..) | Heard::Print(..)) {
                        self.waiting.fetch_sub(1, Ordering::AcqRel);
                    }
                    return Some(heard);
                }
                Err(_) if left.is_some_and(|left| left.is_zero()) => return None,
                Err(_) => {}
            }
        }
    }

    /// Takes the events of a request.
    pub fn sink(&self, request: u64) -> Box<dyn Sink> {
        Box::new(ToDesk { request, waiting: self.waiting.clone(), sender: self.sender.clone() })
    }

    /// Takes what a call prints. It waits while the loop has too much to hear.
    pub fn printer(&self, call: u64) -> impl FnMut(&str) + Send + 'static {
        let (waiting, sender) = (self.waiting.clone(), self.sender.clone());
        move |text| {
            while waiting.load(Ordering::Acquire) >= HEARD_MAX {
                std::thread::sleep(PAUSE);
            }
            waiting.fetch_add(1, Ordering::AcqRel);
            let _ = sender.send(Heard::Print(call, text.to_owned()));
        }
    }

    /// For whoever has something to say once.
    pub fn sender(&self) -> Sender<Heard> {
        self.sender.clone()
    }

    fn flush(&mut self) {
        while let Some(event) = self.backlog.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.backlog.push_front(event);
                    return;
                }
                Err(TrySendError::Disconnected(_)) => {
                    self.gone = true;
                    self.backlog.clear();
                }
            }
        }
    }
}

/// Joins an event to the one before it, which nobody has taken yet; gives it back if they are not
/// of a kind.
fn join(last: &mut Event, event: Event) -> Option<Event> {
    use text::Event::{CallArguments, Reasoning, Text};
    match (last, event) {
        (Event::Said(Text(last)), Event::Said(Text(more)))
        | (Event::Said(Reasoning(last)), Event::Said(Reasoning(more)))
        | (Event::Said(CallArguments(last)), Event::Said(CallArguments(more))) => {
            last.push_str(&more);
            None
        }
        (Event::ToolOutput { call, text }, Event::ToolOutput { call: of, text: more })
            if *call == of =>
        {
            text.push_str(&more);
            let over = text.len().saturating_sub(OUTPUT_BYTES_MAX);
            text.drain(..text.ceil_char_boundary(over));
            None
        }
        (last @ Event::Prefill { .. }, event @ Event::Prefill { .. })
        | (last @ Event::Status(_), event @ Event::Status(_))
        | (last @ Event::Queued { .. }, event @ Event::Queued { .. }) => {
            *last = event;
            None
        }
        (_, event) => Some(event),
    }
}

/// The engine's end of a request.
struct ToDesk {
    request: u64,
    waiting: Arc<AtomicUsize>,
    sender: Sender<Heard>,
}

impl Sink for ToDesk {
    fn offer(&mut self, event: serve::Event) -> Offer {
        if self.waiting.load(Ordering::Acquire) >= HEARD_MAX {
            return Offer::Full(event);
        }
        self.waiting.fetch_add(1, Ordering::AcqRel);
        match self.sender.send(Heard::Model(self.request, event)) {
            Ok(()) => Offer::Taken,
            Err(_) => Offer::Gone,
        }
    }
}

impl Drop for ToDesk {
    fn drop(&mut self) {
        let _ = self.sender.send(Heard::ModelGone(self.request));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{channel, sync_channel};

    use super::*;

    fn text(text: &str) -> Event {
        Event::Said(text::Event::Text(text.to_owned()))
    }

    /// Nobody reads for a while: nothing waits, nothing is lost, and little is kept.
    #[test]
    fn a_slow_reader_gets_everything_in_fewer_pieces() {
        let (sender, heard) = channel();
        let (events, reader) = sync_channel(2);
        let mut desk = Desk::new(sender, heard, events);
        for _ in 0..1000 {
            desk.tell(text("a"));
        }
        assert_eq!(desk.backlog.len(), 1);
        desk.tell(Event::Closed);
        let mut whole = String::new();
        loop {
            match reader.try_recv() {
                Ok(Event::Said(text::Event::Text(more))) => whole.push_str(&more),
                Ok(Event::Closed) => break,
                Ok(other) => panic!("{other:?}"),
                Err(_) => assert!(desk.hear(Some(Instant::now())).is_none()),
            }
        }
        assert_eq!(whole, "a".repeat(1000));
    }

    #[test]
    fn output_that_nobody_takes_loses_its_beginning() {
        let piece = |text: String| Event::ToolOutput { call: 0, text };
        let mut last = piece("\u{e4}".repeat(OUTPUT_BYTES_MAX / 2));
        assert_eq!(join(&mut last, piece("end".to_owned())), None);
        let Event::ToolOutput { text, .. } = &last else { panic!("{last:?}") };
        assert!(text.len() <= OUTPUT_BYTES_MAX && text.ends_with("end"));
        assert!(join(&mut last, Event::Closed).is_some());
    }

    #[test]
    fn who_has_gone_is_not_waited_for() {
        let (sender, heard) = channel();
        let (events, reader) = sync_channel(1);
        let mut desk = Desk::new(sender, heard, events);
        drop(reader);
        (0..10).for_each(|_| desk.tell(Event::Closed));
        desk.part();
        assert!(desk.backlog.is_empty());
    }
}
