//! Matrix products on CUDA: activations are rounded to 8 bits once per buffer (`rounded.rs`), then
//! multiplied.
//!
//! The arithmetic is that of `panel.rs`, so the two fast backends differ by the order of sums only.
//! Many tokens with quantized weights go through tensor cores in BF16 instead: see `tiles.rs`; with
//! weights in F16 as two F16 each: see `twofold.rs`.

use gguf::Format;

use super::Linear;
use super::pipe::After;
use super::rounded::{Activations, is_float};
use crate::cuda::driver::Address;
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, units, values, words};
use crate::{Buffer, Weight};

/// Products for a few tokens.
pub static GEMV: Unit = Unit {
    family: "linear",
    name: "gemv",
    source: &[COMMON, GIVEN, units::WEIGHTS, ROW, include_str!("gemv.cu")],
    parameters: &["FORMAT"],
    kernels: &["gemv1", "gemv2", "gemv4", "gemv8"],
};

/// The same with weights of two formats, the second of float precision.
pub static PAIR: Unit = Unit {
    family: "linear",
    name: "pair",
    source: &[
        COMMON,
        GIVEN,
        "namespace one {\n",
        units::WEIGHTS,
        ROW,
        "}\n#undef FORMAT\n#undef CHUNK\n#define FORMAT OTHER\nnamespace other {\n",
        units::WEIGHTS,
        ROW,
        "}\n",
        include_str!("pair.cu"),
    ],
    parameters: &["FORMAT", "OTHER"],
    kernels: &["pair1", "pair2", "pair4", "pair8"],
};

/// The same on tensor cores for Q8_0, F16 and BF16, for more tokens.
pub static STRIP: Unit = Unit {
    family: "linear",
    name: "strip",
    source: &[
        COMMON,
        GIVEN,
        units::WEIGHTS,
        units::WHOLE,
        units::SHARED,
        TF32,
        include_str!("strip.cu"),
    ],
    parameters: &["FORMAT", "STAGES"],
    kernels: &["strip8", "strip16"],
};

/// What they share.
pub(super) const GIVEN: &str = include_str!("given.cuh");
const ROW: &str = include_str!("gemv.cuh");
/// Products of TF32.
pub(crate) const TF32: &str = include_str!("tf32.cuh");

/// Products for many tokens with weights of float precision.
pub static SGEMM: Unit = Unit {
    family: "linear",
    name: "sgemm",
    source: &[COMMON, units::WEIGHTS, units::SHARED, TF32, include_str!("sgemm.cu")],
    parameters: &["FORMAT"],
    kernels: &["sgemm", "sgemm_narrow"],
};

/// So many tokens are never multiplied in tiles.
pub(crate) const FEW_TOKENS: usize = 16;
/// Tiles take their time for all columns, however few they are: where a processor has fewer results
/// than this, reading the weight again for every eight tokens is faster.
pub(crate) const FEW_RESULTS: usize = 512;
/// Products that one launch for a few tokens takes, its threads, and the chunks that each has at
/// once; see gemv.cu.
pub(crate) const MATRICES_MAX: usize = 8;
const GEMV_THREADS: usize = 256;
const GEMV_AHEAD: usize = 4;
/// Tokens from which on strips are faster, where they fit; columns of a stretch of Q8_0, rows of a
/// strip, and warps of a block; see strip.cu.
const STRIP_TOKENS: usize = 5;
const STRETCH_CODES: usize = 128;
const STRIP_ROWS: usize = 16;
const STRIP_WARPS: usize = GEMV_THREADS / 32;
/// Weight rows of a tile of float precision; see sgemm.cu.
const FLOAT_TILE: usize = 64;

/// A tile of float precision; see sgemm.cu.
struct SgemmTile {
    tokens: usize,
    rows: usize,
    depth: usize,
}

impl SgemmTile {
    /// Two stages of floats, padded.
    fn bytes(&self) -> usize {
        2 * (self.tokens + self.rows) * (self.depth + 4) * 4
    }
}

/// Shared memory that a warp needs for a stretch of its strip; see strip.cu.
fn strip_bytes(stretch: usize, tokens: usize) -> usize {
    let whole = stretch == STRETCH_CODES;
    let of_row = 128 + if whole { stretch / 32 * 2 } else { 0 };
    let of_token = if whole { stretch + stretch / 32 * 4 } else { stretch * 4 };
    STRIP_ROWS * of_row + tokens * of_token
}

/// The largest power of two that is not above `n`.
fn floor_power(n: usize) -> usize {
    1 << n.ilog2()
}

/// `out[t] = W x[t]` by groups, from activations that are ready.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    pub weight: &'a Weight,
    pub groups: usize,
    pub x: Activations,
    pub out: Address,
    pub tokens: usize,
}

