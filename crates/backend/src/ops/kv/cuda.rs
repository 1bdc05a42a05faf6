//! Storing and keeping rows on CUDA.

use super::{Kv, Ring, RowBlock, RowFormat, RowKind, RowLayout};
use crate::cuda::kernels::{Unit, Values};
use crate::cuda::{COMMON, Cuda, ROWS, values, words};
use crate::{Buffer, KvPools, Step};

/// Rows of one layout.
pub static KV: Unit = Unit {
    family: "kv",
    name: "kv",
    source: &[COMMON, ROWS, NORMED, include_str!("kv.cu")],
    parameters: LAYOUT,
    kernels: &["store_rows", "latents", "keep_window", "round_heads"],
};

/// The key-value row of a token.
pub(crate) const NORMED: &str = include_str!("normed.cuh");

/// The parameters of units that know rows of one layout.
pub const LAYOUT: &[&str] = &["KIND", "PACKED", "ROUNDED", "PLAIN", "ROTARY"];

/// The same of units that are compiled for so many heads at a time as well.
pub const LAYOUT_HEADS: &[&str] = &["KIND", "PACKED", "ROUNDED", "PLAIN", "ROTARY", "HEADS"];

/// A layout as values of [`LAYOUT`].
pub(crate) fn layout_values(layout: RowLayout) -> Values {
    let (packed, rounded) = match layout.format {
        RowFormat::Packed => (1, 2),
        RowFormat::UnpackedF32 => (0, 2),
        RowFormat::RoundedF32 => (0, 1),
        RowFormat::ExactF32 => (0, 0),
    };
    match layout.kind {
        RowKind::Attention { plain, rotary } => values(&[0, packed, rounded, plain, rotary]),
        // Which channels are rotated does not matter to storage.
        RowKind::Indexer { dim } => values(&[1, packed, rounded, dim / 2, dim / 2]),
    }
}

/// A layout and heads as values of [`LAYOUT_HEADS`].
pub(crate) fn layout_heads_values(layout: RowLayout, heads: usize) -> Values {
    let mut values = layout_values(layout);
    values[LAYOUT.len()] = heads as u32;
    values
}

impl Kv for Cuda {
    fn store_rows_raw(&mut self, x: &Buffer<f32>, fresh: &mut RowBlock, rows: usize) {
        let unit = (&KV, layout_values(fresh.layout), "store_rows");
        let args = words![self.at(x), self.edit(&mut fresh.bytes), fresh.rows];
        self.record(unit, [rows, 1, 1], 128, args);
    }

    fn keep_window_raw(&mut self, fresh: &RowBlock, ring: Ring, step: &Step, kv: &mut KvPools) {
        let unit = (&KV, layout_values(fresh.layout), "keep_window");
        let (slots, slot_bytes) = self.pages(&kv.slots);
        let (bytes, segments) = (self.at(&fresh.bytes), self.at(&step.segment_table));
        let (slot_bytes, offset) = (slot_bytes as u64, ring.offset as u64);
        let args = words![bytes, fresh.rows, segments, slots, slot_bytes, offset, ring.rows];
        let grid = [ring.rows.min(step.rows), step.segments, 1];
        self.record(unit, grid, 128, args);
    }
}
