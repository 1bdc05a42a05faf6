//! Writing a conversation's file: appended line by line, durable at the end of each turn.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{FILE_BYTES_MAX, Header};
use crate::Error;
use crate::talk::Record;

/// A conversation's file while it is open. Dropping it lets others open it.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// Opens a file and locks it.
pub(super) fn open(path: &Path, id: &str) -> Result<File, Error> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => {
            Error::Unknown { id: id.to_owned(), found: "there is no such conversation" }
        }
        _ => Error::io(path, "could not open it")(source),
    })?;
    lock(&file, path, id)?;
    Ok(file)
}

fn lock(file: &File, path: &Path, id: &str) -> Result<(), Error> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { id: id.to_owned() }),
        Err(TryLockError::Error(source)) => Err(Error::io(path, "could not lock it")(source)),
    }
}

impl Journal {
    /// Begins a file, which must not be there.
    pub fn create(path: PathBuf, header: &Header) -> Result<Journal, Error> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(Error::io(&path, "could not make it"))?;
        lock(&file, &path, &header.id)?;
        let mut journal = Journal { path, file, bytes: 0 };
        journal.line(header)?;
        Ok(journal)
    }

    /// Goes on behind the `whole` bytes that are whole lines.
    pub fn resume(path: PathBuf, mut file: File, whole: u64) -> Result<Journal, Error> {
        let cut = file.set_len(whole).and_then(|()| file.seek(SeekFrom::Start(whole)));
        cut.map_err(Error::io(&path, "could not go on with it"))?;
        Ok(Journal { path, file, bytes: whole })
    }

    /// Adds a record.
    pub fn write(&mut self, record: &Record) -> Result<(), Error> {
        self.line(record)
    }

    /// Waits until everything is on the disk.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.file.sync_data().map_err(Error::io(&self.path, "could not make it durable"))
    }

    /// One write for the whole line: what is cut off is the last line and nothing else.
    fn line(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let write = || -> io::Result<u64> {
            let mut line = serde_json::to_vec(value)?;
            line.push(b'\n');
            if self.bytes + line.len() as u64 > FILE_BYTES_MAX {
                return Err(io::Error::other("the file is full; /new begins another"));
            }
            (&self.file).write_all(&line)?;
            Ok(line.len() as u64)
        };
        let written = write();
        if written.is_err() {
            // Half a line would hide what comes after it.
            let _ = self.file.set_len(self.bytes);
            let _ = self.file.seek(SeekFrom::Start(self.bytes));
        }
        self.bytes += written.map_err(Error::io(&self.path, "could not write it"))?;
        Ok(())
    }
}
