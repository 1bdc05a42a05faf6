//! One checkpoint as one file, to carry it elsewhere.
//!
//! ```text
//!  0  56  frame, count = bytes of the manifest; the head is frame and manifest
//! 56      the manifest, as it stands in a folder
//!         a pack that holds every block the manifest names, once
//! ```
//!
//! An import believes nothing: both heads are checked, every block is held against its key while it
//! is copied, and the checkpoint appears when all of it is durable.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::error::Error;
use crate::frame;
use crate::key::{Id, PageKey};
use crate::load::Reading;
use crate::manifest::{self, Manifest, Parsed};
use crate::pack::{Directory, Head};
use crate::storage::{Sink, Source};
use crate::store::Store;

const MAGIC: &[u8; 8] = b"DwarfKVX";

/// A checkpoint that came from a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Its name.
    pub id: Id,
    /// Tokens in it.
    pub tokens: usize,
    /// Bytes that were written for it: none, if it was there already.
    pub bytes_written: u64,
}

impl Store {
    /// Writes a checkpoint, of any model, as one file. Returns its length.
    ///
    /// # Errors
    /// As [`Store::load`]; [`Error::Io`] names `path` if `out` refuses.
    pub fn export(&self, id: Id, path: &Path, out: &mut dyn Write) -> Result<u64, Error> {
        let reading = Reading::begin(&self.0, id)?;
        let mut directory = Directory::default();
        let mut seen = HashSet::new();
        for block in reading.placed.iter().filter(|block| seen.insert(block.key)) {
            directory.push(block.key, block.bytes);
        }
        let manifest = reading.manifest.encode();
        let head = frame::seal(MAGIC, manifest.len(), &manifest, directory.file_bytes());
        let mut wanted = seen;
        let mut written = out.write_all(&head).and_then(|()| out.write_all(&directory.encode()));
        reading.blocks(&reading.placed, |key, bytes| {
            if written.is_ok() && wanted.remove(&key) {
                written = out.write_all(bytes);
            }
        })?;
        written.and_then(|()| out.flush()).map_err(Error::io(path, "could not be written"))?;
        Ok(head.len() as u64 + directory.file_bytes())
    }

    /// Takes in a checkpoint from a file, of whatever model it is.
    ///
    /// # Errors
    /// [`Error::Damaged`] and [`Error::Invalid`] if the file is not what [`Store::export`] wrote;
    /// otherwise as [`Store::save`].
    pub fn import(&self, path: &Path) -> Result<Imported, Error> {
        let _writing = self.0.change()?;
        let source = self.0.storage.open(path);
        let mut file =
            Exported::open(path, source.map_err(Error::io(path, "could not be opened"))?)?;
        let manifest = file.manifest()?;
        let directory = file.directory(&manifest)?;
        let (id, tokens) = (manifest.id(), manifest.tokens);
        if self.0.is_kept(&manifest) {
            return Ok(Imported { id, tokens, bytes_written: 0 });
        }
        let fresh = self.fresh(&directory);
        let mut kept = Directory::default();
        fresh.iter().for_each(|&(key, bytes, _)| kept.push(key, bytes));
        let start = file.pack_start;
        let fill = |sink: &mut dyn Sink| copy(path, file.source.as_mut(), start, &fresh, sink);
        let (bytes_written, _) = self.0.write_checkpoint(manifest, &kept, fill)?;
        Ok(Imported { id, tokens, bytes_written })
    }

    /// Blocks that are not in the store yet: key, length, and where in the pack.
    fn fresh(&self, directory: &Directory) -> Vec<(PageKey, usize, u64)> {
        let mut catalog = self.0.catalog();
        let blocks = directory.blocks.iter().zip(directory.offsets());
        let mut fresh = Vec::new();
        for (&(key, bytes), offset) in blocks {
            if !catalog.is_readable(&key, bytes) {
                catalog.lose(&key);
                fresh.push((key, bytes, offset));
            }
        }
        fresh
    }
}

