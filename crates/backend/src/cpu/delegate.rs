//! What the fast backend leaves to the reference.

use super::fast::CpuSimd;
use crate::ops::{attend::*, index::*, kv::PagedRows};
use crate::{Buffer, KvPools, RowLayout, Step};

impl Attend for CpuSimd {
    fn attend_raw(
        &mut self,
        q: &Buffer<f32>,
        sinks: &Buffer<f32>,
        visible: &Visible,
        step: &Step,
        kv: &KvPools,
        out: &mut Buffer<f32>,
    ) {
        self.cpu.attend_raw(q, sinks, visible, step, kv, out);
    }
}
impl Index for CpuSimd {
    fn round_queries_raw(&mut self, layout: RowLayout, q: &mut Buffer<f32>, rows: usize) {
        self.cpu.round_queries_raw(layout, q, rows);
    }
    fn index_pick_raw(
        &mut self,
        paged: PagedRows,
        q: &Buffer<f32>,
        weights: &Buffer<f32>,
        step: &Step,
        kv: &KvPools,
        picks: &mut Buffer<u32>,
    ) {
        self.cpu.index_pick_raw(paged, q, weights, step, kv, picks);
    }
}
