//! The index in memory: which blocks there are, in which packs, and which checkpoints name them.
//!
//! Everything here is a pure function of the files, rebuilt whenever a folder is opened. A block is
//! a slot of one table; checkpoints and packs hold slot numbers, so that counting what a checkpoint
//! has for itself is a walk over numbers. Nothing here touches the disk: `store.rs` reads it in,
//! `save.rs`, `load.rs` and `room.rs` act on it.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::entry::{Found, Info, Reason};
use crate::key::{Id, PageKey};
use crate::manifest::Manifest;
use crate::pack::Directory;
use crate::uses::{Use, Uses};

/// A pack with fewer dead bytes is not copied: that would gain less than a disk's block.
const COMPACT_BYTES_MIN: u64 = 4096;

/// A block's number in the table.
pub type Slot = u32;

/// A block that somebody names, or that lies in a pack, or both.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    pub key: PageKey,
    pub bytes: usize,
    /// Where it can be read; `None` if it is being written, or lost.
    pub place: Option<Place>,
    /// How many checkpoints name it, or are about to.
    pub refs: u32,
}

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub pack: u64,
    pub offset: u64,
}

/// A pack file.
#[derive(Clone, Debug)]
pub struct Pack {
    pub bytes: u64,
    pub kind: PackKind,
    /// The blocks that are read from here.
    blocks: Vec<Slot>,
    /// Those that could not be. Another day they may: while one is named and nowhere else, the
    /// pack stays as it is.
    lost: Vec<PageKey>,
    /// Loads that read it now. While there are any, the file stays.
    pub readers: u32,
}

/// What a pack file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackKind {
    Ours,
    /// Its directory is no more. Nothing in it can be used.
    Damaged,
    /// Of another version, or not readable now: not ours to delete.
    Foreign,
}

/// A checkpoint.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its manifest, without the keys.
    pub manifest: Manifest,
    /// Its blocks in the order of the keys.
    pub blocks: Vec<Slot>,
    /// The same, each once.
    names: Vec<Slot>,
    pub file_bytes: u64,
    pub used: Use,
    /// Loads that read it now. While there are any, it is not evicted.
    pub readers: u32,
}

/// A manifest that cannot be used, but is there.
#[derive(Clone, Debug)]
pub struct Unusable {
    pub name: String,
    pub bytes: u64,
    pub why: Why,
}

/// Why a manifest cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is not what was written, and so the first to go when room is needed.
    Damaged,
    /// The disk did not give it now; perhaps it will later.
    Unreadable,
    /// It is of another version; what it names is known.
    OtherVersion,
}

/// The index.
#[derive(Debug, Default)]
pub struct Catalog {
    blocks: Vec<Block>,
    free: Vec<Slot>,
    by_key: HashMap<PageKey, Slot>,
    pub packs: BTreeMap<u64, Pack>,
    pub kept: HashMap<Id, Kept>,
    /// Damaged manifests, unreadable ones, and those of other versions.
    pub unusable: Vec<Unusable>,
    /// A file was renamed or deleted, and the disk did not confirm it.
    pub doubt: bool,
    /// Uses have changed since they were written.
    pub uses_changed: bool,
    pub uses_bytes: u64,
}

/// Whose checkpoints can be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub model: crate::key::Fingerprint,
    pub recipe: String,
    pub page_bytes: usize,
}

impl Identity {
    /// Whether a checkpoint was made by the same model, in any of its ways.
    pub fn owns(&self, manifest: &Manifest) -> bool {
        self.variant(manifest).is_some()
    }

    /// Which way of this model a checkpoint was made in; `None` if it is another's.
    pub fn variant<'a>(&self, manifest: &'a Manifest) -> Option<&'a str> {
        let ours = self.model == manifest.model && self.page_bytes == manifest.page_bytes;
        let variant = manifest.recipe.strip_prefix(&self.recipe).filter(|_| ours)?;
        (variant.is_empty() || variant.starts_with(';')).then_some(variant)
    }
}

