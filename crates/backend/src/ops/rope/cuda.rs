//! Rotation on CUDA: one thread per two pairs of channels.

use super::{Direction, Rope};
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, values, words};
use crate::ops::linear::rounded::Activations;
use crate::ops::norm::cuda::fours;
use crate::{Buffer, Step};

/// The rotation.
pub static ROPE: Unit = Unit {
    family: "rope",
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
        let (heads, pairs, fours) = (x.width / head_dim, angles.width / 2, fours(head_dim));
        assert!(pairs.is_multiple_of(2), "{pairs} pairs of channels");
        let sign = if direction == Direction::Forward { 1.0f32 } else { -1.0 };
        let angles = self.at(angles);
        let Activations { codes, steps, halves, floats, .. } = self.edit_rounded(x, rows);
        let across = if codes == 0 { pairs / 2 } else { fours };
        let args = words![floats, angles, codes, steps, halves, heads, fours, pairs, rows, sign];
        let grid = [(rows * heads * across).div_ceil(256), 1, 1];
        self.record((&ROPE, values(&[]), "rotate"), grid, 256, args);
    }
}
