//! Norms on CUDA: one block of threads per row or head.

use super::Norm;
use crate::Buffer;
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, values, words};
use crate::ops::linear::rounded::Activations;

/// The norms.
pub static NORM: Unit = Unit {
    family: "norm",
    name: "norm",
    source: &[COMMON, include_str!("norm.cu")],
    parameters: &[],
    kernels: &["rms_norm", "unit_norm", "rotate_unit"],
};

/// Threads of a block for rows of `width` values: four values for each.
pub(crate) fn threads(width: usize) -> u32 {
    (width / 4).next_multiple_of(32).clamp(32, 1024) as u32
}

/// Groups of four in a row of `width` values.
pub(crate) fn fours(width: usize) -> usize {
    assert!(width.is_multiple_of(4), "rows of {width} values");
    width / 4
}

impl Norm for Cuda {
    fn rms_norm_raw(
        &mut self,
        x: &Buffer<f32>,
        weight: &Buffer<f32>,
        eps: f32,
        out: &mut Buffer<f32>,
        rows: usize,
    ) {
        let (x, weight, width) = (self.at(x), self.at(weight), out.width);
        let Activations { codes, steps, halves, floats, .. } = self.edit_rounded(out, rows);
        let args = words![x, weight, floats, codes, steps, halves, fours(width), eps];
        self.record((&NORM, values(&[]), "rms_norm"), [rows, 1, 1], threads(width), args);
    }

    fn unit_norm_raw(&mut self, x: &mut Buffer<f32>, dim: usize, eps: f32, rows: usize) {
        let heads = rows * (x.width / dim);
        let args = words![self.edit(x), fours(dim), eps];
        self.record((&NORM, values(&[]), "unit_norm"), [heads, 1, 1], threads(dim), args);
    }
}
