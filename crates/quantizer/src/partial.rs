//! Outputs that stay when their run is interrupted, and are gone on with.
//!
//! A run writes to `OUT.partial` and notes in `OUT.partial.journal` how much of that is complete:
//! so many parts (a tensor, or one expert of a stack), which are so many bytes. Output is only ever
//! appended, so these two numbers say everything. That they can be relied on after a crash follows
//! from the order of things:
//!
//! 1. an old journal is removed, and the folder synchronized, before a new partial file is begun;
//! 2. the journal is written after the disk has the bytes that it counts, never before;
//! 3. it is replaced whole: written under another name, synchronized, renamed;
//! 4. whoever goes on cuts the partial file behind these bytes, where anything may be then;
//! 5. the partial file gets the output's name when the disk has all of it, and the journal is
//!    removed last. One that is left alone is of no harm, by 1.
//!
//! What a run was made of is part of the journal: a hash of the program's version, of what is done
//! with each part and of samples of its weights, and of the importance file. The header, which has
//! all keys, names, dimensions and formats, is compared byte by byte when the file is opened again.
//! A journal is bytes from outside: whatever is wrong with it is an error with its reason.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::plan::Plan;

/// What a journal says that this program understands.
const VERSION: u32 = 1;

/// A journal has three numbers and a hash.
const JOURNAL_BYTES_MAX: u64 = 4096;

/// Bytes of an importance file that are read at once.
const PIECE_BYTES: usize = 1 << 20;

/// Bytes at the beginning and at the end of each part that tell weights apart.
const SAMPLE_BYTES: usize = 512;

/// What to do where an output was begun before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Refuse to lose it.
    New,
    /// Begin again.
    Over,
    /// Go on with it, or begin if there is none.
    GoOn,
}

/// How much of an output is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noted {
    version: u32,
    /// What it is made of.
    identity: String,
    /// Complete parts.
    parts: usize,
    /// Their bytes.
    bytes: u64,
}

/// Reads a journal.
///
/// # Errors
/// It is none.
pub fn parse(bytes: &[u8]) -> Result<Noted, serde_json::Error> {
    serde_json::from_slice(bytes)
}

/// The partial file of an output, and its journal.
#[derive(Debug)]
pub(crate) struct Partial {
    /// Where the output goes until it is complete.
    pub path: PathBuf,
    journal: PathBuf,
    noted: Noted,
}

impl Partial {
    /// Decides where a run of `plan` to `out` begins. Nothing is written that was not there, but
    /// with [`Start::Over`] what was begun is removed.
    ///
    /// # Errors
    /// Something was begun, and is not to be lost, or is of another run, or damaged.
    pub fn find(out: &Path, plan: &Plan, start: Start) -> Result<Partial, Error> {
        let (path, journal) = (beside(out, ".partial"), beside(out, ".partial.journal"));
        let noted = Noted { version: VERSION, identity: identity(plan)?, parts: 0, bytes: 0 };
        let mut partial = Partial { path, journal, noted };
        let is_there = partial.path.symlink_metadata().is_ok();
        match start {
            Start::New if is_there => {
                return Err(Error::Unfinished { file: partial.path.display().to_string() });
            }
            Start::GoOn if is_there => partial.read(plan)?,
            _ => partial.remove()?,
        }
        Ok(partial)
    }

    /// Parts that are complete, and their bytes.
    pub fn done(&self) -> (usize, u64) {
        (self.noted.parts, self.noted.bytes)
    }

    /// Notes that so many parts are complete, which the disk has.
    pub fn note(&mut self, parts: usize, bytes: u64) -> Result<(), Error> {
        let noted = Noted { parts, bytes, ..self.noted.clone() };
        let text = serde_json::to_string(&noted).expect("numbers and a hash are JSON");
        let fail = |error| Error::io(&self.journal, "could not write the journal", error);
        let new = beside(&self.journal, ".new");
        let mut file = fs::File::create(&new).map_err(fail)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
        fs::rename(&new, &self.journal).map_err(fail)?;
        sync_folder(&self.journal);
        self.noted = noted;
        Ok(())
    }

