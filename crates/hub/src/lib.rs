//! The way from a repository on the Hugging Face hub to a verified file on this disk.
//!
//! A file of 80 GB takes hours, so everything here is about not beginning again: parts are fetched
//! over several connections into a *partial file*, a *journal* beside it says which bytes are on
//! the disk, and whoever asks again later asks for the missing ones only. The file gets its name
//! when its size and SHA-256 are those that the hub has published, and not before.
//!
//! What models are, which names they have, and where people want them is not known here. Nothing
//! is read from the environment, nothing is printed.
//!
//! Start with [`Download`] (`download.rs`). One thread owns the file and the journal
//! (`partial.rs`, `journal.rs`); connections (`fetch.rs`) only bring bytes. `client.rs` asks, and
//! decides who may see the token; `address.rs` has the pure part of that.

mod address;
mod client;
mod digest;
mod download;
mod error;
mod fetch;
mod journal;
mod listing;
mod partial;
mod patience;
mod ranges;

pub use address::{Endpoint, Plain, Repository};
pub use client::{Hub, Settings, Token};
pub use digest::{Sha256, Verdict, verify};
pub use download::{Download, Event, Options, Outcome};
pub use error::Error;
pub use listing::Entry;
pub use patience::Patience;
pub use ranges::Ranges;

/// Reading of bytes that may say anything, for the fuzzer and for hostile tests.
pub mod hostile {
    pub use crate::fetch::content_range;
    pub use crate::journal::parse as journal;
    pub use crate::listing::{next_page, parse as listing};

    /// Where a redirect from an address leads, if it may.
    pub fn redirect(from: &str, location: &str) -> Option<String> {
        let to = crate::address::redirect(&from.parse().ok()?, location, crate::Plain::Loopback);
        Some(to.ok()?.to_string())
    }
}
