//! Matrix products with weights of any decodable format: `y = W x`, whole or by groups.
//!
//! One token or many, one row kernel or a tiled one: that choice is the backend's. What the
//! weight's format decodes to is the truth.

mod cases;
pub(crate) mod coding;
pub(crate) mod cpu;
pub(crate) mod cpu_simd;
pub(crate) mod cuda;
pub(crate) mod packed;
pub(crate) mod panel;
pub(crate) mod pipe;
pub(crate) mod rounded;
pub(crate) mod tiles;
pub(crate) mod twofold;

pub use cases::cases;

use crate::{Backend, Buffer, Weight};

/// What a backend implements.
pub trait Linear {
    /// Product by groups; see [`linear_grouped`](trait.Backend.html#method.linear_grouped).
    fn linear_raw(
        &mut self,
        weight: &Weight,
        groups: usize,
        x: &Buffer<f32>,
        out: &mut Buffer<f32>,
        rows: usize,
    );
}

impl dyn Backend + '_ {
    /// `out[t] = W x[t]`. `weight` `[out, in]`, `x` `[T, in]`, `out` `[T, out]`.
    pub fn linear(&mut self, weight: &Weight, x: &Buffer<f32>, out: &mut Buffer<f32>, rows: usize) {
        self.linear_grouped(weight, 1, x, out, rows);
    }

    /// Block-diagonal product: rows `g·R .. (g+1)·R` of the weight see only slice `g` of the input.
    ///
    /// `weight` `[G·R, in/G]`, `x` `[T, in]`, `out` `[T, G·R]`.
    pub fn linear_grouped(
        &mut self,
        weight: &Weight,
        groups: usize,
        x: &Buffer<f32>,
        out: &mut Buffer<f32>,
        rows: usize,
    ) {
        assert!(weight.count == 1 && weight.rows.is_multiple_of(groups), "{groups} groups");
        x.expect("x", rows, weight.cols * groups);
        out.expect("out", rows, weight.rows);
        if rows > 0 {
            self.linear_raw(weight, groups, x, out, rows);
        }
    }
}
