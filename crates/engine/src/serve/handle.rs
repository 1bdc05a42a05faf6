//! Both ends of a request, outside the worker: handing it in, and reading what comes of it.
//!
//! A [`Service`] owns the worker's thread, a [`Handle`] is what front ends clone and keep. How many
//! requests may wait is counted here, before anything reaches the worker, so that it is never late
//! to say that we are busy.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use spec::{Shape, TokenId};
use text::Tokenizer;

use super::follow::Follow;
use super::report::Report;
use super::request::{Event, Request, Sink};
use super::worker::Worker;
use super::{Offer, ServeOptions};
use crate::{AnchorId, Engine, Error, Notice, OpenOptions, Remember, Steer};

/// A running worker. Dropping it stops the worker and waits for that.
#[derive(Debug)]
pub struct Service {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    notices: Mutex<Option<Receiver<Notice>>>,
}

/// Hands requests to the worker. Clones are equal.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: SyncSender<Command>,
    places: Arc<AtomicUsize>,
    places_max: usize,
    info: Arc<Info>,
}

/// What is known about the model without asking the worker.
#[derive(Debug)]
pub struct Info {
    /// The model's numbers.
    pub shape: Shape,
    /// The model's file.
    pub file: String,
    /// The device, for people.
    pub device: String,
    /// Tokens that a conversation could come to when the engine was opened.
    pub context: usize,
    /// What the engine was opened with.
    pub options: OpenOptions,
    /// How sessions are steered unless a request says otherwise; `None` if they cannot be.
    pub steering: Option<Steer>,
    /// The file's tokenizer, if it has one.
    pub tokenizer: Option<Arc<Tokenizer>>,
}

/// Everything that can be asked of a worker.
pub(super) enum Command {
    /// An answer.
    Generate(Box<Waiting>),
    /// To learn what the state after an answer stands for.
    Remember(AnchorId, Box<Remember>),
    /// To forget the states of a conversation that are longer than so many tokens.
    Forget(Vec<TokenId>, usize, SyncSender<Result<usize, Error>>),
    /// To let conversations come to so many tokens.
    Context(usize, SyncSender<Result<usize, Error>>),
    /// How it goes.
    Report(SyncSender<Report>),
    /// To end.
    Stop,
}

/// A request on its way.
pub(super) struct Waiting {
    pub request: Request,
    pub outbox: Outbox,
    pub arrived: Instant,
    /// Whose prompt begins alike and is waited for.
    pub follows: Option<Follow>,
    /// Held until the request is done with.
    pub place: Place,
}

/// Counts as one request that waits or runs.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The worker's end of a request: its sink, and what the sink could not take yet.
pub(super) struct Outbox {
    sink: Box<dyn Sink>,
    ticket: Ticket,
    kept: Vec<Event>,
    stuck: Option<Instant>,
    gone: bool,
}

/// Cancels a request. Clones are equal.
#[derive(Clone, Debug, Default)]
pub struct Ticket(Arc<AtomicBool>);

/// Events of one request, for a thread that can wait. Dropping it cancels the request.
#[derive(Debug)]
pub struct Stream {
    events: Receiver<Event>,
    ticket: Ticket,
}

/// Events that a [`Stream`] holds before its request rests.
const STREAM_EVENTS: usize = 64;

/// Notices that wait for whoever listens; more are forgotten.
const NOTICES: usize = 64;

impl Service {
    /// Starts a worker on the engine that `open` opens. It is opened in the worker's own thread,
    /// where a device may want to be used from.
    ///
    /// # Errors
    /// Whatever `open` returns; no thread is left then.
    pub fn start(
        open: impl FnOnce() -> Result<Engine, Error> + Send + 'static,
        options: ServeOptions,
    ) -> Result<Service, Error> {
        let (opened, hear) = sync_channel(1);
        let (notices, noticed) = sync_channel(NOTICES);
        let work = move || match open() {
            Err(error) => drop(opened.send(Err(error))),
            Ok(engine) => {
                let (places_max, info) = (engine.options().sessions, Info::new(&engine));
                let places_max = places_max + options.queue_max;
                // Every request has a place, and reports and the end wait their turn.
                let (commands, queue) = sync_channel(places_max + 1);
                let places = Arc::default();
                let handle = Handle { commands, places, places_max, info: Arc::new(info) };
                if opened.send(Ok(handle)).is_ok() {
                    Worker::new(engine, options, queue, notices).run();
                }
            }
        };
        let thread = std::thread::Builder::new().name("engine".to_owned());
        let thread = thread.spawn(work).map_err(|source| Error::Thread { source })?;
        match hear.recv() {
            Ok(Ok(handle)) => {
                let (thread, notices) = (Some(thread), Mutex::new(Some(noticed)));
                Ok(Service { handle, thread, notices })
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Stopped),
        }
    }