// Blocks and packs.
impl Catalog {
    /// The slot of a block, made if there is none.
    pub fn slot(&mut self, key: PageKey, bytes: usize) -> Slot {
        if let Some(&slot) = self.by_key.get(&key) {
            let block = &mut self.blocks[slot as usize];
            if block.place.is_none() {
                // Only a lie could have told another length before.
                block.bytes = bytes;
            }
            return slot;
        }
        let block = Block { key, bytes, place: None, refs: 0 };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.blocks[slot as usize] = block;
                slot
            }
            None => {
                self.blocks.push(block);
                Slot::try_from(self.blocks.len() - 1).expect("fewer blocks than fit into memory")
            }
        };
        self.by_key.insert(key, slot);
        slot
    }

    pub fn block(&self, slot: Slot) -> &Block {
        &self.blocks[slot as usize]
    }

    /// Whether a block can be read, and has so many bytes.
    pub fn is_readable(&self, key: &PageKey, bytes: usize) -> bool {
        let block = self.by_key.get(key).map(|&slot| self.block(slot));
        block.is_some_and(|block| block.place.is_some() && block.bytes == bytes)
    }

    /// Blocks are named by one checkpoint more.
    pub fn hold(&mut self, names: &[Slot]) {
        names.iter().for_each(|&slot| self.blocks[slot as usize].refs += 1);
    }

    /// Blocks are named by one checkpoint less.
    pub fn release(&mut self, names: &[Slot]) {
        for &slot in names {
            self.blocks[slot as usize].refs -= 1;
            self.forget_if_nothing(slot);
        }
    }

    /// A block cannot be read where it was thought to be. The next save will write it again.
    pub fn lose(&mut self, key: &PageKey) {
        if let Some(&slot) = self.by_key.get(key)
            && let Some(place) = self.blocks[slot as usize].place.take()
        {
            let pack = self.packs.get_mut(&place.pack).expect("a place is in a pack");
            pack.blocks.retain(|&other| other != slot);
            pack.lost.push(*key);
            self.forget_if_nothing(slot);
        }
    }

    fn forget_if_nothing(&mut self, slot: Slot) {
        let Block { key, place, refs, .. } = self.blocks[slot as usize];
        if refs == 0 && place.is_none() && self.by_key.get(&key) == Some(&slot) {
            self.by_key.remove(&key);
            self.free.push(slot);
        }
    }

    /// A pack is there. Blocks that are known from elsewhere stay known from there.
    pub fn add_pack(&mut self, number: u64, directory: &Directory) {
        let mut blocks = Vec::with_capacity(directory.blocks.len());
        for ((key, bytes), offset) in directory.blocks.iter().zip(directory.offsets()) {
            let slot = self.slot(*key, *bytes);
            let block = &mut self.blocks[slot as usize];
            if block.place.is_none() && block.bytes == *bytes {
                block.place = Some(Place { pack: number, offset });
                blocks.push(slot);
            }
        }
        let bytes = directory.file_bytes();
        self.packs.insert(
            number,
            Pack { bytes, kind: PackKind::Ours, blocks, lost: Vec::new(), readers: 0 },
        );
    }

    /// A pack is there, but not to be used.
    pub fn add_useless_pack(&mut self, number: u64, bytes: u64, kind: PackKind) {
        self.packs
            .insert(number, Pack { bytes, kind, blocks: Vec::new(), lost: Vec::new(), readers: 0 });
    }

    /// The blocks of one pack are read from another now, unless a load is reading the first.
    pub fn move_pack(&mut self, from: u64, to: u64, directory: &Directory) -> bool {
        let read = self.packs.get(&from).is_some_and(|pack| pack.readers > 0);
        if !read {
            self.drop_pack(from);
            self.add_pack(to, directory);
        }
        !read
    }

    /// A pack is there no more.
    pub fn drop_pack(&mut self, number: u64) {
        for slot in self.packs.remove(&number).map(|pack| pack.blocks).unwrap_or_default() {
            self.blocks[slot as usize].place = None;
            self.forget_if_nothing(slot);
        }
    }

    /// The blocks that are read from a pack, in the order in which they lie there.
    pub fn all(&self, number: u64) -> Vec<Block> {
        let slots = self.packs.get(&number).map(|pack| pack.blocks.as_slice()).unwrap_or_default();
        slots.iter().map(|&slot| *self.block(slot)).collect()
    }

    /// Those of them that somebody names.
    pub fn live(&self, number: u64) -> Vec<Block> {
        self.all(number).into_iter().filter(|block| block.refs > 0).collect()
    }

    /// The checkpoints that name a block.
    pub fn who_names(&self, key: &PageKey) -> Vec<Id> {
        let Some(slot) = self.by_key.get(key) else { return Vec::new() };
        let naming = self.kept.iter().filter(|(_, kept)| kept.names.binary_search(slot).is_ok());
        let mut ids: Vec<Id> = naming.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    fn live_bytes(&self, pack: &Pack) -> u64 {
        let block = |key| self.by_key.get(key).map(|&slot| self.block(slot));
        let mut lost = pack.lost.iter().filter_map(block);
        if lost.any(|block| block.refs > 0 && block.place.is_none()) {
            return pack.bytes;
        }
        let blocks = pack.blocks.iter().map(|&slot| self.block(slot));
        blocks.filter(|block| block.refs > 0).map(|block| block.bytes as u64).sum()
    }

    /// The number for the next pack.
    pub fn next_pack(&self) -> u64 {
        self.packs.last_key_value().map_or(0, |(number, _)| number + 1)
    }
}

