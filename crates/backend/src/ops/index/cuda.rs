//! The indexer on CUDA: scores for a stretch of tokens, then the selection.

use super::Index;
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, ROWS, values, words};
use crate::ops::kv::cuda::{KV, LAYOUT, layout_values};
use crate::ops::kv::{PagedRows, RowFormat, RowLayout};
use crate::{Buffer, KvPools, PAGE_TOKENS, Step};

/// Scores of rows of one layout.
pub static SCORE: Unit = Unit {
    name: "score",
    source: &[COMMON, ROWS, include_str!("score.cu")],
    parameters: LAYOUT,
    kernels: &["score"],
};

/// The selection.
pub static PICK: Unit = Unit {
    name: "pick",
    source: &[COMMON, include_str!("pick.cu")],
    parameters: &[],
    kernels: &["pick"],
};

/// Most bytes of scores that are kept at once.
const SCORES_MAX: usize = 256 << 20;
/// Rows of a block of the score kernel.
const BLOCK_ROWS: usize = 32;

impl Index for Cuda {
    fn round_queries_raw(&mut self, layout: RowLayout, q: &mut Buffer<f32>, rows: usize) {
        if layout.format == RowFormat::ExactF32 {
            return;
        }
        let heads = rows * (q.width / layout.width());
        let args = words![self.edit(q)];
        self.record((&KV, layout_values(layout), "round_heads"), [heads, 1, 1], 128, args);
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
        let (heads, top_k, ratio) = (weights.width, picks.width, paged.ratio);
        let scale = 1.0 / ((heads * paged.layout.width()) as f32).sqrt();
        let stride = step.page_table.width * PAGE_TOKENS / ratio;
        let at_once = (SCORES_MAX / (4 * stride)).clamp(1, step.rows);
        let at = self.scratch("scores", at_once * stride * 4);
        let (pages, page_bytes) = self.pages(&kv.pages);
        let (page_bytes, offset) = (page_bytes as u64, paged.offset as u64);
        let (positions, owners) = (self.at(&step.positions), self.at(&step.owners));
        let (table, width) = (self.at(&step.page_table), step.page_table.width);
        let (q, weights, picks) = (self.at(q), self.at(weights), self.edit(picks));
        let score = (&SCORE, layout_values(paged.layout), "score");
        for first in (0..step.rows).step_by(at_once) {
            let count = at_once.min(step.rows - first);
            let args = words![
                q, weights, positions, owners, table, width, pages, page_bytes, offset, ratio,
                heads, top_k, scale, at, stride, first
            ];
            let grid = [stride.div_ceil(BLOCK_ROWS), count, 1];
            self.record(score, grid, 256, args);
            let args = words![at, positions, ratio, top_k, picks, stride, first];
            self.record((&PICK, values(&[]), "pick"), [count, 1, 1], 512, args);
        }
    }
}
