//! Keeping a state and going back to it.
//!
//! Rows of the past can be read again, since nothing is ever written over them; raw windows and
//! frontiers cannot, since they are rings. So a state is kept as its row pages, shared, and a
//! [`Snapshot`] of the rest. Smallest are snapshots at multiples of 128 tokens, where no window of
//! that ratio is open. Tokens that were only drafted need less: the places that they write are
//! saved beside the slot page, and put back.

use backend::{Device, PAGE_TOKENS};

use crate::pages::Page;
use crate::{Cache, Error, KvLayout, Model};

/// What a cache held besides row pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// After so many tokens.
    pub tokens: usize,
    /// The live bytes of its slot page, one range after the other (see [`KvLayout::live`]).
    pub bytes: Vec<u8>,
}

impl KvLayout {
    /// Bytes of a snapshot after `tokens` tokens.
    pub fn snapshot_bytes(&self, tokens: usize) -> usize {
        self.live(tokens).iter().map(|range| range.len()).sum()
    }
}

impl Model {
    /// Keeps the state that `cache` has now; its row pages are [`Cache::pages`].
    pub fn snapshot(&self, device: &mut dyn Device, cache: &Cache) -> Snapshot {
        let slots = &self.kv.pools.slots;
        let ranges = self.kv.layout.live(cache.tokens);
        let mut bytes = vec![0; ranges.iter().map(|range| range.len()).sum()];
        let mut rest = bytes.as_mut_slice();
        for range in ranges {
            let (out, after) = rest.split_at_mut(range.len());
            device.page_into(slots, cache.slot.number(), range.start, out);
            rest = after;
        }
        Snapshot { tokens: cache.tokens, bytes }
    }

    /// Brings `cache` to a state that was kept. `pages` cover its tokens; the last is copied if it
    /// is filled in part.
    ///
    /// # Errors
    /// No page left for that copy: `cache` is as before. A snapshot whose size is not that of its
    /// number of tokens is one of another layout.
    pub fn restore(
        &mut self,
        device: &mut dyn Device,
        cache: &mut Cache,
        snapshot: &Snapshot,
        pages: Vec<Page>,
    ) -> Result<(), Error> {
        let Snapshot { tokens, bytes } = snapshot;
        let wanted = self.kv.layout.snapshot_bytes(*tokens);
        if bytes.len() != wanted {
            let (tokens, found) = (*tokens, bytes.len());
            return Err(Error::Snapshot { tokens, wanted, found });
        }
        self.kv.adopt(device, cache, *tokens, pages)?;
        let mut rest = bytes.as_slice();
        for range in self.kv.layout.live(*tokens) {
            let (data, after) = rest.split_at(range.len());
            device.put_page(&mut self.kv.pools.slots, cache.slot.number(), range.start, data);
            rest = after;
        }
        Ok(())
    }

    /// Makes `to` a copy of `from`, steered alike, which goes on undisturbed: full row pages are
    /// shared.
    ///
    /// # Errors
    /// No page left for the one that is filled in part: `to` is as before.
    pub fn fork(
        &mut self,
        device: &mut dyn Device,
        from: &Cache,
        to: &mut Cache,
    ) -> Result<(), Error> {
        let pages = from.pages()[..KvLayout::pages(from.tokens)].to_vec();
        self.kv.adopt(device, to, from.tokens, pages)?;
        to.steer = from.steer;
        let whole = 0..self.kv.layout.slot_bytes;
        device.copy(&mut self.kv.pools.slots, from.slot.number(), to.slot.number(), &[whole]);
        Ok(())
    }

    /// Prepares for tokens that may be taken back: saves the slot page beside it.
    ///
    /// # Errors
    /// No slot page left.
    pub fn save_before_draft(
        &mut self,
        device: &mut dyn Device,
        cache: &mut Cache,
    ) -> Result<(), Error> {
        let spare = match cache.spare.take() {
            Some(spare) => spare,
            None => self.kv.slot(device)?,
        };
        let whole = 0..self.kv.layout.slot_bytes;
        device.copy(&mut self.kv.pools.slots, cache.slot.number(), spare.number(), &[whole]);
        cache.spare = Some(spare);
        Ok(())
    }

    /// Takes the last tokens of the step before back, so that `cache` holds `tokens`.
    ///
    /// # Panics
    /// If nothing was saved before that step, or the step was longer than
    /// [`KvLayout::drafts_max`] and one.
    pub fn take_back(&mut self, device: &mut dyn Device, cache: &mut Cache, tokens: usize) {
        let rejected = tokens..cache.tokens;
        assert!(rejected.len() <= self.kv.layout.drafts_max(), "{rejected:?} taken back");
        let spare = cache.spare.as_ref().expect("a slot page saved before the step");
        let ranges = self.kv.layout.written(rejected);
        device.copy(&mut self.kv.pools.slots, spare.number(), cache.slot.number(), &ranges);
        cache.tokens = tokens;
    }

    /// The bytes of a row page.
    pub fn page_bytes(&self, device: &mut dyn Device, page: &Page) -> Vec<u8> {
        device.page(&self.kv.pools.pages, page.number())
    }

    /// A row page of these bytes, for tokens from `position` on.
    ///
    /// # Errors
    /// No page left, or bytes of another layout.
    pub fn load_page(
        &mut self,
        device: &mut dyn Device,
        position: usize,
        bytes: &[u8],
    ) -> Result<Page, Error> {
        let wanted = self.kv.layout.page_bytes;
        if bytes.len() != wanted {
            return Err(Error::RowPage { position, wanted, found: bytes.len() });
        }
        let page = self.kv.row_page(device, position)?;
        device.put_page(&mut self.kv.pools.pages, page.number(), 0, bytes);
        Ok(page)
    }

    /// Row pages that can still be taken.
    pub fn row_pages_left(&self) -> usize {
        self.kv.row_pages_left()
    }

    /// Row pages that a step needs to take for `cache` to grow by `tokens` tokens.
    pub fn row_pages_missing(&self, cache: &Cache, tokens: usize) -> usize {
        (cache.tokens + tokens).div_ceil(PAGE_TOKENS).saturating_sub(cache.pages().len())
    }
}
