//! The experts on CUDA: every (token, expert) pair by itself, or, for many tokens, all pairs with
//! one expert together.
//!
//! The first is right for the few tokens of a decoding step, where no two tokens share much. Inner
//! rows are rounded between the two products: to 8 bits, as the fast CPU path does, or to BF16.

use super::{ExpertWeights, Experts};
use crate::cuda::driver::Address;
use crate::cuda::kernels::Unit;
use crate::cuda::weights::IQ2_XXS;
use crate::cuda::{COMMON, Cuda, units, values, words};
use crate::ops::linear::cuda::FEW_TOKENS;
use crate::ops::linear::rounded::{Activations, is_float, rounded_bytes};
use crate::ops::linear::tiles::{THREADS_MAX, whole_units};
use crate::ops::norm::cuda::fours;
use crate::{Buffer, Weight};

/// What several units share.
pub(crate) const EXPERTS: &str = include_str!("experts.cuh");

/// The activation and the sum.
pub static ELEMENTS: Unit = Unit {
    family: "experts",
    name: "elements",
    source: &[COMMON, EXPERTS, include_str!("elements.cu")],
    parameters: &[],
    kernels: &["swiglu", "add"],
};

/// The first two matrices and the activation.
pub static INNER: Unit = Unit {
    family: "experts",
    name: "inner",
    source: &[COMMON, EXPERTS, units::WEIGHTS, include_str!("inner.cu")],
    parameters: &["FORMAT"],
    kernels: &["expert_inner"],
};

/// The same for IQ2_XXS and few tokens, where looking up is what takes time.
pub static LATTICE: Unit = Unit {
    family: "experts",
    name: "lattice",
    source: &[COMMON, EXPERTS, units::WEIGHTS, include_str!("lattice.cu")],
    parameters: &["FORMAT", "HELD", "WIDE", "INNER"],
    kernels: &["lattice_inner"],
};
/// Bytes of its tables, what they begin at a multiple of, narrow and wide, and the most chunks that
/// a lane may hold.
const LATTICE_BYTES: usize = 2 * 256 * 128;
const LATTICE_ALIGNED: [usize; 2] = [256 * 128, 256 * 256];
const LATTICE_HELD_MAX: usize = 8;
/// Chunks that a lane of a full block holds; see lattice.cu.
const LATTICE_HELD: usize = 4;
/// Most rows of a block, whose sums lie in shared memory, narrow and wide; and what a stretch of
/// rows is a multiple of.
const LATTICE_ROWS_MAX: [usize; 2] = [256, 2048];
const LATTICE_UNIT: usize = 32;

/// Threads of a block of [`DOWN`]; see down.cu.
const DOWN_THREADS: usize = 512;

/// The last matrix and the sum over experts.
pub static DOWN: Unit = Unit {
    family: "experts",
    name: "down",
    source: &[COMMON, units::WEIGHTS, units::SHARED, include_str!("down.cu")],
    parameters: &["FORMAT", "COLS", "USED", "ROUNDED"],
    kernels: &["expert_down"],
};

/// The order of pairs, and the sum over a token's pairs.
pub static ARRANGE: Unit = Unit {
    family: "experts",
    name: "arrange",
    source: &[COMMON, EXPERTS, include_str!("arrange.cu")],
    parameters: &[],
    kernels: &["count_pairs", "place_pairs", "sum_pairs"],
};

/// Products of all pairs with one expert together.
pub static GROUPED: Unit = Unit {
    family: "experts",
    name: "grouped",
    source: &[
        COMMON,
        EXPERTS,
        units::WEIGHTS,
        units::SHARED,
        units::SLOTS,
        units::BF16,
        units::FRAGMENT,
        units::TILE,
        include_str!("grouped.cu"),
    ],
    parameters: &["FORMAT", "TOKENS", "SLOTS"],
    kernels: &["grouped_inner", "grouped_down"],
};

/// Shared memory for the inner row of a pair, padded; see grouped.cu.
const INNER_BYTES: usize = 4 * 80;
/// Pairs that are computed one by one in a launch.
const PAIRS_MAX: usize = 65_535;
/// Memory for what the experts of many tokens give, before it is summed.
const PARTS_BYTES: usize = 1 << 30;

