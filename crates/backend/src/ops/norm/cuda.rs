//! Norms on CUDA: one block of threads per row or head.

use super::Norm;
use crate::Buffer;
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, values, words};

/// The norms.
pub static NORM: Unit = Unit {
    name: "norm",
    source: &[COMMON, include_str!("norm.cu")],
    parameters: &[],
    kernels: &["rms_norm", "unit_norm"],
};

/// Threads of a block for rows of `width` values.
fn threads(width: usize) -> u32 {
    (width / 4).next_multiple_of(32).clamp(32, 512) as u32
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
        let args = words![self.at(x), self.at(weight), self.edit(out), x.width, eps];
        self.record((&NORM, values(&[]), "rms_norm"), [rows, 1, 1], threads(x.width), args);
    }

    fn unit_norm_raw(&mut self, x: &mut Buffer<f32>, dim: usize, eps: f32, rows: usize) {
        let heads = rows * (x.width / dim);
        let args = words![self.edit(x), dim, eps];
        self.record((&NORM, values(&[]), "unit_norm"), [heads, 1, 1], threads(dim), args);
    }
}
