//! Saving: hash, leave out what is there already, make room, write.
//!
//! The order of the last steps is what makes a crash harmless: the pack of new blocks is durable
//! before the manifest that names them gets its name, and only when that is durable, too, is the
//! checkpoint called saved. `docs/kv-file.md` goes through it step by step.

use std::collections::HashSet;
use std::io;

use crate::catalog::{Slot, each_once};
use crate::entry::{Entry, PageSource, Saved};
use crate::error::Error;
use crate::key::{Id, PageKey};
use crate::manifest::{Manifest, STREAM_BLOCK};
use crate::pack::Directory;
use crate::storage::Sink;
use crate::store::{Shared, Store, manifest_name, pack_name};
use crate::uses::Use;

/// Tokens as the bytes that are hashed and written.
pub(crate) fn token_bytes(tokens: &[u32]) -> Vec<u8> {
    tokens.iter().flat_map(|token| token.to_le_bytes()).collect()
}

/// Bytes to be written, by key. `None` for a page that was given by its key.
type Part<'a> = (PageKey, Option<&'a [u8]>);

impl Store {
    /// Saves a checkpoint. When this returns, it is durable, under both texts if it has two. One of
    /// the same tokens and text is replaced. The budget is kept by evicting others first.
    ///
    /// # Errors
    /// Whatever fails, all checkpoints that were there and are not evicted stay loadable.
    /// [`Error::MissingPage`] asks for the bytes of a page; [`Error::NoRoom`], [`Error::Io`] and
    /// [`Error::Invalid`] say why it cannot be saved.
    pub fn save(&self, entry: &Entry) -> Result<Saved, Error> {
        let shared = &self.0;
        let _writing = shared.change()?;
        let Some(identity) = &shared.identity else {
            return Err(Error::invalid("a store that is opened to look after it saves nothing"));
        };
        entry.check(identity.page_bytes, &identity.recipe)?;
        let (tokens, logits) = (token_bytes(&entry.tokens), logit_bytes(&entry.logits));
        let before_text: Vec<Part> =
            entry.pages.iter().map(page_part).chain(stream_parts(&tokens)).collect();
        let behind = [&entry.tail[..], &logits, &entry.notes];
        let behind_text: Vec<Part> = behind.into_iter().flat_map(stream_parts).collect();
        let tokens_hash = PageKey::of(&tokens);
        let save = |text| {
            let text_parts = stream_parts(text);
            let parts: Vec<Part> =
                before_text.iter().copied().chain(text_parts).chain(behind_text.clone()).collect();
            let manifest = Manifest {
                model: identity.model,
                recipe: format!("{}{}", identity.recipe, entry.variant),
                reason: entry.reason,
                created: shared.storage.now(),
                tokens: entry.tokens.len(),
                tokens_hash,
                text_bytes: text.len(),
                text_hash: PageKey::of(text),
                tail_bytes: entry.tail.len(),
                notes_bytes: entry.notes.len(),
                logits: entry.logits.len(),
                pages: entry.pages.len(),
                page_bytes: identity.page_bytes,
                keys: parts.iter().map(|(key, _)| *key).collect(),
            };
            shared.save(manifest, &parts)
        };
        let mut saved = save(&entry.text)?;
        if !entry.also.is_empty() && entry.also != entry.text {
            let also = save(&entry.also)?;
            saved.bytes_written += also.bytes_written;
            saved.evicted.extend(also.evicted);
        }
        Ok(saved)
    }
}

fn page_part(page: &PageSource) -> Part<'_> {
    match page {
        PageSource::Known(key) => (*key, None),
        PageSource::New(bytes) => (PageKey::of(bytes), Some(&bytes[..])),
    }
}

/// The blocks of a stream, those that repeat as well.
fn stream_parts(stream: &[u8]) -> impl Iterator<Item = Part<'_>> {
    stream.chunks(STREAM_BLOCK).map(|bytes| (PageKey::of(bytes), Some(bytes)))
}

fn logit_bytes(logits: &[f32]) -> Vec<u8> {
    logits.iter().flat_map(|logit| logit.to_le_bytes()).collect()
}

