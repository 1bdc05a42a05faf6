//! The compressors on CUDA.

use super::{Compress, Compressor};
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, ROWS, words};
use crate::ops::kv::cuda::{LAYOUT, layout_values};
use crate::ops::linear::cuda::FEW_TOKENS;
use crate::{Buffer, KvPools, Step};

/// Compressors to rows of one layout.
pub static COMPRESS: Unit = Unit {
    family: "compress",
    name: "compress",
    source: &[COMMON, ROWS, include_str!("compress.cu")],
    parameters: LAYOUT,
    kernels: &["compress", "keep_frontier", "compress_few"],
};

impl Compress for Cuda {
    fn compress_raw(
        &mut self,
        compressor: &Compressor,
        values: &Buffer<f32>,
        gates: &Buffer<f32>,
        step: &Step,
        kv: &mut KvPools,
    ) {
        let place = compressor.place;
        let layout = layout_values(place.rows.layout);
        let (ratio, overlap) = (place.rows.ratio, place.overlap);
        let (slots, slot_bytes) = self.pages(&kv.slots);
        let (pages, page_bytes) = self.pages(&kv.pages);
        let (slot_bytes, page_bytes) = (slot_bytes as u64, page_bytes as u64);
        let (frontier, rows) = (place.frontier as u64, place.rows.offset as u64);
        let (values, gates) = (self.at(values), self.at(gates));
        let (ape, norm) = (self.at(compressor.ape), self.at(compressor.norm));
        let (frequencies, pairs) = (self.at(compressor.frequencies), compressor.frequencies.width);
        let (segments, table) = (self.at(&step.segment_table), self.at(&step.page_table));
        let table_width = step.page_table.width;
        // The order of `Places` in compress.cu, which packs two 32-bit numbers into a word.
        let pair = |low: usize, high: u32| words![low][0] | u64::from(high) << 32;
        let places = words![
            values,
            gates,
            ape,
            norm,
            frequencies,
            table,
            slots,
            pages,
            slot_bytes,
            page_bytes,
            frontier,
            rows,
            pair(table_width, ratio as u32),
            pair(overlap, pairs as u32),
            compressor.rms_eps
        ];
        let (args, segment_count) = (words![segments], step.segments);
        if step.rows <= FEW_TOKENS {
            let unit = (&COMPRESS, layout, "compress_few");
            return self.record_list(unit, [1, segment_count, 1], (512, 0), places, args);
        }
        // One window more than tokens fill: the first may have been begun before.
        let grid = [step.rows / ratio + 1, segment_count, 1];
        self.record_list((&COMPRESS, layout, "compress"), grid, (128, 0), places, args);
        let grid = [(ratio * overlap).min(step.rows), segment_count, 1];
        self.record_list((&COMPRESS, layout, "keep_frontier"), grid, (256, 0), places, args);
    }
}
