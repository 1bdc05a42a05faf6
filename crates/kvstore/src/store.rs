//! The store: a folder opened, with its index in memory.
//!
//! One process at a time writes into a folder; a lock sees to that. Inside the process a [`Store`]
//! is a handle that may be cloned and used from several threads: searching and loading never wait
//! for a save. Order of locks: `writing` (one change of the folder at a time), then the index,
//! which is held for memory work only, never for the disk.
//!
//! Here is what opening does and what everything else builds on. Saving is in `save.rs`, loading in
//! `load.rs`, eviction in `room.rs`.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::catalog::{Catalog, Identity, PackKind, Unusable, Why};
use crate::entry::{Found, Info};
use crate::error::Error;
use crate::frame;
use crate::key::{Fingerprint, Id, PageKey};
use crate::manifest::{self, Manifest, Parsed};
use crate::pack::{Directory, Head};
use crate::storage::{Disk, Listed, Sink, Storage};
use crate::uses::{Use, Uses};

/// Where checkpoints are, how much they may take, and whose they are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder; made if it is missing.
    pub dir: PathBuf,
    /// Bytes that all files together may take.
    pub budget: u64,
    /// The model that runs. Other models' checkpoints are kept but never found.
    pub model: Fingerprint,
    /// The recipe of its weights and the format of its state; 255 bytes at most.
    pub recipe: String,
    /// Bytes of each page.
    pub page_bytes: usize,
}

/// A folder of checkpoints.
#[derive(Clone, Debug)]
pub struct Store(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub storage: Arc<dyn Storage>,
    pub dir: PathBuf,
    pub budget: u64,
    /// `None` for whoever only looks after the folder.
    pub identity: Option<Identity>,
    /// Held while the store lives. `None` if it was opened for reading only.
    lock: Option<Guard>,
    remarks: Vec<String>,
    pub writing: Mutex<()>,
    catalog: Mutex<Catalog>,
}

struct Guard(#[expect(dead_code, reason = "it is held, not used")] Box<dyn Send + Sync>);

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guard")
    }
}

const LOCK: &str = "lock";
const USES: &str = "uses";
const TEMPORARY: &str = ".tmp";

impl Store {
    /// Opens a folder for a model: takes the lock, reads what is there, deletes what nobody names.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process has it open, [`Error::Io`] if it cannot be read.
    /// Damaged files are no errors, see [`Store::remarks`].
    pub fn open(settings: Settings) -> Result<Store, Error> {
        Store::open_on(Arc::new(Disk), settings)
    }

    /// [`Store::open`] on another disk.
    ///
    /// # Errors
    /// As there.
    pub fn open_on(storage: Arc<dyn Storage>, settings: Settings) -> Result<Store, Error> {
        let Settings { dir, budget, model, recipe, page_bytes } = settings;
        let identity = Identity { model, recipe, page_bytes };
        let (recipe, page) = (identity.recipe.len(), identity.page_bytes);
        if recipe > crate::entry::RECIPE_BYTES_MAX || page > crate::entry::PAGE_BYTES_MAX {
            let problem = format!("a recipe of {recipe} bytes or a page of {page} bytes: too long");
            return Err(Error::invalid(problem));
        }
        let lock = take_lock(storage.as_ref(), &dir)?;
        let store = Store::read(storage, dir, budget, Some(identity), Some(lock))?;
        store.0.tidy_up()?;
        Ok(store)
    }

    /// Opens a folder to look after it: any model's checkpoints can be listed, checked, removed,
    /// exported and imported, but not saved or searched. Nothing is evicted.
    ///
    /// # Errors
    /// As [`Store::open`]; also if there is no such folder.
    pub fn manage(dir: &Path) -> Result<Store, Error> {
        Disk.list(dir).map_err(Error::io(dir, "could not be read"))?;
        let lock = take_lock(&Disk, dir)?;
        let store = Store::read(Arc::new(Disk), dir.to_owned(), u64::MAX, None, Some(lock))?;
        store.0.tidy_up()?;
        Ok(store)
    }

    /// Opens a folder for reading only, even while another process writes into it. What that one
    /// changes later is not seen.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read.
    pub fn look(dir: &Path) -> Result<Store, Error> {
        Store::read(Arc::new(Disk), dir.to_owned(), u64::MAX, None, None)
    }

    /// One sentence for each thing that was met when the folder was opened and will be left alone:
    /// damaged files, checkpoints of other versions, models or recipes.
    pub fn remarks(&self) -> &[String] {
        &self.0.remarks
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.0.catalog().bytes()
    }

    /// Bytes that all files may take.
    pub fn budget(&self) -> u64 {
        self.0.budget
    }

