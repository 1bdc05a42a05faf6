//! KV rows: how they are rounded, how they are laid out in memory, where they live.
//!
//! Three places hold rows of width `hd`, all in the same [`RowLayout`]:
//!
//! ```text
//! fresh   [T] rows of the tokens of this step              a RowBlock, scratch
//! ring    [W] rows of the last W tokens of one session     in the session's slot page, row p mod W
//! paged   compressed rows, PAGE_TOKENS / ratio per page    in the session's row pages
//! ```
//!
//! Attention reads a token's window from `fresh` (positions of this step) and `ring` (older ones),
//! so a chunk may be longer than the window; [`keep_window`](trait.Backend.html#method.keep_window)
//! moves the newest rows from `fresh` to `ring` when the layer is done with them.

mod cases;
pub(crate) mod cpu;
pub(crate) mod cpu_rows;
pub(crate) mod cpu_simd;
pub(crate) mod cuda;
pub mod layout;
pub mod round;

pub use cases::cases;
pub use layout::{RowFormat, RowKind, RowLayout};

use std::ops::Range;

use crate::{Backend, Buffer, Device, Error, KvPools, Step};

/// A scratch block of `rows` rows in some layout.
#[derive(Debug)]
pub struct RowBlock {
    /// How the rows are stored.
    pub layout: RowLayout,
    /// Rows the block can hold; the layout of a block depends on it.
    pub rows: usize,
    /// `[1, layout.block_bytes(rows)]`.
    pub bytes: Buffer<u8>,
}

/// The raw window of one layer inside every slot page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// How the rows are stored.
    pub layout: RowLayout,
    /// Byte offset in the slot page; a multiple of 16.
    pub offset: usize,
    /// Rows kept, `W`; the row of position `p` is at `p mod W`.
    pub rows: usize,
}

impl Ring {
    /// The bytes of the slot page that hold the row of `position`, section by section.
    pub fn row(&self, position: usize) -> [Range<usize>; 3] {
        let ranges = self.layout.ranges(self.rows, position % self.rows);
        ranges.map(|range| self.offset + range.start..self.offset + range.end)
    }
}

/// Compressed rows of one layer inside every row page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagedRows {
    /// How the rows are stored.
    pub layout: RowLayout,
    /// Byte offset in the row page; a multiple of 16.
    pub offset: usize,
    /// Tokens per compressed row.
    pub ratio: usize,
}

impl PagedRows {
    /// Rows of this layer in one page.
    pub fn rows_per_page(&self) -> usize {
        crate::PAGE_TOKENS / self.ratio
    }

    /// Which entry of the page table holds row `row`, and where inside the page's block.
    pub fn place(&self, row: usize) -> (usize, usize) {
        (row / self.rows_per_page(), row % self.rows_per_page())
    }

    /// Bytes of this layer's block in a page.
    pub fn block_bytes(&self) -> usize {
        self.layout.block_bytes(self.rows_per_page())
    }
}

/// What a backend implements.
pub trait Kv {
    /// Rounds and stores the step's rows.
    fn store_rows_raw(&mut self, x: &Buffer<f32>, fresh: &mut RowBlock, rows: usize);
    /// Moves the newest rows of each segment into its session's ring.
    fn keep_window_raw(&mut self, fresh: &RowBlock, ring: Ring, step: &Step, kv: &mut KvPools);
}

impl dyn Device + '_ {
    /// Reserves a block of `rows` rows.
    ///
    /// # Errors
    /// Out of memory.
    pub fn row_block(&mut self, layout: RowLayout, rows: usize) -> Result<RowBlock, Error> {
        Ok(RowBlock { layout, rows, bytes: self.reserve(1, layout.block_bytes(rows))? })
    }
}

impl dyn Backend + '_ {
    /// `fresh[t] = x[t]`, rounded as the layout says. `x` `[T, hd]`, already rotated.
    pub fn store_rows(&mut self, x: &Buffer<f32>, fresh: &mut RowBlock, rows: usize) {
        x.expect("x", rows, fresh.layout.width());
        assert!(fresh.rows >= rows);
        self.store_rows_raw(x, fresh, rows);
    }

    /// For each segment, copies its last `min(len, W)` rows to its session's ring. Bytes are moved
    /// as they are, never decoded and rounded again.
    pub fn keep_window(&mut self, fresh: &RowBlock, ring: Ring, step: &Step, kv: &mut KvPools) {
        assert_eq!(fresh.layout, ring.layout, "fresh and kept rows have one layout");
        assert!(fresh.rows >= step.rows);
        assert!(ring.offset + ring.layout.block_bytes(ring.rows) <= kv.slots.page_bytes);
        self.keep_window_raw(fresh, ring, step, kv);
    }
}
