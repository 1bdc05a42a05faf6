//! What the fast backend leaves to the reference.

use super::fast::CpuSimd;
use crate::ops::{compress::*, kv::*, route::*};
use crate::{Buffer, KvPools, Step};

impl Compress for CpuSimd {
    fn compress_raw(
        &mut self,
        compressor: &Compressor,
        values: &Buffer<f32>,
        gates: &Buffer<f32>,
        step: &Step,
        kv: &mut KvPools,
    ) {
        self.cpu.compress_raw(compressor, values, gates, step, kv);
    }
}
impl Kv for CpuSimd {
    fn store_rows_raw(&mut self, x: &Buffer<f32>, fresh: &mut RowBlock, rows: usize) {
        self.cpu.store_rows_raw(x, fresh, rows);
    }
    fn keep_window_raw(&mut self, fresh: &RowBlock, ring: Ring, step: &Step, kv: &mut KvPools) {
        self.cpu.keep_window_raw(fresh, ring, step, kv);
    }
}
impl Route for CpuSimd {
    fn route_raw(
        &mut self,
        logits: &Buffer<f32>,
        choice: &Choice,
        scale: f32,
        step: &Step,
        picks: &mut Buffer<u32>,
        shares: &mut Buffer<f32>,
    ) {
        self.cpu.route_raw(logits, choice, scale, step, picks, shares);
    }
}