// Checkpoints.
impl Catalog {
    /// A checkpoint is there. One of the same name is forgotten.
    pub fn add(&mut self, mut manifest: Manifest, used: Use) {
        let (id, file_bytes) = (manifest.id(), manifest.file_bytes());
        let lengths: Vec<usize> = manifest.lengths().collect();
        let keys = std::mem::take(&mut manifest.keys);
        let blocks: Vec<Slot> =
            keys.into_iter().zip(lengths).map(|(key, bytes)| self.slot(key, bytes)).collect();
        let names = each_once(&blocks);
        self.hold(&names);
        let kept = Kept { manifest, blocks, names, file_bytes, used, readers: 0 };
        if let Some(old) = self.kept.insert(id, kept) {
            self.release(&old.names);
        }
    }

    /// A checkpoint is there no more.
    pub fn drop_kept(&mut self, id: Id) {
        if let Some(kept) = self.kept.remove(&id) {
            self.release(&kept.names);
        }
    }

    /// A manifest of another version names blocks: they stay.
    pub fn add_unusable(&mut self, manifest: Unusable, keys: Vec<PageKey>) {
        // Their lengths are known from the packs, if these are of a known version.
        let names: Vec<Slot> =
            keys.iter().filter_map(|key| self.by_key.get(key)).copied().collect();
        self.hold(&each_once(&names));
        self.unusable.push(manifest);
    }

    /// The manifest with its keys, as it stands in the file.
    pub fn manifest(&self, kept: &Kept) -> Manifest {
        let keys = kept.blocks.iter().map(|&slot| self.block(slot).key).collect();
        Manifest { keys, ..kept.manifest.clone() }
    }

    /// Why a checkpoint cannot be loaded, if it cannot.
    pub fn broken(&self, kept: &Kept) -> Option<String> {
        let lost = kept.names.iter().filter(|&&slot| self.block(slot).place.is_none()).count();
        let mut lengths = kept.manifest.lengths().zip(&kept.blocks);
        if lost > 0 {
            return Some(format!("{lost} of its {} blocks are lost", kept.names.len()));
        }
        let wrong = lengths.any(|(bytes, &slot)| self.block(slot).bytes != bytes);
        wrong.then(|| "a block has not the length that its manifest says".to_owned())
    }

