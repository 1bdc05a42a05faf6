//! Loading: every block is held against its key before anybody sees it.
//!
//! Blocks that lie side by side in a pack are read at once. While a checkpoint is being read, its
//! packs are marked, so that a save at the same time deletes none of them. A block that turns out
//! to be damaged is forgotten, so that no later save relies on it.

use std::io::SeekFrom;
use std::path::PathBuf;

use crate::catalog::Place;
use crate::entry::{Checkpoint, Loaded};
use crate::error::Error;
use crate::key::{Id, PageKey};
use crate::manifest::{Manifest, STREAM_BLOCK};
use crate::storage::{Source, Storage};
use crate::store::{Shared, Store, pack_name};

/// Neighbouring blocks are read together up to so many bytes.
const RUN_BYTES: usize = 4 << 20;

/// A block and where it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub key: PageKey,
    pub bytes: usize,
    pub place: Place,
}

impl Store {
    /// Loads a checkpoint. This counts as a use.
    ///
    /// # Errors
    /// [`Error::Gone`] if it is not there, [`Error::Foreign`] if it is another model's,
    /// [`Error::Damaged`] or [`Error::Io`] if it cannot be read; then it is not found any more.
    pub fn load(&self, id: Id) -> Result<Checkpoint, Error> {
        let mut pages = Vec::new();
        let loaded = self.load_pages(id, |_, bytes| pages.push(bytes.to_vec()))?;
        Ok(Checkpoint { loaded, pages })
    }

    /// [`Store::load`] without holding all pages in memory: they are handed out one by one, in
    /// order, with their positions. An error may come after some of them.
    ///
    /// # Errors
    /// As there.
    pub fn load_pages(
        &self,
        id: Id,
        mut on_page: impl FnMut(usize, &[u8]),
    ) -> Result<Loaded, Error> {
        let reading = Reading::begin(&self.0, id)?;
        let pages = reading.manifest.pages;
        let (mut count, mut streams) = (0, Vec::new());
        let wanted: usize = reading.manifest.streams().iter().sum();
        streams.reserve_exact(wanted);
        reading.blocks(&reading.placed, |_, bytes| {
            if count < pages {
                on_page(count, bytes);
            } else {
                streams.extend_from_slice(bytes);
            }
            count += 1;
        })?;
        let loaded = loaded(id, &reading.manifest, streams)?;
        let now = self.0.storage.now();
        let mut catalog = self.0.catalog();
        if let Some(kept) = catalog.kept.get_mut(&id) {
            kept.used.again(now);
            catalog.uses_changed = true;
        }
        Ok(loaded)
    }

    /// The text of a checkpoint, and nothing else of it. No use is counted.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn text(&self, id: Id) -> Result<Vec<u8>, Error> {
        let reading = Reading::begin(&self.0, id)?;
        let blocks = |bytes: usize| bytes.div_ceil(STREAM_BLOCK);
        let [tokens, text, ..] = reading.manifest.streams().map(blocks);
        let mut bytes = Vec::with_capacity(reading.manifest.text_bytes);
        let placed = &reading.placed[reading.manifest.pages + tokens..][..text];
        reading.blocks(placed, |_, block| bytes.extend_from_slice(block))?;
        Ok(bytes)
    }

    /// The notes of a checkpoint, and nothing else of it. No use is counted.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn notes(&self, id: Id) -> Result<Vec<u8>, Error> {
        let reading = Reading::begin(&self.0, id)?;
        let mut bytes = Vec::with_capacity(reading.manifest.notes_bytes);
        // They are the last stream.
        let blocks = reading.manifest.notes_bytes.div_ceil(STREAM_BLOCK);
        let placed = &reading.placed[reading.placed.len() - blocks..];
        reading.blocks(placed, |_, block| bytes.extend_from_slice(block))?;
        Ok(bytes)
    }
}

/// Takes the streams apart again.
fn loaded(id: Id, manifest: &Manifest, streams: Vec<u8>) -> Result<Loaded, Error> {
    let mut rest = &streams[..];
    let [tokens, text, tail, logits, notes] = manifest.streams().map(|bytes| {
        let (stream, after) = rest.split_at(bytes);
        rest = after;
        stream
    });
    for (what, stream, hash) in
        [("tokens", tokens, manifest.tokens_hash), ("text", text, manifest.text_hash)]
    {
        if PageKey::of(stream) != hash {
            let problem = format!("its {what} are not those that its manifest was made for");
            return Err(Error::Foreign { id, problem });
        }
    }
    let words = |stream: &[u8]| stream.as_chunks::<4>().0.to_vec();
    Ok(Loaded {
        id,
        tokens: words(tokens).into_iter().map(u32::from_le_bytes).collect(),
        text: text.to_vec(),
        pages: manifest.keys[..manifest.pages].to_vec(),
        tail: tail.to_vec(),
        logits: words(logits).into_iter().map(f32::from_le_bytes).collect(),
        notes: notes.to_vec(),
        reason: manifest.reason,
    })
}

/// A checkpoint that is being read. Until this is dropped, its files stay.
pub(crate) struct Reading<'a> {
    shared: &'a Shared,
    id: Id,
    pub manifest: Manifest,
    pub placed: Vec<Placed>,
    packs: Vec<u64>,
}

