//! Reference for the hyper-connections, formula by formula as `mod.rs` states them.
//!
//! The mix's coefficients need a product with a wide matrix; everything after it is a handful of
//! numbers per token.

use super::{Hyper, HyperMix, HyperSettings};
use crate::ops::linear::cpu::matmul;
use crate::ops::norm::cpu::rms_scale;
use crate::{Buffer, Cpu, Step};

pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// `W · rms(h)` for each given row of streams; one row of coefficients per input row.
fn coefficients(cpu: &Cpu, mix: &HyperMix, rms_eps: f32, streams: &[&[f32]]) -> Vec<Vec<f32>> {
    let normed: Vec<Vec<f32>> = streams
        .iter()
        .map(|h| {
            let scale = rms_scale(h, rms_eps);
            h.iter().map(|v| v * scale).collect()
        })
        .collect();
    let normed: Vec<&[f32]> = normed.iter().map(Vec::as_slice).collect();
    let product = matmul(cpu.matrix(&mix.matrix, 0), &normed);
    let row = |t: usize| product.iter().skip(t).step_by(normed.len()).copied().collect();
    (0..normed.len()).map(row).collect()
}

/// `x = Σ weights[i] · h[i]`.
fn read(weights: &[f32], h: &[f32], x: &mut [f32]) {
    x.fill(0.0);
    for (weight, stream) in weights.iter().zip(h.chunks_exact(x.len())) {
        x.iter_mut().zip(stream).for_each(|(x, h)| *x += weight * h);
    }
}

/// One token's `pre` `[n]` from its coefficients `m`.
pub(super) fn pre_of(
    settings: HyperSettings,
    m: &[f32],
    base: &[f32],
    scale: &[f32],
    pre: &mut [f32],
) {
    for ((pre, m), base) in pre.iter_mut().zip(m).zip(base) {
        *pre = sigmoid(m * scale[0] + base) + settings.eps;
    }
}

/// One token's `post` and `C` from its coefficients `m`.
pub(super) fn gates_of(
    settings: HyperSettings,
    m: &[f32],
    base: &[f32],
    scale: &[f32],
    gates: &mut [f32],
) {
    let HyperSettings { streams: n, iterations, eps, .. } = settings;
    let (post, c) = gates.split_at_mut(n);
    for i in 0..n {
        post[i] = 2.0 * sigmoid(m[n + i] * scale[1] + base[n + i]);
    }
    for (i, c) in c.iter_mut().enumerate() {
        *c = m[2 * n + i] * scale[2] + base[2 * n + i];
    }
    sinkhorn(c, n, iterations, eps);
}

/// Softmax rows, then alternating column and row normalization of the `n × n` matrix `c`.
fn sinkhorn(c: &mut [f32], n: usize, iterations: usize, eps: f32) {
    for row in c.chunks_exact_mut(n) {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter_mut().for_each(|v| *v = (*v - max).exp());
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|v| *v = *v / sum + eps);
    }
    normalize_columns(c, n, eps);
    for _ in 1..iterations {
        for row in c.chunks_exact_mut(n) {
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|v| *v /= sum + eps);
        }
        normalize_columns(c, n, eps);
    }
}

fn normalize_columns(c: &mut [f32], n: usize, eps: f32) {
    for k in 0..n {
        let sum: f32 = c.iter().skip(k).step_by(n).sum();
        c.iter_mut().skip(k).step_by(n).for_each(|v| *v /= sum + eps);
    }
}

impl Hyper for Cpu {
    fn hyper_mix_raw(
        &mut self,
        mix: &HyperMix,
        settings: HyperSettings,
        streams: &Buffer<f32>,
        gates: &mut Buffer<f32>,
        x: &mut Buffer<f32>,
        rows: usize,
    ) {
        let HyperSettings { streams: n, rms_eps, .. } = settings;
        let (stream_width, gates_width, x_width) = (streams.width, gates.width, x.width);
        let mut pre = vec![0.0; rows * n];
        self.edit(gates, |cpu, gates| {
            let h: Vec<_> = cpu.data(streams).chunks_exact(stream_width).take(rows).collect();
            let (base, scale) = (cpu.data(&mix.base), cpu.data(&mix.scale));
            for (t, m) in coefficients(cpu, mix, rms_eps, &h).into_iter().enumerate() {
                let gates = &mut gates[t * gates_width..][..gates_width];
                pre_of(settings, &m, base, scale, &mut pre[t * n..][..n]);
                gates_of(settings, &m, base, scale, gates);
            }
        });
        self.edit(x, |cpu, x| {
            let h = cpu.data(streams).chunks_exact(stream_width);
            for ((x, h), pre) in x.chunks_exact_mut(x_width).zip(h).zip(pre.chunks_exact(n)) {
                read(pre, h, x);
            }
        });
    }

    fn hyper_spread_raw(
        &mut self,
        gates: &Buffer<f32>,
        y: &Buffer<f32>,
        streams: &mut Buffer<f32>,
        rows: usize,
    ) {
        let (d, width) = (y.width, streams.width);
        let n = width / d;
        self.edit(streams, |cpu, streams| {
            let gates = cpu.data(gates).chunks_exact(gates.width);
            let y = cpu.data(y).chunks_exact(d);
            for ((h, y), gates) in streams.chunks_exact_mut(width).zip(y).zip(gates).take(rows) {
                let (post, c) = gates.split_at(n);
                let before = h.to_vec();
                for k in 0..n {
                    for i in 0..d {
                        let mixed: f32 = (0..n).map(|j| c[j * n + k] * before[j * d + i]).sum();
                        h[k * d + i] = post[k] * y[i] + mixed;
                    }
                }
            }
        });
    }

    fn hyper_head_raw(
        &mut self,
        mix: &HyperMix,
        settings: HyperSettings,
        streams: &Buffer<f32>,
        step: &Step,
        x: &mut Buffer<f32>,
    ) {
        let (width, x_width) = (streams.width, x.width);
        self.edit(x, |cpu, x| {
            let wanted = &cpu.data(&step.output_rows)[..step.outputs];
            let row = |&r: &u32| &cpu.data(streams)[r as usize * width..][..width];
            let h: Vec<_> = wanted.iter().map(row).collect();
            let (base, scale) = (cpu.data(&mix.base), cpu.data(&mix.scale)[0]);
            let m = coefficients(cpu, mix, settings.rms_eps, &h);
            for ((x, h), m) in x.chunks_exact_mut(x_width).zip(h).zip(m) {
                let gate = |(m, base): (&f32, &f32)| sigmoid(m * scale + base) + settings.eps;
                let weights: Vec<f32> = m.iter().zip(base).map(gate).collect();
                read(&weights, h, x);
            }
        });
    }
}
