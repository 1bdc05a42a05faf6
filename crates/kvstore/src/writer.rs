//! Saving in the background.
//!
//! Whoever computes must not wait for a disk. A [`Writer`] takes entries into a bounded queue,
//! saves them one after the other on a thread of its own, and keeps what became of them until it is
//! asked. Searching and loading need no writer: they go through [`Writer::store`], at once,
//! whatever is being saved. Order is kept: an entry may name pages of one that is still in the
//! queue.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::entry::{Entry, Saved};
use crate::error::Error;
use crate::store::Store;

/// Outcomes that are kept for whoever asks late; older ones are forgotten.
const OUTCOMES_MAX: usize = 1024;

/// What may wait to be saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries at most, the one being saved included.
    pub entries: usize,
    /// Bytes of all of them at most. An entry that alone has more is taken when nothing waits.
    pub bytes: usize,
}

/// The number of a submitted entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What became of an entry.
#[derive(Debug)]
pub struct Outcome {
    /// Which.
    pub ticket: Ticket,
    /// Saved, or why not.
    pub result: Result<Saved, Error>,
}

/// Why what was handed in is not saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too much is waiting; later there is room.
    Full,
    /// The thread has ended before its time, and saves nothing any more.
    Gone,
}

/// The queue is full. Here is the entry back.
#[derive(Debug, thiserror::Error)]
#[error("too much is waiting to be saved")]
pub struct Full(pub Box<Entry>);

/// Saves in the background.
#[derive(Debug)]
pub struct Writer {
    store: Store,
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
    limits: Limits,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    /// Something was submitted, or the writer is closing.
    submitted: Condvar,
    /// Something was saved, or the thread is gone.
    saved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// Entries and bytes that wait or are being saved.
    entries: usize,
    bytes: usize,
    next: u64,
    outcomes: VecDeque<Outcome>,
    closing: bool,
    /// The thread is no more.
    gone: bool,
}

struct Waiting {
    ticket: Ticket,
    bytes: usize,
    make: Box<dyn FnOnce() -> Entry + Send>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Error::Io`] if there can be no more threads.
    pub fn start(store: Store, limits: Limits) -> Result<Writer, Error> {
        let queue = Arc::new(Queue::default());
        let (theirs, saver) = (Arc::clone(&queue), store.clone());
        let thread = std::thread::Builder::new()
            .name("kvstore".to_owned())
            .spawn(move || theirs.save_all(&saver));
        let thread = thread.map_err(Error::io(store.dir(), "no thread for saving"))?;
        Ok(Writer { store, queue, thread: Some(thread), limits })
    }

    /// The store, for searching and loading.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Takes an entry to be saved. Never waits for the disk.
    ///
    /// # Errors
    /// [`Full`] if too much is waiting; the entry comes back.
    pub fn submit(&self, entry: Entry) -> Result<Ticket, Full> {
        let mut state = self.queue.lock();
        let bytes = entry.bytes();
        match state.room(bytes, self.limits) {
            Ok(()) => Ok(self.take(&mut state, bytes, Box::new(move || entry))),
            Err(_) => Err(Full(Box::new(entry))),
        }
    }

    /// Takes what an entry of some `bytes` bytes is made from; it is put together on the writer's
    /// own thread. Never waits for the disk.
    ///
    /// # Errors
    /// [`Refused`] says whether to try again; what was handed in comes back.
    pub fn submit_parts<P: Send + 'static>(
        &self,
        bytes: usize,
        parts: P,
        make: impl FnOnce(P) -> Entry + Send + 'static,
    ) -> Result<Ticket, (Refused, P)> {
        let mut state = self.queue.lock();
        match state.room(bytes, self.limits) {
            Ok(()) => Ok(self.take(&mut state, bytes, Box::new(move || make(parts)))),
            Err(refused) => Err((refused, parts)),
        }
    }

    fn take(
        &self,
        state: &mut State,
        bytes: usize,
        make: Box<dyn FnOnce() -> Entry + Send>,
    ) -> Ticket {
        let ticket = Ticket(state.next);
        state.next += 1;
        state.entries += 1;
        state.bytes += bytes;
        state.waiting.push_back(Waiting { ticket, bytes, make });
        self.queue.submitted.notify_one();
        ticket
    }

    /// Whether the thread has ended before its time.
    pub fn is_gone(&self) -> bool {
        self.queue.lock().gone
    }

    /// What became of entries since the last call, in the order in which they were submitted.
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.queue.lock().outcomes.drain(..).collect()
    }

    /// Waits until everything that was submitted is saved, or could not be.
    pub fn flush(&self) {
        let mut state = self.queue.lock();
        while state.entries > 0 && !state.gone {
            state = self.queue.saved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Writer {
    /// Saves what is waiting, and ends the thread.
    fn drop(&mut self) {
        self.queue.lock().closing = true;
        self.queue.submitted.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic in there was told when it happened.
            let _ = thread.join();
        }
    }
}

impl State {
    /// Whether there is room for so many bytes more.
    fn room(&self, bytes: usize, limits: Limits) -> Result<(), Refused> {
        let fits =
            self.entries < limits.entries && self.bytes.saturating_add(bytes) <= limits.bytes;
        match (self.gone, fits || self.entries == 0) {
            (true, _) => Err(Refused::Gone),
            (false, true) => Ok(()),
            (false, false) => Err(Refused::Full),
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: saves until the writer closes and nothing waits.
    fn save_all(&self, store: &Store) {
        let _farewell = Farewell(self);
        while let Some(Waiting { ticket, bytes, make }) = self.next() {
            let result = store.save(&make());
            let mut state = self.lock();
            state.entries -= 1;
            state.bytes -= bytes;
            if state.outcomes.len() == OUTCOMES_MAX {
                state.outcomes.pop_front();
            }
            state.outcomes.push_back(Outcome { ticket, result });
            drop(state);
            self.saved.notify_all();
        }
    }

    fn next(&self) -> Option<Waiting> {
        let mut state = self.lock();
        loop {
            match state.waiting.pop_front() {
                Some(next) => return Some(next),
                None if state.closing => return None,
                None => {
                    let woken = self.submitted.wait(state);
                    state = woken.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// However the thread ends, nobody waits for it any longer.
struct Farewell<'a>(&'a Queue);

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        self.0.lock().gone = true;
        self.0.saved.notify_all();
    }
}
