//! Room: what is deleted, when, and in which order.
//!
//! A pack is deleted when no manifest names a block of it, and only while every manifest of the
//! folder is known: a damaged or unreadable one, or a disk that did not confirm a change, stops all
//! deletion of packs. When a save would exceed the budget, things go in this order: packs that
//! nobody names; packs a quarter of which or more is dead (what is alive is copied first); damaged
//! manifests; then checkpoints, the one that is worth least for its bytes first, until it fits. The
//! one saved last and those that are being loaded stay.

use std::io;

use crate::catalog::{PackKind, Why};
use crate::error::Error;
use crate::key::Id;
use crate::load::{Lost, Placed, Reader, run};
use crate::pack::Directory;
use crate::storage::Sink;
use crate::store::{Shared, Store, manifest_name, pack_name};

/// What to do next for room.
enum Step {
    Enough,
    Collect,
    Compact(u64),
    DeleteDamaged(String),
    Evict(Id),
    Nothing,
}

impl Store {
    /// Removes a checkpoint; what no other one names of it is deleted.
    ///
    /// # Errors
    /// [`Error::Gone`] if it is not there, [`Error::Io`] if it could not be deleted.
    pub fn remove(&self, id: Id) -> Result<(), Error> {
        let _writing = self.0.change()?;
        self.0.evict(id)?;
        self.0.collect()
    }

    /// Removes manifests that are damaged, and packs whose directory is. Nothing in them can be
    /// loaded by any dwarfstar. Returns the names of the files.
    ///
    /// # Errors
    /// [`Error::Io`] if one could not be deleted.
    pub fn remove_damaged(&self) -> Result<Vec<String>, Error> {
        let _writing = self.0.change()?;
        let manifests: Vec<String> = {
            let catalog = self.0.catalog();
            let damaged = catalog.unusable.iter().filter(|m| m.why == Why::Damaged);
            damaged.map(|manifest| manifest.name.clone()).collect()
        };
        for name in &manifests {
            self.0.delete_damaged(name)?;
        }
        let packs: Vec<u64> = {
            let catalog = self.0.catalog();
            let damaged = catalog.packs.iter().filter(|(_, p)| p.kind == PackKind::Damaged);
            damaged.map(|(number, _)| *number).collect()
        };
        for &number in &packs {
            self.0.delete(&pack_name(number))?;
            self.0.catalog().drop_pack(number);
        }
        self.0.collect()?;
        Ok(manifests.into_iter().chain(packs.into_iter().map(pack_name)).collect())
    }
}

impl Shared {
    /// Deletes packs that nobody names. Needs `writing`.
    pub fn collect(&self) -> Result<(), Error> {
        let dead = self.catalog().dead_packs();
        for number in dead {
            self.delete(&pack_name(number))?;
            self.catalog().drop_pack(number);
        }
        Ok(())
    }

    /// Deletes until `needed` bytes more are within the budget, but not the checkpoint `spare`.
    /// Needs `writing`.
    pub fn make_room(&self, needed: u64, spare: Option<Id>) -> Result<Vec<Id>, Error> {
        let mut evicted = Vec::new();
        if needed > self.budget {
            return Err(Error::NoRoom { needed, budget: self.budget });
        }
        loop {
            match self.step(needed, spare) {
                Step::Enough => return Ok(evicted),
                Step::Collect => self.collect()?,
                Step::Compact(number) => self.compact(number)?,
                Step::DeleteDamaged(name) => self.delete_damaged(&name)?,
                Step::Evict(id) => {
                    self.evict(id)?;
                    evicted.push(id);
                }
                Step::Nothing => return Err(Error::NoRoom { needed, budget: self.budget }),
            }
        }
    }

    fn step(&self, needed: u64, spare: Option<Id>) -> Step {
        let catalog = self.catalog();
        let bytes = catalog.bytes();
        if bytes.saturating_add(needed) <= self.budget {
            return Step::Enough;
        }
        if !catalog.dead_packs().is_empty() {
            return Step::Collect;
        }
        if let Some(number) = catalog.sparse_pack(self.budget.saturating_sub(bytes)) {
            return Step::Compact(number);
        }
        if let Some(damaged) = catalog.unusable.iter().find(|m| m.why == Why::Damaged) {
            return Step::DeleteDamaged(damaged.name.clone());
        }
        catalog.victim(self.storage.now(), spare).map_or(Step::Nothing, Step::Evict)
    }

    /// Deletes a manifest. Its blocks may be deleted when the disk has confirmed that.
    fn evict(&self, id: Id) -> Result<(), Error> {
        if !self.catalog().kept.contains_key(&id) {
            return Err(Error::Gone { id });
        }
        self.delete(&manifest_name(id))?;
        self.catalog().drop_kept(id);
        self.sync()
    }

    fn delete_damaged(&self, name: &str) -> Result<(), Error> {
        self.delete(name)?;
        self.catalog().unusable.retain(|manifest| manifest.name != name);
        self.sync()
    }

    /// Copies what is alive in a pack to a new one, and deletes the old one. A manifest names
    /// blocks, not packs, so none has to change.
    fn compact(&self, number: u64) -> Result<(), Error> {
        let live = self.catalog().live(number);
        let mut directory = Directory::default();
        let mut placed = Vec::with_capacity(live.len());
        for block in live {
            directory.push(block.key, block.bytes);
            let place = block.place.expect("a block of a pack has a place");
            placed.push(Placed { key: block.key, bytes: block.bytes, place });
        }
        let mut lost = None;
        let copied = self.write_pack(&directory, |sink| {
            let read = self.copy(&placed, sink);
            read.map_err(|unreadable| {
                let message = unreadable.error.to_string();
                lost = Some(unreadable.key);
                io::Error::other(message)
            })?
        });
        match (copied, lost) {
            // One block less to copy: the caller tries again.
            (Err(_), Some(key)) => self.catalog().lose(&key),
            (Err(error), None) => return Err(error),
            (Ok(copy), _) => {
                let moved = self.catalog().move_pack(number, copy, &directory);
                self.delete(&pack_name(if moved { number } else { copy }))?;
            }
        }
        Ok(())
    }

    /// Copies blocks: the outer error is about reading them, the inner one about writing.
    fn copy(&self, placed: &[Placed], sink: &mut dyn Sink) -> Result<io::Result<()>, Lost> {
        let mut reader = Reader::new(self.storage.as_ref(), &self.dir);
        let (mut rest, mut written) = (placed, Ok(()));
        while !rest.is_empty() && written.is_ok() {
            let now = run(rest);
            rest = &rest[now.len()..];
            reader.read(now, |_, bytes| {
                if written.is_ok() {
                    written = sink.write_all(bytes);
                }
            })?;
        }
        Ok(written)
    }
}
