//! The indexer on CUDA: scores for a stretch of tokens, then the selection.
//!
//! Packed rows are scored on tensor cores (`tile.cu`), rows of floats by plain sums (`score.cu`). A
//! stretch is as long as its scores fit where the selection finds them without going to memory.

use super::Index;
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, ROWS, units, values, words};
use crate::ops::kv::cuda::{KV, LAYOUT, layout_values};
use crate::ops::kv::{PagedRows, RowFormat, RowLayout};
use crate::{Buffer, KvPools, PAGE_TOKENS, Step};

/// Scores of rows of one layout, by plain sums.
pub static SCORE: Unit = Unit {
    family: "index",
    name: "score",
    source: &[COMMON, ROWS, include_str!("score.cu")],
    parameters: LAYOUT,
    kernels: &["score"],
};

/// Scores of packed rows of one layout, on tensor cores.
pub static SCORE_TILE: Unit = Unit {
    family: "index",
    name: "score_tile",
    source: &[COMMON, ROWS, units::SHARED, units::MMA, include_str!("tile.cu")],
    parameters: LAYOUT,
    kernels: &["score_tile"],
};

/// The selection.
pub static PICK: Unit = Unit {
    family: "index",
    name: "pick",
    source: &[COMMON, include_str!("pick.cu")],
    parameters: &[],
    kernels: &["pick"],
};

/// Most bytes of scores that are kept at once.
const SCORES_MAX: usize = 64 << 20;
/// Scores of a token that the selection keeps in shared memory: those of 64k tokens.
const KEPT_MAX: usize = 16 << 10;
/// Rows of a block of the plain kernel.
const PLAIN_ROWS: usize = 32;
/// Channels of rows that the kernel on tensor cores can score.
const TILE_WIDTH: usize = 128;
/// Its tokens of a block, rows of a block at a time, and heads at a time.
const TILE: (usize, usize, usize) = (4, 128, 32);
/// Blocks that each multiprocessor should have, for an even end.
const BLOCKS: usize = 12;

impl Cuda {
    /// Rounds the heads of queries, after they are rotated by angles, if there are some.
    pub(crate) fn round_heads(
        &mut self,
        layout: RowLayout,
        q: &mut Buffer<f32>,
        angles: Option<&Buffer<f32>>,
        rows: usize,
    ) {
        let heads = q.width / layout.width();
        let (angles, pairs) = angles.map_or((0, 0), |angles| (self.at(angles), angles.width / 2));
        let args = words![self.edit(q), angles, heads, pairs];
        self.record((&KV, layout_values(layout), "round_heads"), [rows * heads, 1, 1], 128, args);
    }
}

impl Index for Cuda {
    fn round_queries_raw(&mut self, layout: RowLayout, q: &mut Buffer<f32>, rows: usize) {
        if layout.format == RowFormat::ExactF32 {
            return;
        }
        self.round_heads(layout, q, None, rows);
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
        let stride = (step.page_table.width * PAGE_TOKENS / ratio).next_multiple_of(4);
        let at_once = (SCORES_MAX / (4 * stride)).clamp(1, step.rows);
        let at = self.scratch("scores", at_once * stride * 4);
        let (pages, page_bytes) = self.pages(&kv.pages);
        let (page_bytes, offset) = (page_bytes as u64, paged.offset as u64);
        let (positions, owners) = (self.at(&step.positions), self.at(&step.owners));
        let (table, width) = (self.at(&step.page_table), step.page_table.width);
        let (q, weights, picks) = (self.at(q), self.at(weights), self.edit(picks));
        let tile = paged.layout.format == RowFormat::Packed && paged.layout.width() == TILE_WIDTH;
        assert!(page_bytes.is_multiple_of(16), "pages of {page_bytes} bytes");
        let layout = layout_values(paged.layout);
        for first in (0..step.rows).step_by(at_once) {
            let count = at_once.min(step.rows - first);
            let args = words![
                q, weights, positions, owners, table, width, pages, page_bytes, offset, ratio,
                heads, top_k, scale, at, stride, first, count
            ];
            if tile {
                let (grid, shared) = self.score_cut(count, stride, heads);
                self.record_shared((&SCORE_TILE, layout, "score_tile"), grid, (128, shared), args);
            } else {
                let grid = [stride.div_ceil(PLAIN_ROWS), count, 1];
                self.record((&SCORE, layout, "score"), grid, 256, &args[..args.len() - 1]);
            }
            let room = stride.min(KEPT_MAX);
            let args = words![at, positions, ratio, top_k, picks, stride, first, room];
            let pick = (&PICK, values(&[]), "pick");
            self.record_shared(pick, [count, 1, 1], (512, 4 * room), args);
        }
    }
}

impl Cuda {
    /// Blocks of the kernel on tensor cores, and shared memory of one: queries in BF16, weights.
    fn score_cut(&self, tokens: usize, rows: usize, heads: usize) -> ([usize; 3], usize) {
        let (block_tokens, block_rows, block_heads) = TILE;
        let across = tokens.div_ceil(block_tokens);
        let wanted = (BLOCKS * self.processors()).div_ceil(across);
        let padded = block_tokens * heads.next_multiple_of(block_heads);
        let grid = [wanted.min(rows.div_ceil(block_rows)), across, 1];
        (grid, padded * (2 * TILE_WIDTH + 4))
    }
}
