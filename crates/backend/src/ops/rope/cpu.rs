//! Reference for the rotation.

use super::{Direction, Rope};
use crate::{Buffer, Cpu, Step};

/// `(cos θ, sin θ)` per pair, interleaved, at `position`. The product is rounded to `f32` first;
/// its sine and cosine are taken in double precision and rounded once.
pub(crate) fn angles(position: usize, frequencies: &[f32], out: &mut [f32]) {
    for (&frequency, out) in frequencies.iter().zip(out.chunks_exact_mut(2)) {
        let theta = (position as f32 * frequency) as f64;
        (out[0], out[1]) = (theta.cos() as f32, theta.sin() as f32);
    }
}

/// Rotates the last channels of one head by the given angles.
pub(crate) fn rotate(head: &mut [f32], angles: &[f32], direction: Direction) {
    let start = head.len() - angles.len();
    for (pair, angle) in head[start..].chunks_exact_mut(2).zip(angles.chunks_exact(2)) {
        let (a, b, cos) = (pair[0], pair[1], angle[0]);
        let sin = if direction == Direction::Forward { angle[1] } else { -angle[1] };
        (pair[0], pair[1]) = (a * cos - b * sin, a * sin + b * cos);
    }
}

impl Rope for Cpu {
    fn rope_angles_raw(&mut self, frequencies: &Buffer<f32>, step: &Step, out: &mut Buffer<f32>) {
        let width = out.width;
        self.edit(out, |cpu, out| {
            let positions = &cpu.data(&step.positions)[..step.rows];
            let frequencies = cpu.data(frequencies);
            for (out, &position) in out.chunks_exact_mut(width).zip(positions) {
                angles(position as usize, frequencies, out);
            }
        });
    }

    fn rotate_raw(
        &mut self,
        x: &mut Buffer<f32>,
        head_dim: usize,
        angles: &Buffer<f32>,
        direction: Direction,
        rows: usize,
    ) {
        let width = x.width;
        let angle_width = angles.width;
        self.edit(x, |cpu, x| {
            let angles = cpu.data(angles).chunks_exact(angle_width);
            for (x, angles) in x.chunks_exact_mut(width).zip(angles).take(rows) {
                x.chunks_exact_mut(head_dim).for_each(|head| rotate(head, angles, direction));
            }
        });
    }
}
