//! The rotation, a token per task; each pair is turned by the reference's own function, to the bit.

use super::{Direction, Rope, cpu};
use crate::cpu::fast::CpuSimd;
use crate::{Buffer, Step};

impl Rope for CpuSimd {
    fn rope_angles_raw(&mut self, frequencies: &Buffer<f32>, step: &Step, out: &mut Buffer<f32>) {
        let width = out.width;
        self.edit(out, |data, workers, _, out| {
            let positions = &data.data(&step.positions)[..step.rows];
            let frequencies = data.data(frequencies);
            workers.chunks(&mut out[..step.rows * width], width, &|_, t, out| {
                cpu::angles(positions[t] as usize, frequencies, out);
            });
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
        let (width, pairs) = (x.width, angles.width);
        self.edit(x, |data, workers, _, x| {
            let angles = data.data(angles);
            workers.chunks(&mut x[..rows * width], width, &|_, t, x| {
                let angles = &angles[t * pairs..][..pairs];
                x.chunks_exact_mut(head_dim).for_each(|head| cpu::rotate(head, angles, direction));
            });
        });
    }
}