    /// How many checkpoints there are, of all models.
    pub fn len(&self) -> usize {
        self.0.catalog().kept.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All checkpoints of all models, the last used first.
    pub fn list(&self) -> Vec<Info> {
        let now = self.0.storage.now();
        self.0.catalog().infos(now)
    }

    /// Whether a page may be given as [`crate::PageSource::Known`]. Eviction may change the answer
    /// at any time.
    pub fn has_page(&self, key: &PageKey) -> bool {
        let page_bytes = self.0.identity.as_ref().map(|identity| identity.page_bytes);
        page_bytes.is_some_and(|bytes| self.0.catalog().is_readable(key, bytes))
    }

    /// The variants (see [`Entry::variant`](crate::Entry::variant)) that there are checkpoints of.
    pub fn variants(&self) -> BTreeSet<String> {
        let Some(identity) = &self.0.identity else { return BTreeSet::new() };
        let catalog = self.0.catalog();
        let variants = catalog.kept.values().filter_map(|kept| identity.variant(&kept.manifest));
        variants.map(str::to_owned).collect()
    }

    /// The longest checkpoint of a variant whose tokens `tokens` begins with.
    pub fn find_tokens(&self, variant: &str, tokens: &[u32]) -> Option<Found> {
        let bytes = crate::save::token_bytes(tokens);
        self.find(variant, &bytes, |manifest| (4 * manifest.tokens, manifest.tokens_hash))
    }

    /// The longest checkpoint of a variant whose text `text` begins with.
    pub fn find_text(&self, variant: &str, text: &[u8]) -> Option<Found> {
        self.find(variant, text, |manifest| (manifest.text_bytes, manifest.text_hash))
    }

    fn find(
        &self,
        variant: &str,
        bytes: &[u8],
        of: impl Fn(&Manifest) -> (usize, PageKey),
    ) -> Option<Found> {
        self.0.catalog().find((self.0.identity.as_ref()?, variant), bytes, of)
    }

    /// Writes down how often checkpoints were used. Saving does it too, and so does dropping the
    /// last handle.
    ///
    /// # Errors
    /// [`Error::Io`] if it could not be written.
    pub fn write_uses(&self) -> Result<(), Error> {
        let _writing = self.0.change()?;
        self.0.write_uses()
    }

    fn read(
        storage: Arc<dyn Storage>,
        dir: PathBuf,
        budget: u64,
        identity: Option<Identity>,
        lock: Option<Guard>,
    ) -> Result<Store, Error> {
        let files = storage.list(&dir).map_err(Error::io(&dir, "could not be read"))?;
        let mut reading = Opening::new(storage.as_ref(), &dir, identity.as_ref());
        reading.packs(&files);
        reading.uses(&files);
        reading.manifests(&files);
        let (catalog, remarks) = (Mutex::new(reading.catalog), reading.remarks);
        let writing = Mutex::new(());
        let shared = Shared { storage, dir, budget, identity, lock, remarks, writing, catalog };
        Ok(Store(Arc::new(shared)))
    }
}

fn take_lock(storage: &dyn Storage, dir: &Path) -> Result<Guard, Error> {
    storage.prepare(dir).map_err(Error::io(dir, "could not be made"))?;
    let path = dir.join(LOCK);
    let lock = storage.lock(&path).map_err(Error::io(path, "could not be locked"))?;
    lock.map(Guard).ok_or_else(|| Error::Locked { dir: dir.to_owned() })
}

/// Reads a whole file that may have `most` bytes.
pub(crate) fn read_file(storage: &dyn Storage, path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    let source = storage.open(path).map_err(Error::io(path, "could not be opened"))?;
    let mut bytes = Vec::new();
    let read = source.take(most + 1).read_to_end(&mut bytes);
    read.map_err(Error::io(path, "could not be read"))?;
    if bytes.len() as u64 > most {
        return Err(Error::damaged(path, format!("expected {most} bytes at most, found more")));
    }
    Ok(bytes)
}

/// The name of a pack's file.
pub(crate) fn pack_name(number: u64) -> String {
    format!("{number:016x}.pack")
}

/// The name of a checkpoint's file.
pub(crate) fn manifest_name(id: Id) -> String {
    format!("{id}.kv")
}

fn pack_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".pack").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok().filter(|&number| pack_name(number) == name)
}

fn manifest_id(name: &str) -> Option<Id> {
    Id::parse(name.strip_suffix(".kv")?)
}

/// Whether a file was left behind by a save that did not end.
fn is_temporary(name: &str) -> bool {
    let ours = |name| pack_number(name).is_some() || manifest_id(name).is_some() || name == USES;
    name.strip_suffix(TEMPORARY).is_some_and(ours)
}

