//! What the agent changes can be taken back: copies of files as they were before a turn.
//!
//! Every change by a tool goes through [`Undo::change`], which keeps the old content before it
//! replaces it. Changes by commands are found by comparing the tree before and after
//! (`commands.rs`), as far as it is small enough. Copies are named by their content and kept beside
//! a journal with one file per turn (`store.rs`), so that a turn can be taken back after a restart.
//!
//! Not covered: what commands change in large trees, in ignored or large files, outside the tree or
//! after their call has returned; and folders, which stay when their files go. A turn knows what of
//! it is not covered, and says so when it is taken back.

mod commands;
mod store;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::files::{self, Content, FILE_BYTES_MAX};

pub use commands::KeptTree;
use store::{Kept, Store};

/// Keeps what is changed.
#[derive(Debug)]
pub struct Undo {
    state: Mutex<Store>,
}

/// What taking back a turn did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undone {
    /// Files that hold again what they held.
    pub restored: Vec<PathBuf>,
    /// Files that the turn had made, and that are gone.
    pub removed: Vec<PathBuf>,
    /// What of the turn cannot be taken back, in lines.
    pub uncovered: Vec<String>,
    /// What could not be done although it was tried, in lines.
    pub failed: Vec<String>,
}

/// Files that somebody else has changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed(pub Vec<PathBuf>);

impl Undo {
    /// Opens what was kept in a folder, which is made if it is not there. Where another process
    /// works with it, one beside it is taken.
    ///
    /// # Errors
    /// The folder cannot be made, read or locked.
    pub fn open(folder: &Path) -> io::Result<Undo> {
        Ok(Undo { state: Mutex::new(Store::open(folder)?) })
    }

    /// Changes belong to this turn from now on. Its name is the caller's, and unique.
    pub fn begin_turn(&self, turn: &str) {
        self.state().begin(turn);
    }

    /// Makes, replaces or (with `None`) removes a file, after keeping what it held.
    ///
    /// # Errors
    /// Nothing was changed: the old content cannot be read or kept, or the new one not be written.
    pub fn change(&self, path: &Path, bytes: Option<&[u8]>) -> io::Result<()> {
        if bytes.is_some_and(|bytes| bytes.len() as u64 > FILE_BYTES_MAX) {
            let what = format!("more than {FILE_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
        }
        let mut state = self.state();
        let before = files::read(path, FILE_BYTES_MAX)?;
        state.keep_before(path, before.as_ref())?;
        let after = match bytes {
            Some(bytes) => {
                let mode = files::replace(path, bytes, None)?;
                Some(Kept::of(&Content { bytes: bytes.to_vec(), mode }))
            }
            None => {
                files::remove(path)?;
                None
            }
        };
        if state.keep_after(path, after).is_err() {
            // It has happened; without the note it looks like somebody else's change.
            state.leave_uncovered(&path.display().to_string());
        }
        Ok(())
    }

    /// Says that something of this turn cannot be taken back.
    pub fn leave_uncovered(&self, what: &str) {
        self.state().leave_uncovered(what);
    }

    /// Restores the files that a turn changed, and forgets it. With `force`, also those that were
    /// changed by others since.
    ///
    /// # Errors
    /// Some were, and nothing was done.
    pub fn undo_turn(&self, turn: &str, force: bool) -> Result<Undone, Changed> {
        let mut state = self.state();
        let Some(record) = state.turn(turn).cloned() else {
            return Ok(Undone::default());
        };
        let mut undone = Undone { uncovered: record.uncovered.clone(), ..Undone::default() };
        let mut changed = Vec::new();
        let mut due = Vec::new();
        for change in &record.changes {
            let now = match files::read(&change.path, FILE_BYTES_MAX) {
                Ok(now) => now.as_ref().map(Kept::of),
                Err(_) => {
                    changed.push(change.path.clone());
                    due.push(change);
                    continue;
                }
            };
            if now == change.before {
                continue;
            }
            if now != change.after {
                changed.push(change.path.clone());
            }
            due.push(change);
        }
        if !changed.is_empty() && !force {
            return Err(Changed(changed));
        }
        for change in due {
            match restore(&state, &change.path, change.before.as_ref()) {
                Ok(()) if change.before.is_some() => undone.restored.push(change.path.clone()),
                Ok(()) => undone.removed.push(change.path.clone()),
                Err(error) => undone.failed.push(format!("{}: {error}", change.path.display())),
            }
        }
        if undone.failed.is_empty() {
            state.forget(turn);
        }
        Ok(undone)
    }

    fn state(&self) -> MutexGuard<'_, Store> {
        // What is kept is valid between any two steps; a panic elsewhere does not change that.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn restore(store: &Store, path: &Path, before: Option<&Kept>) -> io::Result<()> {
    match before {
        Some(kept) => {
            let Content { bytes, mode } = store.content(kept)?;
            files::replace(path, &bytes, Some(mode)).map(|_| ())
        }
        None => match files::remove(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        },
    }
}
