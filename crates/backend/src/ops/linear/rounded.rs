//! Activations as products take them: as they are, rounded to 8 bits in blocks of 32, in BF16,
//! or as two F16.
//!
//! Rounded copies belong to buffers. Whoever writes a few rows of a buffer whose copy is wanted
//! fills the copy in the same launch; what nobody has filled is rounded when a product asks for it.

use gguf::Format;
use rustc_hash::FxHashMap;

use super::cuda::FEW_TOKENS;
use super::tiles::Bf16Copy;
use super::twofold::TwofoldCopy;
use crate::Buffer;
use crate::cuda::driver::{Address, Memory};
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, values, words};

/// Rounding of activations.
pub static ROUND: Unit = Unit {
    family: "linear",
    name: "round",
    source: &[COMMON, include_str!("round.cu")],
    parameters: &[],
    kernels: &["round_rows"],
};

/// Rounded copies of buffers.
///
/// A copy is made by the first product that takes it; from then on whatever writes a few rows of
/// the buffer may fill its copy as well ([`Cuda::edit_rounded`]). Many rows are taken in BF16; so a
/// copy has room for a few, unless a product needs more.
#[derive(Default)]
pub struct Rounded {
    /// By the buffer's id, and whether the copy has all of its rows.
    copies: FxHashMap<(usize, bool), RoundedCopy>,
    pub(crate) bf16: Option<Bf16Copy>,
    pub(crate) twofold: Option<TwofoldCopy>,
}

struct RoundedCopy {
    memory: Memory,
    /// Values that there is room for.
    capacity: usize,
    /// First values that are there.
    valid: usize,
}

impl Rounded {
    /// A buffer is going to change.
    pub fn forget(&mut self, id: usize) {
        for whole in [false, true] {
            if let Some(copy) = self.copies.get_mut(&(id, whole)) {
                copy.valid = 0;
            }
        }
        self.bf16 = self.bf16.filter(|copy| copy.id != id);
        self.twofold = self.twofold.filter(|copy| copy.id != id);
    }

    /// Bytes of all copies.
    pub fn bytes(&self) -> usize {
        self.copies.values().map(|copy| copy.memory.bytes).sum()
    }
}

impl RoundedCopy {
    fn places(&self, floats: Address) -> Activations {
        Activations::rounded(self.memory.address, self.capacity, floats)
    }
}

/// Activations as products take them.
#[derive(Clone, Copy, Default)]
pub(crate) struct Activations {
    pub codes: Address,
    pub steps: Address,
    pub halves: Address,
    pub floats: Address,
    /// In BF16, for products in tiles.
    pub bf16: Address,
    /// As two F16 each, for products in tiles with weights in F16.
    pub twofold: Address,
}

impl Activations {
    /// `values` rounded values at `at`: codes, then halves, then steps, so that each is aligned.
    pub(crate) fn rounded(at: Address, values: usize, floats: Address) -> Activations {
        let halves = at + values as Address;
        let steps = halves + (values / 32 * 8) as Address;
        Activations { codes: at, steps, halves, floats, ..Activations::default() }
    }
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
        let count = rows * cols;
        let Some(copy) = self.rounded_copy(x, count) else { return Activations::default() };
        let (places, valid) = (copy.places(floats), copy.valid);
        copy.valid = count;
        if valid != count {
            self.record_rounding(&places, count);
        }
        places
    }

    /// A buffer's copy with room for `count` values, made if it has none; `None` if there is no
    /// memory, which is reported.
    fn rounded_copy(&mut self, x: &Buffer<f32>, count: usize) -> Option<&mut RoundedCopy> {
        let few = x.rows.min(FEW_TOKENS) * x.width;
        let (whole, capacity) = (count > few, if count > few { x.rows * x.width } else { few });
        if !self.rounded.copies.contains_key(&(x.id, whole)) {
            let memory = self.gpu.allocate(rounded_bytes(1, capacity), "rounded activations");
            let memory = memory.map_err(|error| self.fail(error)).ok()?;
            let copy = RoundedCopy { memory, capacity, valid: 0 };
            self.rounded.copies.insert((x.id, whole), copy);
        }
        self.rounded.copies.get_mut(&(x.id, whole))
    }

    /// Where a buffer is, to be written, and where the rounded copy of a few rows of it is, which
    /// the same kernel fills if it is not at 0.
    pub(crate) fn edit_rounded(&mut self, x: &mut Buffer<f32>, rows: usize) -> Activations {
        let floats = self.edit(x);
        match self.rounded.copies.get_mut(&(x.id, false)) {
            Some(copy) if rows <= FEW_TOKENS => {
                copy.valid = rows * x.width;
                copy.places(floats)
            }
            _ => Activations { floats, ..Activations::default() },
        }
    }

    /// Rounds rows from `x` to `at`.
    pub(crate) fn round(
        &mut self,
        x: Address,
        at: Address,
        rows: usize,
        cols: usize,
    ) -> Activations {
        let places = Activations::rounded(at, rows * cols, x);
        self.record_rounding(&places, rows * cols);
        places
    }

    fn record_rounding(&mut self, to: &Activations, count: usize) {
        let &Activations { codes, steps, halves, floats, .. } = to;
        let fours = count / 4;
        let args = words![floats, codes, steps, halves, fours];
        self.record((&ROUND, values(&[]), "round_rows"), [fours.div_ceil(256), 1, 1], 256, args);
    }
}
