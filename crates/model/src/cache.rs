//! KV state: where every layer's part of it is, and which pages belong to which session.
//!
//! The state of all sessions lives in two pools (see `backend::KvPools`):
//!
//! ```text
//! slot page   one per session     per layer: raw window ring, then frontiers
//! row page    one per 128 tokens  per layer with a ratio: its compressed rows, then indexer rows
//! ```
//!
//! A session is therefore one slot page and a list of row pages. Validity follows from positions
//! alone: which ring rows, frontier entries and compressed rows exist after `n` tokens is a
//! function of `n`. So pages need no clearing when they change hands, and a page boundary is always
//! a point at which whole pages can be shared. `snapshot.rs` says how a state is kept and gone back
//! to, `pages.rs` who holds a page.

use std::ops::Range;

use backend::ops::compress::CompressorPlace;
use backend::ops::kv::{PagedRows, Ring, RowKind};
use backend::{Device, KvPools, PAGE_TOKENS, RowFormat, RowLayout};
use spec::{LayerKind, Shape};

use crate::pages::{Page, PageList};
use crate::steering::Steer;
use crate::{Error, Limits};

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

    /// The bytes of a slot page that mean something after `tokens` tokens, as ranges in order:
    /// the rings, and of each frontier the windows that are open or will be looked back at.
    pub fn live(&self, tokens: usize) -> Vec<Range<usize>> {
        let mut ranges = Vec::new();
        for LayerPlaces { ring, compressor, indexer } in &self.layers {
            join(&mut ranges, ring.offset..ring.offset + ring.layout.block_bytes(ring.rows));
            for place in [compressor, indexer].into_iter().flatten() {
                let open = tokens / place.rows.ratio * place.rows.ratio;
                let first = open.saturating_sub((place.overlap - 1) * place.rows.ratio);
                let mut entries: Vec<_> = (first..tokens).map(|p| place.entry(p)).collect();
                entries.sort_by_key(|range| range.start);
                entries.into_iter().for_each(|range| join(&mut ranges, range));
            }
        }
        ranges
    }

    /// The bytes of a slot page that tokens at `positions` write.
    pub fn written(&self, positions: Range<usize>) -> Vec<Range<usize>> {
        let mut ranges = Vec::new();
        for LayerPlaces { ring, compressor, indexer } in &self.layers {
            positions.clone().flat_map(|p| ring.row(p)).for_each(|r| join(&mut ranges, r));
            for place in [compressor, indexer].into_iter().flatten() {
                positions.clone().for_each(|p| join(&mut ranges, place.entry(p)));
            }
        }
        ranges
    }

    /// Tokens that can be fed and taken back: no two of them write to one place of a slot page.
    pub fn drafts_max(&self) -> usize {
        let places = |layer: &LayerPlaces| [layer.compressor, layer.indexer];
        let frontiers = self.layers.iter().flat_map(places).flatten().map(|place| place.ring());
        let rings = self.layers.iter().map(|layer| layer.ring.rows);
        frontiers.chain(rings).min().unwrap_or(1) - 1
    }

    /// Row pages that hold `tokens` tokens.
    pub fn pages(tokens: usize) -> usize {
        tokens.div_ceil(PAGE_TOKENS)
    }
}

