//! Products of many tokens with quantized weights on CUDA: tiles on tensor cores, in BF16.
//!
//! What the kernels need from the host: activations in BF16, in the order of columns that bf16.cuh
//! says, and how large tiles and shared memory are; see tile.cuh. Which products go this way is
//! decided here alone, from the weight and the number of tokens.

use gguf::Format;

use super::cuda::{FEW_RESULTS, FEW_TOKENS, Product};
use super::rounded::{Activations, is_float};
use crate::cuda::driver::Address;
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, units, values, words};
use crate::{Buffer, Weight};

/// Activations in BF16.
pub static BF16: Unit = Unit {
    family: "linear",
    name: "bf16",
    source: &[COMMON, units::BF16, include_str!("bf16.cu")],
    parameters: &[],
    kernels: &["bf16_rows"],
};

/// The products.
pub static GEMM: Unit = Unit {
    family: "linear",
    name: "gemm",
    source: &[
        COMMON,
        units::WEIGHTS,
        units::SHARED,
        units::SLOTS,
        units::BF16,
        units::FRAGMENT,
        units::TILE,
        include_str!("gemm.cu"),
    ],
    parameters: &["FORMAT", "TOKENS", "SLOTS"],
    kernels: &["gemm"],
};

/// Columns that are in an order of their own, and weight rows of a group of threads; see tile.cuh.
const UNIT_COLS: usize = 128;
const GROUP_ROWS: usize = 64;
/// Threads of a group, and the most groups that multiply in a block.
const GROUP: usize = 128;
const GROUPS_MAX: usize = 4;
/// Threads of a block with all groups, and those that copy for it.
pub(crate) const THREADS_MAX: u32 = ((GROUPS_MAX + 1) * GROUP) as u32;
/// Fewest tokens that a kernel has a loop for.
const TOKENS_MIN: usize = 64;

/// Whether tiles can be of rows with so many columns; see tile.cuh.
pub(crate) fn whole_units(cols: usize) -> bool {
    cols.is_multiple_of(UNIT_COLS) && cols >= 2 * UNIT_COLS
}

/// What kernels of tiles are compiled for: the most tokens of a tile, and slots of shared memory.
#[derive(Clone, Copy)]
pub(crate) struct TileLimits {
    pub tokens: usize,
    pub slots: usize,
}

impl TileLimits {
    /// Dynamic shared memory, up to what only some kernels need: tables of the lattice, slots with
    /// two barriers each, and notes; see `Room` in tile.cuh.
    pub(crate) fn bytes(self, format: Format) -> usize {
        let TileLimits { tokens, slots } = self;
        let lanes = if tokens > TOKENS_MIN { 32 } else { 16 };
        let tables = if format == Format::Iq2Xxs { 256 * lanes * 8 } else { 0 };
        tables + slots * (tokens * 128 + 16) + (slots / 4 + 2) * tokens * 4
    }
}

/// Whose activations are in BF16 at present.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bf16Copy {
    /// The buffer's id.
    pub id: usize,
    count: usize,
    at: Address,
}

impl Cuda {
    /// Hopper has registers for large tiles, since its products take none for activations.
    pub(crate) fn tile_limits(&self) -> TileLimits {
        let tokens = if self.gpu.capability == 90 { 2 * TOKENS_MIN } else { TOKENS_MIN };
        TileLimits { tokens, slots: 4 }
    }

    /// Whether a product goes through tiles. They take their time for all columns, however few
    /// results there are; and a tile must not reach into another group.
    pub(crate) fn in_tiles(&self, weight: &Weight, groups: usize, tokens: usize) -> bool {
        let few = tokens * weight.rows < FEW_RESULTS * self.processors();
        let whole = groups == 1 || (weight.rows / groups).is_multiple_of(GROUP_ROWS);
        tokens > FEW_TOKENS
            && !few
            && whole
            && whole_units(weight.cols)
            && !is_float(self.stored(weight).format)
    }

