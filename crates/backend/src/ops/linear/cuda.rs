//! Matrix products on CUDA: activations are rounded to 8 bits once per buffer, then multiplied.
//!
//! The arithmetic is that of `panel.rs`, so the two fast backends differ by the order of sums only.
//! Few tokens read the weights once per eight of them; many go through tensor cores, tile by tile.

use gguf::Format;

use super::Linear;
use crate::cuda::driver::Address;
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, units, values, words};
use crate::{Buffer, Weight};

/// Rounding of activations.
pub static ROUND: Unit = Unit {
    name: "round",
    source: &[COMMON, include_str!("round.cu")],
    parameters: &[],
    kernels: &["round_rows"],
};

/// Products for a few tokens.
pub static GEMV: Unit = Unit {
    name: "gemv",
    source: &[COMMON, units::WEIGHTS, include_str!("gemv.cu")],
    parameters: &["FORMAT"],
    kernels: &["gemv1", "gemv2", "gemv4", "gemv8"],
};

/// Products for many tokens with quantized weights.
pub static GEMM: Unit = Unit {
    name: "gemm",
    source: &[COMMON, units::WEIGHTS, units::TILE, include_str!("gemm.cu")],
    parameters: &["FORMAT"],
    kernels: &["gemm64", "gemm128"],
};

/// Products for many tokens with weights of float precision.
pub static SGEMM: Unit = Unit {
    name: "sgemm",
    source: &[COMMON, units::WEIGHTS, include_str!("sgemm.cu")],
    parameters: &["FORMAT"],
    kernels: &["sgemm"],
};

/// So many tokens are never multiplied in tiles.
pub(crate) const FEW_TOKENS: usize = 16;
/// Tiles take their time for all columns, however few they are: where a processor has fewer results
/// than this, reading the weight again for every eight tokens is faster.
const FEW_RESULTS: usize = 512;
/// Weight rows of a tile on tensor cores, and of one in floats; see tile.cuh and sgemm.cu.
pub(crate) const TILE_ROWS: usize = 128;
const FLOAT_TILE: usize = 64;

/// Dynamic shared memory of a tile with so many tokens: two stages and a lattice; see tile.cuh.
pub(crate) fn tile_bytes(format: Format, tokens: usize) -> usize {
    let line = 144 + 4 * 4 + if matches!(format, Format::Q2K | Format::Q4K) { 4 * 8 } else { 0 };
    2 * (TILE_ROWS + tokens) * line + if format == Format::Iq2Xxs { 256 * 8 } else { 0 }
}

/// Which activations are rounded: those of one buffer, until the buffer changes.
#[derive(Default)]
pub struct Rounded {
    /// Buffer, rows, columns.
    source: Option<(usize, usize, usize)>,
}

impl Rounded {
    /// A buffer is going to change.
    pub fn forget(&mut self, id: usize) {
        self.source = self.source.filter(|source| source.0 != id);
    }
}

/// Activations as products take them.
#[derive(Clone, Copy, Default)]
pub(crate) struct Activations {
    pub codes: Address,
    pub steps: Address,
    pub halves: Address,
    pub floats: Address,
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

/// Whether products with a format take activations as they are.
pub(crate) fn is_float(format: Format) -> bool {
    matches!(format, Format::F32 | Format::F16 | Format::Bf16)
}

/// Bytes that `rows` rounded rows take.
pub(crate) fn rounded_bytes(rows: usize, cols: usize) -> usize {
    rows * cols + rows * cols / 32 * 12
}

impl Cuda {
    /// Activations for a product with a weight of `format`, rounded if it needs them so.
    pub(crate) fn activations(
        &mut self,
        x: &Buffer<f32>,
        rows: usize,
        cols: usize,
        format: Format,
    ) -> Activations {
        let floats = self.at(x);
        if is_float(format) {
            return Activations { floats, ..Activations::default() };
        }
        let at = self.scratch("rounded activations", rounded_bytes(rows, cols));
        let source = Some((x.id, rows, cols));
        let known = self.rounded.source == source;
        self.rounded.source = source;
        self.round(floats, at, rows, cols, !known)
    }