    /// The longest checkpoint of a way of `identity` that has a beginning of `bytes` as its stream,
    /// of which `of` says the length and the hash. One pass over `bytes`.
    pub fn find(
        &self,
        (identity, variant): (&Identity, &str),
        bytes: &[u8],
        of: impl Fn(&Manifest) -> (usize, PageKey),
    ) -> Option<Found> {
        let mut known = BTreeMap::<usize, Vec<&Kept>>::new();
        let same = |kept: &&Kept| identity.variant(&kept.manifest) == Some(variant);
        for kept in self.kept.values().filter(same) {
            let (length, _) = of(&kept.manifest);
            if length > 0 && length <= bytes.len() {
                known.entry(length).or_default().push(kept);
            }
        }
        let (mut hasher, mut hashed, mut best) = (blake3::Hasher::new(), 0, None);
        for (length, candidates) in known {
            hasher.update(&bytes[hashed..length]);
            hashed = length;
            let hash = PageKey(*hasher.finalize().as_bytes());
            let equal = candidates.into_iter().filter(|kept| of(&kept.manifest).1 == hash);
            let ready = equal.filter(|kept| self.broken(kept).is_none());
            // Several differ in text or tokens only: the newest one is nearest to what comes.
            best = ready.max_by_key(|kept| (kept.manifest.created, kept.manifest.id())).or(best);
        }
        best.map(|kept| kept.manifest.found())
    }

    /// What lists show, the last used first.
    pub fn infos(&self, now: u64) -> Vec<Info> {
        let mut infos: Vec<_> = self.kept.values().map(|kept| self.info(kept, now)).collect();
        infos.sort_by_key(|info| (std::cmp::Reverse(info.used), info.id));
        infos
    }

    fn info(&self, kept: &Kept, now: u64) -> Info {
        let manifest = &kept.manifest;
        let named = kept.names.iter().map(|&slot| self.block(slot).bytes as u64).sum::<u64>();
        Info {
            id: manifest.id(),
            model: manifest.model,
            recipe: manifest.recipe.clone(),
            reason: manifest.reason,
            tokens: manifest.tokens,
            text_bytes: manifest.text_bytes,
            pages: manifest.pages,
            page_bytes: manifest.page_bytes,
            tail_bytes: manifest.tail_bytes,
            notes_bytes: manifest.notes_bytes,
            logits: manifest.logits,
            bytes: named + kept.file_bytes,
            own_bytes: self.own_bytes(kept),
            created: manifest.created,
            used: kept.used.at.max(manifest.created),
            hits: kept.used.hits(now),
            broken: self.broken(kept),
        }
    }

    /// The uses, to be written.
    pub fn uses(&self) -> Uses {
        let used = self.kept.iter().filter(|(_, kept)| kept.used.hits > 0.0);
        Uses { uses: used.map(|(id, kept)| (*id, kept.used)).collect() }
    }
}

