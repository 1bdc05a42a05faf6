//! What the store needs from a disk, and the disk of this machine.
//!
//! The operations are few and plain, so that a test can replace them by a disk that fails after n
//! of them, tears files, fills up, or forgets what was not synced. Nothing here knows what the
//! files mean.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// A disk and a clock.
pub trait Storage: Debug + Send + Sync {
    /// Makes a folder, and those above it, if they are missing.
    ///
    /// # Errors
    /// As the operating system says; so for all operations.
    fn prepare(&self, folder: &Path) -> io::Result<()>;

    /// Takes the lock of `path` until the value is dropped; `None` if somebody has it.
    ///
    /// # Errors
    /// If the file cannot be made, or the disk knows no locks.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>>;

    /// The plain files in a folder.
    ///
    /// # Errors
    /// If there is no such folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<Listed>>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// If there is no such file.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Source>>;

    /// Makes an empty file, in place of one that is there.
    ///
    /// # Errors
    /// If the disk is full.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Sink>>;

    /// Gives a file another name; one that has it already is replaced, at no moment missing.
    ///
    /// # Errors
    /// If there is no such file.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Deletes a file.
    ///
    /// # Errors
    /// If there is no such file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Returns when the names in a folder are as durable as they get.
    ///
    /// # Errors
    /// If the disk could not write them.
    fn sync(&self, folder: &Path) -> io::Result<()>;

    /// Seconds since 1970.
    fn now(&self) -> u64;
}

/// A file of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name, without the folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// A file being read.
pub trait Source: Read + Seek + Send {}

impl<T: Read + Seek + Send> Source for T {}

/// A file being written.
pub trait Sink: Write + Send {
    /// Returns when all that was written is as durable as it gets.
    ///
    /// # Errors
    /// If the disk could not write it.
    fn sync(&mut self) -> io::Result<()>;
}

/// The disk and the clock of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl Storage for Disk {
    fn prepare(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Listed>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            // A file that was deleted since is not there.
            let Ok(facts) = entry.metadata() else { continue };
            if let (true, Ok(name)) = (facts.is_file(), entry.file_name().into_string()) {
                files.push(Listed { name, bytes: facts.len() });
            }
        }
        Ok(files)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Source>> {
        Ok(Box::new(File::open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Sink>> {
        Ok(Box::new(File::create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync(&self, folder: &Path) -> io::Result<()> {
        // Windows writes names through and does not open folders as files.
        if std::env::consts::FAMILY == "windows" {
            return Ok(());
        }
        File::open(folder)?.sync_all()
    }

    fn now(&self) -> u64 {
        // A clock before 1970 makes checkpoints old; nothing depends on more.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs())
    }
}

impl Sink for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}