/// Adds a range, to the last one if it goes on where that ends: fewer transfers for a device.
fn join(ranges: &mut Vec<Range<usize>>, range: Range<usize>) {
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

/// One session's state: which pages it has and how many tokens they hold.
///
/// A row page is shared with other caches and with snapshots' holders as long as nobody writes to
/// it. Writing only ever appends rows, and only the cache that took a page from the pool appends to
/// it: whoever goes on from the middle of somebody else's page first takes a copy.
#[derive(Debug)]
#[must_use]
pub struct Cache {
    pub(crate) slot: Page,
    /// A second slot page, while drafted tokens may have to be taken back.
    pub(crate) spare: Option<Page>,
    pages: Vec<Page>,
    /// Their numbers, as the step's page table takes them.
    pub(crate) numbers: Vec<u32>,
    pub(crate) tokens: usize,
    pub(crate) steer: Steer,
}

impl Cache {
    /// Tokens fed so far; the next token's position.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// How its layers are steered.
    pub fn steer(&self) -> Steer {
        self.steer
    }

    /// Changes how its layers are steered. All of a state is computed in one way, so this one is
    /// forgotten if that is another.
    pub fn set_steer(&mut self, steer: Steer) {
        if self.steer != steer {
            self.clear();
            self.steer = steer;
        }
    }

    /// Its row pages, in the order of positions. The last may be filled in part.
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// Forgets everything but how it is steered; row pages that nobody shares go back to the pool.
    pub fn clear(&mut self) {
        self.tokens = 0;
        self.set_pages(Vec::new());
    }

    /// Holds `page` instead of its own page `index`: the rows of the same tokens, that another
    /// cache computed. Only pages that are filled can be exchanged.
    pub fn share(&mut self, index: usize, page: Page) {
        assert!((index + 1) * PAGE_TOKENS <= self.tokens, "page {index} of {} tokens", self.tokens);
        self.numbers[index] = page.number();
        self.pages[index] = page;
    }

    fn set_pages(&mut self, pages: Vec<Page>) {
        self.numbers.clear();
        self.numbers.extend(pages.iter().map(Page::number));
        self.pages = pages;
    }

    fn push(&mut self, page: Page) {
        self.numbers.push(page.number());
        self.pages.push(page);
    }
}

/// The pools and who has which page.
#[derive(Debug)]
pub(crate) struct KvState {
    pub pools: KvPools,
    pub layout: KvLayout,
    slots: PageList,
    rows: PageList,
    context: usize,
}

impl KvState {
    /// Empty pools.
    pub fn new(device: &mut dyn Device, layout: KvLayout, limits: Limits) -> Self {
        let pools = KvPools {
            slots: device.pool(layout.slot_bytes),
            pages: device.pool(layout.page_bytes),
        };
        let (slots, rows) = (PageList::new(limits.slots), PageList::new(limits.row_pages));
        KvState { pools, layout, slots, rows, context: limits.context }
    }

    /// Changes how much there may be; what is held stays.
    pub fn set_limits(&mut self, context: usize, row_pages: usize) {
        self.context = context;
        self.rows.set_limit(row_pages);
    }

    /// An empty cache.
    pub fn open(&mut self, device: &mut dyn Device) -> Result<Cache, Error> {
        let slot = self.slot(device)?;
        let (pages, numbers, steer) = (Vec::new(), Vec::new(), Steer::NONE);
        Ok(Cache { slot, spare: None, pages, numbers, tokens: 0, steer })
    }

    /// A slot page that nobody holds.
    pub fn slot(&mut self, device: &mut dyn Device) -> Result<Page, Error> {
        let slot = self.slots.take(device, &mut self.pools.slots, "a session's state")?;
        slot.ok_or(Error::Sessions { sessions: self.slots.limit() })
    }

    /// A row page that nobody holds, for tokens from `position` on.
    pub fn row_page(&mut self, device: &mut dyn Device, position: usize) -> Result<Page, Error> {
        let page = self.rows.take(device, &mut self.pools.pages, "KV rows")?;
        let (limit, page_bytes) = (self.rows.limit(), self.layout.page_bytes);
        page.ok_or(Error::Pages { position, limit, bytes: limit * page_bytes })
    }

    /// Row pages that can still be taken.
    pub fn row_pages_left(&self) -> usize {
        self.rows.left()
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
            let page = self.row_page(device, cache.pages.len() * PAGE_TOKENS)?;
            cache.push(page);
        }
        Ok(())
    }

    /// Makes `cache` hold the first `tokens` tokens that `pages` have rows for. The slot page is
    /// the caller's matter.
    pub fn adopt(
        &mut self,
        device: &mut dyn Device,
        cache: &mut Cache,
        tokens: usize,
        mut pages: Vec<Page>,
    ) -> Result<(), Error> {
        assert_eq!(pages.len(), KvLayout::pages(tokens), "row pages of {tokens} tokens");
        if !tokens.is_multiple_of(PAGE_TOKENS) {
            let last = pages.pop().expect("a page that is filled in part");
            pages.push(self.own(device, tokens, last)?);
        }
        cache.set_pages(pages);
        cache.tokens = tokens;
        Ok(())
    }

    /// `page`, filled in part by the last of `tokens` tokens, or a copy of it if others hold it:
    /// they may append rows of other tokens behind ours.
    fn own(&mut self, device: &mut dyn Device, tokens: usize, page: Page) -> Result<Page, Error> {
        if page.is_unshared() {
            return Ok(page);
        }
        let own = self.row_page(device, tokens / PAGE_TOKENS * PAGE_TOKENS)?;
        let whole = 0..self.layout.page_bytes;
        device.copy(&mut self.pools.pages, page.number(), own.number(), &[whole]);
        Ok(own)
    }
}
