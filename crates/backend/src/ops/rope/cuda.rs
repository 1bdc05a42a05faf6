//! Rotation on CUDA: one thread per pair of channels.

use super::{Direction, Rope};
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, values, words};
use crate::{Buffer, Step};

/// The rotation.
pub static ROPE: Unit = Unit {
    name: "rope",
    source: &[COMMON, include_str!("rope.cu")],
    parameters: &[],
    kernels: &["rope_angles", "rotate"],
};

impl Rope for Cuda {
    fn rope_angles_raw(&mut self, frequencies: &Buffer<f32>, step: &Step, out: &mut Buffer<f32>) {
        let (pairs, rows) = (frequencies.width, step.rows);
        let (f, p) = (self.at(frequencies), self.at(&step.positions));
        let args = words![f, p, self.edit(out), pairs, rows];
        let grid = [(rows * pairs).div_ceil(128), 1, 1];
        self.record((&ROPE, values(&[]), "rope_angles"), grid, 128, args);
    }

    fn rotate_raw(
        &mut self,
        x: &mut Buffer<f32>,
        head_dim: usize,
        angles: &Buffer<f32>,
        direction: Direction,
        rows: usize,
    ) {
        let (heads, pairs) = (x.width / head_dim, angles.width / 2);
        let sign = if direction == Direction::Forward { 1.0f32 } else { -1.0 };
        let angles = self.at(angles);
        let args = words![self.edit(x), angles, heads, head_dim, pairs, rows, sign];
        let grid = [(rows * heads * pairs).div_ceil(256), 1, 1];
        self.record((&ROPE, values(&[]), "rotate"), grid, 256, args);
    }
}
