//! KV state: where every layer's part of it is, and which pages belong to which session.
//!
//! The state of all sessions lives in two pools (see `backend::KvPools`):
//!
//! ```text
//! slot page   one per session     per layer: raw window ring, then frontiers
//! row page    one per 128 tokens  per layer with a ratio: its compressed rows, then indexer rows
//! ```
//!
//! A session is therefore one slot number and a list of row pages. Validity follows from positions
//! alone: which ring rows, frontier entries and compressed rows exist after `n` tokens is a
//! function of `n`. So pages need no clearing when they change hands, and a page boundary is always
//! a point at which whole pages can be shared.

use backend::ops::compress::CompressorPlace;
use backend::ops::kv::{PagedRows, Ring, RowKind};
use backend::{Device, KvPools, PAGE_TOKENS, RowFormat, RowLayout};
use spec::{LayerKind, Shape};

use crate::Error;

/// Where one layer's state is inside slot and row pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerPlaces {
    /// The raw window.
    pub ring: Ring,
    /// The compressor of attention rows, if the layer has one.
    pub compressor: Option<CompressorPlace>,
    /// The compressor of indexer rows, if the layer has one.
    pub indexer: Option<CompressorPlace>,
}

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvLayout {
    /// Bytes of a slot page.
    pub slot_bytes: usize,
    /// Bytes of a row page.
    pub page_bytes: usize,
    /// One entry per layer.
    pub layers: Vec<LayerPlaces>,
}

impl KvLayout {
    /// The layout for a shape, with rows in `format`.
    pub fn new(shape: &Shape, format: RowFormat) -> KvLayout {
        let mut layout = KvLayout { slot_bytes: 0, page_bytes: 0, layers: Vec::new() };
        let attention = RowKind::Attention { plain: shape.plain_dim(), rotary: shape.rotary_dim };
        let attention = RowLayout { kind: attention, format };
        for &kind in &shape.kinds {
            let ring = Ring { layout: attention, offset: layout.slot_bytes, rows: shape.window };
            layout.slot_bytes += attention.block_bytes(ring.rows);
            let compressor = layout.compressor(kind, attention);
            let indexer = match (&shape.indexer, kind) {
                (Some(indexer), LayerKind::Indexed) => {
                    let row = RowKind::Indexer { dim: indexer.dim };
                    layout.compressor(kind, RowLayout { kind: row, format })
                }
                _ => None,
            };
            layout.layers.push(LayerPlaces { ring, compressor, indexer });
        }
        layout
    }

    /// Appends a compressor's frontier to the slot page and its rows to the row page.
    fn compressor(&mut self, kind: LayerKind, layout: RowLayout) -> Option<CompressorPlace> {
        let rows = PagedRows { layout, offset: self.page_bytes, ratio: kind.ratio()? };
        let place = CompressorPlace { frontier: self.slot_bytes, overlap: kind.overlap(), rows };
        self.slot_bytes += place.frontier_bytes().next_multiple_of(16);
        self.page_bytes += rows.block_bytes();
        Some(place)
    }

    /// Row pages that hold `tokens` tokens.
    pub fn pages(tokens: usize) -> usize {
        tokens.div_ceil(PAGE_TOKENS)
    }
}

/// One session's state: which pages it has and how many tokens they hold.
#[derive(Debug)]
pub struct Cache {
    pub(crate) slot: u32,
    pub(crate) pages: Vec<u32>,
    pub(crate) tokens: usize,
}

impl Cache {
    /// Tokens fed so far; the next token's position.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Forgets everything. Pages stay with the cache and are filled again.
    pub fn clear(&mut self) {
        self.tokens = 0;
    }
}

/// The pools and who has which page.
#[derive(Debug)]
pub(crate) struct KvState {
    pub pools: KvPools,
    pub layout: KvLayout,
    slots: PageList,
    pages: PageList,
    context: usize,
}

/// Page numbers of a pool that grows up to a limit.
#[derive(Debug)]
struct PageList {
    total: usize,
    limit: usize,
    free: Vec<u32>,
}

impl PageList {
    fn new(limit: usize) -> PageList {
        PageList { total: 0, limit, free: Vec::new() }
    }
}

impl KvState {
    /// Empty pools for up to `sessions` sessions of `context` tokens each.
    pub fn new(device: &mut dyn Device, layout: KvLayout, sessions: usize, context: usize) -> Self {
        let pools = KvPools {
            slots: device.pool(layout.slot_bytes),
            pages: device.pool(layout.page_bytes),
        };
        let pages = PageList::new(sessions * KvLayout::pages(context));
        KvState { pools, layout, slots: PageList::new(sessions), pages, context }
    }

    /// An empty cache.
    pub fn open(&mut self, device: &mut dyn Device) -> Result<Cache, Error> {
        let sessions = self.slots.limit;
        let slot = take(device, &mut self.pools.slots, &mut self.slots, "a session's state")?;
        let slot = slot.ok_or(Error::Sessions { sessions })?;
        Ok(Cache { slot, pages: Vec::new(), tokens: 0 })
    }

    /// Gives a cache's pages back.
    pub fn close(&mut self, cache: Cache) {
        self.slots.free.push(cache.slot);
        self.pages.free.extend(cache.pages);
    }

    /// Makes room for `tokens` tokens in all.
    pub fn ensure(
        &mut self,
        device: &mut dyn Device,
        cache: &mut Cache,
        tokens: usize,
    ) -> Result<(), Error> {
        if tokens > self.context {
            return Err(Error::Context { position: self.context, context: self.context });
        }
        while cache.pages.len() * PAGE_TOKENS < tokens {
            let page = take(device, &mut self.pools.pages, &mut self.pages, "KV rows")?;
            // Every session has its share of the limit, and none exceeds it.
            cache.pages.push(page.expect("pages for every session's whole context"));
        }
        Ok(())
    }
}

/// A free page, growing the pool if there is none; `None` at the limit.
fn take(
    device: &mut dyn Device,
    pool: &mut backend::Pool,
    list: &mut PageList,
    what: &str,
) -> Result<Option<u32>, Error> {
    if list.free.is_empty() && list.total < list.limit {
        device.grow(pool, list.total + 1).map_err(Error::doing(what))?;
        list.free.push(list.total as u32);
        list.total += 1;
    }
    Ok(list.free.pop())
}
