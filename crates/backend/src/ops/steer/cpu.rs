//! Reference for steering.

use super::Steer;
use crate::{Buffer, Cpu, Step};

impl Steer for Cpu {
    fn steer_raw(
        &mut self,
        directions: &Buffer<f32>,
        layer: usize,
        scales: &Buffer<f32>,
        y: &mut Buffer<f32>,
        rows: usize,
    ) {
        let width = y.width;
        self.edit(y, |cpu, y| {
            let (direction, scales) = (&cpu.data(directions)[layer * width..], cpu.data(scales));
            for (y, &scale) in y.chunks_exact_mut(width).zip(&scales[..rows]) {
                if scale == 0.0 {
                    continue;
                }
                let pairs = y.iter().zip(direction);
                let along: f64 = pairs.map(|(&y, &v)| f64::from(y) * f64::from(v)).sum();
                let taken = f64::from(scale) * along;
                for (y, &v) in y.iter_mut().zip(direction) {
                    *y = (f64::from(*y) - taken * f64::from(v)) as f32;
                }
            }
        });
    }

    fn tap_raw(&mut self, y: &Buffer<f32>, step: &Step, layer: usize, out: &mut Buffer<f32>) {
        let (width, all) = (y.width, out.width);
        self.edit(out, |cpu, out| {
            let (y, rows) = (cpu.data(y), &cpu.data(&step.output_rows)[..step.outputs]);
            for (out, &row) in out.chunks_exact_mut(all).zip(rows) {
                let y = &y[row as usize * width..][..width];
                out[layer * width..][..width].copy_from_slice(y);
            }
        });
    }
}
