//! Fast experts: tokens are grouped by expert, so that an expert's rows are decoded once per step.
//!
//! ```text
//! pairs    (token, share) sorted by expert, tokens ascending            [T · K]
//! pass 1   task (expert, 16 rows of gate and up): inner = share · act   [expert][F/16][pairs][16]
//! pass 2   task pair: its inner row, rounded to 8 bits                  [T · K, F]
//! pass 3   task 16 rows of every down: y, experts ascending             [D/16][T][16]
//! ```
//!
//! Each sum has the order of the reference, whatever else is in the step. Layers with an expert
//! matrix in a float format are computed by the reference: no published file has one.

use super::{ExpertWeights, Experts};
use crate::cpu::Cpu;
use crate::cpu::fast::{CpuSimd, Own, Workers};
use crate::cpu::simd::{Kernel, LANES, PANEL_ROWS, Simd, exp, vector, vector_mut};
use crate::ops::linear::cpu_simd::round_rows;
use crate::ops::linear::panel::{Activations, Members, Product, RoundRow, is_coded};
use crate::{Buffer, Weight};

/// Memory of the experts, used again and again.
#[derive(Default)]
pub(crate) struct Scratch {
    groups: Groups,
    /// Rounded inputs, `[T, D]`.
    x: Activations,
    /// Blocks of pass 1.
    inner: Vec<f32>,
    /// Rounded inner rows, `[T · K, F]`.
    rounded: Activations,
    /// Blocks of pass 3.
    y: Vec<f32>,
}

/// Pairs of token and share, sorted by expert.
#[derive(Default)]
struct Groups {
    /// Token of each pair.
    tokens: Vec<u32>,
    /// Share of each pair.
    shares: Vec<f32>,
    /// Where the pairs of the step are among the sorted ones.
    sorted: Vec<u32>,
    /// Which of `active` each pair belongs to.
    owners: Vec<u32>,
    /// Experts that were chosen, ascending.
    active: Vec<Group>,
    /// Scratch: first free place of each expert.
    places: Vec<usize>,
}

/// The pairs of one expert.
#[derive(Clone, Copy)]
struct Group {
    expert: usize,
    first: usize,
    count: usize,
}

impl Groups {
    /// Sorts the picks `[T, used]` by expert.
    fn sort(&mut self, picks: &[u32], shares: &[f32], used: usize, experts: usize) {
        let Groups { tokens, shares: by_expert, sorted, owners, active, places } = self;
        places.clear();
        places.resize(experts, 0);
        picks.iter().for_each(|&pick| places[pick as usize] += 1);
        active.clear();
        let mut first = 0;
        for (expert, place) in places.iter_mut().enumerate() {
            let count = std::mem::replace(place, first);
            if count > 0 {
                active.push(Group { expert, first, count });
            }
            first += count;
        }
        tokens.resize(picks.len(), 0);
        by_expert.resize(picks.len(), 0.0);
        sorted.resize(picks.len(), 0);
        owners.resize(picks.len(), 0);
        for (i, (&pick, &share)) in picks.iter().zip(shares).enumerate() {
            let place = &mut places[pick as usize];
            (tokens[*place], by_expert[*place]) = ((i / used) as u32, share);
            sorted[i] = *place as u32;
            *place += 1;
        }
        for (owner, group) in active.iter().enumerate() {
            owners[group.first..][..group.count].fill(owner as u32);
        }
    }
}

/// Pass 1: the inner rows of all pairs, in blocks.
fn inner_blocks(
    cpu: &Cpu,
    workers: &mut Workers,
    scratch: &mut Scratch,
    weights: &ExpertWeights,
    clamp: f32,
) {
    let Scratch { groups, x, inner, .. } = scratch;
    let pairs = groups.tokens.len();
    let panels = weights.gate.rows.div_ceil(PANEL_ROWS);
    inner.resize(pairs * panels * LANES, 0.0);
    let (groups, x) = (&*groups, &*x);
    let range = |task: usize| {
        let Group { first, count, .. } = groups.active[task / panels];
        let start = (first * panels + task % panels * count) * LANES;
        start..start + count * LANES
    };
    workers.pieces(inner, groups.active.len() * panels, &range, &|own, task, gate| {
        let Group { expert, first, count } = groups.active[task / panels];
        let members = Members::List(&groups.tokens[first..][..count]);
        let Own { level, panel, floats: up, .. } = own;
        up.resize(gate.len(), 0.0);
        let first_row = task % panels * PANEL_ROWS;
        let matrix = cpu.matrix(&weights.gate, expert);
        Product { matrix, first_row, x, members, panel, out: gate }.run(*level);
        let matrix = cpu.matrix(&weights.up, expert);
        Product { matrix, first_row, x, members, panel, out: up }.run(*level);
        level.run(Activate { gate, up, clamp });
        for (gate, share) in gate.chunks_exact_mut(LANES).zip(&groups.shares[first..]) {
            gate.iter_mut().for_each(|v| *v *= share);
        }
    });
}

/// The inner row of a sorted pair out of the blocks.
fn inner_row(groups: &Groups, inner: &[f32], pair: usize, row: &mut [f32]) {
    let Group { first, count, .. } = groups.active[groups.owners[pair] as usize];
    let panels = row.len().div_ceil(PANEL_ROWS);
    for (panel, row) in row.chunks_mut(LANES).enumerate() {
        let start = (first * panels + panel * count + pair - first) * LANES;
        row.copy_from_slice(&inner[start..][..row.len()]);
    }
}

