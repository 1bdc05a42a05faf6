//! Reference for matrix products: decode a weight row once, multiply it with every token.

use rayon::prelude::*;

use super::Linear;
use crate::cpu::MatrixView;
use crate::{Buffer, Cpu, Weight};

/// Lanes of partial sums. They make the sum's order fixed, more accurate than one running sum, and
/// vectorizable.
const LANES: usize = 16;

/// `Σ a[i] · b[i]`, always in the same order.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    debug_assert_eq!(a.len(), b.len());
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0] + rest
}

/// `W x` for several `x`: returns `[rows, xs.len()]`, that is, transposed.
pub(crate) fn matmul(weight: MatrixView, xs: &[&[f32]]) -> Vec<f32> {
    let mut out = vec![0.0; weight.rows * xs.len()];
    // Enough rows per task that handing it over costs little.
    let task_rows = (16_384 / (weight.cols * xs.len()).max(1)).clamp(1, 64);
    out.par_chunks_mut(xs.len() * task_rows).enumerate().for_each(|(task, out)| {
        let mut decoded = vec![0.0; weight.cols];
        for (i, out) in out.chunks_exact_mut(xs.len()).enumerate() {
            weight.decode_row(task * task_rows + i, &mut decoded);
            for (out, x) in out.iter_mut().zip(xs) {
                *out = dot(&decoded, x);
            }
        }
    });
    out
}

impl Linear for Cpu {
    fn linear_raw(
        &mut self,
        weight: &Weight,
        groups: usize,
        x: &Buffer<f32>,
        out: &mut Buffer<f32>,
        rows: usize,
    ) {
        let (group_rows, in_width, out_width) = (weight.rows / groups, x.width, out.width);
        self.edit(out, |cpu, out| {
            let x = &cpu.data(x)[..rows * in_width];
            for group in 0..groups {
                let matrix = cpu.matrix(weight, 0).slice(group * group_rows, group_rows);
                let columns = group * weight.cols..(group + 1) * weight.cols;
                let xs: Vec<_> = x.chunks_exact(in_width).map(|x| &x[columns.clone()]).collect();
                let product = matmul(matrix, &xs);
                for (r, product) in product.chunks_exact(rows).enumerate() {
                    for (t, &value) in product.iter().enumerate() {
                        out[t * out_width + group * group_rows + r] = value;
                    }
                }
            }
        });
    }
}
