//! The copies and the journal of turns on disk, and what they may take.
//!
//! A folder holds `kept/HASH`, one file per content, and `turns/NUMBER.json`, one per turn that
//! changed something. A turn's file is written before the change that it tells of, so that a crash
//! leaves a copy too many, never one too few. The oldest turns go when there are too many.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::files::{self, Content, FILE_BYTES_MAX};

const TURNS_MAX: usize = 200;
const TURN_CHANGES_MAX: usize = 2000;
const KEPT_BYTES_MAX: u64 = 256 << 20;
const UNCOVERED_MAX: usize = 100;
const TURN_FILE_BYTES_MAX: u64 = 32 << 20;
/// Processes that work in one tree at a time, each with a store of its own.
const STORES_MAX: usize = 16;

/// A content that is, or can be, kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Kept {
    hash: String,
    mode: u32,
    bytes: u64,
}

impl Kept {
    /// What names this content.
    pub fn of(content: &Content) -> Kept {
        let hash = blake3::hash(&content.bytes).to_hex().to_string();
        Kept { hash, mode: content.mode, bytes: content.bytes.len() as u64 }
    }
}

/// A file that a turn changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub path: PathBuf,
    /// What it held before the turn; `None` if there was none.
    pub before: Option<Kept>,
    /// What the turn left in it.
    pub after: Option<Kept>,
}

/// What a turn changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    pub name: String,
    pub changes: Vec<Change>,
    pub uncovered: Vec<String>,
}

#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    /// By their numbers, oldest first; the last one is under way.
    turns: Vec<(u64, Turn)>,
    /// Contents that are needed beside those of turns: the tree before a command.
    pub pinned: HashSet<Kept>,
    _lock: File,
}

