//! How much memory a model takes, before it is opened.
//!
//! The estimate runs the code that reserves, on a device that only counts, so the two cannot drift
//! apart. Only KV pages are not reserved at once: they grow with the conversations, and are counted
//! here up to their limit.

use backend::Device;
use backend::Meter;
use gguf::File;
use spec::Shape;

use crate::Error;
use crate::cache::KvLayout;
use crate::forward::{Options, Run};
use crate::weights::Weights;

/// Bytes, by purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Weights in the file's formats.
    pub weights: usize,
    /// Decoded vectors and tables.
    pub tables: usize,
    /// Step tables and activations.
    pub scratch: usize,
    /// Raw windows and frontiers of all sessions.
    pub slots: usize,
    /// Compressed rows, all pages that there may be.
    pub rows: usize,
}

impl Estimate {
    /// What running `file` with `options` takes.
    ///
    /// # Errors
    /// As for loading the model.
    pub fn new(file: &File, shape: &Shape, options: Options) -> Result<Estimate, Error> {
        let mut loaded = Meter::default();
        Weights::load(&mut loaded, file, shape, &mut |_| {})?;
        let weights = loaded.reserved();
        let state = Estimate::state(shape, options);
        Ok(Estimate { weights: weights.weights, tables: weights.buffers, ..state })
    }

    /// What the state and scratch of a shape take, without weights.
    pub fn state(shape: &Shape, options: Options) -> Estimate {
        let layout = KvLayout::new(shape, options.rows);
        let mut scratch = Meter::default();
        let limits = options.limits;
        Run::reserve(&mut scratch, shape, &layout, options).expect("a meter has no limit");
        Estimate {
            weights: 0,
            tables: 0,
            scratch: scratch.reserved().buffers,
            slots: limits.slots * layout.slot_bytes,
            rows: limits.row_pages * layout.page_bytes,
        }
    }

    /// Everything.
    pub fn total(&self) -> usize {
        self.weights + self.tables + self.scratch + self.slots + self.rows
    }
}
