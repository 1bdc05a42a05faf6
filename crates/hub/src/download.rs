//! A file's way to the disk: pieces over several connections, one thread that writes.
//!
//! The calling thread owns the partial file and the journal. Connections run in threads of their
//! own and hand bytes over through a bounded queue; they are left behind when the caller stops, so
//! that a server that says nothing keeps nobody waiting.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::address::Repository;
use crate::client::Hub;
use crate::digest::{Sha256, Verdict, verify};
use crate::error::Error;
use crate::fetch::{Message, Shared};
use crate::listing::Entry;
use crate::partial::{Begun, Partial, look, part_path};
use crate::patience::Patience;

/// Chunks between the connections and the disk.
const QUEUE_CHUNKS: usize = 64;

/// How often the caller's wish to stop is looked at while nothing comes.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What dying costs at most: bytes of so much time, or so many.
const MARK_EVERY: Duration = Duration::from_secs(1);
const MARK_BYTES: u64 = 256 << 20;

/// How a file is fetched.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections at the same time, at least one.
    pub connections: usize,
    /// Bytes that are asked for at once: at least, and at most.
    pub piece_bytes: (u64, u64),
    /// What happens when something does not work.
    pub patience: Patience,
    /// Whether a file of that name is replaced.
    pub overwrite: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            connections: 8,
            piece_bytes: (8 << 20, 256 << 20),
            patience: Patience::default(),
            overwrite: false,
        }
    }
}

/// What happens on the way.
#[derive(Debug)]
pub enum Event<'a> {
    /// What was there was of another version, and everything is fetched anew.
    Anew,
    /// So many bytes are there.
    Have(u64),
    /// A connection waits before it tries again.
    Waiting(&'a Error, Duration),
    /// All bytes are there; so many of them have been read for the hash.
    Verifying(u64),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The file is there.
    Whole {
        /// Bytes that came over the network for it this time.
        fetched: u64,
    },
    /// Somebody wanted to stop.
    Stopped {
        /// Bytes that are there.
        have: u64,
    },
}

/// A file that is wanted at some place.
#[derive(Debug)]
pub struct Download<'a> {
    hub: &'a Hub,
    repository: &'a Repository,
    entry: &'a Entry,
    target: PathBuf,
}

impl<'a> Download<'a> {
    /// A file of a repository, to be put at `target`. Changes nothing yet.
    pub fn new(
        hub: &'a Hub,
        repository: &'a Repository,
        entry: &'a Entry,
        target: &Path,
    ) -> Download<'a> {
        Download { hub, repository, entry, target: target.to_owned() }
    }

    /// Where its bytes are before it is complete.
    pub fn part(&self) -> PathBuf {
        part_path(&self.target)
    }

    /// Bytes that are there already.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn bytes_there(&self) -> Result<u64, Error> {
        Ok(look(&self.target, self.entry)?.bytes())
    }

    /// Fetches what is missing, verifies all of it, and gives the file its name.
    ///
    /// # Errors
    /// The hub refuses, the disk does, or the bytes are not those that were published. Except for
    /// the last, what has come stays, and another run goes on from there.
    pub fn run(
        &self,
        options: &Options,
        told: &mut dyn FnMut(Event<'_>),
        stop: &AtomicBool,
    ) -> Result<Outcome, Error> {
        if !options.overwrite && self.target.exists() {
            return Err(Error::Exists { path: self.target.clone() });
        }
        let (mut partial, begun) = Partial::open(&self.target, self.entry)?;
        if begun == Begun::Anew {
            told(Event::Anew);
        }
        let before = partial.bytes();
        told(Event::Have(before));
        let result = self.fetch(&mut partial, options, told, stop);
        // Whatever happened, what has come is kept.
        let marked = partial.mark();
        result?;
        marked?;
        let have = partial.bytes();
        if have < self.entry.size {
            return Ok(Outcome::Stopped { have });
        }
        if let Some(expected) = self.entry.sha256 {
            let part = self.part();
            match verify(&part, &mut |done| told(Event::Verifying(done)), stop)? {
                Verdict::Stopped => return Ok(Outcome::Stopped { have }),
                Verdict::Is(found) if found == expected => {}
                Verdict::Is(found) => return Err(mismatch(partial, part, expected, found)),
            }
        }
        partial.finish(options.overwrite)?;
        Ok(Outcome::Whole { fetched: have - before })
    }

    /// Returns when all is there, somebody wants to stop, or it does not work.
    fn fetch(
        &self,
        partial: &mut Partial,
        options: &Options,
        told: &mut dyn FnMut(Event<'_>),
        stop: &AtomicBool,
    ) -> Result<(), Error> {
        let missing = partial.missing(self.entry.size);
        if missing.bytes() == 0 {
            return Ok(());
        }
        let connections = options.connections.max(1);
        let (least, most) = options.piece_bytes;
        // Several pieces for each connection, so that all of them end at about the same time.
        let piece_bytes = missing.bytes().div_ceil(4 * connections as u64).clamp(least, most);
        let shared = Arc::new(Shared {
            hub: self.hub.clone(),
            url: self.hub.endpoint().file(self.repository, &self.entry.path),
            what: format!("{}/{}", self.repository, self.entry.path),
            entry: self.entry.clone(),
            patience: options.patience,
            pieces: Mutex::new(VecDeque::from(missing.pieces(piece_bytes))),
            over: AtomicBool::new(false),
        });
        let (send, receive) = sync_channel(QUEUE_CHUNKS);
        for _ in 0..connections {
            let (shared, send) = (Arc::clone(&shared), send.clone());
            let started = std::thread::Builder::new().spawn(move || shared.work(&send));
            started.map_err(Error::io(&self.target, "could not start a thread for it"))?;
        }
        drop(send);
        let result = self.write(partial, &receive, told, stop);
        shared.over.store(true, Ordering::Relaxed);
        result
    }

    fn write(
        &self,
        partial: &mut Partial,
        receive: &Receiver<Message>,
        told: &mut dyn FnMut(Event<'_>),
        stop: &AtomicBool,
    ) -> Result<(), Error> {
        let mut marked = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            match receive.recv_timeout(LOOK_EVERY) {
                Ok(Message::Bytes(at, bytes)) => {
                    partial.write(at, &bytes)?;
                    told(Event::Have(partial.bytes()));
                }
                Ok(Message::Waiting(error, wait)) => told(Event::Waiting(&error, wait)),
                Ok(Message::Failed(error)) => {
                    self.drain(partial, receive)?;
                    return Err(error);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if marked.elapsed() >= MARK_EVERY || partial.fresh_bytes() >= MARK_BYTES {
                partial.mark()?;
                marked = Instant::now();
            }
        }
        self.drain(partial, receive)
    }

    /// Writes what is in the queue: it was paid for.
    fn drain(&self, partial: &mut Partial, receive: &Receiver<Message>) -> Result<(), Error> {
        for message in receive.try_iter().take(QUEUE_CHUNKS) {
            if let Message::Bytes(at, bytes) = message {
                partial.write(at, &bytes)?;
            }
        }
        Ok(())
    }
}

/// Nobody can tell which of the bytes are wrong, so all of them go.
fn mismatch(partial: Partial, path: PathBuf, expected: Sha256, found: Sha256) -> Error {
    match partial.discard() {
        Ok(()) => Error::Hash { path, expected, found },
        Err(error) => error,
    }
}
