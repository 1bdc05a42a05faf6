//! The indexer: which compressed rows a query of a ratio-4 layer attends to.
//!
//! ```text
//! score[w] = Σ_h weight[h] / sqrt(Hi · dim) · max(0, q[h] · row[w])   rows w < floor((p + 1) / 4)
//! picks    = the top_k rows of largest score; of equal scores the lowest row
//! ```
//!
//! Weights may be negative. If there are no more than `top_k` rows, all are picked and nothing is
//! scored. Scores are never stored: score and selection are one operation.

mod cases;
mod cpu;
pub(crate) mod cpu_simd;
pub(crate) mod cuda;

pub use cases::{Scene, Sizes, cases};

use super::kv::{PagedRows, RowLayout};
use crate::{Backend, Buffer, KvPools, Step};

/// Entry of `picks` beyond the picked rows.
pub const NO_PICK: u32 = u32::MAX;

/// The only pick of a query whose scores are not numbers: it is attended to as a row of NaN, so
/// that damaged weights end in an error and not in a plausible choice of rows.
pub const DAMAGED: u32 = u32::MAX - 1;

/// What a backend implements.
pub trait Index {
    /// Rounds the queries as the layout rounds rows.
    fn round_queries_raw(&mut self, layout: RowLayout, q: &mut Buffer<f32>, rows: usize);
    /// Scores and selects.
    fn index_pick_raw(
        &mut self,
        paged: PagedRows,
        q: &Buffer<f32>,
        weights: &Buffer<f32>,
        step: &Step,
        kv: &KvPools,
        picks: &mut Buffer<u32>,
    );
}

impl dyn Backend + '_ {
    /// Applies the rounding of indexer rows to each head of `q` `[T, Hi·dim]`, in place. Queries
    /// and rows must be rounded alike: the transform before the rounding cancels in their product.
    pub fn round_queries(&mut self, layout: RowLayout, q: &mut Buffer<f32>, rows: usize) {
        assert!(q.width.is_multiple_of(layout.width()) && q.rows >= rows);
        self.round_queries_raw(layout, q, rows);
    }

    /// Picks rows for every query of the step.
    ///
    /// `q` `[T, Hi·dim]`, `weights` `[T, Hi]` (unscaled), `picks` `[T, top_k]`: row numbers
    /// ascending, then [`NO_PICK`]; or [`DAMAGED`] first, if a score is not a number.
    pub fn index_pick(
        &mut self,
        paged: PagedRows,
        q: &Buffer<f32>,
        weights: &Buffer<f32>,
        step: &Step,
        kv: &KvPools,
        picks: &mut Buffer<u32>,
    ) {
        q.expect("q", step.rows, weights.width * paged.layout.width());
        weights.expect("weights", step.rows, weights.width);
        picks.expect("picks", step.rows, picks.width);
        assert!(paged.offset + paged.block_bytes() <= kv.pages.page_bytes);
        self.index_pick_raw(paged, q, weights, step, kv, picks);
    }
}
