//! The router on CUDA.

use super::{Choice, Route};
use crate::cuda::kernels::Unit;
use crate::cuda::{COMMON, Cuda, values, words};
use crate::{Buffer, Step};

/// The router.
pub static ROUTE: Unit = Unit {
    name: "route",
    source: &[COMMON, include_str!("route.cu")],
    parameters: &[],
    kernels: &["route"],
};

/// Most experts: a lane remembers 64 of them; see route.cu.
const EXPERTS_MAX: usize = 64 * 32;

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
        let (experts, used, rows) = (logits.width, picks.width, step.rows);
        assert!(experts <= EXPERTS_MAX, "{experts} experts");
        let (table, bias) = match choice {
            Choice::Table(table) => (self.at(table), 0),
            Choice::Bias(bias) => (0, self.at(bias)),
        };
        let (logits, tokens) = (self.at(logits), self.at(&step.tokens));
        let (picks, shares) = (self.edit(picks), self.edit(shares));
        let args = words![logits, tokens, table, bias, picks, shares, experts, used, scale];
        self.record((&ROUTE, values(&[]), "route"), [rows, 1, 1], 128, args);
    }
}