/// What is computed at once: tokens with their activations, choices, and results.
struct Tokens {
    x: Activations,
    picks: Address,
    shares: Address,
    y: Address,
    rows: usize,
    /// Experts of a token.
    used: usize,
    /// Whether results are added to what is there.
    onto: bool,
}

impl Tokens {
    /// Some of them.
    fn part(&self, first: usize, rows: usize, d: usize) -> Tokens {
        let at = |base: Address, bytes: usize| base + (first * bytes) as Address;
        let x = Activations {
            codes: at(self.x.codes, d),
            steps: at(self.x.steps, d / 32 * 4),
            halves: at(self.x.halves, d / 32 * 8),
            floats: at(self.x.floats, d * 4),
            bf16: at(self.x.bf16, d * 2),
            ..Activations::default()
        };
        let (picks, shares) = (at(self.picks, self.used * 4), at(self.shares, self.used * 4));
        Tokens { x, picks, shares, y: at(self.y, d * 4), rows, ..*self }
    }
}

impl Cuda {
    /// Every (token, expert) pair by itself.
    fn experts_by_pair(&mut self, weights: &ExpertWeights, clamp: f32, tokens: &Tokens) {
        let ExpertWeights { gate, down, .. } = weights;
        let &Tokens { picks, y, rows, used, onto, .. } = tokens;
        let (inner, d, pairs) = (gate.rows, gate.cols, rows * used);
        let stored = self.stored(down);
        let ([a, b, c], code, float) = (stored.planes, stored.code(), is_float(stored.format));
        // The lattice rounds what it has computed.
        let rounded = !float && inner.is_multiple_of(LATTICE_UNIT) && self.has_lattice(gate);
        let to = if rounded {
            let at = self.scratch("rounded inner rows", rounded_bytes(pairs, inner));
            Activations::rounded(at, pairs * inner, 0)
        } else {
            let floats = self.scratch("inner rows", pairs * inner * 4);
            Activations { floats, ..Activations::default() }
        };
        self.inner_by_pair(weights, clamp, tokens, to);

        let shared = if float { 0 } else { rounded_bytes(used, inner) };
        let Activations { codes, steps, halves, floats, .. } = to;
        let args = words![a, b, c, floats, codes, steps, halves, picks, y, d, u32::from(onto)];
        let unit = (&DOWN, values(&[code, inner, used, usize::from(rounded)]), "expert_down");
        self.reading(down, pairs);
        let blocks = (self.processors() / rows).clamp(1, d.div_ceil(DOWN_THREADS / 32));
        let grid = [blocks, rows, 1];
        self.record_shared(unit, grid, (DOWN_THREADS as u32, shared), args);
    }

    /// Whether few tokens look up the points of these weights in tables.
    fn has_lattice(&self, gate: &Weight) -> bool {
        let held = gate.cols / 1024;
        let fits = gate.cols.is_multiple_of(1024) && held <= LATTICE_HELD_MAX;
        fits && self.stored(gate).code() == IQ2_XXS
    }

