//! Attention on CUDA: parts of what a token sees, then their union.
//!
//! How many parts is decided from the reserved context, never from positions, so that a decoding
//! step is the same list of launches every time. Parts beyond what a token sees end at once.

use super::{Attend, Beyond, Visible};
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, ROWS, words};
use crate::ops::kv::cuda::{LAYOUT, layout_values};
use crate::{Buffer, KvPools, PAGE_TOKENS, Step};

/// Attention over rows of one layout.
pub static ATTEND: Unit = Unit {
    name: "attend",
    source: &[COMMON, ROWS, include_str!("attend.cu")],
    parameters: LAYOUT,
    kernels: &["attend", "merge"],
};

/// Heads of a block.
const HEADS: usize = 8;
/// Fewest keys of a part: each costs a row of results.
const KEYS_MIN: usize = 32;

impl Cuda {
    /// How many keys a part has, and how many parts `most` keys make: as many as fill the device
    /// with `blocks` blocks each. Many tokens fill it by themselves.
    fn parts(&self, most: usize, blocks: usize) -> (usize, usize) {
        let wanted = (4 * self.processors() / blocks).max(1);
        let keys = most.div_ceil(wanted).next_multiple_of(16).max(KEYS_MIN);
        (keys, most.div_ceil(keys))
    }
}

impl Attend for Cuda {
    fn attend_raw(
        &mut self,
        q: &Buffer<f32>,
        sinks: &Buffer<f32>,
        visible: &Visible,
        step: &Step,
        kv: &KvPools,
        out: &mut Buffer<f32>,
    ) {
        let Visible { fresh, ring, beyond } = visible;
        let (heads, width, rows) = (sinks.width, fresh.layout.width(), step.rows);
        assert!(width.is_multiple_of(32), "{width} channels");
        let context = step.page_table.width * PAGE_TOKENS;
        let (paged, picks, top_k, beyond) = match beyond {
            Beyond::Nothing => (None, 0, 0, 0u32),
            Beyond::All(paged) => (Some(paged), 0, 0, 1),
            Beyond::Picked(paged, picks) => (Some(paged), self.at(picks), picks.width, 2),
        };
        let (offset, ratio) = paged.map_or((0, 1), |paged| (paged.offset as u64, paged.ratio));
        // The most that any token of this or a later step may see.
        let closed = context / ratio;
        let compressed = [0, closed, top_k.min(closed)][beyond as usize];
        let (keys, parts) = self.parts(ring.rows + compressed, rows * heads.div_ceil(HEADS));
        let at = self.scratch("attention parts", rows * heads * parts * (width + 2) * 4);

        let (slots, slot_bytes) = self.pages(&kv.slots);
        let (pages, page_bytes) = self.pages(&kv.pages);
        let (slot_bytes, page_bytes) = (slot_bytes as u64, page_bytes as u64);
        let (positions, owners) = (self.at(&step.positions), self.at(&step.owners));
        let (segments, table) = (self.at(&step.segment_table), self.at(&step.page_table));
        let (table_width, bytes) = (step.page_table.width, self.at(&fresh.bytes));
        let (q, ring_offset) = (self.at(q), ring.offset as u64);
        let layout = layout_values(fresh.layout);
        let args = words![
            q,
            positions,
            owners,
            segments,
            table,
            table_width,
            bytes,
            fresh.rows,
            slots,
            slot_bytes,
            ring_offset,
            ring.rows,
            pages,
            page_bytes,
            offset,
            ratio,
            picks,
            top_k,
            beyond,
            heads,
            keys,
            parts,
            at
        ];
        let grid = [rows, heads.div_ceil(HEADS), parts];
        self.record((&ATTEND, layout, "attend"), grid, 256, args);
        let (sinks, out) = (self.at(sinks), self.edit(out));
        let args = words![
            at, sinks, positions, picks, ratio, ring.rows, top_k, beyond, heads, keys, parts, out
        ];
        self.record((&ATTEND, layout, "merge"), [rows, heads, 1], 128, args);
    }
}
