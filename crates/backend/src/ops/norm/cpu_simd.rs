//! Fast norms: a row, or a head, is one task.
//!
//! The sum of squares is taken in sixteen `f32` lanes with the fixed order of `dot`; the reference
//! sums in `f64`. The difference is far below the families' tolerances at widths of some thousands.

use super::Norm;
use crate::Buffer;
use crate::cpu::fast::CpuSimd;
use crate::cpu::simd::{Kernel, LANES, Simd, dot, vector, vector_mut};

/// `out = rms(x) · weight`, without a weight if there is none.
pub(crate) struct Rms<'a> {
    pub x: &'a [f32],
    pub weight: Option<&'a [f32]>,
    pub eps: f32,
    pub out: &'a mut [f32],
}

impl Kernel for Rms<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Rms { x, weight, eps, out } = self;
        let scale = rms_scale::<S>(x, eps);
        let (lanes, whole) = (S::splat(scale), x.len() - x.len() % LANES);
        for at in (0..whole).step_by(LANES) {
            let mut v = S::mul(S::load(vector(x, at)), lanes);
            if let Some(weight) = weight {
                v = S::mul(v, S::load(vector(weight, at)));
            }
            S::store(v, vector_mut(out, at));
        }
        for at in whole..x.len() {
            out[at] = x[at] * scale * weight.map_or(1.0, |w| w[at]);
        }
    }
}

/// `x = rms(x)` of every head.
struct Heads<'a> {
    x: &'a mut [f32],
    dim: usize,
    eps: f32,
}

impl Kernel for Heads<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        for head in self.x.chunks_exact_mut(self.dim) {
            let scale = rms_scale::<S>(head, self.eps);
            let (vectors, rest) = head.as_chunks_mut::<LANES>();
            for v in vectors {
                S::store(S::mul(S::load(v), S::splat(scale)), v);
            }
            rest.iter_mut().for_each(|v| *v *= scale);
        }
    }
}

/// `1 / sqrt(mean(x²) + eps)`.
#[inline(always)]
pub(crate) fn rms_scale<S: Simd>(x: &[f32], eps: f32) -> f32 {
    let mean = f64::from(dot::<S>(x, x)) / x.len() as f64;
    (1.0 / (mean + f64::from(eps)).sqrt()) as f32
}

impl Norm for CpuSimd {
    fn rms_norm_raw(
        &mut self,
        x: &Buffer<f32>,
        weight: &Buffer<f32>,
        eps: f32,
        out: &mut Buffer<f32>,
        rows: usize,
    ) {
        let width = x.width;
        self.edit(out, |cpu, workers, _, out| {
            let (x, weight) = (cpu.data(x), cpu.data(weight));
            workers.chunks(&mut out[..rows * width], width, &|own, t, out| {
                let x = &x[t * width..][..width];
                own.level.run(Rms { x, weight: Some(weight), eps, out });
            });
        });
    }

    fn unit_norm_raw(&mut self, x: &mut Buffer<f32>, dim: usize, eps: f32, rows: usize) {
        let width = x.width;
        self.edit(x, |_, workers, _, x| {
            workers.chunks(&mut x[..rows * width], width, &|own, _, x| {
                own.level.run(Heads { x, dim, eps });
            });
        });
    }
}
