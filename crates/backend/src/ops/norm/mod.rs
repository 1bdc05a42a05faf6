//! Root-mean-square norms: `rms(x) = x / sqrt(mean(x²) + eps)`, with a weight per channel or, for
//! query heads, without.

mod cases;
pub(crate) mod cpu;
pub(crate) mod cpu_simd;
pub(crate) mod cuda;

pub use cases::cases;

use crate::{Backend, Buffer};

/// What a backend implements.
pub trait Norm {
    /// `out = rms(x) · weight`, per row.
    fn rms_norm_raw(
        &mut self,
        x: &Buffer<f32>,
        weight: &Buffer<f32>,
        eps: f32,
        out: &mut Buffer<f32>,
        rows: usize,
    );
    /// `x = rms(x)`, per head of `dim` channels, in place.
    fn unit_norm_raw(&mut self, x: &mut Buffer<f32>, dim: usize, eps: f32, rows: usize);
}

impl dyn Backend + '_ {
    /// `out[t] = rms(x[t]) · weight`. `x` and `out` `[T, D]`, `weight` `[1, D]`.
    pub fn rms_norm(
        &mut self,
        x: &Buffer<f32>,
        weight: &Buffer<f32>,
        eps: f32,
        out: &mut Buffer<f32>,
        rows: usize,
    ) {
        weight.expect("weight", 1, x.width);
        x.expect("x", rows, x.width);
        out.expect("out", rows, x.width);
        self.rms_norm_raw(x, weight, eps, out, rows);
    }

    /// `x[t][h] = rms(x[t][h])` for each head `h` of `dim` channels. `x` `[T, H·dim]`, in place.
    pub fn unit_norm(&mut self, x: &mut Buffer<f32>, dim: usize, eps: f32, rows: usize) {
        assert!(x.width.is_multiple_of(dim) && x.rows >= rows, "heads of {dim} in {}", x.width);
        self.unit_norm_raw(x, dim, eps, rows);
    }
}