impl Cuda {
    /// Computes a product.
    pub(crate) fn multiply(&mut self, product: Product) {
        let Product { weight, groups, tokens, .. } = product;
        if product.x.twofold != 0 {
            return self.multiply_twofold(&[(weight, product.out)], groups, product.x, tokens);
        }
        if self.in_tiles(weight, groups, tokens) {
            return self.multiply_tiles(product);
        }
        let float = is_float(self.stored(weight).format);
        // A tile must not reach into another group, nor a stage beyond the last column.
        let fits = (groups == 1 || (weight.rows / groups).is_multiple_of(FLOAT_TILE))
            && weight.cols.is_multiple_of(32);
        let few = tokens * weight.rows < FEW_RESULTS * self.processors();
        if tokens <= FEW_TOKENS || few || !fits || !float {
            self.multiply_few(product);
        } else {
            self.multiply_floats(product);
        }
    }

    /// The same in floats, in tiles.
    fn multiply_floats(&mut self, product: Product) {
        let Product { weight: &Weight { rows, cols, .. }, groups, x, out, tokens } = product;
        let stored = self.stored(product.weight);
        let ([a, b, c], code) = (stored.planes, stored.code());
        // Few rows leave processors idle: tiles are smaller, and columns are shared out.
        let few = rows.div_ceil(64) * tokens.div_ceil(128) < self.processors();
        let (kernel, tile) = match few && cols >= 1024 {
            true => ("sgemm_narrow", SgemmTile { tokens: 32, rows: 32, depth: 128 }),
            false => ("sgemm", SgemmTile { tokens: 128, rows: 64, depth: 32 }),
        };
        let grid = [tokens.div_ceil(tile.tokens), rows.div_ceil(tile.rows), 1];
        let args = words![a, b, c, x.floats, out, rows, cols, groups, tokens];
        self.reading(product.weight, 1);
        self.record_shared((&SGEMM, values(&[code]), kernel), grid, (256, tile.bytes()), args);
    }

    /// The same for a few tokens.
    fn multiply_few(&mut self, product: Product) {
        let Product { weight, groups, x, out, tokens } = product;
        self.multiply_each(&[(weight, out)], groups, x, tokens, false);
    }

    /// Products of the same activations with weights of one format, at most [`MATRICES_MAX`], for a
    /// few tokens: every weight is read once for eight or sixteen of them. `onto` adds to what is
    /// there.
    pub(crate) fn multiply_each(
        &mut self,
        products: &[(&Weight, Address)],
        groups: usize,
        x: Activations,
        tokens: usize,
        onto: bool,
    ) {
        if self.can_pipe(products, &[], groups, tokens) {
            let after = if onto { After::Add } else { After::Store };
            return self.multiply_pipe(products, &[], groups, x, tokens, after);
        }
        if let Some(stretch) = self.stretch_of_strips(products, groups, tokens) {
            return self.multiply_strips(products, stretch, groups, x, tokens, onto);
        }
        let (cols, code) = (products[0].0.cols, self.stored(products[0].0).code());
        let (share, (size, tile)) = (share_bits(cols, code), few(tokens));
        let unit = (&GEMV, values(&[code]), GEMV.kernels[size]);
        let (list, blocks) = self.listed(products, GEMV_THREADS >> share);
        let Activations { codes, steps, halves, floats, .. } = x;
        let args =
            words![codes, steps, halves, floats, cols, groups, tokens, share, u32::from(onto)];
        let grid = [blocks, tokens.div_ceil(tile), 1];
        self.record_list(unit, grid, (GEMV_THREADS as u32, 0), &filled(list), args);
    }

    /// The same in strips.
    fn multiply_strips(
        &mut self,
        products: &[(&Weight, Address)],
        stretch: usize,
        groups: usize,
        x: Activations,
        tokens: usize,
        onto: bool,
    ) {
        let (cols, code) = (products[0].0.cols, self.stored(products[0].0).code());
        let (size, tile) = if tokens > 8 { (1, 16) } else { (0, 8) };
        // As few warps share a strip as give every processor a block or two.
        let strips = products.iter().map(|(weight, _)| weight.rows.div_ceil(STRIP_ROWS));
        let strips = strips.sum::<usize>() * tokens.div_ceil(tile);
        let wanted = (STRIP_WARPS * self.processors() * 3 / 2).div_ceil(strips);
        let split = wanted.next_power_of_two().min(STRIP_WARPS).min(floor_power(cols / stretch));
        let bytes = |stages| STRIP_WARPS * stages * strip_bytes(stretch, tile);
        let (list, blocks) = self.listed(products, STRIP_WARPS / split * STRIP_ROWS);
        // Blocks that have a processor to themselves may be further ahead.
        let together = if blocks * tokens.div_ceil(tile) > self.processors() { 2 } else { 1 };
        let fits = |stages: &usize| self.has_shared(together, bytes(*stages));
        let stages = [4, 3].into_iter().find(fits).unwrap_or(2);
        let Activations { codes, steps, halves, floats, .. } = x;
        let split = split.ilog2();
        let args =
            words![codes, steps, halves, floats, cols, groups, tokens, split, u32::from(onto)];
        let unit = (&STRIP, values(&[code, stages]), STRIP.kernels[size]);
        let grid = [blocks, tokens.div_ceil(tile), 1];
        self.record_list(unit, grid, (GEMV_THREADS as u32, bytes(stages)), &filled(list), args);
    }

