//! Steering on CUDA: one block of threads per row.

use super::Steer;
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, values, words};
use crate::ops::norm::cuda::{fours, threads};
use crate::{Buffer, Step};

/// Steering, and what is looked at.
pub static STEER: Unit = Unit {
    family: "steer",
    name: "steer",
    source: &[COMMON, include_str!("steer.cu")],
    parameters: &[],
    kernels: &["steer", "tap"],
};

impl Steer for Cuda {
    fn steer_raw(
        &mut self,
        directions: &Buffer<f32>,
        layer: usize,
        scales: &Buffer<f32>,
        y: &mut Buffer<f32>,
        rows: usize,
    ) {
        let (width, directions, scales) = (y.width, self.at(directions), self.at(scales));
        let args = words![directions, scales, self.edit(y), layer, fours(width)];
        self.record((&STEER, values(&[]), "steer"), [rows, 1, 1], threads(width), args);
    }

    fn tap_raw(&mut self, y: &Buffer<f32>, step: &Step, layer: usize, out: &mut Buffer<f32>) {
        let (width, all) = (fours(y.width), fours(out.width));
        let (y, rows) = (self.at(y), self.at(&step.output_rows));
        let args = words![y, rows, self.edit(out), layer, width, all];
        self.record((&STEER, values(&[]), "tap"), [step.outputs, 1, 1], threads(4 * width), args);
    }
}
