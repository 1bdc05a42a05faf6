//! Compressors: every `r` tokens become one row, by a softmax of their own in every channel.
//!
//! A token at position `p` contributes `v = Wv · x` and `z = Wg · x + ape[p mod r]`. When window
//! `w = floor(p / r)` closes, that is `(p + 1) mod r = 0`, it emits
//!
//! ```text
//! r = 128    row[j] = Σ_t softmax_t(z[t][j]) · v[t][j]          over the 128 tokens of window w
//! r = 4      the same over 8 entries, windows overlap:
//!            first halves  z[t][j],   v[t][j]     of the 4 tokens of window w − 1 (none for w = 0)
//!            second halves z[t][c+j], v[t][c+j]   of the 4 tokens of window w
//! row = rms(row) · norm, rotated at position r·w, rounded and stored as row w
//! ```
//!
//! Windows are aligned to absolute positions, never to a step's start. The tokens of the open
//! window (for `r = 4` also of the previous one) wait in the session's *frontier*, a ring in the
//! slot page:
//!
//! ```text
//! frontier   [ring][2][width] f32     token p at p mod ring; v, then z (ape included)
//! ring = r · overlap, width = c · overlap, overlap = 2 for r = 4, else 1
//! ```

mod cases;
mod cpu;
pub(crate) mod cpu_simd;
pub(crate) mod cuda;

pub use cases::cases;

use std::ops::Range;

use super::kv::PagedRows;
use crate::{Backend, Buffer, KvPools, Step};

/// The learned parts and the places of one compressor.
#[derive(Clone, Copy, Debug)]
pub struct Compressor<'a> {
    /// Position table, `[r, width]`.
    pub ape: &'a Buffer<f32>,
    /// Norm of the emitted row, `[1, c]`.
    pub norm: &'a Buffer<f32>,
    /// Rotary frequencies, `[1, pairs]`.
    pub frequencies: &'a Buffer<f32>,
    /// `eps` of the norm.
    pub rms_eps: f32,
    /// Where the frontier and the rows are.
    pub place: CompressorPlace,
}

impl Compressor<'_> {
    pub(crate) fn check(
        &self,
        values: &Buffer<f32>,
        gates: &Buffer<f32>,
        step: &Step,
        kv: &KvPools,
    ) {
        let place = &self.place;
        let width = place.width();
        values.expect("values", step.rows, width);
        gates.expect("gates", step.rows, width);
        self.ape.expect("ape", place.rows.ratio, width);
        self.norm.expect("norm", 1, place.rows.layout.width());
        assert!(place.frontier + place.frontier_bytes() <= kv.slots.page_bytes);
        assert!(place.rows.offset + place.rows.block_bytes() <= kv.pages.page_bytes);
    }
}

/// Where a compressor keeps its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressorPlace {
    /// Byte offset of the frontier in the slot page; a multiple of 16.
    pub frontier: usize,
    /// 2 if windows overlap, else 1.
    pub overlap: usize,
    /// Where emitted rows go.
    pub rows: PagedRows,
}

impl CompressorPlace {
    /// Values per token, `c · overlap`.
    pub fn width(&self) -> usize {
        self.rows.layout.width() * self.overlap
    }

    /// Tokens in the frontier ring.
    pub fn ring(&self) -> usize {
        self.rows.ratio * self.overlap
    }

    /// The bytes of the slot page in which the token at `position` waits.
    pub fn entry(&self, position: usize) -> Range<usize> {
        let bytes = 2 * self.width() * size_of::<f32>();
        let start = self.frontier + position % self.ring() * bytes;
        start..start + bytes
    }

    /// Bytes of the frontier.
    pub fn frontier_bytes(&self) -> usize {
        self.ring() * 2 * self.width() * size_of::<f32>()
    }
}

/// What a backend implements.
pub trait Compress {
    /// Emits the rows that close in this step and updates the frontiers.
    fn compress_raw(
        &mut self,
        compressor: &Compressor,
        values: &Buffer<f32>,
        gates: &Buffer<f32>,
        step: &Step,
        kv: &mut KvPools,
    );
}

impl dyn Backend + '_ {
    /// Feeds the step's tokens to a compressor.
    ///
    /// `values` (`Wv · x`) and `gates` (`Wg · x`, without `ape`) are `[T, width]`. Rows that close
    /// in this step are in their pages when this returns, so that the very query that closes a
    /// window can see its row.
    pub fn compress(
        &mut self,
        compressor: &Compressor,
        values: &Buffer<f32>,
        gates: &Buffer<f32>,
        step: &Step,
        kv: &mut KvPools,
    ) {
        compressor.check(values, gates, step, kv);
        self.compress_raw(compressor, values, gates, step, kv);
    }
}
