//! Checkpoints: states of conversations on disk, and going on from them.
//!
//! What a checkpoint is in the store's words:
//!
//! ```text
//! pages    the row pages that are filled, named by the hash of their bytes, each written once
//! tail     the snapshot (model::Snapshot), then the page that is filled in part, if there is one
//! text     the spelling of the tokens, or of what they stand for when they come back
//! variant  how the session was steered, if it was
//! notes    whatever the request brought, or was told when the answer had been read
//! ```
//!
//! When saving pays is the store's policy; here it is only asked. How a state gets there is told in
//! `saving.rs`.

use std::path::PathBuf;

use backend::PAGE_TOKENS;
use gguf::File;
use kvstore::{Fingerprint, Found, Limits, Policy, Reason, Settings, Store, Writer};
use model::{Page, RowFormat, Snapshot, Steer};
use spec::TokenId;

use crate::saving::Desk;
use crate::{Engine, Error, Session};

/// Where checkpoints go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// The folder.
    pub dir: PathBuf,
    /// Bytes that it may take.
    pub bytes_max: u64,
    /// When saving pays.
    pub policy: Policy,
}

/// What is on disk, of all models that keep checkpoints in the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnDisk {
    /// Checkpoints.
    pub checkpoints: usize,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that they may take.
    pub bytes_max: u64,
}

/// Checkpoints of one model.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    pub writer: Writer,
    pub policy: Policy,
    pub desk: Desk,
}

/// What may wait to be written, and as many states in line before that; more is not saved, since
/// nobody waits for a disk.
pub(crate) const QUEUE: Limits = Limits { entries: 16, bytes: 1 << 30 };

impl Engine {
    /// Keeps checkpoints in a folder from now on, and goes on from those that are there. What the
    /// store has to say about the folder.
    ///
    /// # Errors
    /// The folder cannot be used, or another process uses it.
    pub fn keep_on_disk(&mut self, options: DiskOptions) -> Result<Vec<String>, Error> {
        let DiskOptions { dir, bytes_max: budget, policy } = options;
        let model = fingerprint(self.file());
        let recipe = recipe(self.file(), self.options().rows);
        let page_bytes = self.page_bytes();
        let store = Store::open(Settings { dir, budget, model, recipe, page_bytes })?;
        let remarks = store.remarks().to_vec();
        let writer = Writer::start(store, QUEUE)?;
        self.checkpoints = Some(Checkpoints { writer, policy, desk: Desk::default() });
        Ok(remarks)
    }

    /// What is on disk now; `None` if nothing is kept there.
    pub fn on_disk(&self) -> Option<OnDisk> {
        let store = self.checkpoints.as_ref()?.writer.store();
        let (checkpoints, bytes, bytes_max) = (store.len(), store.bytes(), store.budget());
        Some(OnDisk { checkpoints, bytes, bytes_max })
    }

    /// The notes of all checkpoints of this model, the last used first. Those that cannot be read
    /// are left out, as they would be when somebody goes on from them.
    pub fn kept_notes(&self) -> Vec<Vec<u8>> {
        let Some(kept) = &self.checkpoints else { return Vec::new() };
        let store = kept.writer.store();
        let noted = store.list().into_iter().filter(|info| info.notes_bytes > 0);
        noted.filter_map(|info| store.notes(info.id).ok()).collect()
    }