// Room.
impl Catalog {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        let packs = self.packs.values().map(|pack| pack.bytes);
        let kept = self.kept.values().map(|kept| kept.file_bytes);
        let unusable = self.unusable.iter().map(|manifest| manifest.bytes);
        packs.chain(kept).chain(unusable).sum::<u64>() + self.uses_bytes
    }

    /// The same, with room for the uses of all checkpoints and of one more: they are written after
    /// a save, and must not exceed the budget then.
    pub fn bytes_reserved(&self) -> u64 {
        let uses = Uses::file_bytes(self.kept.len() + 1);
        self.bytes() - self.uses_bytes + uses.max(self.uses_bytes)
    }

    /// Whether every manifest that may be on the disk is known with all that it names. Otherwise no
    /// pack is deleted.
    pub fn may_collect(&self) -> bool {
        !self.doubt && self.unusable.iter().all(|manifest| manifest.why == Why::OtherVersion)
    }

    /// Packs that nobody needs.
    pub fn dead_packs(&self) -> Vec<u64> {
        let dead = self.packs.iter().filter(|(_, pack)| {
            pack.readers == 0 && pack.kind == PackKind::Ours && self.live_bytes(pack) == 0
        });
        if self.may_collect() { dead.map(|(number, _)| *number).collect() } else { Vec::new() }
    }

    /// The pack with most dead bytes among those of which a quarter or more is dead, if what is
    /// alive in it, written a second time for a moment, takes `spare` bytes at most.
    pub fn sparse_pack(&self, spare: u64) -> Option<u64> {
        let dead = |(number, pack): (&u64, &Pack)| {
            let live = self.live_bytes(pack);
            let dead = pack.bytes - live;
            let whole = pack.kind == PackKind::Ours && pack.readers == 0;
            // A copy has the directory, too, but a smaller one than the original's.
            let fits = live + 48 * pack.blocks.len() as u64 + 56 <= spare;
            (whole && dead * 4 >= pack.bytes && dead >= COMPACT_BYTES_MIN && fits)
                .then_some((dead, *number))
        };
        let most = self.packs.iter().filter_map(dead).max();
        most.filter(|_| self.may_collect()).map(|(_, number)| number)
    }

    /// The checkpoint that is worth least for its bytes, but not `spare`, which is being replaced.
    pub fn victim(&self, now: u64, spare: Option<Id>) -> Option<Id> {
        let mut victim = None::<(f64, u64, Id)>;
        for (&id, kept) in &self.kept {
            if kept.readers > 0 || spare == Some(id) {
                continue;
            }
            let worth = (self.worth(kept, now), kept.used.at.max(kept.manifest.created), id);
            if victim.as_ref().is_none_or(|least| worth < *least) {
                victim = Some(worth);
            }
        }
        victim.map(|(_, _, id)| id)
    }

    /// (Decayed hits + 1) times tokens by bytes that would be freed; nothing if it is broken.
    ///
    /// A first prompt's checkpoint is meant to be shared and counts four times; one that a longer
    /// checkpoint of the same conversation goes on from counts a quarter.
    fn worth(&self, kept: &Kept, now: u64) -> f64 {
        if self.broken(kept).is_some() {
            return 0.0;
        }
        let uses = kept.used.hits(now) + 1.0;
        let weight = match kept.manifest.reason {
            Reason::Cold => 4.0,
            _ if self.is_superseded(kept) => 0.25,
            _ => 1.0,
        };
        uses * weight * kept.manifest.tokens as f64 / self.own_bytes(kept) as f64
    }

    fn is_superseded(&self, kept: &Kept) -> bool {
        let pages = |kept: &Kept| kept.manifest.pages;
        let (count, mine) = (pages(kept), &kept.blocks[..pages(kept)]);
        let longer = |other: &&Kept| {
            other.manifest.tokens > kept.manifest.tokens && pages(other) >= count.max(1)
        };
        let mut others = self.kept.values().filter(longer);
        count > 0 && others.any(|other| other.blocks[..count] == *mine)
    }

    fn own_bytes(&self, kept: &Kept) -> u64 {
        let named = kept.names.iter().map(|&slot| self.block(slot));
        let own = named.filter(|block| block.refs == 1 && block.place.is_some());
        own.map(|block| block.bytes as u64).sum::<u64>() + kept.file_bytes
    }
}

impl Manifest {
    fn found(&self) -> Found {
        Found {
            id: self.id(),
            tokens: self.tokens,
            text_bytes: self.text_bytes,
            pages: self.pages,
            reason: self.reason,
        }
    }
}

/// The slots without repetitions, sorted.
pub fn each_once(slots: &[Slot]) -> Vec<Slot> {
    let once: HashSet<Slot> = slots.iter().copied().collect();
    let mut once: Vec<Slot> = once.into_iter().collect();
    once.sort_unstable();
    once
}
