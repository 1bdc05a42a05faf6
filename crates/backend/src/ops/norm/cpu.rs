//! Reference for the norms.

use super::Norm;
use crate::{Buffer, Cpu};

/// `1 / sqrt(mean(x²) + eps)`.
pub(crate) fn rms_scale(x: &[f32], eps: f32) -> f32 {
    let sum: f64 = x.iter().map(|&v| v as f64 * v as f64).sum();
    (1.0 / (sum / x.len() as f64 + eps as f64).sqrt()) as f32
}

impl Norm for Cpu {
    fn rms_norm_raw(
        &mut self,
        x: &Buffer<f32>,
        weight: &Buffer<f32>,
        eps: f32,
        out: &mut Buffer<f32>,
        rows: usize,
    ) {
        let width = x.width;
        self.edit(out, |cpu, out| {
            let (x, weight) = (cpu.data(x), cpu.data(weight));
            for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)).take(rows) {
                let scale = rms_scale(x, eps);
                for ((out, &x), &weight) in out.iter_mut().zip(x).zip(weight) {
                    *out = x * scale * weight;
                }
            }
        });
    }

    fn unit_norm_raw(&mut self, x: &mut Buffer<f32>, dim: usize, eps: f32, rows: usize) {
        let used = rows * x.width;
        self.edit(x, |_, x| {
            for head in x[..used].chunks_exact_mut(dim) {
                let scale = rms_scale(head, eps);
                head.iter_mut().for_each(|v| *v *= scale);
            }
        });
    }
}
