//! A file in the making: its bytes, the journal, and the lock that keeps others away.
//!
//! The order of every step is what makes dying harmless: bytes are on the disk before the journal
//! says so, and the file gets its name before the journal goes.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::journal::Journal;
use crate::listing::Entry;
use crate::ranges::Ranges;

/// The partial file of `target`.
pub fn part_path(target: &Path) -> PathBuf {
    target.with_added_extension("pulling")
}

/// Its journal.
fn journal_path(target: &Path) -> PathBuf {
    target.with_added_extension("pulling.journal")
}

/// How a file was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// There was nothing of it.
    New,
    /// A part of it was there.
    Resumed,
    /// A part of another version was there, and is gone.
    Anew,
}

/// A partial file that is written to.
#[derive(Debug)]
pub struct Partial {
    target: PathBuf,
    part: File,
    journal: Journal,
    have: Ranges,
    /// Written, but not in the journal.
    fresh: Ranges,
}

/// What is there of this version of a file. Changes nothing.
pub fn look(target: &Path, entry: &Entry) -> Result<Ranges, Error> {
    let path = journal_path(target);
    let part = fs::metadata(part_path(target));
    if !part.is_ok_and(|part| part.is_file() && part.len() == entry.size) {
        return Ok(Ranges::default());
    }
    let have = Journal::read(&path, entry);
    Ok(have.map_err(Error::io(path, "could not read it"))?.unwrap_or_default())
}

impl Partial {
    /// Goes on with what is there, or begins.
    pub fn open(target: &Path, entry: &Entry) -> Result<(Partial, Begun), Error> {
        let (path, journal) = (part_path(target), journal_path(target));
        let part = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let part = part.map_err(Error::io(&path, "could not open it"))?;
        if let Err(TryLockError::WouldBlock) = part.try_lock() {
            return Err(Error::InUse { path });
        }
        let have = look(target, entry)?;
        let begun = match (have.bytes(), journal.exists()) {
            (0, false) => Begun::New,
            (0, true) if Journal::read(&journal, entry).is_ok_and(|read| read.is_some()) => {
                Begun::New
            }
            (0, true) => Begun::Anew,
            _ => Begun::Resumed,
        };
        if begun != Begun::Resumed {
            part.set_len(0).map_err(Error::io(&path, "could not empty it"))?;
            part.set_len(entry.size).map_err(Error::io(&path, "could not make room in it"))?;
        }
        let created = Journal::create(&journal, entry, &have);
        let journal = created.map_err(Error::io(&journal, "could not write it"))?;
        let (target, fresh) = (target.to_owned(), Ranges::default());
        Ok((Partial { target, part, journal, have, fresh }, begun))
    }

    /// Bytes that are there.
    pub fn bytes(&self) -> u64 {
        self.have.bytes()
    }

    /// Bytes that are there, and not yet certain to stay.
    pub fn fresh_bytes(&self) -> u64 {
        self.fresh.bytes()
    }

    /// What is missing of `size` bytes.
    pub fn missing(&self, size: u64) -> Ranges {
        self.have.missing(size)
    }

    /// Puts bytes where they belong.
    pub fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Error> {
        let written = self.part.seek(SeekFrom::Start(at)).and_then(|_| self.part.write_all(bytes));
        written.map_err(Error::io(part_path(&self.target), "could not write it"))?;
        let range = at..at + bytes.len() as u64;
        self.fresh.insert(range.clone());
        self.have.insert(range);
        Ok(())
    }

    /// Makes certain that what was written is there after any end.
    pub fn mark(&mut self) -> Result<(), Error> {
        if self.fresh.bytes() == 0 {
            return Ok(());
        }
        let synced = self.part.sync_data();
        synced.map_err(Error::io(part_path(&self.target), "could not write it"))?;
        let noted = self.journal.add(&self.fresh, &self.have);
        noted.map_err(Error::io(journal_path(&self.target), "could not write it"))?;
        self.fresh = Ranges::default();
        Ok(())
    }

    /// Gives the file its name.
    pub fn finish(self, overwrite: bool) -> Result<(), Error> {
        let (part, journal) = (part_path(&self.target), journal_path(&self.target));
        self.part.sync_all().map_err(Error::io(&part, "could not write it"))?;
        if !overwrite && self.target.exists() {
            return Err(Error::Exists { path: self.target });
        }
        let named = fs::rename(&part, &self.target);
        named.map_err(Error::io(&self.target, "could not be put in place"))?;
        // Not every system lets a folder be synced, and none needs the journal any more.
        let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty());
        let _ = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
        let _ = fs::remove_file(journal);
        Ok(())
    }

    /// Removes all of it.
    pub fn discard(self) -> Result<(), Error> {
        let (part, journal) = (part_path(&self.target), journal_path(&self.target));
        fs::remove_file(&part).map_err(Error::io(&part, "could not remove it"))?;
        fs::remove_file(&journal).map_err(Error::io(&journal, "could not remove it"))
    }
}
