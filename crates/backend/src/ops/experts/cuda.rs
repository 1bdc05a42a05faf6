//! The experts on CUDA: every (token, expert) pair by itself.
//!
//! That is right for the few tokens of a decoding step, where no two tokens share much. Inner rows
//! are rounded to 8 bits between the two products, as the fast CPU path does.

use super::{ExpertWeights, Experts};
use crate::cuda::driver::Memory;
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, units, values, words};
use crate::ops::linear::cuda::{Activations, is_float, rounded_bytes};
use crate::{Buffer, Weight};

/// The activation and the sum.
pub static ELEMENTS: Unit = Unit {
    name: "elements",
    source: &[COMMON, include_str!("elements.cu")],
    parameters: &[],
    kernels: &["swiglu", "add"],
};

/// The first two matrices and the activation.
pub static INNER: Unit = Unit {
    name: "inner",
    source: &[COMMON, units::WEIGHTS, include_str!("inner.cu")],
    parameters: &["FORMAT"],
    kernels: &["expert_inner"],
};

/// The last matrix and the sum over experts.
pub static DOWN: Unit = Unit {
    name: "down",
    source: &[COMMON, units::WEIGHTS, include_str!("down.cu")],
    parameters: &["FORMAT"],
    kernels: &["expert_down"],
};

/// Memory of the family.
#[derive(Default)]
pub struct Scratch {
    /// Inner rows, `[T · K, F]`.
    inner: Option<Memory>,
    /// The same, rounded to 8 bits.
    rounded: Option<Memory>,
}

impl Experts for Cuda {
    fn experts_raw(
        &mut self,
        weights: &ExpertWeights,
        clamp: f32,
        x: &Buffer<f32>,
        picks: &Buffer<u32>,
        shares: &Buffer<f32>,
        y: &mut Buffer<f32>,
        rows: usize,
    ) {
        let ExpertWeights { gate, up, down } = weights;
        let (used, inner, d) = (picks.width, gate.rows, gate.cols);
        let pairs = rows * used;
        let mut scratch = std::mem::take(&mut self.experts);
        let inner_at = self.scratch(&mut scratch.inner, pairs * inner * 4);
        let rounded_at = self.scratch(&mut scratch.rounded, rounded_bytes(pairs, inner));
        self.experts = scratch;

        let (picks, shares) = (self.at(picks), self.at(shares));
        let format = self.stored(gate).format;
        assert_eq!(format, self.stored(up).format, "gate and up have one format");
        let Activations { codes, steps, halves, floats } = self.activations(x, rows, d, format);
        let planes = |cuda: &Cuda, weight: &Weight| cuda.stored(weight).planes;
        let ([ga, gb, gc], [ua, ub, uc]) = (planes(self, gate), planes(self, up));
        let code = self.stored(gate).code() as usize;
        let args = words![
            ga, gb, gc, ua, ub, uc, codes, steps, halves, floats, picks, shares, inner_at, inner,
            d, used, clamp
        ];
        let unit = (&INNER, values(&[code]), "expert_inner");
        self.record(unit, [inner.div_ceil(8), pairs, 1], 256, args);

        let stored = self.stored(down);
        let ([a, b, c], code) = (stored.planes, stored.code() as usize);
        let rounds = !is_float(stored.format);
        let x = self.round(inner_at, rounded_at, pairs, inner, rounds);
        let Activations { codes, steps, halves, floats } = x;
        let y = self.edit(y);
        let args = words![a, b, c, codes, steps, halves, floats, picks, y, d, inner, used];
        let unit = (&DOWN, values(&[code]), "expert_down");
        self.record(unit, [d.div_ceil(8), rows, 1], 256, args);
    }

    fn swiglu_raw(
        &mut self,
        gate: &Buffer<f32>,
        up: &Buffer<f32>,
        clamp: f32,
        out: &mut Buffer<f32>,
        rows: usize,
    ) {
        let count = rows * out.width;
        let (gate, up) = (self.at(gate), self.at(up));
        let args = words![gate, up, self.edit(out), count, clamp];
        let grid = [count.div_ceil(256), 1, 1];
        self.record((&ELEMENTS, values(&[]), "swiglu"), grid, 256, args);
    }

    fn add_raw(&mut self, x: &Buffer<f32>, y: &mut Buffer<f32>, rows: usize) {
        let count = rows * y.width;
        let args = words![self.at(x), self.edit(y), count];
        let grid = [count.div_ceil(256), 1, 1];
        self.record((&ELEMENTS, values(&[]), "add"), grid, 256, args);
    }
}