/// Pass 2: the rounded inner row of every pair.
fn round_inner(workers: &mut Workers, scratch: &mut Scratch, f: usize) {
    let Scratch { groups, inner, rounded, .. } = scratch;
    rounded.shape(groups.tokens.len(), f);
    let (groups, row_blocks, inner) = (&*groups, rounded.row_blocks, &*inner);
    workers.chunks(&mut rounded.blocks, row_blocks, &|own, pair, out| {
        let Own { level, floats: row, .. } = own;
        row.resize(f, 0.0);
        inner_row(groups, inner, pair, row);
        level.run(RoundRow { x: row, out });
    });
}

/// Pass 3: `y` `[T, D]` from the inner rows.
fn down(cpu: &Cpu, workers: &mut Workers, scratch: &mut Scratch, weight: &Weight, y: &mut [f32]) {
    let Scratch { groups, rounded: x, y: blocks, .. } = scratch;
    let tokens = y.len() / weight.rows;
    blocks.resize(weight.rows.div_ceil(PANEL_ROWS) * tokens * LANES, 0.0);
    let (groups, x) = (&*groups, &*x);
    workers.chunks(blocks, tokens * LANES, &|own, task, block| {
        let Own { level, panel, floats, .. } = own;
        block.fill(0.0);
        for &Group { expert, first, count } in &groups.active {
            floats.resize(count * LANES, 0.0);
            let (matrix, first_row) = (cpu.matrix(weight, expert), task * PANEL_ROWS);
            let members = Members::Strided { first, step: 1, count };
            Product { matrix, first_row, x, members, panel, out: floats }.run(*level);
            for (t, part) in groups.tokens[first..].iter().zip(floats.as_chunks::<LANES>().0) {
                let sum = &mut block[*t as usize * LANES..][..LANES];
                sum.iter_mut().zip(part).for_each(|(sum, v)| *sum += v);
            }
        }
    });
    let blocks = &*blocks;
    workers.chunks(y, weight.rows, &|_, t, y| {
        for (panel, y) in y.chunks_mut(LANES).enumerate() {
            y.copy_from_slice(&blocks[(panel * tokens + t) * LANES..][..y.len()]);
        }
    });
}

/// `gate = silu(min(gate, clamp)) · clamp(up, ±clamp)`, whole vectors; see `mod.rs`.
struct Activate<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
    clamp: f32,
}

impl Kernel for Activate<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let (high, low, one) = (S::splat(self.clamp), S::splat(-self.clamp), S::splat(1.0));
        for at in (0..self.gate.len()).step_by(LANES) {
            // The order of arguments keeps NaN.
            let gate = S::min(high, S::load(vector(self.gate, at)));
            let up = S::max(low, S::min(high, S::load(vector(self.up, at))));
            let silu = S::div(gate, S::add(one, exp::<S>(S::sub(S::splat(0.0), gate))));
            S::store(S::mul(silu, up), vector_mut(self.gate, at));
        }
    }
}

impl Experts for CpuSimd {
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
        let ExpertWeights { gate, up, down: last } = weights;
        if ![gate, up, last].iter().all(|w| is_coded(w.format)) {
            return self.cpu.experts_raw(weights, clamp, x, picks, shares, y, rows);
        }
        let (d, used) = (gate.cols, picks.width);
        self.edit(y, |cpu, workers, scratch, y| {
            let scratch = &mut scratch.experts;
            let (picks, shares) = (&cpu.data(picks)[..rows * used], cpu.data(shares));
            scratch.groups.sort(picks, shares, used, gate.count);
            round_rows(workers, &cpu.data(x)[..rows * d], d, &mut scratch.x);
            inner_blocks(cpu, workers, scratch, weights, clamp);
            round_inner(workers, scratch, gate.rows);
            down(cpu, workers, scratch, last, &mut y[..rows * d]);
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
        let ExpertWeights { gate, up, .. } = weights;
        if ![gate, up].iter().all(|w| is_coded(w.format)) {
            return self.cpu.expert_inner_raw(weights, clamp, x, picks, shares, inner, rows);
        }
        let (f, d, used) = (gate.rows, gate.cols, picks.width);
        self.edit(inner, |cpu, workers, scratch, out| {
            let scratch = &mut scratch.experts;
            let (picks, shares) = (&cpu.data(picks)[..rows * used], cpu.data(shares));
            scratch.groups.sort(picks, shares, used, gate.count);
            round_rows(workers, &cpu.data(x)[..rows * d], d, &mut scratch.x);
            inner_blocks(cpu, workers, scratch, weights, clamp);
            let (groups, inner) = (&scratch.groups, &scratch.inner);
            workers.chunks(&mut out[..rows * used * f], f, &|_, pair, row| {
                inner_row(groups, inner, groups.sorted[pair] as usize, row);
            });
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
        let width = out.width;
        self.edit(out, |cpu, workers, _, out| {
            let (gate, up) = (cpu.data(gate), cpu.data(up));
            workers.chunks(&mut out[..rows * width], width, &|own, t, out| {
                let (gate, up) = (&gate[t * width..][..width], &up[t * width..][..width]);
                // A width that is no multiple of the lanes ends in a padded vector.
                let padded = width.next_multiple_of(LANES);
                own.floats.resize(2 * padded, 0.0);
                let (a, b) = own.floats.split_at_mut(padded);
                a[..width].copy_from_slice(gate);
                b[..width].copy_from_slice(up);
                own.level.run(Activate { gate: a, up: b, clamp });
                out.copy_from_slice(&a[..width]);
            });
        });
    }

    fn add_raw(&mut self, x: &Buffer<f32>, y: &mut Buffer<f32>, rows: usize) {
        let width = y.width;
        self.edit(y, |cpu, workers, _, y| {
            let x = cpu.data(x);
            workers.chunks(&mut y[..rows * width], width, &|_, t, y| {
                y.iter_mut().zip(&x[t * width..]).for_each(|(y, x)| *y += x);
            });
        });
    }
}
