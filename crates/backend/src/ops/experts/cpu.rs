//! Reference for the experts: one expert after the other, with all tokens that chose it.
//!
//! Experts ascend, and so do the tokens of each: a token's sum has one order, whatever else is in
//! the step. The inner rows are made by one function, for the sum and for whoever asks for them.

use super::{ExpertWeights, Experts};
use crate::ops::linear::cpu::matmul;
use crate::{Buffer, Cpu};

/// `silu(min(gate, clamp)) · clamp(up, ±clamp)`.
fn activate(gate: f32, up: f32, clamp: f32) -> f32 {
    let gate = if gate > clamp { clamp } else { gate };
    gate / (1.0 + (-gate).exp()) * up.clamp(-clamp, clamp)
}

/// Pairs of a token and `expert`, each with its share.
fn members(picks: &[u32], shares: &[f32], expert: usize) -> Vec<(usize, f32)> {
    let chosen = picks.iter().zip(shares).enumerate();
    chosen.filter(|(_, (pick, _))| **pick as usize == expert).map(|(i, (_, g))| (i, *g)).collect()
}

/// The inner rows of one expert's pairs, one after the other.
fn inner_rows(
    cpu: &Cpu,
    weights: &ExpertWeights,
    clamp: f32,
    x: &[&[f32]],
    expert: usize,
    members: &[(usize, f32)],
) -> Vec<f32> {
    let (f, n) = (weights.gate.rows, members.len());
    let gate = matmul(cpu.matrix(&weights.gate, expert), x);
    let up = matmul(cpu.matrix(&weights.up, expert), x);
    let values = (0..n * f).map(|i| (i / f, i % f));
    values.map(|(m, r)| members[m].1 * activate(gate[r * n + m], up[r * n + m], clamp)).collect()
}

impl Experts for Cpu {
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
        let (d, f, used) = (weights.gate.cols, weights.gate.rows, picks.width);
        self.edit(y, |cpu, y| {
            let x = cpu.data(x);
            let picks = &cpu.data(picks)[..rows * used];
            let shares = &cpu.data(shares)[..rows * used];
            y[..rows * d].fill(0.0);
            // Ascending experts: a token's sum has one order, whatever else is in the step.
            for expert in 0..weights.gate.count {
                let members = members(picks, shares, expert);
                if members.is_empty() {
                    continue;
                }
                let n = members.len();
                let tokens: Vec<usize> = members.iter().map(|(pair, _)| pair / used).collect();
                let xs: Vec<&[f32]> = tokens.iter().map(|t| &x[t * d..][..d]).collect();
                let inner = inner_rows(cpu, weights, clamp, &xs, expert, &members);
                let inner: Vec<&[f32]> = inner.chunks_exact(f).collect();
                let out = matmul(cpu.matrix(&weights.down, expert), &inner);
                for (m, t) in tokens.iter().enumerate() {
                    let y = &mut y[t * d..][..d];
                    y.iter_mut().zip(out.iter().skip(m).step_by(n)).for_each(|(y, v)| *y += v);
                }
            }
        });
    }

    fn expert_inner_raw(
        &mut self,
        weights: &ExpertWeights,
        clamp: f32,
        x: &Buffer<f32>,
        picks: &Buffer<u32>,
        shares: &Buffer<f32>,
        inner: &mut Buffer<f32>,
        rows: usize,
    ) {
        let (d, f, used) = (weights.gate.cols, weights.gate.rows, picks.width);
        self.edit(inner, |cpu, out| {
            let x = cpu.data(x);
            let picks = &cpu.data(picks)[..rows * used];
            let shares = &cpu.data(shares)[..rows * used];
            for expert in 0..weights.gate.count {
                let members = members(picks, shares, expert);
                if members.is_empty() {
                    continue;
                }
                let row = |(pair, _): &(usize, f32)| &x[pair / used * d..][..d];
                let xs: Vec<&[f32]> = members.iter().map(row).collect();
                let inner = inner_rows(cpu, weights, clamp, &xs, expert, &members);
                for ((pair, _), row) in members.iter().zip(inner.chunks_exact(f)) {
                    out[pair * f..][..f].copy_from_slice(row);
                }
            }
        });
    }

    fn swiglu_raw(
        &mut self,
        gate: &Buffer<f32>,
        up: &Buffer<f32>,
        clamp: f32,
        out: &mut Buffer<f32>,
        rows: usize,
    ) {
        let used = rows * out.width;
        self.edit(out, |cpu, out| {
            let inputs = cpu.data(gate).iter().zip(cpu.data(up));
            for (out, (&gate, &up)) in out[..used].iter_mut().zip(inputs) {
                *out = activate(gate, up, clamp);
            }
        });
    }

    fn add_raw(&mut self, x: &Buffer<f32>, y: &mut Buffer<f32>, rows: usize) {
        let used = rows * y.width;
        self.edit(y, |cpu, y| {
            y[..used].iter_mut().zip(cpu.data(x)).for_each(|(y, x)| *y += x);
        });
    }
}