impl Shared {
    /// Writes what is new of a checkpoint. Needs `writing`.
    fn save(&self, manifest: Manifest, parts: &[Part<'_>]) -> Result<Saved, Error> {
        let (id, pages) = (manifest.id(), manifest.keys[..manifest.pages].to_vec());
        if self.is_kept(&manifest) {
            return Ok(Saved { id, pages, bytes_written: 0, evicted: Vec::new() });
        }
        let fresh = self.fresh(&manifest, parts)?;
        let mut directory = Directory::default();
        fresh.iter().for_each(|(key, bytes)| directory.push(*key, bytes.len()));
        let (bytes_written, evicted) = self.write_checkpoint(manifest, &directory, |sink| {
            fresh.iter().try_for_each(|(_, bytes)| sink.write_all(bytes))
        })?;
        Ok(Saved { id, pages, bytes_written, evicted })
    }

    /// Whether exactly this checkpoint is there, and can be loaded.
    pub fn is_kept(&self, manifest: &Manifest) -> bool {
        let catalog = self.catalog();
        catalog.kept.get(&manifest.id()).is_some_and(|kept| {
            let mut same = catalog.manifest(kept);
            (same.created, same.reason) = (manifest.created, manifest.reason);
            same == *manifest && catalog.broken(kept).is_none()
        })
    }

    /// The blocks that have to be written, each once.
    fn fresh<'a>(
        &self,
        manifest: &Manifest,
        parts: &[Part<'a>],
    ) -> Result<Vec<(PageKey, &'a [u8])>, Error> {
        let mut catalog = self.catalog();
        let mut fresh = Vec::new();
        let mut seen = HashSet::new();
        for (position, (&(key, bytes), length)) in parts.iter().zip(manifest.lengths()).enumerate()
        {
            match (catalog.is_readable(&key, length), bytes) {
                (true, _) => {}
                (false, None) => return Err(Error::MissingPage { position, key }),
                (false, Some(bytes)) => {
                    catalog.lose(&key);
                    if seen.insert(key) {
                        fresh.push((key, bytes));
                    }
                }
            }
        }
        Ok(fresh)
    }

    fn hold(&self, manifest: &Manifest) -> Vec<Slot> {
        let mut catalog = self.catalog();
        let blocks = manifest.keys.iter().zip(manifest.lengths());
        let slots: Vec<Slot> = blocks.map(|(key, bytes)| catalog.slot(*key, bytes)).collect();
        let held = each_once(&slots);
        catalog.hold(&held);
        held
    }

    /// Makes room, writes a pack of the blocks in `directory`, which `fill` knows, and then the
    /// manifest. Needs `writing`. Gives the bytes written and what was evicted for them.
    pub fn write_checkpoint(
        &self,
        manifest: Manifest,
        directory: &Directory,
        fill: impl FnOnce(&mut dyn Sink) -> io::Result<()>,
    ) -> Result<(u64, Vec<Id>), Error> {
        // While they are held, nothing that the checkpoint shares with others can be deleted.
        let held = self.hold(&manifest);
        let written = self.write_files(manifest, directory, fill);
        self.catalog().release(&held);
        // The rest is housekeeping: the checkpoint is safe, whatever becomes of it.
        let _ = self.collect();
        let _ = self.write_uses();
        written
    }

    fn write_files(
        &self,
        manifest: Manifest,
        directory: &Directory,
        fill: impl FnOnce(&mut dyn Sink) -> io::Result<()>,
    ) -> Result<(u64, Vec<Id>), Error> {
        let pack_bytes = if directory.blocks.is_empty() { 0 } else { directory.file_bytes() };
        let needed = pack_bytes + manifest.file_bytes();
        let evicted = self.make_room(needed, Some(manifest.id()))?;
        if pack_bytes > 0 {
            let number = self.write_pack(directory, fill)?;
            self.catalog().add_pack(number, directory);
        }
        self.write_manifest(manifest)?;
        Ok((needed, evicted))
    }

    /// Writes a pack. `fill` writes the blocks of the directory.
    pub fn write_pack(
        &self,
        directory: &Directory,
        fill: impl FnOnce(&mut dyn Sink) -> io::Result<()>,
    ) -> Result<u64, Error> {
        let number = self.catalog().next_pack();
        let name = pack_name(number);
        let path = self.dir.join(&name);
        self.write(&name, |sink| {
            let head = sink.write_all(&directory.encode());
            head.and_then(|()| fill(sink)).map_err(Error::io(path, "could not be written"))
        })?;
        Ok(number)
    }

    /// Writes a manifest, whose blocks are durable, and makes it known.
    fn write_manifest(&self, manifest: Manifest) -> Result<(), Error> {
        let name = manifest_name(manifest.id());
        let (path, bytes) = (self.dir.join(&name), manifest.encode());
        self.write(&name, |sink| {
            sink.write_all(&bytes).map_err(Error::io(path, "could not be written"))
        })?;
        let mut catalog = self.catalog();
        let (id, created) = (manifest.id(), manifest.created);
        let used = catalog.kept.get(&id).map_or(Use::default(), |kept| kept.used);
        catalog.unusable.retain(|unusable| unusable.name != name);
        catalog.add(manifest, Use { at: created.max(used.at), ..used });
        Ok(())
    }
}
