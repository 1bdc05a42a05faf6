//! The router on CUDA, and beside it the activation of the shared expert.

use super::{Choice, Route};
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, values, words};
use crate::ops::experts::cuda::EXPERTS;
use crate::ops::fused::Gated;
use crate::ops::linear::cuda::Activations;
use crate::ops::norm::cuda::fours;
use crate::{Buffer, Step};

/// The router.
pub static ROUTE: Unit = Unit {
    family: "route",
    name: "route",
    source: &[COMMON, EXPERTS, include_str!("route.cu")],
    parameters: &[],
    kernels: &["route"],
};

/// Most experts; see route.cu.
const EXPERTS_MAX: usize = 2048;
const THREADS: usize = 128;

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