    /// The first `count` activations of a buffer in BF16. One buffer has them at a time: products
    /// of the same activations follow each other.
    pub(crate) fn bf16_activations(&mut self, x: &Buffer<f32>, count: usize) -> Activations {
        let floats = self.at(x);
        let at = self.scratch("activations in BF16", count * 2);
        let copy = Bf16Copy { id: x.id, count, at };
        if self.rounded.bf16 != Some(copy) {
            self.record_bf16(floats, at, count);
            self.rounded.bf16 = Some(copy);
        }
        Activations { bf16: at, floats, ..Activations::default() }
    }

    /// Where the first `count` activations of a buffer are written in BF16, and not as floats, for
    /// a product that comes next and takes no others.
    pub(crate) fn edit_bf16(&mut self, x: &mut Buffer<f32>, count: usize) -> Address {
        self.edit(x);
        self.bf16_place(x, count)
    }

    /// Where a kernel that writes `count` activations of a buffer, after it was noted as edited,
    /// stores them in BF16 as well.
    pub(crate) fn bf16_place(&mut self, x: &Buffer<f32>, count: usize) -> Address {
        let at = self.scratch("activations in BF16", count * 2);
        self.rounded.bf16 = Some(Bf16Copy { id: x.id, count, at });
        at
    }

    /// `count` activations at `x`, which are no buffer's, in BF16.
    pub(crate) fn bf16_values(&mut self, x: Address, count: usize) -> Activations {
        let at = self.scratch("activations in BF16", count * 2);
        self.rounded.bf16 = None;
        self.record_bf16(x, at, count);
        Activations { bf16: at, floats: x, ..Activations::default() }
    }

    fn record_bf16(&mut self, x: Address, to: Address, count: usize) {
        assert!(count.is_multiple_of(UNIT_COLS), "{count} activations");
        let sixteens = count / 16;
        let grid = [sixteens.div_ceil(256), 1, 1];
        self.record((&BF16, values(&[]), "bf16_rows"), grid, 256, words![x, to, sixteens]);
    }

    /// Computes a product in tiles.
    pub(crate) fn multiply_tiles(&mut self, product: Product) {
        let Product { weight: &Weight { rows, cols, .. }, groups, x, out, tokens } = product;
        // There may have been no memory for the copy.
        if self.has_failed() {
            return;
        }
        assert!(x.bf16 != 0, "activations of a product in tiles are in BF16");
        let stored = self.stored(product.weight);
        let ([a, b, c], format, code) = (stored.planes, stored.format, stored.code());
        let limits = self.tile_limits();
        let (teams, tile) = self.tile_of(rows, groups, tokens, limits);
        let tiles = rows.div_ceil(teams * GROUP_ROWS) * tokens.div_ceil(tile);
        let grid = [tiles.min(self.processors()), 1, 1];
        let args = words![a, b, c, x.bf16, out, rows, cols, groups, tokens, tile];
        let unit = (&GEMM, values(&[code, limits.tokens, limits.slots]), "gemm");
        let block = (((teams + 1) * GROUP) as u32, limits.bytes(format));
        self.reading(product.weight, 1);
        self.record_shared(unit, grid, block, args);
    }

    /// Groups of threads of a block, and tokens of its tile: fewer than there may be, first groups
    /// and then tokens, while that leaves no tile without a processor, or the group of rows is
    /// smaller.
    fn tile_of(
        &self,
        rows: usize,
        groups: usize,
        tokens: usize,
        limits: TileLimits,
    ) -> (usize, usize) {
        let (mut teams, mut tile) = (GROUPS_MAX, limits.tokens);
        let tiles =
            |teams: usize, tile: usize| rows.div_ceil(teams * GROUP_ROWS) * tokens.div_ceil(tile);
        let fits = |teams: usize| groups == 1 || (rows / groups).is_multiple_of(teams * GROUP_ROWS);
        while teams > 1 && (!fits(teams) || tiles(teams / 2, tile) <= self.processors()) {
            teams /= 2;
        }
        while tile > TOKENS_MIN && tiles(teams, tile / 2) <= self.processors() {
            tile /= 2;
        }
        (teams, tile)
    }
}
