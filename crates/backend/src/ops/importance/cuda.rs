//! The importance on CUDA.

use super::Importance;
use crate::Buffer;
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, values, words};

/// Sums and counts.
pub static IMPORTANCE: Unit = Unit {
    family: "importance",
    name: "importance",
    source: &[COMMON, include_str!("importance.cu")],
    parameters: &[],
    kernels: &["add_squares", "count_picks"],
};

/// Threads of a block: columns, or picks, that it looks at together.
const THREADS: usize = 256;

impl Importance for Cuda {
    fn add_squares_raw(
        &mut self,
        x: &Buffer<f32>,
        picks: &Buffer<u32>,
        sums: &mut Buffer<f32>,
        rows: usize,
    ) {
        let (width, used) = (sums.width, picks.width);
        // So many pairs in a row have one row of x.
        let shared = if x.width == width { used } else { 1 };
        let grid = [width.div_ceil(THREADS), sums.rows, 1];
        let args = words![self.at(x), self.at(picks), self.edit(sums), width, shared, rows * used];
        self.record((&IMPORTANCE, values(&[]), "add_squares"), grid, THREADS as u32, args);
    }

    fn count_picks_raw(&mut self, picks: &Buffer<u32>, counts: &mut Buffer<u32>, rows: usize) {
        let (grid, pairs) = ([counts.rows, 1, 1], rows * picks.width);
        let args = words![self.at(picks), self.edit(counts), pairs];
        self.record((&IMPORTANCE, values(&[]), "count_picks"), grid, THREADS as u32, args);
    }
}
