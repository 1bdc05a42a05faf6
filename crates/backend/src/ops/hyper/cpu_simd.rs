//! Fast hyper-connections: the mix's product is spread over rows of its matrix, all else over
//! tokens.
//!
//! Streams are normed before the product, as in the reference. Gates are a handful of numbers per
//! token and computed by the reference's own functions, a few tokens per task. The write half is
//! vectorized for four streams, the count of every published file; other counts are left to the
//! reference.

use super::cpu::{gates_of, pre_of, sigmoid};
use super::{Hyper, HyperMix, HyperSettings};
use crate::cpu::Cpu;
use crate::cpu::fast::{CpuSimd, Own, Workers};
use crate::cpu::simd::{Kernel, LANES, Simd, add_scaled, padded};
use crate::ops::linear;
use crate::ops::norm::cpu_simd::Rms;
use crate::{Buffer, Step};

/// Streams that the write half is vectorized for.
const STREAMS: usize = 4;

/// Tokens whose gates are one task, of some microseconds each.
const GATES_PER_TASK: usize = 2;

/// Memory of a mix, used again and again.
#[derive(Default)]
pub(crate) struct Scratch {
    /// `rms(h)`, `[T, n·D]`.
    normed: Vec<f32>,
    /// `W · rms(h)`, `[T, rows of W]`.
    m: Vec<f32>,
}

/// `m = W · rms(h)` for `rows` tokens, token `t` in row `source(t)` of the streams.
fn coefficients<'a>(
    (cpu, workers): (&'a Cpu, &mut Workers),
    product: &mut linear::cpu_simd::Scratch,
    scratch: &mut Scratch,
    mix: &HyperMix,
    eps: f32,
    rows: usize,
    h: &(dyn Fn(usize) -> &'a [f32] + Sync),
) {
    let Scratch { normed, m } = scratch;
    let width = mix.matrix.cols;
    normed.resize(rows * width, 0.0);
    workers.chunks(normed, width, &|own, t, out| {
        own.level.run(Rms { x: h(t), weight: None, eps, out });
    });
    m.resize(rows * mix.matrix.rows, 0.0);
    let matrix = (cpu.matrix(&mix.matrix, 0), mix.matrix.id);
    linear::cpu_simd::matmul(workers, product, matrix, 1, normed, m);
}

/// `x = Σ weights[i] · h[i]`.
struct Read<'a> {
    weights: &'a [f32],
    h: &'a [f32],
    x: &'a mut [f32],
}

impl Kernel for Read<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        self.x.fill(0.0);
        for (weight, stream) in self.weights.iter().zip(self.h.chunks_exact(self.x.len())) {
            add_scaled::<S>(*weight, stream, self.x);
        }
    }
}

/// `h'[k] = post[k] · y + Σ_j C[j][k] · h[j]`.
struct Spread<'a> {
    gates: &'a [f32],
    y: &'a [f32],
    h: &'a mut [f32],
}

impl Kernel for Spread<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Spread { gates, y, h } = self;
        let (post, c) = gates.split_at(STREAMS);
        let d = y.len();
        for at in (0..d).step_by(LANES) {
            let len = LANES.min(d - at);
            let now = padded::<S>(&y[at..][..len]);
            let before: [S::F; STREAMS] =
                std::array::from_fn(|j| padded::<S>(&h[j * d + at..][..len]));
            for k in 0..STREAMS {
                let mut sum = S::mul(S::splat(c[k]), before[0]);
                for j in 1..STREAMS {
                    sum = S::fma(S::splat(c[j * STREAMS + k]), before[j], sum);
                }
                let mut out = [0.0; LANES];
                S::store(S::fma(S::splat(post[k]), now, sum), &mut out);
                h[k * d + at..][..len].copy_from_slice(&out[..len]);
            }
        }
    }
}

impl Hyper for CpuSimd {
    fn hyper_mix_raw(
        &mut self,
        mix: &HyperMix,
        settings: HyperSettings,
        streams: &Buffer<f32>,
        gates: &mut Buffer<f32>,
        x: &mut Buffer<f32>,
        rows: usize,
    ) {
        let n = settings.streams;
        let (width, gates_width, x_width) = (streams.width, gates.width, x.width);
        self.edit(gates, |cpu, workers, scratch, gates| {
            let (h, own) = (cpu.data(streams), &mut scratch.hyper);
            let row = |t: usize| &h[t * width..][..width];
            let eps = settings.rms_eps;
            coefficients((cpu, workers), &mut scratch.matmul, own, mix, eps, rows, &row);
            let (base, scale, m) = (cpu.data(&mix.base), cpu.data(&mix.scale), &own.m);
            let gates = &mut gates[..rows * gates_width];
            workers.chunks(gates, GATES_PER_TASK * gates_width, &|_, task, gates| {
                let m = m.chunks_exact(mix.matrix.rows).skip(task * GATES_PER_TASK);
                for (gates, m) in gates.chunks_exact_mut(gates_width).zip(m) {
                    gates_of(settings, m, base, scale, gates);
                }
            });
        });
        self.edit(x, |cpu, workers, scratch, x| {
            let (h, m) = (cpu.data(streams), &scratch.hyper.m);
            let (base, scale) = (cpu.data(&mix.base), cpu.data(&mix.scale));
            workers.chunks(&mut x[..rows * x_width], x_width, &|own, t, x| {
                let Own { level, floats: weights, .. } = own;
                weights.resize(n, 0.0);
                pre_of(settings, &m[t * mix.matrix.rows..], base, scale, weights);
                level.run(Read { weights, h: &h[t * width..][..width], x });
            });
        });
    }

    fn hyper_spread_raw(
        &mut self,
        gates: &Buffer<f32>,
        y: &Buffer<f32>,
        streams: &mut Buffer<f32>,
        rows: usize,
    ) {
        let (d, width, gates_width) = (y.width, streams.width, gates.width);
        if width / d != STREAMS {
            return self.cpu.hyper_spread_raw(gates, y, streams, rows);
        }
        self.edit(streams, |cpu, workers, _, streams| {
            let (gates, y) = (cpu.data(gates), cpu.data(y));
            workers.chunks(&mut streams[..rows * width], width, &|own, t, h| {
                let (gates, y) = (&gates[t * gates_width..][..gates_width], &y[t * d..][..d]);
                own.level.run(Spread { gates, y, h });
            });
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
        let (n, width, x_width) = (settings.streams, streams.width, x.width);
        self.edit(x, |cpu, workers, scratch, x| {
            let wanted = &cpu.data(&step.output_rows)[..step.outputs];
            let (h, own) = (cpu.data(streams), &mut scratch.hyper);
            let row = |t: usize| &h[wanted[t] as usize * width..][..width];
            let (eps, rows) = (settings.rms_eps, wanted.len());
            coefficients((cpu, workers), &mut scratch.matmul, own, mix, eps, rows, &row);
            let (base, scale) = (cpu.data(&mix.base), cpu.data(&mix.scale)[0]);
            for m in own.m.chunks_exact_mut(n) {
                for (m, base) in m.iter_mut().zip(base) {
                    *m = sigmoid(*m * scale + base) + settings.eps;
                }
            }
            let weights = &own.m;
            workers.chunks(&mut x[..rows * x_width], x_width, &|own, t, x| {
                own.level.run(Read { weights: &weights[t * n..][..n], h: row(t), x });
            });
        });
    }
}
