//! Products of many tokens with weights in F16 on CUDA: tiles on tensor cores, with activations
//! that are two F16 each (`twofold.cuh`), as exact as floats are.
//!
//! Which products go this way is decided here alone, from the weight and the number of tokens.
//! Those of the same activations share a launch and one copy of the activations.

use gguf::Format;

use super::cuda::{FEW_RESULTS, FEW_TOKENS, GIVEN, MATRICES_MAX, filled};
use super::rounded::Activations;
use crate::cuda::driver::Address;
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, units, values, words};
use crate::{Buffer, Weight};

/// Activations as two F16.
pub static HALVE: Unit = Unit {
    family: "linear",
    name: "halve",
    source: &[COMMON, TWOFOLD_TEXT, include_str!("halve.cu")],
    parameters: &[],
    kernels: &["twofold_rows"],
};

/// The products.
pub static TWOFOLD: Unit = Unit {
    family: "linear",
    name: "twofold",
    source: &[COMMON, GIVEN, units::SHARED, units::SLOTS, TWOFOLD_TEXT, include_str!("twofold.cu")],
    parameters: &["ROWS", "SLOTS"],
    kernels: &["twofold"],
};

/// What both share.
pub(crate) const TWOFOLD_TEXT: &str = include_str!("twofold.cuh");

/// Columns of a stage, tokens of a tile, and threads of a block; see twofold.cu.
const STAGE_COLS: usize = 64;
const TOKENS: usize = 128;
const THREADS: u32 = 384;
/// Weight rows of a tile, and the fewest of them.
const TILES: [usize; 3] = [256, 128, TILE_MIN];
const TILE_MIN: usize = 64;
/// Slots of shared memory, at most and at least.
const SLOTS: std::ops::RangeInclusive<usize> = 2..=5;
/// What a tile takes beside its rows, as so many rows: it reads activations for all of them.
const ROWS_BESIDE: usize = 80;

/// Shared memory of a block; see `Room` in twofold.cu.
fn bytes(rows: usize, slots: usize) -> usize {
    slots * ((2 * TOKENS + rows) * STAGE_COLS * 2 + 16)
}

/// Whose activations are two F16 at present.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TwofoldCopy {
    /// The buffer's id.
    pub id: usize,
    rows: usize,
    cols: usize,
    at: Address,
}

impl Cuda {
    /// Whether a product goes this way: there are enough results for tiles, stages are full, and no
    /// tile reaches into another group.
    pub(crate) fn in_twofold(&self, weight: &Weight, groups: usize, tokens: usize) -> bool {
        let few = tokens * weight.rows < FEW_RESULTS * self.processors();
        let whole = groups == 1 || (weight.rows / groups).is_multiple_of(TILE_MIN);
        tokens > FEW_TOKENS
            && !few
            && whole
            && weight.cols.is_multiple_of(STAGE_COLS)
            && self.stored(weight).format == Format::F16
            && self.has_shared(1, bytes(TILE_MIN, *SLOTS.start()))
    }

    /// The first `rows` rows of `cols` activations of a buffer as two F16. One buffer has them at a
    /// time: products of the same activations follow each other.
    pub(crate) fn twofold_activations(
        &mut self,
        x: &Buffer<f32>,
        rows: usize,
        cols: usize,
    ) -> Activations {
        let floats = self.at(x);
        let at = self.scratch("activations as two F16", rows * (cols + 1) * 4);
        let copy = TwofoldCopy { id: x.id, rows, cols, at };
        if self.rounded.twofold != Some(copy) {
            let threads = (cols / 8).next_multiple_of(32).min(512) as u32;
            let args = words![floats, at, factors(at, rows, cols), cols];
            self.record((&HALVE, values(&[]), "twofold_rows"), [rows, 1, 1], threads, args);
            self.rounded.twofold = Some(copy);
        }
        Activations { twofold: at, floats, ..Activations::default() }
    }

    /// Where a kernel that writes `rows` rows of a buffer, after it was noted as edited, stores
    /// them as two F16 each as well, and the factors of their results.
    pub(crate) fn twofold_place(&mut self, x: &Buffer<f32>, rows: usize) -> (Address, Address) {
        let (id, cols) = (x.id, x.width);
        let at = self.scratch("activations as two F16", rows * (cols + 1) * 4);
        self.rounded.twofold = Some(TwofoldCopy { id, rows, cols, at });
        (at, factors(at, rows, cols))
    }

    /// Products of the same activations, all of which go this way: several, or one by groups.
    pub(crate) fn multiply_twofold(
        &mut self,
        products: &[(&Weight, Address)],
        groups: usize,
        x: Activations,
        tokens: usize,
    ) {
        // There may have been no memory for the copy.
        if self.has_failed() {
            return;
        }
        assert!(x.twofold != 0, "activations are two F16 each");
        for some in products.chunks(MATRICES_MAX) {
            let cols = some[0].0.cols;
            let (rows, slots) = self.twofold_tile(some, groups, tokens);
            let (list, strips) = self.listed(some, rows);
            let tiles = strips * tokens.div_ceil(TOKENS);
            let factors = factors(x.twofold, tokens * groups, cols);
            let args = words![x.twofold, factors, cols, groups, tokens, tiles];
            let unit = (&TWOFOLD, values(&[rows, slots]), "twofold");
            let grid = [tiles.min(self.processors()), 1, 1];
            self.record_list(unit, grid, (THREADS, bytes(rows, slots)), &filled(list), args);
        }
    }

    /// Rows of a tile and slots: those with which the processor that has most tiles is done first.
    fn twofold_tile(
        &self,
        products: &[(&Weight, Address)],
        groups: usize,
        tokens: usize,
    ) -> (usize, usize) {
        let own = self.multiplies_in_groups();
        let time = |rows: usize| {
            let strips: usize = products.iter().map(|(weight, _)| weight.rows.div_ceil(rows)).sum();
            let turns = (strips * tokens.div_ceil(TOKENS)).div_ceil(self.processors());
            turns * (rows + ROWS_BESIDE)
        };
        let fits = |rows: &usize| {
            let whole = groups == 1 || (products[0].0.rows / groups).is_multiple_of(*rows);
            // Large tiles take all registers, and more where products are a warp's.
            whole && (own || *rows < TILES[0]) && self.has_shared(1, bytes(*rows, *SLOTS.start()))
        };
        let rows = TILES.into_iter().filter(fits).min_by_key(|rows| time(*rows));
        let rows = rows.expect("the smallest tiles fit");
        let slots = SLOTS.rev().find(|slots| self.has_shared(1, bytes(rows, *slots)));
        (rows, slots.expect("as few as there must be"))
    }
}

/// Where the factors of the rows are.
fn factors(at: Address, rows: usize, cols: usize) -> Address {
    at + (rows * cols * 4) as Address
}