    /// Rounds rows from `x` to `at`, if they are `new`.
    pub(crate) fn round(
        &mut self,
        x: Address,
        at: Address,
        rows: usize,
        cols: usize,
        new: bool,
    ) -> Activations {
        let blocks = rows * cols / 32;
        let steps = at + (rows * cols) as Address;
        let halves = steps + 4 * blocks as Address;
        if new {
            let args = words![x, at, steps, halves, blocks];
            self.record((&ROUND, values(&[]), "round_rows"), [blocks.div_ceil(8), 1, 1], 256, args);
        }
        Activations { codes: at, steps, halves, floats: x }
    }

    /// Computes a product.
    pub(crate) fn multiply(&mut self, product: Product) {
        let Product { weight, groups, tokens, .. } = product;
        let float = is_float(self.stored(weight).format);
        let tile = if float { FLOAT_TILE } else { TILE_ROWS };
        // A tile must not reach into another group, nor a stage beyond the last column.
        let fits = (groups == 1 || (weight.rows / groups).is_multiple_of(tile))
            && weight.cols.is_multiple_of(32);
        let few = tokens * weight.rows < FEW_RESULTS * self.processors();
        if tokens <= FEW_TOKENS || few || !fits {
            self.multiply_few(product);
        } else if float {
            self.multiply_floats(product);
        } else {
            self.multiply_tiles(product);
        }
    }

    /// The same on tensor cores.
    fn multiply_tiles(&mut self, product: Product) {
        let Product { weight: &Weight { rows, cols, .. }, groups, x, out, tokens } = product;
        let stored = self.stored(product.weight);
        let ([a, b, c], format, code) = (stored.planes, stored.format, stored.code());
        let Activations { codes, steps, halves, .. } = x;
        let row_tiles = rows.div_ceil(TILE_ROWS);
        // Large tiles decode weights less often, if there are enough of them for every processor.
        let large = row_tiles * tokens.div_ceil(128) >= 2 * self.processors();
        let (kernel, tile) = if large { ("gemm128", 128) } else { ("gemm64", 64) };
        let grid = [tokens.div_ceil(tile), row_tiles, 1];
        let shared = tile_bytes(format, tile);
        let args = words![a, b, c, codes, steps, halves, out, rows, cols, groups, tokens];
        self.record_shared((&GEMM, values(&[code]), kernel), grid, (256, shared), args);
    }

    /// The same in floats.
    fn multiply_floats(&mut self, product: Product) {
        let Product { weight: &Weight { rows, cols, .. }, groups, x, out, tokens } = product;
        let stored = self.stored(product.weight);
        let ([a, b, c], code) = (stored.planes, stored.code());
        let grid = [tokens.div_ceil(FLOAT_TILE), rows.div_ceil(FLOAT_TILE), 1];
        let args = words![a, b, c, x.floats, out, rows, cols, groups, tokens];
        self.record((&SGEMM, values(&[code]), "sgemm"), grid, 256, args);
    }

    /// The same for a few tokens: every weight is read once for eight of them.
    fn multiply_few(&mut self, product: Product) {
        let Product { weight: &Weight { rows, cols, .. }, groups, x, out, tokens } = product;
        let stored = self.stored(product.weight);
        let ([a, b, c], code) = (stored.planes, stored.code());
        let Activations { codes, steps, halves, floats } = x;
        let (kernel, tile) = match tokens {
            1 => ("gemv1", 1),
            2 => ("gemv2", 2),
            3..=4 => ("gemv4", 4),
            _ => ("gemv8", 8),
        };
        // Few rows are shared by several warps, so that enough of them are reading.
        let wanted = 16 * 8 * self.processors();
        let split = [1, 2, 4].into_iter().find(|split| rows * split >= wanted / 2).unwrap_or(8);
        let grid = [rows.div_ceil(8 / split), tokens.div_ceil(tile), 1];
        let args =
            words![a, b, c, codes, steps, halves, floats, out, rows, cols, groups, tokens, split];
        self.record((&GEMV, values(&[code]), kernel), grid, 256, args);
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
        let format = self.stored(weight).format;
        let x = self.activations(x, rows * groups, weight.cols, format);
        let out = self.edit(out);
        self.multiply(Product { weight, groups, x, out, tokens: rows });
    }
}
