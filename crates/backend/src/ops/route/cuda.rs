//! The router on CUDA, and beside it the shared expert: its activation, or, for few tokens, all
//! that is left of it. The choice is made by one block for each token and takes its time, most of
//! which is waiting; the rest of the device computes what waits for no choice meanwhile.

use gguf::Format;

use super::{Choice, Route};
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, units, values, words};
use crate::ops::experts::cuda::EXPERTS;
use crate::ops::fused::{Chosen, Gated};
use crate::ops::linear::rounded::Activations;
use crate::ops::norm::cuda::fours;
use crate::{Buffer, Step, Weight};

/// The router.
pub static ROUTE: Unit = Unit {
    family: "route",
    name: "route",
    source: &[COMMON, EXPERTS, CHOOSE, include_str!("route.cu")],
    parameters: &[],
    kernels: &["route"],
};

/// The same, and the shared expert's last product.
pub static ALWAYS: Unit = Unit {
    family: "route",
    name: "always",
    source: &[COMMON, EXPERTS, CHOOSE, units::WEIGHTS, include_str!("always.cu")],
    parameters: &["FORMAT", "COLS"],
    kernels: &["route_always"],
};

/// What they share.
const CHOOSE: &str = include_str!("choose.cuh");
/// Most experts, and bytes of shared memory that a choice among them takes; see choose.cuh.
const EXPERTS_MAX: usize = 2048;
const CHOOSE_BYTES: usize = EXPERTS_MAX * 8 + 32 * 4;
/// Threads of a block; see route.cu and always.cu.
const THREADS: usize = 128;
const ALWAYS_THREADS: usize = 512;
/// With more tokens than this, products in strips are faster; see strip.cu.
const ALWAYS_TOKENS: usize = 4;

impl Cuda {
    /// The choice, and the activation of the shared expert, if it is said.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn route_beside(
        &mut self,
        logits: &Buffer<f32>,
        choice: &Choice,
        scale: f32,
        step: &Step,
        picks: &mut Buffer<u32>,
        shares: &mut Buffer<f32>,
        shared: Option<Gated>,
    ) {
        let (experts, used, rows) = (logits.width, picks.width, step.rows);
        assert!(experts <= EXPERTS_MAX, "{experts} experts");
        let (table, bias) = match choice {
            Choice::Table(table) => (self.at(table), 0),
            Choice::Bias(bias) => (0, self.at(bias)),
        };
        let (logits, tokens) = (self.at(logits), self.at(&step.tokens));
        let (picks, shares) = (self.edit(picks), self.edit(shares));
        let (gate, up, out, count, clamp) = match shared {
            Some(Gated { gate, up, clamp, out }) => {
                let (gate, up, count) = (self.at(gate), self.at(up), fours(out.width));
                (gate, up, self.edit_rounded(out, rows), count, clamp)
            }
            None => (0, 0, Activations::default(), 0, 0.0),
        };
        let Activations { codes, steps, halves, floats, .. } = out;
        let args = words![
            logits, tokens, table, bias, picks, shares, experts, used, scale, gate, up, floats,
            codes, steps, halves, count, clamp
        ];
        let grid = [rows, 1 + count.div_ceil(THREADS), 1];
        self.record((&ROUTE, values(&[]), "route"), grid, THREADS as u32, args);
    }

    /// Whether [`route_always`](Cuda::route_always) takes a shared expert with this last matrix.
    pub(crate) fn joins_always(&self, down: &Weight, rows: usize) -> bool {
        let few = rows <= ALWAYS_TOKENS && self.stored(down).format == Format::Q8_0;
        few && self.has_shared(1, CHOOSE_BYTES + always_bytes(rows, down.cols))
    }

    /// The choice, and all of the shared expert that comes after its first products, to `y`, for
    /// few tokens.
    pub(crate) fn route_always(
        &mut self,
        chosen: &mut Chosen,
        shared: &Gated,
        down: &Weight,
        y: &mut Buffer<f32>,
        step: &Step,
    ) {
        let (experts, used, rows) = (chosen.logits.width, chosen.picks.width, step.rows);
        assert!(experts <= EXPERTS_MAX, "{experts} experts");
        let (table, bias) = match chosen.choice {
            Choice::Table(table) => (self.at(table), 0),
            Choice::Bias(bias) => (0, self.at(bias)),
        };
        let (logits, tokens) = (self.at(chosen.logits), self.at(&step.tokens));
        let (picks, shares) = (self.edit(chosen.picks), self.edit(chosen.shares));
        let (gate, up, [codes, scales, _]) =
            (self.at(shared.gate), self.at(shared.up), self.stored(down).planes);
        let (y, scale, clamp) = (self.edit(y), chosen.scale, shared.clamp);
        let args = words![
            logits, tokens, table, bias, picks, shares, experts, used, scale, codes, scales, gate,
            up, y, down.rows, rows, clamp
        ];
        let unit = (&ALWAYS, values(&[self.stored(down).code(), down.cols]), "route_always");
        self.reading(down, 1);
        // With one block more than processors, that one would begin when another has ended.
        let blocks = self.processors().saturating_sub(rows).max(1);
        let blocks = blocks.min(down.rows.div_ceil(ALWAYS_THREADS / 32));
        let shape = (ALWAYS_THREADS as u32, always_bytes(rows, down.cols));
        self.record_shared(unit, [rows + blocks, 1, 1], shape, args);
    }
}

/// Bytes of the rounded activations of so many tokens; see always.cu.
fn always_bytes(rows: usize, cols: usize) -> usize {
    rows * (cols + cols / 8).next_multiple_of(16)
}

impl Route for Cuda {
    fn route_raw(
        &mut self,
        logits: &Buffer<f32>,
        choice: &Choice,
        scale: f32,
        step: &Step,
        picks: &mut Buffer<u32>,
        shares: &mut Buffer<f32>,
    ) {
        self.route_beside(logits, choice, scale, step, picks, shares, None);
    }
}