/// The folder, while it is being read.
struct Opening<'a> {
    storage: &'a dyn Storage,
    dir: &'a Path,
    identity: Option<&'a Identity>,
    catalog: Catalog,
    uses: HashMap<Id, Use>,
    remarks: Vec<String>,
}

impl<'a> Opening<'a> {
    fn new(storage: &'a dyn Storage, dir: &'a Path, identity: Option<&'a Identity>) -> Self {
        let (catalog, uses) = (Catalog::default(), HashMap::new());
        Opening { storage, dir, identity, catalog, uses, remarks: Vec::new() }
    }

    fn packs(&mut self, files: &[Listed]) {
        for file in files {
            let Some(number) = pack_number(&file.name) else { continue };
            let path = self.dir.join(&file.name);
            match read_directory(self.storage, &path, file.bytes) {
                Ok(Ok(directory)) => self.catalog.add_pack(number, &directory),
                Ok(Err(version)) => {
                    self.remarks.push(other_version(&path, version));
                    self.catalog.add_useless_pack(number, file.bytes, PackKind::Foreign);
                }
                Err(error) => {
                    let damaged = matches!(error, Error::Damaged { .. });
                    let kind = if damaged { PackKind::Damaged } else { PackKind::Foreign };
                    self.remarks.push(error.to_string());
                    self.catalog.add_useless_pack(number, file.bytes, kind);
                }
            }
        }
    }

    fn uses(&mut self, files: &[Listed]) {
        let Some(file) = files.iter().find(|file| file.name == USES) else { return };
        let path = self.dir.join(USES);
        self.catalog.uses_bytes = file.bytes;
        let read = read_file(self.storage, &path, manifest::BYTES_MAX);
        match read.and_then(|bytes| Uses::parse(&path, &bytes)) {
            Ok(uses) => self.uses = uses.uses,
            Err(error) => self.remarks.push(format!("{error}; checkpoints look unused now")),
        }
    }

    /// After the packs, so that the blocks that are named are known.
    fn manifests(&mut self, files: &[Listed]) {
        let (mut strangers, mut broken) = (0, 0);
        for file in files {
            let Some(id) = manifest_id(&file.name) else { continue };
            let path = self.dir.join(&file.name);
            match self.manifest(&path, id) {
                Ok(Parsed::Ours(manifest)) => {
                    strangers += usize::from(self.identity.is_some_and(|me| !me.owns(&manifest)));
                    let used = self.uses.get(&id).copied().unwrap_or_default();
                    self.catalog.add(manifest, used);
                    broken += usize::from(self.catalog.broken(&self.catalog.kept[&id]).is_some());
                }
                Ok(Parsed::Other { version, keys }) => {
                    self.remarks.push(other_version(&path, version));
                    self.unusable(file, Why::OtherVersion, keys);
                }
                Err(error) => {
                    let damaged = matches!(error, Error::Damaged { .. });
                    self.remarks.push(error.to_string());
                    let why = if damaged { Why::Damaged } else { Why::Unreadable };
                    self.unusable(file, why, Vec::new());
                }
            }
        }
        if strangers > 0 {
            let other =
                format!("{strangers} checkpoints of other models or recipes are left alone");
            self.remarks.push(format!("{}: {other}", self.dir.display()));
        }
        if broken > 0 {
            let lost = format!("{broken} checkpoints cannot be loaded; see `dwarfstar kv verify`");
            self.remarks.push(format!("{}: {lost}", self.dir.display()));
        }
    }

    fn manifest(&self, path: &Path, id: Id) -> Result<Parsed, Error> {
        let bytes = read_file(self.storage, path, manifest::BYTES_MAX)?;
        let parsed = Manifest::parse(path, &bytes)?;
        match &parsed {
            Parsed::Ours(manifest) if manifest.id() != id => {
                let problem = format!("holds checkpoint {}, the file was renamed", manifest.id());
                Err(Error::damaged(path, problem))
            }
            _ => Ok(parsed),
        }
    }

    fn unusable(&mut self, file: &Listed, why: Why, keys: Vec<PageKey>) {
        let manifest = Unusable { name: file.name.clone(), bytes: file.bytes, why };
        self.catalog.add_unusable(manifest, keys);
    }
}

fn other_version(path: &Path, version: u32) -> String {
    let ours = frame::VERSION;
    format!("{}: is of version {version}, this program reads {ours}; left alone", path.display())
}

