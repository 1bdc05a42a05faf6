//! Where the bytes of a file live: a memory map, or memory that someone handed us.
//!
//! The only room of this crate with unsafe code. A mapped model costs no copy and no time to open,
//! and its pages are shared between processes; the price is that the operating system, not the
//! type system, promises that the bytes stay what they are. See the note at the call.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::Path;

use memmap2::Mmap;

use crate::error::Error;

/// The bytes of one file, unchanging for as long as the value lives.
#[derive(Debug)]
pub(crate) enum Source {
    Mapped(Mmap),
    Memory(Cow<'static, [u8]>),
}

impl Source {
    /// Maps the regular file at `path`, read-only.
    pub(crate) fn open(path: &Path) -> Result<Source, Error> {
        let name = path.display().to_string();
        // Asked before opening: opening a pipe would wait for someone to write into it.
        let facts = fs::metadata(path).map_err(|error| unopened(&name, error))?;
        if facts.is_dir() {
            return Err(Error::new(name, "is a directory, expected a GGUF file"));
        }
        if !facts.is_file() {
            return Err(Error::new(name, "is not a regular file, expected a GGUF file"));
        }
        if facts.len() == 0 {
            return Ok(Source::Memory(Cow::Borrowed(&[])));
        }
        let file = fs::File::open(path).map_err(|error| unopened(&name, error))?;
        // SAFETY: the map is read-only and private to this value, which hands out shared slices
        // that do not outlive it. The language's remaining condition, that nobody changes the file
        // meanwhile, is a promise of the world: our own writer honours it by renaming a finished
        // file into place and never writing into an existing one. Someone who truncates a model
        // that is in use ends the process with a bus error, as in every program that maps files.
        let map = unsafe { Mmap::map(&file) };
        map.map(Source::Mapped).map_err(|error| Error::io(name, "could not map the file", error))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Source::Mapped(map) => map,
            Source::Memory(bytes) => bytes,
        }
    }
}

fn unopened(name: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::new(name, "no such file"),
        _ => Error::io(name, "could not open the file", error),
    }
}