    /// Columns of a stretch, if there are enough tokens for strips, the format has them, no strip
    /// reaches into another group, and no stretch beyond the last column.
    fn stretch_of_strips(
        &self,
        products: &[(&Weight, Address)],
        groups: usize,
        tokens: usize,
    ) -> Option<usize> {
        let stretch = match self.stored(products[0].0).format {
            Format::Q8_0 => STRETCH_CODES,
            Format::F16 | Format::Bf16 => STRETCH_CODES / 2,
            _ => return None,
        };
        let fits = |weight: &Weight| {
            let whole = groups == 1 || (weight.rows / groups).is_multiple_of(STRIP_ROWS);
            weight.cols.is_multiple_of(stretch) && whole
        };
        let all = tokens >= STRIP_TOKENS && products.iter().all(|(weight, _)| fits(weight));
        all.then_some(stretch)
    }

    /// The same with weights of two formats, the second of float precision: `x` has activations for
    /// both. One launch, unless there are strips.
    pub(crate) fn multiply_pair(
        &mut self,
        products: [&[(&Weight, Address)]; 2],
        x: Activations,
        tokens: usize,
    ) {
        let [quantized, floats] = products;
        if self.can_pipe(quantized, floats, 1, tokens) {
            return self.multiply_pipe(quantized, floats, 1, x, tokens, After::Store);
        }
        if self.stretch_of_strips(quantized, 1, tokens).is_some() {
            self.multiply_each(quantized, 1, x, tokens, false);
            return self.multiply_each(floats, 1, x, tokens, false);
        }
        let (which, cols) = (quantized.len(), quantized[0].0.cols);
        let codes = products.map(|products| self.stored(products[0].0).code());
        let shares = codes.map(|code| share_bits(cols, code));
        let (mut list, blocks) = self.listed(quantized, GEMV_THREADS >> shares[0]);
        let (others, more) = self.listed(floats, GEMV_THREADS >> shares[1]);
        list.extend(others);
        let (size, tile) = few(tokens);
        let unit = (&PAIR, values(&codes), PAIR.kernels[size]);
        let Activations { codes, steps, halves, floats, .. } = x;
        let args =
            words![codes, steps, halves, floats, cols, tokens, shares[0], blocks, which, shares[1]];
        let grid = [blocks + more, tokens.div_ceil(tile), 1];
        self.record_list(unit, grid, (GEMV_THREADS as u32, 0), &filled(list), args);
    }

    /// Weights as kernels take them, with the blocks that they need if each takes so many rows.
    pub(super) fn listed(
        &mut self,
        products: &[(&Weight, Address)],
        rows_at_once: usize,
    ) -> (Vec<u64>, usize) {
        let (mut list, mut blocks) = (Vec::new(), 0);
        for &(weight, out) in products {
            self.reading(weight, 1);
            let [a, b, c] = self.stored(weight).planes;
            list.extend([a, b, c, out, weight.rows as u64]);
            blocks += weight.rows.div_ceil(rows_at_once);
        }
        (list, blocks)
    }
}

/// Which kernel of a unit takes so many tokens, and how many it takes at a time.
fn few(tokens: usize) -> (usize, usize) {
    match tokens {
        1 => (0, 1),
        2 => (1, 2),
        3..=4 => (2, 4),
        _ => (3, 8),
    }
}

/// The logarithm of how many threads share a row: as few as need one turn for it.
fn share_bits(cols: usize, code: usize) -> u32 {
    let chunks = cols / chunk_values(code);
    let share = chunks.div_ceil(GEMV_AHEAD).next_power_of_two().clamp(8, GEMV_THREADS);
    share.trailing_zeros()
}

/// A list of weights, as long as the kernels' structure is.
pub(super) fn filled(mut list: Vec<u64>) -> Vec<u64> {
    assert!(list.len() <= 5 * MATRICES_MAX, "{} words of weights", list.len());
    list.resize(5 * MATRICES_MAX, 0);
    list
}

/// Weights of a chunk, by the format's number; see weights.cuh.
fn chunk_values(code: usize) -> usize {
    match code {
        0 => 4,
        1 | 30 => 8,
        8 => 16,
        10 => 64,
        _ => 32,
    }
}

impl Linear for Cuda {
    fn linear_raw(
        &mut self,
        weight: &Weight,
        groups: usize,
        x: &Buffer<f32>,
        out: &mut Buffer<f32>,
        rows: usize,
    ) {
        let x = if self.in_tiles(weight, groups, rows) {
            self.bf16_activations(x, rows * groups * weight.cols)
        } else if self.in_twofold(weight, groups, rows) {
            self.twofold_activations(x, rows * groups, weight.cols)
        } else {
            self.activations(x, rows * groups, weight.cols, self.stored(weight).format)
        };
        if self.can_pipe(&[(weight, 0)], &[], groups, rows)
            && let Some(run) = self.pipe_run(weight, groups)
        {
            let to = self.edit_rounded(out, rows);
            let after = if to.codes == 0 { After::Store } else { After::Round { to, run } };
            return self.multiply_pipe(&[(weight, to.floats)], &[], groups, x, rows, after);
        }
        let out = self.edit(out);
        self.multiply(Product { weight, groups, x, out, tokens: rows });
    }
}
