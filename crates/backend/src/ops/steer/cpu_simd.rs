//! Fast steering: a row is one task, so threads and the cutting of steps change nothing. The
//! projection is summed in the fixed order of `dot`, and what is taken is one multiply-add.

use super::Steer;
use crate::cpu::fast::CpuSimd;
use crate::cpu::simd::{Kernel, LANES, Simd, dot, vector, vector_mut};
use crate::{Buffer, Step};

/// `y −= scale · v · (v · y)`.
struct Steered<'a> {
    y: &'a mut [f32],
    direction: &'a [f32],
    scale: f32,
}

impl Kernel for Steered<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Steered { y, direction, scale } = self;
        let added = -scale * dot::<S>(y, direction);
        let (lanes, whole) = (S::splat(added), y.len() - y.len() % LANES);
        for at in (0..whole).step_by(LANES) {
            let v = S::load(vector(direction, at));
            S::store(S::fma(lanes, v, S::load(vector(y, at))), vector_mut(y, at));
        }
        for at in whole..y.len() {
            y[at] = added.mul_add(direction[at], y[at]);
        }
    }
}

impl Steer for CpuSimd {
    fn steer_raw(
        &mut self,
        directions: &Buffer<f32>,
        layer: usize,
        scales: &Buffer<f32>,
        y: &mut Buffer<f32>,
        rows: usize,
    ) {
        let width = y.width;
        self.edit(y, |cpu, workers, _, y| {
            let direction = &cpu.data(directions)[layer * width..][..width];
            let scales = cpu.data(scales);
            workers.chunks(&mut y[..rows * width], width, &|own, t, y| {
                if scales[t] != 0.0 {
                    own.level.run(Steered { y, direction, scale: scales[t] });
                }
            });
        });
    }

    fn tap_raw(&mut self, y: &Buffer<f32>, step: &Step, layer: usize, out: &mut Buffer<f32>) {
        self.parts().0.tap_raw(y, step, layer, out);
    }
}
