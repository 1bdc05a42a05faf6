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
        let used = picks.width;
        logits.expect("logits", step.rows, logits.width);
        picks.expect("picks", step.rows, used);
        shares.expect("shares", step.rows, used);
        match choice {
            Choice::Table(table) => table.expect("table", table.rows, used),
            Choice::Bias(bias) => bias.expect("bias", 1, logits.width),
        }
        assert!(used <= logits.width);
        self.route_raw(logits, choice, scale, step, picks, shares);
    }
}