fn copy(
    path: &Path,
    source: &mut dyn Source,
    start: u64,
    blocks: &[(PageKey, usize, u64)],
    sink: &mut dyn Sink,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    for &(key, bytes, offset) in blocks {
        buffer.resize(bytes, 0);
        source.seek(SeekFrom::Start(start + offset))?;
        source.read_exact(&mut buffer)?;
        if PageKey::of(&buffer) != key {
            let at = start + offset;
            let problem = format!("the block at byte {at} is not what was written");
            return Err(io::Error::other(Error::damaged(path, problem)));
        }
        sink.write_all(&buffer)?;
    }
    Ok(())
}

/// An exported file being read.
struct Exported<'a> {
    path: &'a Path,
    source: Box<dyn Source>,
    file_bytes: u64,
    /// Where the pack begins.
    pack_start: u64,
}

impl<'a> Exported<'a> {
    fn open(path: &'a Path, mut source: Box<dyn Source>) -> Result<Exported<'a>, Error> {
        let end = source.seek(SeekFrom::End(0)).and_then(|end| source.rewind().map(|()| end));
        let file_bytes = end.map_err(Error::io(path, "could not be read"))?;
        Ok(Exported { path, source, file_bytes, pack_start: 0 })
    }

    fn take(&mut self, bytes: usize) -> Result<Vec<u8>, Error> {
        let mut taken = vec![0; bytes];
        let read = self.source.read_exact(&mut taken);
        read.map_err(Error::io(self.path, "could not be read"))?;
        Ok(taken)
    }

    fn manifest(&mut self) -> Result<Manifest, Error> {
        let mut head = self.take(frame::BYTES.min(self.file_bytes as usize))?;
        let frame = frame::read(self.path, MAGIC, &head, self.file_bytes)?;
        if frame.version != frame::VERSION {
            let (found, ours) = (frame.version, frame::VERSION);
            let problem = format!("is of version {found}, this program reads {ours}");
            return Err(Error::damaged(self.path, problem));
        }
        self.pack_start = (frame::BYTES + frame.count) as u64;
        if frame.count as u64 > manifest::BYTES_MAX || self.pack_start > self.file_bytes {
            let problem = format!("a manifest of {} bytes does not fit", frame.count);
            return Err(Error::damaged(self.path, problem));
        }
        let manifest = self.take(frame.count)?;
        head.extend_from_slice(&manifest);
        frame::verify(self.path, &head)?;
        match Manifest::parse(self.path, &manifest)? {
            Parsed::Ours(manifest) => Ok(manifest),
            Parsed::Other { version, .. } => {
                let problem = format!("its checkpoint is of version {version}");
                Err(Error::damaged(self.path, problem))
            }
        }
    }

    /// After the manifest: the directory of the pack, which has what the manifest names.
    fn directory(&mut self, manifest: &Manifest) -> Result<Directory, Error> {
        let pack_bytes = self.file_bytes - self.pack_start;
        let mut head = self.take(frame::BYTES.min(pack_bytes as usize))?;
        let Head::Ours(head_bytes) = Directory::head(self.path, &head, pack_bytes)? else {
            return Err(Error::damaged(self.path, "its pack is of another version"));
        };
        head.extend(self.take(head_bytes - frame::BYTES)?);
        let directory = Directory::parse(self.path, &head, pack_bytes)?;
        let there: HashMap<PageKey, usize> = directory.blocks.iter().copied().collect();
        let named: HashSet<PageKey> = manifest.keys.iter().copied().collect();
        let mut lengths = manifest.keys.iter().zip(manifest.lengths());
        let whole = lengths.all(|(key, bytes)| there.get(key) == Some(&bytes));
        let once = named.len() == directory.blocks.len() && there.len() == named.len();
        if whole && once {
            return Ok(directory);
        }
        Err(Error::damaged(self.path, "its blocks are not those that its checkpoint names"))
    }
}
