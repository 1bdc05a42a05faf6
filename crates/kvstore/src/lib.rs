//! Durable checkpoints of conversations, in a folder.
//!
//! A checkpoint is everything that a session needs to go on: pages of rows, a tail of fixed size,
//! the last logits, the tokens, the text they were rendered from. All of it is opaque bytes here.
//! The store knows that pages come in order and are final, and that is enough to write each of them
//! once: what is saved is cut into *blocks*, a block is named by the hash of its bytes, and one
//! that is there already is not written again.
//!
//! Three kinds of files, all checksummed, none ever changed in place (`docs/kv-file.md` draws them
//! byte by byte and argues why a crash loses nothing that was reported saved):
//!
//! ```text
//! *.pack   the new blocks of one save          pack.rs
//! *.kv     a manifest: one checkpoint, which   manifest.rs
//!          names its blocks
//! uses     when checkpoints were used          uses.rs
//! ```
//!
//! Start with [`Store`] (`store.rs`). The index in memory is `catalog.rs`; what happens when the
//! budget is spent stands in `room.rs`; [`Writer`] saves in the background; [`Policy`] says when
//! saving is worth it. Files are reached through [`Storage`] only, so that tests can fail, tear and
//! forget what was written.

mod catalog;
mod entry;
mod error;
mod frame;
mod key;
mod load;
mod manifest;
mod pack;
mod policy;
mod room;
mod save;
mod storage;
mod store;
mod transfer;
mod uses;
mod verify;
mod writer;

pub use entry::{Checkpoint, Entry, Found, Info, Loaded, PageSource, Reason, Saved};
pub use error::Error;
pub use key::{Fingerprint, Id, PageKey};
pub use policy::{Policy, Stop};
pub use storage::{Disk, Listed, Sink, Source, Storage};
pub use store::{Settings, Store};
pub use transfer::Imported;
pub use verify::{Flaw, Verified};
pub use writer::{Full, Limits, Outcome, Refused, Ticket, Writer};

/// Reading of files that may say anything, for the fuzzer and for hostile tests.
pub mod hostile {
    pub use crate::manifest::{Manifest, Parsed};
    pub use crate::pack::{Directory, Head};
    pub use crate::uses::{Use, Uses};
}
