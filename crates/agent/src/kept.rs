//! The conversation that is held now and its file.
//!
//! A file is made when there is something to keep, so that looking in leaves nothing behind. A disk
//! that fails does not end a conversation: it is told once, and the conversation goes on unkept.

use std::path::Path;

use engine::serve::Info;

use crate::sessions::{Folder, Header, Journal, Listed, Loaded, VERSION, new_id};
use crate::talk::{Record, Talk};
use crate::{Error, clock};

/// Where the conversation is kept.
pub(crate) struct Kept {
    folder: Option<Folder>,
    tree: String,
    model: String,
    vocab: usize,
    open: Option<(String, Journal)>,
    /// What is written could not be kept, and that was told.
    failed: bool,
}

impl Kept {
    pub fn new(folder: Option<&Path>, tree: &Path, info: &Info) -> Result<Kept, Error> {
        Ok(Kept {
            folder: folder.map(Folder::open).transpose()?,
            tree: tree.display().to_string(),
            model: info.file.clone(),
            vocab: info.shape.vocab,
            open: None,
            failed: false,
        })
    }

    /// Names the conversation, if it has a file.
    pub fn id(&self) -> Option<&str> {
        self.open.as_ref().map(|(id, _)| id.as_str())
    }

    /// Conversations of this working tree, or all; the last used first.
    pub fn list(&self, all: bool) -> Result<Vec<Listed>, Error> {
        self.folder()?.list((!all).then_some(self.tree.as_str()))
    }

    /// The one whose id begins so.
    pub fn find(&self, id: &str) -> Result<String, Error> {
        self.folder()?.find(id)
    }

    /// Opens another conversation; on an error the one that is open stays open.
    pub fn open(&mut self, id: &str) -> Result<Talk, Error> {
        let Loaded { header, talk, journal } = self.folder()?.load(id)?;
        if header.vocab != self.vocab {
            return Err(Error::OtherModel { id: header.id, model: header.model });
        }
        self.close();
        self.open = Some((header.id, journal));
        Ok(talk)
    }

    /// Goes on in a new file that begins with `talk`. Names it.
    pub fn fork(&mut self, talk: &Talk) -> Result<String, Error> {
        let from = self.id().map(str::to_owned);
        let (id, journal) = self.begin(talk, from)?;
        self.close();
        self.open = Some((id.clone(), journal));
        Ok(id)
    }

    /// Shows `see` all that a conversation ever was, see [`Folder::lives`].
    pub fn lives(&self, id: &str, see: impl FnMut(&Talk)) -> Result<(), Error> {
        self.folder()?.lives(id, see)
    }

    /// Removes a conversation that is not the open one.
    pub fn remove(&self, id: &str) -> Result<(), Error> {
        self.folder()?.remove(id)
    }

    /// Lets go of the file.
    pub fn close(&mut self) {
        if let Some((_, mut journal)) = self.open.take() {
            // What could not be kept was told when it was written.
            let _ = journal.sync();
        }
        self.failed = false;
    }

    /// Keeps what happens to `talk`. What went wrong, once.
    pub fn write(&mut self, talk: &Talk, record: &Record) -> Option<String> {
        if self.folder.is_none() || self.failed {
            return None;
        }
        let written = match &mut self.open {
            Some((_, journal)) => journal.write(record),
            None => self.begin(talk, None).and_then(|(id, mut journal)| {
                journal.write(record)?;
                self.open = Some((id, journal));
                Ok(())
            }),
        };
        written.err().map(|error| self.fail(error))
    }

    /// Waits until everything is on the disk. What went wrong, once.
    pub fn sync(&mut self) -> Option<String> {
        let (_, journal) = self.open.as_mut().filter(|_| !self.failed)?;
        journal.sync().err().map(|error| self.fail(error))
    }

    fn begin(&self, talk: &Talk, from: Option<String>) -> Result<(String, Journal), Error> {
        let header = Header {
            dwarfstar_conversation: VERSION,
            id: new_id(),
            created: clock::now(),
            tree: self.tree.clone(),
            model: self.model.clone(),
            vocab: self.vocab,
            from,
        };
        let mut journal = self.folder()?.create(&header)?;
        talk.records().iter().try_for_each(|record| journal.write(record))?;
        Ok((header.id, journal))
    }

    fn fail(&mut self, error: Error) -> String {
        self.failed = true;
        format!("from here on the conversation is not kept: {error}")
    }

    fn folder(&self) -> Result<&Folder, Error> {
        self.folder.as_ref().ok_or(Error::NotKept)
    }
}
