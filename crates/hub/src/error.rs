//! What can go wrong between the hub and a file.
//!
//! Messages say what was met. What to type next depends on the program around this crate, which
//! adds it: the variants tell the cases apart for which there is something to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::digest::Sha256;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an address of a hub.
    #[error("{found:?} is no address of a hub, expected one such as https://huggingface.co")]
    Endpoint {
        /// As it was given.
        found: String,
    },
    /// An address without encryption that is not on this machine.
    #[error("{found}: without encryption, which is allowed for this machine only")]
    PlainEndpoint {
        /// As it was given.
        found: String,
    },
    /// Not a proxy.
    #[error("the address of the proxy cannot be understood: {reason}")]
    Proxy {
        /// Why.
        reason: String,
    },
    /// Not the name of a repository.
    #[error("{found:?} is no repository, expected an owner and a name such as owner/name")]
    Repository {
        /// As it was given.
        found: String,
    },
    /// 401: the hub wants to know who asks, or does not know the token.
    #[error("{what}: the hub does not say whether it exists (401)")]
    Unauthorized {
        /// What was asked for.
        what: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// 403: known, and not allowed.
    #[error("{what}: the hub gives no access to it (403)")]
    Forbidden {
        /// What was asked for.
        what: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// 404.
    #[error("{what}: not there (404)")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// Another status, after everything that may help was tried.
    #[error("{what}: {host} answers with status {status}")]
    Status {
        /// What was asked for.
        what: String,
        /// Who answered.
        host: String,
        /// How.
        status: u16,
    },
    /// The hub wants to be left alone for longer than anybody waits.
    #[error(
        "{what}: {host} asks to wait for {} minutes (status {status})",
        wait.as_secs().div_ceil(60)
    )]
    Busy {
        /// What was asked for.
        what: String,
        /// Who answered.
        host: String,
        /// How.
        status: u16,
        /// For how long.
        wait: Duration,
    },
    /// No answer, or one that ended in the middle.
    #[error("{what}: {reason}")]
    Connection {
        /// What was asked for.
        what: String,
        /// What happened.
        reason: String,
    },
    /// An answer that makes no sense.
    #[error("{what}: {found}")]
    Answer {
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        found: String,
    },
    /// A part was asked for, and something else came.
    #[error("{what}: asked for bytes {start} to {end}, and {found}")]
    Range {
        /// What was asked for.
        what: String,
        /// The first byte.
        start: u64,
        /// The last byte.
        end: u64,
        /// What came.
        found: String,
    },
    /// The file was replaced while it was fetched.
    #[error("{what}: replaced on the hub while it was fetched")]
    Changed {
        /// What was asked for.
        what: String,
    },
    /// The bytes are not those that were published.
    #[error("{}: its SHA-256 is {found}, expected {expected} as published", path.display())]
    Hash {
        /// The partial file. It is gone.
        path: PathBuf,
        /// As published.
        expected: Sha256,
        /// As fetched.
        found: Sha256,
    },
    /// Another process fetches the same file.
    #[error("{}: is being fetched by another process", path.display())]
    InUse {
        /// The partial file.
        path: PathBuf,
    },
    /// There is such a file already.
    #[error("{}: exists already", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// A file of ours.
    #[error("{}: {what}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What could not be done.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// A failed operation on a file.
    pub(crate) fn io(
        path: impl Into<PathBuf>,
        what: &'static str,
    ) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, what, source }
    }
}