impl<'a> Reading<'a> {
    /// Finds all blocks of a checkpoint and marks their packs.
    pub fn begin(shared: &'a Shared, id: Id) -> Result<Reading<'a>, Error> {
        let mut guard = shared.catalog();
        let catalog = &mut *guard;
        let kept = catalog.kept.get(&id).ok_or(Error::Gone { id })?;
        if shared.identity.as_ref().is_some_and(|identity| !identity.owns(&kept.manifest)) {
            let problem = "was saved by another model, or in another format".to_owned();
            return Err(Error::Foreign { id, problem });
        }
        if let Some(problem) = catalog.broken(kept) {
            return Err(Error::damaged(shared.dir.join(format!("{id}.kv")), problem));
        }
        let placed = |&slot| {
            let block = catalog.block(slot);
            let place = block.place.expect("a checkpoint that is not broken has all its blocks");
            Placed { key: block.key, bytes: block.bytes, place }
        };
        let placed: Vec<Placed> = kept.blocks.iter().map(placed).collect();
        let manifest = catalog.manifest(kept);
        let mut packs: Vec<u64> = placed.iter().map(|block| block.place.pack).collect();
        packs.sort_unstable();
        packs.dedup();
        for number in &packs {
            catalog.packs.get_mut(number).expect("a place is in a pack").readers += 1;
        }
        catalog.kept.get_mut(&id).expect("found above").readers += 1;
        Ok(Reading { shared, id, manifest, placed, packs })
    }

    /// Reads blocks in the order in which they are given. A damaged one is forgotten.
    pub fn blocks(
        &self,
        placed: &[Placed],
        mut each: impl FnMut(PageKey, &[u8]),
    ) -> Result<(), Error> {
        let mut reader = Reader::new(self.shared.storage.as_ref(), &self.shared.dir);
        let mut next = 0;
        while next < placed.len() {
            let run = run(&placed[next..]);
            let read = reader.read(run, &mut each);
            if let Err(lost) = read {
                self.shared.catalog().lose(&lost.key);
                return Err(lost.error);
            }
            next += run.len();
        }
        Ok(())
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut catalog = self.shared.catalog();
        for number in &self.packs {
            if let Some(pack) = catalog.packs.get_mut(number) {
                pack.readers -= 1;
            }
        }
        // It may have been replaced meanwhile; then the mark went with it.
        if let Some(kept) = catalog.kept.get_mut(&self.id) {
            kept.readers = kept.readers.saturating_sub(1);
        }
    }
}

/// The blocks at the beginning that lie side by side, as many as are read at once.
pub(crate) fn run(placed: &[Placed]) -> &[Placed] {
    let (mut bytes, mut count) = (placed[0].bytes, 1);
    for pair in placed.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        let end = before.place.offset + before.bytes as u64;
        let beside = before.place.pack == after.place.pack && end == after.place.offset;
        if !beside || bytes + after.bytes > RUN_BYTES {
            break;
        }
        bytes += after.bytes;
        count += 1;
    }
    &placed[..count]
}

/// A block that could not be read.
pub(crate) struct Lost {
    pub key: PageKey,
    pub error: Error,
}

/// Reads blocks, keeping the last pack open.
pub(crate) struct Reader<'a> {
    storage: &'a dyn Storage,
    dir: &'a std::path::Path,
    open: Option<(u64, PathBuf, Box<dyn Source>)>,
    buffer: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub fn new(storage: &'a dyn Storage, dir: &'a std::path::Path) -> Reader<'a> {
        Reader { storage, dir, open: None, buffer: Vec::new() }
    }

    /// Reads blocks that lie side by side, and checks each.
    pub fn read(
        &mut self,
        run: &[Placed],
        mut each: impl FnMut(PageKey, &[u8]),
    ) -> Result<(), Lost> {
        let first = run[0];
        let lost = |block: Placed| move |error| Lost { key: block.key, error };
        self.buffer.resize(run.iter().map(|block| block.bytes).sum(), 0);
        self.fill(first.place).map_err(lost(first))?;
        let path = self.open.as_ref().map(|(_, path, _)| path.as_path()).unwrap_or(self.dir);
        let mut rest = &self.buffer[..];
        for &block in run {
            let (bytes, after) = rest.split_at(block.bytes);
            rest = after;
            if PageKey::of(bytes) != block.key {
                let at = block.place.offset;
                let problem = format!("the block at byte {at} is not what was written");
                return Err(lost(block)(Error::damaged(path, problem)));
            }
            each(block.key, bytes);
        }
        Ok(())
    }

    fn fill(&mut self, place: Place) -> Result<(), Error> {
        if self.open.as_ref().is_none_or(|(number, ..)| *number != place.pack) {
            let path = self.dir.join(pack_name(place.pack));
            let source = self.storage.open(&path);
            let source = source.map_err(Error::io(&path, "could not be opened"))?;
            self.open = Some((place.pack, path, source));
        }
        let (_, path, source) = self.open.as_mut().expect("opened above");
        let read = source.seek(SeekFrom::Start(place.offset));
        let read = read.and_then(|_| source.read_exact(&mut self.buffer));
        read.map_err(Error::io(path.as_path(), "could not be read"))
    }
}
