//! Attention over the sliding window and the compressed rows beyond it.
//!
//! There is one key-value head, and a row is key *and* value. A query at position `p` sees the raw
//! rows of positions `max(0, p − W + 1) ..= p` and, depending on the layer, compressed rows `w <
//! floor((p + 1) / r)`: none, all of them, or those the indexer picked. Raw and compressed rows
//! overlap in time on purpose.
//!
//! ```text
//! s[k]   = q[h] · row[k] / sqrt(hd)
//! prob   = exp(s[k]) / (Σ_k exp(s[k]) + exp(sink[h]))      the sink takes weight, gives no value
//! out[h] = Σ_k prob · row[k]
//! ```
//!
//! The caller rotates `out` back afterwards: the values carried their keys' rotation.

mod cases;
mod cpu;
pub(crate) mod cpu_simd;
pub(crate) mod cuda;
pub(crate) mod many;

pub use cases::{Reach, Scene, Sizes, cases};

use super::kv::{PagedRows, Ring, RowBlock};
use crate::{Backend, Buffer, KvPools, Step};

/// The rows a layer's attention can see.
#[derive(Debug)]
pub struct Visible<'a> {
    /// Rows of this step, stored but not yet moved to the ring.
    pub fresh: &'a RowBlock,
    /// The session's older raw rows.
    pub ring: Ring,
    /// What is seen beyond the window.
    pub beyond: Beyond<'a>,
}

/// Compressed rows that a query sees.
#[derive(Debug)]
pub enum Beyond<'a> {
    /// None: a layer without compression.
    Nothing,
    /// Every row whose window has closed.
    All(PagedRows),
    /// The rows in `picks` `[T, top_k]`, as the indexer leaves them.
    Picked(PagedRows, &'a Buffer<u32>),
}

/// What a backend implements.
pub trait Attend {
    /// See [`attend`](trait.Backend.html#method.attend).
    fn attend_raw(
        &mut self,
        q: &Buffer<f32>,
        sinks: &Buffer<f32>,
        visible: &Visible,
        step: &Step,
        kv: &KvPools,
        out: &mut Buffer<f32>,
    );
}

impl dyn Backend + '_ {
    /// Attends. `q` and `out` `[T, H·hd]`, `sinks` `[1, H]`; queries already normed and rotated.
    pub fn attend(
        &mut self,
        q: &Buffer<f32>,
        sinks: &Buffer<f32>,
        visible: &Visible,
        step: &Step,
        kv: &KvPools,
        out: &mut Buffer<f32>,
    ) {
        let width = visible.fresh.layout.width() * sinks.width;
        q.expect("q", step.rows, width);
        out.expect("out", step.rows, width);
        assert_eq!(visible.fresh.layout, visible.ring.layout);
        if let Beyond::Picked(_, picks) = visible.beyond {
            picks.expect("picks", step.rows, picks.width);
        }
        self.attend_raw(q, sinks, visible, step, kv, out);
    }
}