/// The directory of a pack, or its version if that is another.
pub(crate) fn read_directory(
    storage: &dyn Storage,
    path: &Path,
    file_bytes: u64,
) -> Result<Result<Directory, u32>, Error> {
    let mut source = storage.open(path).map_err(Error::io(path, "could not be opened"))?;
    let mut head = vec![0; frame::BYTES.min(file_bytes as usize)];
    source.read_exact(&mut head).map_err(Error::io(path, "could not be read"))?;
    let head_bytes = match Directory::head(path, &head, file_bytes)? {
        Head::Ours(bytes) => bytes,
        Head::Other(version) => return Ok(Err(version)),
    };
    head.resize(head_bytes, 0);
    source.read_exact(&mut head[frame::BYTES..]).map_err(Error::io(path, "could not be read"))?;
    Directory::parse(path, &head, file_bytes).map(Ok)
}

impl Shared {
    pub fn catalog(&self) -> MutexGuard<'_, Catalog> {
        // A thread that panicked is a bug that was told; the index is whole between two statements.
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a change of the folder.
    pub fn change(&self) -> Result<MutexGuard<'_, ()>, Error> {
        if self.lock.is_none() {
            return Err(Error::ReadOnly { dir: self.dir.clone() });
        }
        Ok(self.writing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Deletes what interrupted saves have left, and packs that nobody names.
    fn tidy_up(&self) -> Result<(), Error> {
        let _writing = self.change()?;
        let files =
            self.storage.list(&self.dir).map_err(Error::io(&self.dir, "could not be read"))?;
        for file in files.iter().filter(|file| is_temporary(&file.name)) {
            self.delete(&file.name)?;
        }
        self.collect()?;
        if self.identity.is_some() {
            // A budget that cannot be kept is told when something is to be saved.
            let _ = self.make_room(0, None);
        }
        Ok(())
    }

    pub fn delete(&self, name: &str) -> Result<(), Error> {
        let path = self.dir.join(name);
        self.storage.remove(&path).map_err(Error::io(path, "could not be deleted"))
    }

    /// Returns when all names are durable.
    pub fn sync(&self) -> Result<(), Error> {
        let synced = self.storage.sync(&self.dir);
        if synced.is_err() {
            self.catalog().doubt = true;
        }
        synced.map_err(Error::io(&self.dir, "could not be made durable"))
    }

    /// Writes a file whole or not at all: under another name, synced, renamed, synced again.
    pub fn write(
        &self,
        name: &str,
        fill: impl FnOnce(&mut dyn Sink) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let path = self.dir.join(name);
        let unfinished = self.dir.join(format!("{name}{TEMPORARY}"));
        let written = self.write_unfinished(&unfinished, fill);
        if written.is_err() {
            // What is left of it is deleted now or when the folder is opened next time.
            let _ = self.storage.remove(&unfinished);
            return written;
        }
        if let Err(error) = self.storage.rename(&unfinished, &path) {
            // Nobody knows which of the two the disk has.
            self.catalog().doubt = true;
            return Err(Error::io(path, "could not be put in place")(error));
        }
        self.sync()
    }

    fn write_unfinished(
        &self,
        path: &Path,
        fill: impl FnOnce(&mut dyn Sink) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let created = self.storage.create(path);
        let mut sink = created.map_err(Error::io(path, "could not be made"))?;
        fill(sink.as_mut())?;
        sink.sync().map_err(Error::io(path, "could not be made durable"))
    }

    /// Writes down the uses, if there are new ones.
    pub fn write_uses(&self) -> Result<(), Error> {
        let bytes = {
            let mut catalog = self.catalog();
            if !std::mem::take(&mut catalog.uses_changed) {
                return Ok(());
            }
            catalog.uses().encode()
        };
        let write = |sink: &mut dyn Sink| {
            sink.write_all(&bytes).map_err(Error::io(self.dir.join(USES), "could not be written"))
        };
        self.write(USES, write)?;
        self.catalog().uses_bytes = bytes.len() as u64;
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // Uses are a matter of taste; no checkpoint depends on them.
            let _ = self.write_uses();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_ours() {
        let ours = ["0000000000000000.pack.tmp", "uses.tmp"];
        assert!(ours.iter().all(|name| is_temporary(name)));
        let id = "00112233445566778899aabbccddeeff";
        assert!(is_temporary(&format!("{id}.kv.tmp")));
        for foreign in ["x.tmp", "notes.tmp", "1.pack.tmp", "lock.tmp", "letter.kv.tmp", ".tmp"] {
            assert!(!is_temporary(foreign), "{foreign}");
        }
        assert_eq!(pack_number("000000000000000A.pack"), None);
        assert_eq!(pack_number("000000000000000a.pack"), Some(10));
        assert_eq!(pack_number("+00000000000000a.pack"), None);
        assert_eq!(manifest_id(&format!("{id}.kv")), Id::parse(id));
    }
}
