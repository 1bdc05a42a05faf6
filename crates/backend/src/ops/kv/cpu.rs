//! Reference for storing and keeping rows.

use super::{Kv, Ring, RowBlock};
use crate::{Buffer, Cpu, KvPools, SegmentRow, Step};

impl Cpu {
    /// The step's segments.
    pub(crate) fn segments(&self, step: &Step) -> &[SegmentRow] {
        bytemuck::cast_slice(&self.data(&step.segment_table)[..4 * step.segments])
    }

    /// The row pages of segment `segment`.
    pub(crate) fn page_table<'a>(&'a self, step: &Step, segment: usize) -> &'a [u32] {
        let width = step.page_table.width;
        &self.data(&step.page_table)[segment * width..][..width]
    }
}

impl Kv for Cpu {
    fn store_rows_raw(&mut self, x: &Buffer<f32>, fresh: &mut RowBlock, rows: usize) {
        let RowBlock { layout, rows: capacity, bytes } = fresh;
        self.edit(bytes, |cpu, block| {
            for (i, row) in cpu.data(x).chunks_exact(x.width).take(rows).enumerate() {
                layout.store(block, *capacity, i, &mut row.to_vec());
            }
        });
    }

    fn keep_window_raw(&mut self, fresh: &RowBlock, ring: Ring, step: &Step, kv: &mut KvPools) {
        let block = self.data(&fresh.bytes).to_vec();
        for SegmentRow { slot, start, first_row, len } in self.segments(step).to_vec() {
            let page = &mut self.page_mut(&mut kv.slots, slot)[ring.offset..];
            let skipped = (len as usize).saturating_sub(ring.rows);
            for i in skipped..len as usize {
                let from = (block.as_slice(), fresh.rows, first_row as usize + i);
                let to = (&mut *page, ring.rows, (start as usize + i) % ring.rows);
                ring.layout.copy(from, to);
            }
        }
    }
}