    /// The inner row of every pair, to `to`: in floats, or rounded if it has codes, which the
    /// lattice alone does.
    fn inner_by_pair(
        &mut self,
        weights: &ExpertWeights,
        clamp: f32,
        tokens: &Tokens,
        to: Activations,
    ) {
        let ExpertWeights { gate, up, .. } = weights;
        let &Tokens { x, picks, shares, rows, used, .. } = tokens;
        let (inner, d, pairs) = (gate.rows, gate.cols, rows * used);
        let ([ga, gb, gc], [ua, ub, uc]) = (self.stored(gate).planes, self.stored(up).planes);
        let code = self.stored(gate).code();
        let Activations { codes, steps, halves, floats, .. } = x;
        self.reading(gate, pairs);
        self.reading(up, pairs);
        if self.has_lattice(gate) {
            let (all, held) = (pairs * inner, d / 1024);
            let args = words![
                ga, gb, gc, ua, ub, uc, codes, steps, picks, shares, to.floats, to.codes, to.steps,
                to.halves, all, used, clamp
            ];
            let bytes = |wide| LATTICE_ALIGNED[wide] + LATTICE_BYTES + LATTICE_ROWS_MAX[wide] * 8;
            let wide = usize::from(self.has_shared(1, bytes(1)));
            let unit = (&LATTICE, values(&[code, held, wide, inner]), "lattice_inner");
            let blocks = self.processors().max(all.div_ceil(LATTICE_ROWS_MAX[wide]));
            let grid = [blocks.min(all.div_ceil(LATTICE_UNIT)), 1, 1];
            let threads = if held > LATTICE_HELD { 384 } else { 512 };
            self.record_shared(unit, grid, (threads, bytes(wide)), args);
        } else {
            let args = words![
                ga, gb, gc, ua, ub, uc, codes, steps, halves, floats, picks, shares, to.floats,
                inner, d, used, clamp
            ];
            let unit = (&INNER, values(&[code]), "expert_inner");
            self.record(unit, [inner.div_ceil(8), pairs, 1], 256, args);
        }
    }

