//! Routing: which experts a token uses, and how much of each.
//!
//! ```text
//! s[e]   = sqrt(softplus(logit[e]))
//! chosen = table[token]                          hashed layers: fixed by the token id
//!          the K largest of s + bias             other layers; of equal values the lowest expert
//! g[e]   = s[e] / Σ_chosen s · scale             the share; the bias is NOT in it
//! ```

mod cases;
mod cpu;
mod cpu_simd;
pub(crate) mod cuda;

pub use cases::cases;

use crate::{Backend, Buffer, Step};

/// How a layer chooses.
#[derive(Debug)]
pub enum Choice<'a> {
    /// By token id: `[V, K]` expert ids, all below `E`.
    Table(&'a Buffer<u32>),
    /// By score plus bias `[1, E]`.
    Bias(&'a Buffer<f32>),
}

impl Choice<'_> {
    /// Asserts the shapes of a choice.
    pub(crate) fn check(
        &self,
        logits: &Buffer<f32>,
        picks: &Buffer<u32>,
        shares: &Buffer<f32>,
        rows: usize,
    ) {
        let used = picks.width;
        logits.expect("logits", rows, logits.width);
        picks.expect("picks", rows, used);
        shares.expect("shares", rows, used);
        match self {
            Choice::Table(table) => table.expect("table", table.rows, used),
            Choice::Bias(bias) => bias.expect("bias", 1, logits.width),
        }
        assert!(used <= logits.width);
    }
}

/// What a backend implements.
pub trait Route {
    /// See [`route`](trait.Backend.html#method.route).
    fn route_raw(
        &mut self,
        logits: &Buffer<f32>,
        choice: &Choice,
        scale: f32,
        step: &Step,
        picks: &mut Buffer<u32>,
        shares: &mut Buffer<f32>,
    );
}

impl dyn Backend + '_ {
    /// Chooses experts for every token of the step.
    ///
    /// `logits` `[T, E]`, `picks` and `shares` `[T, K]`.
    pub fn route(
        &mut self,
        logits: &Buffer<f32>,
        choice: &Choice,
        scale: f32,
        step: &Step,
        picks: &mut Buffer<u32>,
        shares: &mut Buffer<f32>,
    ) {
        choice.check(logits, picks, shares, step.rows);
        self.route_raw(logits, choice, scale, step, picks, shares);
    }
}