    /// For whoever has requests.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// What whoever runs the program should know, as it comes: to be read by a thread that prints
    /// it. It ends when the worker does. Can be taken once.
    pub fn notices(&self) -> Option<Receiver<Notice>> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.handle.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Info {
    fn new(engine: &Engine) -> Info {
        Info {
            shape: engine.shape().clone(),
            file: engine.file().name().to_owned(),
            device: engine.device(),
            context: engine.context(),
            options: engine.options(),
            steering: engine.steering(),
            tokenizer: engine.tokenizer().ok(),
        }
    }
}

impl Handle {
    /// About the model.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Hands a request in; its events go to `sink`.
    ///
    /// # Errors
    /// Too many requests wait already, or the worker has stopped.
    pub fn submit(&self, request: Request, sink: Box<dyn Sink>) -> Result<Ticket, Error> {
        let free = |taken: usize| (taken < self.places_max).then_some(taken + 1);
        let taken = self.places.fetch_update(Ordering::AcqRel, Ordering::Acquire, free);
        if let Err(requests) = taken {
            return Err(Error::Busy { requests });
        }
        let (place, ticket) = (Place(self.places.clone()), Ticket::default());
        let outbox = Outbox::new(sink, ticket.clone());
        let (arrived, follows) = (Instant::now(), None);
        let waiting = Waiting { request, outbox, arrived, follows, place };
        let sent = self.commands.send(Command::Generate(Box::new(waiting)));
        sent.map_err(|_| Error::Stopped)?;
        Ok(ticket)
    }

    /// Hands a request in; its events are read from the stream.
    ///
    /// # Errors
    /// As for [`Handle::submit`].
    pub fn stream(&self, request: Request) -> Result<Stream, Error> {
        let (sink, events) = sync_channel(STREAM_EVENTS);
        let ticket = self.submit(request, Box::new(sink))?;
        Ok(Stream { events, ticket })
    }

    /// Tells what the state after an answer stands for, when the answer has been read: how the
    /// conversation will come back, and what is to be kept with it. `state` is from the answer's
    /// [`Usage`](super::Usage). A state that is not in memory any more is nothing to learn about.
    ///
    /// # Errors
    /// The worker has stopped.
    pub fn remember(&self, state: AnchorId, remember: Remember) -> Result<(), Error> {
        let command = Command::Remember(state, Box::new(remember));
        self.commands.send(command).map_err(|_| Error::Stopped)
    }

    /// Forgets the states that `tokens` begins with and that have more than `spared` tokens, in
    /// memory and on disk; an answer that is being written keeps its own. Waits for the disk. How
    /// many checkpoints went.
    ///
    /// # Errors
    /// A checkpoint could not be deleted, or the worker has stopped.
    pub fn forget(&self, tokens: Vec<TokenId>, spared: usize) -> Result<usize, Error> {
        let (sender, hear) = sync_channel(1);
        let command = Command::Forget(tokens, spared, sender);
        self.commands.send(command).map_err(|_| Error::Stopped)?;
        hear.recv().map_err(|_| Error::Stopped)?
    }

    /// Lets conversations come to `tokens` tokens from now on; nothing that is held is lost. What
    /// they can come to then, which is less where all row pages together hold less.
    ///
    /// # Errors
    /// A context larger than the model's, too little memory; a smaller one while requests run; or
    /// the worker has stopped. Nothing has changed then.
    pub fn set_context(&self, tokens: usize) -> Result<usize, Error> {
        let (sender, hear) = sync_channel(1);
        self.commands.send(Command::Context(tokens, sender)).map_err(|_| Error::Stopped)?;
        hear.recv().map_err(|_| Error::Stopped)?
    }

    /// How it goes; waits for the step that is being computed.
    ///
    /// # Errors
    /// The worker has stopped.
    pub fn report(&self) -> Result<Report, Error> {
        let (sender, hear) = sync_channel(1);
        self.commands.send(Command::Report(sender)).map_err(|_| Error::Stopped)?;
        hear.recv().map_err(|_| Error::Stopped)
    }
}

impl Ticket {
    /// Ends the request at the next token.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it has been asked to.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Iterator for Stream {
    type Item = Event;

    /// Waits for the next event; `None` after the last, or if the worker has gone.
    fn next(&mut self) -> Option<Event> {
        self.events.recv().ok()
    }
}

impl Stream {
    /// The next event if it comes in time; `Ok(None)` after the last.
    ///
    /// # Errors
    /// It did not.
    pub fn next_within(&mut self, time: Duration) -> Result<Option<Event>, TimedOut> {
        match self.events.recv_timeout(time) {
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(TimedOut),
        }
    }

    /// Cancels the request from elsewhere.
    pub fn ticket(&self) -> Ticket {
        self.ticket.clone()
    }
}

/// No event came in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

impl Drop for Stream {
    fn drop(&mut self) {
        self.ticket.cancel();
    }
}

impl Outbox {
    fn new(sink: Box<dyn Sink>, ticket: Ticket) -> Outbox {
        Outbox { sink, ticket, kept: Vec::new(), stuck: None, gone: false }
    }

    /// Tells the client, at once or when it has room again.
    pub fn push(&mut self, event: Event) {
        self.kept.push(event);
        self.flush();
    }

    /// Whether everything was taken. Whoever has told more than the client takes must rest.
    pub fn flush(&mut self) -> bool {
        while !self.kept.is_empty() && !self.gone {
            match self.sink.offer(self.kept.remove(0)) {
                Offer::Taken => self.stuck = None,
                Offer::Gone => self.gone = true,
                Offer::Full(event) => {
                    self.kept.insert(0, event);
                    self.stuck.get_or_insert_with(Instant::now);
                    return false;
                }
            }
        }
        true
    }

    /// Whether the client has not taken everything yet.
    pub fn is_stuck(&self) -> bool {
        self.stuck.is_some()
    }

    /// Whether nobody wants the answer any more.
    pub fn is_over(&self, patience: Duration) -> bool {
        self.is_deaf(patience) || self.ticket.is_cancelled()
    }

    /// Whether nobody reads, or has not for too long.
    pub fn is_deaf(&self, patience: Duration) -> bool {
        self.gone || self.stuck.is_some_and(|since| since.elapsed() > patience)
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("request", &self.request).finish_non_exhaustive()
    }
}