    /// The experts of few tokens, added to `y`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn experts_onto(
        &mut self,
        weights: &ExpertWeights,
        clamp: f32,
        x: &Buffer<f32>,
        picks: &Buffer<u32>,
        shares: &Buffer<f32>,
        y: &mut Buffer<f32>,
        rows: usize,
    ) {
        let tokens = self.tokens(weights, x, picks, shares, y, rows, false);
        self.experts_by_pair(weights, clamp, &Tokens { onto: true, ..tokens });
    }

    /// What is computed for some tokens: `grouped` by expert, from BF16, or pair by pair.
    #[allow(clippy::too_many_arguments)]
    fn tokens(
        &mut self,
        weights: &ExpertWeights,
        x: &Buffer<f32>,
        picks: &Buffer<u32>,
        shares: &Buffer<f32>,
        y: &mut Buffer<f32>,
        rows: usize,
        grouped: bool,
    ) -> Tokens {
        let ExpertWeights { gate, up, .. } = weights;
        let format = self.stored(gate).format;
        assert_eq!(format, self.stored(up).format, "gate and up have one format");
        let x = match grouped {
            true => self.bf16_activations(x, rows * gate.cols),
            false => self.activations(x, rows, gate.cols, format),
        };
        let (used, onto) = (picks.width, false);
        let (picks, shares, y) = (self.at(picks), self.at(shares), self.edit(y));
        Tokens { x, picks, shares, y, rows, used, onto }
    }

    /// All pairs with one expert together, on tensor cores. Which pairs those are, only the device
    /// knows: kernels look through as many tiles as there can be.
    fn experts_grouped(&mut self, weights: &ExpertWeights, clamp: f32, tokens: &Tokens) {
        let ExpertWeights { gate, up, down } = weights;
        let &Tokens { x, picks, shares, y, rows, used, .. } = tokens;
        let (inner, d, count, pairs) = (gate.rows, gate.cols, gate.count, rows * used);
        let limits = self.tile_limits();
        let (tile, slots) = (limits.tokens, limits.slots);
        // Every expert has at most one tile that is not full.
        let tiles = pairs / tile + count.min(pairs);
        let inner_at = self.scratch("inner rows in BF16", pairs * inner * 2);
        let tiles_at = self.scratch("order of pairs", tiles * 16 + (count + pairs) * 4);
        let parts_at = self.scratch("results of pairs", pairs * d * 4);
        let counts_at = tiles_at + (tiles * 16) as Address;
        let order_at = counts_at + (count * 4) as Address;

        let arrange = |kernel| (&ARRANGE, values(&[]), kernel);
        self.record(arrange("count_pairs"), [count, 1, 1], 1024, words![picks, counts_at, pairs]);
        let args = words![picks, counts_at, order_at, tiles_at, count, pairs, tile, tiles];
        self.record(arrange("place_pairs"), [count, 1, 1], 1024, args);

        let stored = self.stored(gate);
        let (format, code) = (stored.format, stored.code());
        let ([ga, gb, gc], [ua, ub, uc]) = (stored.planes, self.stored(up).planes);
        let args = words![
            ga, gb, gc, ua, ub, uc, x.bf16, shares, order_at, tiles_at, inner_at, inner, d, used,
            tiles, clamp
        ];
        let unit = (&GROUPED, values(&[code, tile, slots]), "grouped_inner");
        self.reading(gate, pairs);
        self.reading(up, pairs);
        let grid = [self.processors(), 1, 1];
        let shared = limits.bytes(format) + tile * INNER_BYTES;
        self.record_shared(unit, grid, (THREADS_MAX, shared), args);

        let stored = self.stored(down);
        let (format, code, [a, b, c]) = (stored.format, stored.code(), stored.planes);
        let args = words![a, b, c, inner_at, order_at, tiles_at, parts_at, d, inner, tiles];
        let unit = (&GROUPED, values(&[code, tile, slots]), "grouped_down");
        self.reading(down, pairs);
        self.record_shared(unit, grid, (THREADS_MAX, limits.bytes(format)), args);

        let (fours, all) = (d / 4, rows * d / 4);
        let args = words![parts_at, y, fours, used, all];
        self.record(arrange("sum_pairs"), [all.div_ceil(256), 1, 1], 256, args);
    }
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
        let ExpertWeights { gate, down, .. } = weights;
        let (used, d) = (picks.width, gate.cols);
        let (format, last) = (self.stored(gate).format, self.stored(down).format);
        // For a few pairs with each expert, decoding weights costs more than sharing them saves.
        let few = rows <= FEW_TOKENS || rows * used < gate.count * 5 / 2;
        let fits = whole_units(d) && whole_units(gate.rows);
        let grouped = !few && fits && !is_float(format) && !is_float(last);
        let tokens = self.tokens(weights, x, picks, shares, y, rows, grouped);
        if !grouped {
            return self.experts_by_pair(weights, clamp, &tokens);
        }
        let step = (PARTS_BYTES / (used * d * 4)).max(1);
        for first in (0..rows).step_by(step) {
            let part = tokens.part(first, step.min(rows - first), d);
            self.experts_grouped(weights, clamp, &part);
        }
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
        let (used, d, f) = (picks.width, weights.gate.cols, weights.gate.rows);
        let format = self.stored(&weights.gate).format;
        assert_eq!(format, self.stored(&weights.up).format, "gate and up have one format");
        let x = self.activations(x, rows, d, format);
        let (picks, shares, inner) = (self.at(picks), self.at(shares), self.edit(inner));
        let tokens = Tokens { x, picks, shares, y: 0, rows, used, onto: false };
        // A grid has no more blocks than that in the direction of pairs.
        let step = (PAIRS_MAX / used).max(1);
        for first in (0..rows).step_by(step) {
            let part = tokens.part(first, step.min(rows - first), d);
            let floats = inner + (first * used * f * 4) as Address;
            let to = Activations { floats, ..Activations::default() };
            self.inner_by_pair(weights, clamp, &part, to);
        }
    }

    fn swiglu_raw(
        &mut self,
        gate: &Buffer<f32>,
        up: &Buffer<f32>,
        clamp: f32,
        out: &mut Buffer<f32>,
        rows: usize,
    ) {
        let (gate, up, count) = (self.at(gate), self.at(up), rows * fours(out.width));
        let Activations { codes, steps, halves, floats, .. } = self.edit_rounded(out, rows);
        let args = words![gate, up, floats, codes, steps, halves, count, clamp];
        let grid = [count.div_ceil(256), 1, 1];
        self.record((&ELEMENTS, values(&[]), "swiglu"), grid, 256, args);
    }

    fn add_raw(&mut self, x: &Buffer<f32>, y: &mut Buffer<f32>, rows: usize) {
        let count = rows * fours(y.width);
        let args = words![self.at(x), self.edit(y), count];
        let grid = [count.div_ceil(256), 1, 1];
        self.record((&ELEMENTS, values(&[]), "add"), grid, 256, args);
    }
}