    /// Removes the journal, then the partial file, as far as they are there.
    ///
    /// # Errors
    /// One is there and stays.
    pub fn remove(&self) -> Result<(), Error> {
        remove(&self.journal)?;
        sync_folder(&self.journal);
        remove(&self.path)
    }

    /// Removes the journal of an output that is complete.
    ///
    /// # Errors
    /// It stays.
    pub fn complete(&self) -> Result<(), Error> {
        remove(&self.journal)
    }

    /// An error about what was begun.
    pub fn unfit(&self, problem: impl Into<String>) -> Error {
        Error::Partial { file: self.path.display().to_string(), problem: problem.into() }
    }

    /// Takes over what the journal says, if it is of this run. Without one nothing is complete.
    fn read(&mut self, plan: &Plan) -> Result<(), Error> {
        let fail = |error| Error::io(&self.journal, "could not read the journal", error);
        let file = match fs::File::open(&self.journal) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file.map_err(fail)?,
        };
        let mut bytes = Vec::new();
        file.take(JOURNAL_BYTES_MAX).read_to_end(&mut bytes).map_err(fail)?;
        let noted = parse(&bytes)
            .map_err(|error| self.unfit(format!("its journal is damaged ({error})")))?;
        if noted.version != VERSION {
            let found = noted.version;
            return Err(self.unfit(format!("its journal is of version {found}, not {VERSION}")));
        }
        if noted.identity != self.noted.identity {
            return Err(self.unfit(
                "it was made of other weights or another importance, with other formats, or by \
                 another version of the program",
            ));
        }
        if bytes_of(plan, noted.parts) != Some(noted.bytes) {
            let Noted { parts, bytes, .. } = noted;
            return Err(self.unfit(format!(
                "its journal is damaged: {parts} parts have no {bytes} bytes together"
            )));
        }
        self.noted = noted;
        Ok(())
    }
}

/// Bytes of the first `parts` parts, if there are so many.
fn bytes_of(plan: &Plan, parts: usize) -> Option<u64> {
    let tensors = plan.tensors().iter();
    let mut each = tensors.flat_map(|tensor| {
        let bytes = tensor.byte_count / tensor.parts.len() as u64;
        tensor.parts.iter().map(move |_| bytes)
    });
    (0..parts).try_fold(0, |sum, _| Some(sum + each.next()?))
}

/// A hash of what decides about the bytes of an output besides its header.
fn identity(plan: &Plan) -> Result<String, Error> {
    let mut hash = blake3::Hasher::new();
    hash.update(env!("CARGO_PKG_VERSION").as_bytes());
    let mut sample = Vec::new();
    for tensor in plan.tensors() {
        hash.update(format!("{} {:?} {}\n", tensor.name, tensor.dims, tensor.format).as_bytes());
        for part in &tensor.parts {
            let bytes = tensor.part_rows() * part.coding.row_bytes(tensor.columns());
            hash.update(format!("{:?} {}\n", part.coding, part.hint.is_some()).as_bytes());
            let end = bytes.saturating_sub(SAMPLE_BYTES);
            for range in [0..bytes.min(SAMPLE_BYTES), end..bytes] {
                plan.input.read(part, range, &mut sample)?;
                hash.update(&sample);
            }
        }
    }
    if let Some(importance) = &plan.importance {
        let path = importance.path();
        let fail = |error| Error::io(path, "could not read the importance file", error);
        let mut file = fs::File::open(path).map_err(fail)?;
        let mut piece = vec![0; PIECE_BYTES];
        let mut count = file.read(&mut piece).map_err(fail)?;
        while count > 0 {
            hash.update(&piece[..count]);
            count = file.read(&mut piece).map_err(fail)?;
        }
    }
    Ok(hash.finalize().to_hex().to_string())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(path, "could not remove it", error))
        }
        _ => Ok(()),
    }
}

/// Makes names durable, where folders can be synchronized at all.
fn sync_folder(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Ok(folder) = fs::File::open(folder.unwrap_or(Path::new("."))) {
        let _ = folder.sync_all();
    }
}
