//! Token embedding: a token's row of the table, copied into every residual stream.

mod cases;
mod cpu;
mod cpu_simd;
pub(crate) mod cuda;

pub use cases::cases;

use crate::{Backend, Buffer, Step, Weight};

/// What a backend implements.
pub trait Embed {
    /// See [`embed`](trait.Backend.html#method.embed).
    fn embed_raw(&mut self, table: &Weight, step: &Step, streams: &mut Buffer<f32>);
}

impl dyn Backend + '_ {
    /// `streams[t] = table[token[t]]`, `n` times side by side.
    ///
    /// `table` `[V, D]`, `streams` `[T, n·D]`. Token ids below `V` are the caller's promise.
    pub fn embed(&mut self, table: &Weight, step: &Step, streams: &mut Buffer<f32>) {
        assert!(streams.width.is_multiple_of(table.cols), "streams of whole hidden widths");
        assert!(streams.rows >= step.rows && table.count == 1);
        self.embed_raw(table, step, streams);
    }
}
