//! What a server is told when it is started, and what can go wrong before anybody asks anything.
//!
//! Everything here was typed or has a default that is stated beside it; nothing is read from the
//! environment.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::answer::prepare::Choosing;
use crate::body::ReadOptions;
use crate::prompt::Form;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A certificate and its key, as PEM text.
#[derive(Clone, PartialEq, Eq)]
pub struct Tls {
    /// The chain, the server's own certificate first.
    pub certificates: Vec<u8>,
    /// The private key.
    pub key: Vec<u8>,
}

/// What clients may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Answers at once for one client address.
    pub answers_per_client: usize,
    /// How long a head may take to arrive, and a connection to be idle.
    pub head: Duration,
    /// How long a body may take to arrive.
    pub body: Duration,
    /// How long a client may take nothing of what is written to it.
    pub reading: Duration,
    /// From one sign of life to the next while a prompt is read.
    pub keep_alive: Duration,
    /// How long running answers may go on when the server ends.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            answers_per_client: 64,
            head: Duration::from_secs(60),
            body: Duration::from_secs(60),
            reading: Duration::from_secs(60),
            keep_alive: Duration::from_secs(5),
            grace: Duration::from_secs(10),
        }
    }
}

/// Takes lines for people.
#[derive(Clone)]
pub struct Lines(Arc<dyn Fn(&str) + Send + Sync>);

/// How to serve.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where; at least one.
    pub listen: Vec<Listen>,
    /// For all addresses that are not unix sockets.
    pub tls: Option<Tls>,
    /// Whoever has none of these keys gets nothing; if there is none, everybody may ask.
    pub keys: Vec<String>,
    /// Names of this machine under which it may be asked besides those of loopback; `*` is any.
    pub hosts: Vec<String>,
    /// Pages of these origins may ask; `*` is any.
    pub origins: Vec<String>,
    /// What the model is called.
    pub model: String,
    /// The form of prompts.
    pub form: Form,
    /// How tokens are chosen.
    pub choosing: Choosing,
    /// How strictly requests are read.
    pub read: ReadOptions,
    /// What clients may take.
    pub limits: Limits,
    /// Calls that are remembered as they were sampled; 0 remembers none.
    pub replay_calls: usize,
    /// One line per request, without anything that was said.
    pub log: Lines,
    /// What whoever runs the server should know although no request fails of it, line by line.
    pub notices: Lines,
    /// Requests and answers in full, if somebody wants that.
    pub trace: Option<Lines>,
}

/// Why a server cannot be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The place to listen is taken, or not ours.
    #[error("could not listen on {place}: {source}")]
    Listen {
        /// Where.
        place: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// Threads or timers are not to be had.
    #[error("could not start the server: {0}")]
    Start(std::io::Error),
    /// Certificate and key do not work.
    #[error("TLS: {0}")]
    Tls(String),
    /// The model cannot be opened.
    #[error(transparent)]
    Engine(#[from] engine::Error),
}

impl Lines {
    /// Lines go to `take`, one at a time, without their end.
    pub fn new(take: impl Fn(&str) + Send + Sync + 'static) -> Lines {
        Lines(Arc::new(take))
    }

    /// Hands a line on.
    pub fn say(&self, line: &str) {
        (self.0)(line);
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines")
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "{address}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
