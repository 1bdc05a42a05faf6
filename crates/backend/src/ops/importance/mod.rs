//! Importance: what the columns of expert matrices are multiplied with, squared and added up.
//!
//! ```text
//! sums[e]   += Σ over the pairs (t, k) with pick[t, k] = e of x[t, k]²       column by column
//! counts[e] += the number of these pairs
//! ```
//!
//! Pairs are added in the order in which they stand, so the same picks give the same bits. Sums are
//! 32-bit floats: whoever measures much text takes them away every few thousand tokens, and adds
//! up in double precision.

mod cases;
mod cpu;
mod cpu_simd;
pub(crate) mod cuda;

pub use cases::cases;

use crate::{Backend, Buffer};

/// What a backend implements.
pub trait Importance {
    /// See [`add_squares`](trait.Backend.html#method.add_squares).
    fn add_squares_raw(
        &mut self,
        x: &Buffer<f32>,
        picks: &Buffer<u32>,
        sums: &mut Buffer<f32>,
        rows: usize,
    );
    /// See [`count_picks`](trait.Backend.html#method.count_picks).
    fn count_picks_raw(&mut self, picks: &Buffer<u32>, counts: &mut Buffer<u32>, rows: usize);
}

impl dyn Backend + '_ {
    /// Adds the squares of every pair's row to those of its expert.
    ///
    /// `picks` `[T, K]`, below `E`; `sums` `[E, W]`. `x` is `[T, W]`, one row for all pairs of a
    /// token, or `[T, K·W]`, one for each.
    pub fn add_squares(
        &mut self,
        x: &Buffer<f32>,
        picks: &Buffer<u32>,
        sums: &mut Buffer<f32>,
        rows: usize,
    ) {
        let each = if x.width == sums.width { 1 } else { picks.width };
        x.expect("x", rows, each * sums.width);
        picks.expect("picks", rows, picks.width);
        self.add_squares_raw(x, picks, sums, rows);
    }

    /// Adds to each expert's count how many pairs it has. `picks` `[T, K]`, `counts` `[E, 1]`.
    pub fn count_picks(&mut self, picks: &Buffer<u32>, counts: &mut Buffer<u32>, rows: usize) {
        picks.expect("picks", rows, picks.width);
        counts.expect("counts", counts.rows, 1);
        self.count_picks_raw(picks, counts, rows);
    }
}