impl Store {
    pub fn open(folder: &Path) -> io::Result<Store> {
        for number in 1..=STORES_MAX {
            let folder = match number {
                1 => folder.to_owned(),
                _ => folder.with_extension(number.to_string()),
            };
            fs::create_dir_all(folder.join("kept"))?;
            fs::create_dir_all(folder.join("turns"))?;
            let lock = File::create(folder.join("lock"))?;
            if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                let turns = read_turns(&folder.join("turns"))?;
                let mut store = Store { folder, turns, pinned: HashSet::new(), _lock: lock };
                store.prune();
                return Ok(store);
            }
        }
        let what = format!("{STORES_MAX} others work in this tree already; end one of them");
        Err(io::Error::new(io::ErrorKind::ResourceBusy, what))
    }

    pub fn begin(&mut self, name: &str) {
        let number = self.turns.last().map_or(1, |(number, _)| number + 1);
        self.turns.retain(|(_, turn)| !turn.changes.is_empty() || !turn.uncovered.is_empty());
        self.turns.push((number, Turn { name: name.to_owned(), ..Turn::default() }));
        self.prune();
    }

    pub fn turn(&self, name: &str) -> Option<&Turn> {
        self.turns.iter().rev().map(|(_, turn)| turn).find(|turn| turn.name == name)
    }

    /// The turn under way; one without a name, if none has begun.
    fn current(&mut self) -> &mut (u64, Turn) {
        if self.turns.is_empty() {
            self.begin("");
        }
        let last = self.turns.len() - 1;
        &mut self.turns[last]
    }

    /// Keeps what a file holds before it is changed the first time in this turn.
    pub fn keep_before(&mut self, path: &Path, before: Option<&Content>) -> io::Result<()> {
        if self.current().1.changes.iter().any(|change| change.path == path) {
            return Ok(());
        }
        let kept = before.map(|content| self.keep(content)).transpose()?;
        self.note(Change { path: path.to_owned(), before: kept.clone(), after: kept });
        self.write()
    }

    /// A change of a content that is kept; it is in the journal after the next [`Store::write`].
    pub fn note(&mut self, change: Change) {
        let turn = &mut self.current().1;
        if let Some(known) = turn.changes.iter_mut().find(|known| known.path == change.path) {
            known.after = change.after;
        } else if turn.changes.len() < TURN_CHANGES_MAX {
            turn.changes.push(change);
        } else {
            let what = format!("files after the first {TURN_CHANGES_MAX} of a turn");
            self.add_uncovered(&what);
        }
    }

    /// What the turn has left in a file.
    pub fn keep_after(&mut self, path: &Path, after: Option<Kept>) -> io::Result<()> {
        self.note(Change { path: path.to_owned(), before: None, after });
        self.write()
    }

    pub fn leave_uncovered(&mut self, what: &str) {
        self.add_uncovered(what);
        let _ = self.write(); // told again when files change, where it is an error
    }

    fn add_uncovered(&mut self, what: &str) {
        let turn = &mut self.current().1;
        let is_known = turn.uncovered.iter().any(|known| known == what);
        if !is_known && turn.uncovered.len() < UNCOVERED_MAX {
            turn.uncovered.push(what.to_owned());
        }
    }

    pub fn keep(&mut self, content: &Content) -> io::Result<Kept> {
        let kept = Kept::of(content);
        let file = self.file(&kept);
        if !file.exists() {
            files::replace(&file, &content.bytes, Some(0o600))?;
        }
        Ok(kept)
    }

    /// Gives back what was kept.
    ///
    /// # Errors
    /// It is not there any more, or not what it was.
    pub fn content(&self, kept: &Kept) -> io::Result<Content> {
        let content = files::read(&self.file(kept), FILE_BYTES_MAX)?;
        let content = content.map(|content| Content { mode: kept.mode, ..content });
        content
            .filter(|content| Kept::of(content) == *kept)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "its copy is gone or damaged"))
    }

    /// Forgets a turn.
    pub fn forget(&mut self, name: &str) {
        let gone: Vec<u64> =
            self.turns.iter().filter(|(_, turn)| turn.name == name).map(|(n, _)| *n).collect();
        for number in gone {
            self.drop_turn(number);
        }
        self.prune();
    }

    fn drop_turn(&mut self, number: u64) {
        let _ = fs::remove_file(self.turn_file(number)); // one that is left is dropped next time
        self.turns.retain(|(known, _)| *known != number);
    }

    /// Lets the oldest turns go until the rest fits, and all contents that nobody needs.
    fn prune(&mut self) {
        let over = |turns: &[(u64, Turn)]| {
            let needed: HashSet<&Kept> = turns.iter().flat_map(|(_, turn)| needed(turn)).collect();
            needed.iter().map(|kept| kept.bytes).sum::<u64>() > KEPT_BYTES_MAX
        };
        while self.turns.len() > 1 && (self.turns.len() > TURNS_MAX || over(&self.turns)) {
            self.drop_turn(self.turns[0].0);
        }
        let turns = self.turns.iter().flat_map(|(_, turn)| needed(turn));
        let needed: HashSet<&str> =
            turns.chain(&self.pinned).map(|kept| kept.hash.as_str()).collect();
        for entry in fs::read_dir(self.folder.join("kept")).into_iter().flatten().flatten() {
            let is_needed = entry.file_name().to_str().is_some_and(|name| needed.contains(name));
            if !is_needed {
                let _ = fs::remove_file(entry.path()); // tried again next time
            }
        }
    }

    /// Writes the journal of the turn under way.
    pub fn write(&mut self) -> io::Result<()> {
        let (number, turn) = self.current();
        let (number, text) = (*number, serde_json::to_vec(turn)?);
        files::replace(&self.turn_file(number), &text, Some(0o600)).map(|_| ())
    }

    fn file(&self, kept: &Kept) -> PathBuf {
        self.folder.join("kept").join(&kept.hash)
    }

    fn turn_file(&self, number: u64) -> PathBuf {
        self.folder.join("turns").join(format!("{number}.json"))
    }
}

/// Contents that a turn needs to be taken back.
fn needed(turn: &Turn) -> impl Iterator<Item = &Kept> {
    turn.changes.iter().filter_map(|change| change.before.as_ref())
}

/// The turns that can be read. One that is damaged cannot be taken back, and stands in nobody's
/// way.
fn read_turns(folder: &Path) -> io::Result<Vec<(u64, Turn)>> {
    let mut turns = Vec::new();
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        let content = files::read(&path, TURN_FILE_BYTES_MAX).ok().flatten();
        let turn: Option<Turn> =
            content.and_then(|content| serde_json::from_slice(&content.bytes).ok());
        let valid = |turn: &Turn| turn.changes.iter().all(is_valid);
        turns.extend(number.zip(turn.filter(valid)));
    }
    turns.sort_by_key(|(number, _)| *number);
    Ok(turns)
}

/// A hash is a name in our folder, and a path is absolute.
fn is_valid(change: &Change) -> bool {
    let kept = change.before.iter().chain(&change.after);
    let is_hash = |hash: &str| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    change.path.is_absolute() && kept.into_iter().all(|kept| is_hash(&kept.hash))
}
