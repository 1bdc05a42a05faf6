//! Conversations whose bytes all follow from their tokens.
//!
//! A page is complete every four tokens, as in the model every 128, and depends on all tokens
//! before. So two conversations share exactly the pages that they should, and a checkpoint that was
//! loaded can be compared with what it must be.

use std::path::Path;
use std::sync::Arc;

use kvstore::{
    Checkpoint, Entry, Error, Fingerprint, Loaded, PageKey, PageSource, Reason, Settings, Storage,
    Store,
};

/// Tokens of a page.
pub const PAGE_TOKENS: usize = 4;
/// Bytes of a page.
pub const PAGE_BYTES: usize = 700;
/// A folder's name; the disk in memory does not care.
pub const DIR: &str = "kv";

pub fn settings(budget: u64) -> Settings {
    let (model, recipe) = (Fingerprint([7; 32]), "q2".to_owned());
    Settings { dir: DIR.into(), budget, model, recipe, page_bytes: PAGE_BYTES }
}

/// A store on a disk, without a budget worth mentioning.
pub fn open(disk: &(impl Storage + Clone + 'static)) -> Store {
    Store::open_on(Arc::new(disk.clone()), settings(u64::MAX)).unwrap()
}

/// A store in a folder of the real disk.
pub fn open_dir(dir: &Path) -> Result<Store, Error> {
    Store::open(Settings { dir: dir.to_owned(), ..settings(u64::MAX) })
}

/// `count` bytes that follow from a name.
pub fn bytes(name: &str, count: usize) -> Vec<u8> {
    let mut seed = [0; 8];
    seed.copy_from_slice(&PageKey::of(name.as_bytes()).0[..8]);
    let mut state = u64::from_le_bytes(seed) | 1;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// The entry of a conversation, with the bytes of all pages. `notes` may differ.
pub fn entry(tokens: &[u32], notes: &[u8]) -> Entry {
    let page = |end: usize| bytes(&format!("page {:?}", &tokens[..end]), PAGE_BYTES);
    let ends = (PAGE_TOKENS..=tokens.len()).step_by(PAGE_TOKENS);
    let tail_bytes = 2000 + 300 * (tokens.len() % PAGE_TOKENS);
    let mut tail = bytes(&format!("tail {tokens:?}"), tail_bytes);
    // Longer than a block, and mostly nothing, as a tail is after few tokens.
    tail.resize(40_000, 0);
    Entry {
        tokens: tokens.to_vec(),
        also: Vec::new(),
        variant: String::new(),
        text: text(tokens),
        pages: ends.map(|end| PageSource::New(page(end))).collect(),
        tail,
        logits: tokens.iter().map(|&token| token as f32 / 3.0).collect(),
        notes: notes.to_vec(),
        reason: Reason::TurnEnd,
    }
}

/// The text that tokens stand for.
pub fn text(tokens: &[u32]) -> Vec<u8> {
    tokens.iter().flat_map(|token| format!("t{token} ").into_bytes()).collect()
}

/// The same entry, but with pages by key where the store has them.
pub fn known(store: &Store, mut entry: Entry) -> Entry {
    for page in &mut entry.pages {
        let PageSource::New(bytes) = page else { continue };
        let key = PageKey::of(bytes);
        if store.has_page(&key) {
            *page = PageSource::Known(key);
        }
    }
    entry
}

/// What loading an entry must give.
pub fn expected(store_id: kvstore::Id, entry: &Entry) -> Checkpoint {
    let page = |page: &PageSource| match page {
        PageSource::New(bytes) => bytes.clone(),
        PageSource::Known(key) => panic!("the bytes of {key} are wanted"),
    };
    let pages: Vec<Vec<u8>> = entry.pages.iter().map(page).collect();
    let loaded = Loaded {
        id: store_id,
        tokens: entry.tokens.clone(),
        text: entry.text.clone(),
        pages: pages.iter().map(|bytes| PageKey::of(bytes)).collect(),
        tail: entry.tail.clone(),
        logits: entry.logits.clone(),
        notes: entry.notes.clone(),
        reason: entry.reason,
    };
    Checkpoint { loaded, pages }
}