    /// Forgets the states that `tokens` begins with and that have more than `spared` tokens,
    /// however they were steered: in memory, and on disk, also those that are still to be written.
    /// Waits for the disk. Sessions keep what they hold. How many checkpoints went.
    ///
    /// # Errors
    /// A checkpoint could not be deleted; others are gone perhaps.
    pub fn forget(&mut self, tokens: &[TokenId], spared: usize) -> Result<usize, Error> {
        for way in self.tree.ways() {
            while let Some((anchor, length)) = self.tree.find(way, tokens)
                && length > spared
            {
                self.tree.remove(anchor);
            }
        }
        // What is still to be written may name pages of what goes, and may be what goes itself.
        self.write_checkpoints();
        let Some(kept) = &self.checkpoints else { return Ok(0) };
        let store = kept.writer.store();
        let ids: Vec<u32> = tokens.iter().map(|token| token.0).collect();
        let mut removed = 0;
        for variant in store.variants() {
            while let Some(found) = store.find_tokens(&variant, &ids)
                && found.tokens > spared
            {
                store.remove(found.id)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// The places in a prompt of `prompt` tokens, of which `held` are there, at which to save.
    /// `boundary` is where what conversations share ends.
    pub(crate) fn stops(
        &self,
        held: usize,
        prompt: usize,
        boundary: Option<usize>,
    ) -> Vec<(usize, Reason)> {
        let stops = |kept: &Checkpoints| kept.policy.stops(held, prompt, boundary);
        let stops = self.checkpoints.as_ref().map_or(Vec::new(), stops);
        stops.into_iter().map(|stop| (stop.tokens, stop.reason)).collect()
    }

    /// Checkpoints that a prompt may go on from, and whether its tokens begin with theirs; if not,
    /// its text does.
    pub(crate) fn found(
        &self,
        way: Steer,
        prompt: &[TokenId],
        spelled: &[u8],
    ) -> Vec<(Found, bool)> {
        let Some(kept) = &self.checkpoints else { return Vec::new() };
        let store = kept.writer.store();
        let ids: Vec<u32> = prompt.iter().map(|token| token.0).collect();
        let variant = self.variant(way);
        let text = Some(spelled).filter(|text| !text.is_empty());
        let by_text = text.and_then(|text| store.find_text(&variant, text));
        let by_tokens = store.find_tokens(&variant, &ids).map(|found| (found, true));
        by_tokens.into_iter().chain(by_text.map(|found| (found, false))).collect()
    }

    /// Brings `session` to a checkpoint; the text that its tokens stand for there.
    ///
    /// # Errors
    /// It cannot be read, or there is no room: the session is empty then.
    pub(crate) fn load(&mut self, session: &mut Session, found: Found) -> Result<Vec<u8>, Error> {
        session.clear();
        self.make_room(found.pages + 1);
        let Engine { model, backend, checkpoints, .. } = self;
        let store = checkpoints.as_ref().expect("something was found").writer.store();
        let mut pages: Result<Vec<Page>, model::Error> = Ok(Vec::with_capacity(found.pages + 1));
        let loaded = store.load_pages(found.id, |i, bytes| {
            let Ok(list) = &mut pages else { return };
            match model.load_page(&mut **backend, i * PAGE_TOKENS, bytes) {
                Ok(page) => list.push(page),
                Err(error) => pages = Err(error),
            }
        })?;
        let mut pages = pages?;
        for (page, key) in pages.iter().zip(&loaded.pages) {
            page.label().get_or_init(|| key.0);
        }
        let tokens = loaded.tokens.len();
        let state = model.layout().snapshot_bytes(tokens).min(loaded.tail.len());
        let (state, part) = loaded.tail.split_at(state);
        if pages.len() != tokens / PAGE_TOKENS
            || part.is_empty() != tokens.is_multiple_of(PAGE_TOKENS)
        {
            return Err(Error::Checkpoint { id: found.id.to_string() });
        }
        if !part.is_empty() {
            let position = tokens / PAGE_TOKENS * PAGE_TOKENS;
            pages.push(model.load_page(&mut **backend, position, part)?);
        }
        let snapshot = Snapshot { tokens, bytes: state.to_vec() };
        model.restore(&mut **backend, &mut session.cache, &snapshot, pages)?;
        session.replace(loaded.tokens.into_iter().map(TokenId).collect(), &loaded.logits);
        (session.saved, session.notes) = (tokens, loaded.notes);
        Ok(loaded.text)
    }
}

/// What a model is known by: everything that its file says about itself, and a sample of each
/// tensor. Two files that agree in all of that are taken for one model.
pub fn fingerprint(file: &File) -> Fingerprint {
    const SAMPLE: usize = 1024;
    let mut hasher = blake3::Hasher::new();
    for tensor in file.tensors() {
        let bytes = file.bytes(tensor);
        hasher.update(format!("{} {:?} {}\n", tensor.name, tensor.dims, tensor.format).as_bytes());
        hasher.update(&bytes[..bytes.len().min(SAMPLE)]);
        hasher.update(&bytes[bytes.len().saturating_sub(SAMPLE)..]);
    }
    Fingerprint(*hasher.finalize().as_bytes())
}

/// The block formats of the weights and the format of the rows.
fn recipe(file: &File, rows: RowFormat) -> String {
    let formats = file.tensors().iter().map(|tensor| tensor.format.to_string());
    let formats: std::collections::BTreeSet<String> = formats.collect();
    let formats: Vec<String> = formats.into_iter().collect();
    let mut recipe = format!("{rows:?} rows, {}", formats.join(" "));
    recipe.truncate(255);
    recipe
}
