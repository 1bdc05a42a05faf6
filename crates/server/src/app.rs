//! What all connections share: the settings, the model once it is there, and what is counted.
//!
//! The model is opened while the server already listens, so that whoever asks early is told to wait
//! and `/health` says how long it has been.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::answer::prepare::Model;
use crate::loading::Loading;
use crate::metrics::Metrics;
use crate::refusal::{Reason, Refusal};
use crate::replay::Replay;
use crate::said::Head;
use crate::settings::Settings;

/// What all connections share.
#[derive(Debug)]
pub struct App {
    /// What was typed.
    pub settings: Settings,
    /// How far the model is until then.
    pub loading: Loading,
    /// There when the model is loaded.
    pub model: OnceLock<Arc<Model>>,
    /// Calls as they were sampled.
    pub replay: Mutex<Replay>,
    /// What was counted.
    pub metrics: Metrics,
    /// When it was started.
    pub started: Instant,
    /// Seconds since 1970 at that time.
    pub created: u64,
    ending: AtomicBool,
    running: Arc<AtomicUsize>,
    connections: AtomicUsize,
    clients: Mutex<HashMap<Option<IpAddr>, usize>>,
}

/// Counts as an answer under way, of a client and of all.
#[derive(Debug)]
pub struct Place {
    app: Arc<App>,
    client: Option<IpAddr>,
}

/// Counts as a connection.
#[derive(Debug)]
pub struct Connection(Arc<App>);

impl App {
    /// With nothing loaded yet.
    pub fn new(settings: Settings) -> App {
        App {
            replay: Mutex::new(Replay::new(settings.replay_calls)),
            settings,
            loading: Loading::default(),
            model: OnceLock::new(),
            metrics: Metrics::default(),
            started: Instant::now(),
            created: now(),
            ending: AtomicBool::new(false),
            running: Arc::default(),
            connections: AtomicUsize::new(0),
            clients: Mutex::default(),
        }
    }

    /// The model.
    ///
    /// # Errors
    /// It is not loaded yet, or the server is about to end.
    pub fn model(&self) -> Result<Arc<Model>, Refusal> {
        if self.is_ending() {
            return Err(Refusal::new(Reason::Busy, "the server is shutting down"));
        }
        self.model.get().cloned().ok_or_else(|| {
            let (percent, seconds) = (self.loading.fraction() * 100.0, self.loading.again());
            let message = format!(
                "the model is being loaded ({percent:.0} % is there): ask again in {seconds} s"
            );
            Refusal::new(Reason::Loading { seconds }, message)
        })
    }

    /// Takes a place for an answer to a client; clients of unix sockets count as one.
    ///
    /// # Errors
    /// The client has all that it may have.
    pub fn enter(self: &Arc<App>, client: Option<IpAddr>) -> Result<Place, Refusal> {
        let most = self.settings.limits.answers_per_client;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = clients.entry(client).or_default();
        if *taken >= most {
            let message = format!("{taken} requests of this client are under way, {most} may be");
            return Err(Refusal::new(Reason::TooMany, message));
        }
        *taken += 1;
        self.running.fetch_add(1, Ordering::AcqRel);
        Ok(Place { app: self.clone(), client })
    }

    /// A connection is open until what is returned is dropped.
    pub fn connect(self: &Arc<App>) -> Connection {
        self.connections.fetch_add(1, Ordering::AcqRel);
        Connection(self.clone())
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// Answers under way.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    /// From now on nothing new is answered.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// Whether the server is about to end.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// The head of an answer to a model whose name is not known yet.
    pub fn head(&self) -> Head {
        Head { nonce: random(), model: String::new(), created: now() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.app.running.fetch_sub(1, Ordering::AcqRel);
        let mut clients = self.app.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = clients.get_mut(&self.client) {
            *taken -= 1;
            if *taken == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What nobody can guess.
pub fn random() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has random numbers once it has started");
    // The low digits count calls and answers.
    u128::from_le_bytes(bytes) & !0xff_ffff
}
