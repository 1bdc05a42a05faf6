//! Conversations in files: a folder with one file of JSON lines for each.
//!
//! A file is only appended to, and made durable when a turn ends; a last line that was cut off is
//! passed over. What is in a line is said by `talk::Record`; `docs/conversation-file.md` describes
//! the format. While a conversation is open its file is locked, so that two processes never write
//! into one. This room knows what it reads and writes, not what it means: start at [`Folder`].

mod journal;
mod read;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::talk::{Record, Talk};
pub(crate) use journal::Journal;

/// The version of the format that is written.
pub const VERSION: u32 = 1;

/// Bytes of a file of conversations at most.
pub const FILE_BYTES_MAX: u64 = 256 << 20;

/// Files that are listed at most.
const LISTED_MAX: usize = 10_000;

/// The first line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format.
    pub dwarfstar_conversation: u32,
    /// Names the conversation.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The working tree.
    pub tree: String,
    /// The model, whose tokens these are.
    pub model: String,
    /// Tokens of that model's vocabulary.
    pub vocab: usize,
    /// The conversation that it went on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// A conversation in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Names it.
    pub id: String,
    /// Its title.
    pub title: String,
    /// The working tree.
    pub tree: String,
    /// When its last turn ended, or it was made: seconds since 1970.
    pub used: u64,
    /// Tokens of it.
    pub tokens: usize,
    /// Bytes of its file.
    pub bytes: u64,
    /// The branch at its last turn.
    pub branch: Option<String>,
}

/// A conversation that was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub header: Header,
    pub talk: Talk,
    pub journal: Journal,
}

/// The folder of conversations.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`, which is made if there is none.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(path: &Path) -> Result<Folder, Error> {
        fs::create_dir_all(path).map_err(Error::io(path, "could not make the folder"))?;
        Ok(Folder { path: path.to_owned() })
    }

    /// What is there, the last used first; of one working tree, or of all. Files that are no
    /// conversations are passed over.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self, tree: Option<&str>) -> Result<Vec<Listed>, Error> {
        let entries = fs::read_dir(&self.path).map_err(Error::io(&self.path, "could not list"))?;
        let files =
            entries.flatten().map(|entry| entry.path()).filter(|path| id_of(path).is_some());
        // Of turns that ended within one second, the file that was written last comes first.
        let written = |path: &Path| fs::metadata(path).and_then(|about| about.modified()).ok();
        let mut found: Vec<_> = files
            .take(LISTED_MAX)
            .filter_map(|path| read::glance(&path).map(|listed| (written(&path), listed)))
            .filter(|(_, listed)| tree.is_none_or(|tree| listed.tree == tree))
            .collect();
        found.sort_by(|(a_written, a), (b_written, b)| {
            let order = b.used.cmp(&a.used).then_with(|| b_written.cmp(a_written));
            order.then_with(|| a.id.cmp(&b.id))
        });
        let listed = found.into_iter().map(|(_, listed)| listed).collect();
        Ok(listed)
    }

    /// The one conversation whose id begins with `id`.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn find(&self, id: &str) -> Result<String, Error> {
        let unknown = |found| Error::Unknown { id: id.to_owned(), found };
        let listed = self.list(None)?;
        let mut found = listed.into_iter().map(|listed| listed.id).filter(|of| of.starts_with(id));
        match (found.next().filter(|_| !id.is_empty()), found.next()) {
            (Some(id), None) => Ok(id),
            (Some(_), Some(_)) => Err(unknown("more than one conversation begins so")),
            (None, _) => Err(unknown("there is no such conversation")),
        }
    }

    /// Reads a conversation, to go on with it.
    ///
    /// # Errors
    /// It is open elsewhere, cannot be read, or is damaged.
    pub(crate) fn load(&self, id: &str) -> Result<Loaded, Error> {
        let path = self.file(id);
        let file = journal::open(&path, id)?;
        let (header, talk, whole) = read::whole(&path, &file, |_, _| {})?;
        Ok(Loaded { header, talk, journal: Journal::resume(path, file, whole)? })
    }

    /// Shows `see` all that a conversation ever was: as it is, and as it was each time before a
    /// turn was taken back or its beginning was summed up. It may be open elsewhere.
    ///
    /// # Errors
    /// It cannot be read, or is damaged; some of it was shown then.
    pub(crate) fn lives(&self, id: &str, mut see: impl FnMut(&Talk)) -> Result<(), Error> {
        let path = self.file(id);
        let file = fs::File::open(&path).map_err(Error::io(&path, "could not open it"))?;
        let ends = |record: &Record| matches!(record, Record::Undone | Record::Restarted);
        let (_, talk, _) = read::whole(&path, &file, |talk, record| {
            if ends(record) {
                see(talk);
            }
        })?;
        see(&talk);
        Ok(())
    }

    /// Begins a file.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn create(&self, header: &Header) -> Result<Journal, Error> {
        Journal::create(self.file(&header.id), header)
    }

    /// Removes a conversation.
    ///
    /// # Errors
    /// It is open elsewhere, or cannot be removed.
    pub fn remove(&self, id: &str) -> Result<(), Error> {
        let path = self.file(id);
        let _locked = journal::open(&path, id)?;
        fs::remove_file(&path).map_err(Error::io(&path, "could not remove it"))
    }

    fn file(&self, id: &str) -> PathBuf {
        self.path.join(format!("{id}.jsonl"))
    }
}

/// How many tokens the conversation has that is in the bytes of a file; `path` names it in errors.
///
/// # Errors
/// They are no conversation, or a damaged one.
pub fn tokens_in(path: &Path, bytes: &[u8]) -> Result<usize, Error> {
    let (_, talk, _) = read::whole(path, bytes, |_, _| {})?;
    Ok(talk.tokens().len())
}

/// A name that no other conversation has.
pub(crate) fn new_id() -> String {
    let mut bytes = [0; 4];
    // Without the system's generator the clock has to do; a taken name is noticed when it is made.
    if getrandom::fill(&mut bytes).is_err() {
        bytes = (crate::clock::now() as u32 ^ std::process::id().rotate_left(16)).to_le_bytes();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn id_of(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?.strip_suffix(".jsonl")?;
    (!name.is_empty() && name.chars().all(|c| c.is_ascii_hexdigit())).then_some(name)
}
