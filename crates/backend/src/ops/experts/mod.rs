//! Experts: SwiGLU networks, the routed ones by token and the shared one for all.
//!
//! ```text
//! act(a, b)    = silu(min(a, clamp)) · clamp(b, −clamp, clamp)      silu(a) = a · sigmoid(a)
//! expert_e(x)  = down_e · (g[e] · act(gate_e · x, up_e · x))
//! y            = Σ_chosen expert_e(x)
//! ```
//!
//! The shared expert is the same formula with `g = 1`, made of plain products and
//! [`swiglu`](trait.Backend.html#method.swiglu).

mod cases;
mod cpu;
pub(crate) mod cpu_simd;
pub(crate) mod cuda;

pub use cases::cases;

use crate::{Backend, Buffer, Weight};

/// Most experts that a token may have: lanes of a warp hold one each.
pub const USED_MAX: usize = 32;

/// The stacked matrices of a layer's routed experts.
#[derive(Debug)]
pub struct ExpertWeights {
    /// `[E, F, D]`.
    pub gate: Weight,
    /// `[E, F, D]`.
    pub up: Weight,
    /// `[E, D, F]`.
    pub down: Weight,
}

/// What a backend implements.
pub trait Experts {
    /// The routed experts; see [`experts`](trait.Backend.html#method.experts).
    #[allow(clippy::too_many_arguments)]
    fn experts_raw(
        &mut self,
        weights: &ExpertWeights,
        clamp: f32,
        x: &Buffer<f32>,
        picks: &Buffer<u32>,
        shares: &Buffer<f32>,
        y: &mut Buffer<f32>,
        rows: usize,
    );
    /// Their inner rows; see [`expert_inner`](trait.Backend.html#method.expert_inner).
    #[allow(clippy::too_many_arguments)]
    fn expert_inner_raw(
        &mut self,
        weights: &ExpertWeights,
        clamp: f32,
        x: &Buffer<f32>,
        picks: &Buffer<u32>,
        shares: &Buffer<f32>,
        inner: &mut Buffer<f32>,
        rows: usize,
    );
    /// `out = act(gate, up)`.
    fn swiglu_raw(
        &mut self,
        gate: &Buffer<f32>,
        up: &Buffer<f32>,
        clamp: f32,
        out: &mut Buffer<f32>,
        rows: usize,
    );
    /// `y += x`.
    fn add_raw(&mut self, x: &Buffer<f32>, y: &mut Buffer<f32>, rows: usize);
}

impl dyn Backend + '_ {
    /// The sum over each token's chosen experts, replacing `y`.
    ///
    /// `x` and `y` `[T, D]`, `picks` and `shares` `[T, K]`; picks below `E`, `K` at most
    /// [`USED_MAX`].
    #[allow(clippy::too_many_arguments)]
    pub fn experts(
        &mut self,
        weights: &ExpertWeights,
        clamp: f32,
        x: &Buffer<f32>,
        picks: &Buffer<u32>,
        shares: &Buffer<f32>,
        y: &mut Buffer<f32>,
        rows: usize,
    ) {
        let ExpertWeights { gate, up, down } = weights;
        assert_eq!((gate.count, gate.rows, gate.cols), (up.count, up.rows, up.cols));
        assert_eq!((down.count, down.rows, down.cols), (gate.count, gate.cols, gate.rows));
        x.expect("x", rows, gate.cols);
        y.expect("y", rows, gate.cols);
        picks.expect("picks", rows, shares.width);
        shares.expect("shares", rows, shares.width);
        assert!(shares.width <= USED_MAX, "{} experts for a token", shares.width);
        self.experts_raw(weights, clamp, x, picks, shares, y, rows);
    }

    /// What `down` is multiplied with in [`experts`](trait.Backend.html#method.experts): the row
    /// `g[e] · act(gate_e · x, up_e · x)` of every token and chosen expert, side by side, before a
    /// backend rounds it.
    ///
    /// `x` `[T, D]`, `picks` and `shares` `[T, K]`, `inner` `[T, K·F]`; picks below `E`.
    #[allow(clippy::too_many_arguments)]
    pub fn expert_inner(
        &mut self,
        weights: &ExpertWeights,
        clamp: f32,
        x: &Buffer<f32>,
        picks: &Buffer<u32>,
        shares: &Buffer<f32>,
        inner: &mut Buffer<f32>,
        rows: usize,
    ) {
        let ExpertWeights { gate, up, .. } = weights;
        assert_eq!((gate.count, gate.rows, gate.cols), (up.count, up.rows, up.cols));
        x.expect("x", rows, gate.cols);
        picks.expect("picks", rows, shares.width);
        shares.expect("shares", rows, shares.width);
        inner.expect("inner", rows, shares.width * gate.rows);
        self.expert_inner_raw(weights, clamp, x, picks, shares, inner, rows);
    }

    /// `out[t] = act(gate[t], up[t])`, all `[T, F]`.
    pub fn swiglu(
        &mut self,
        gate: &Buffer<f32>,
        up: &Buffer<f32>,
        clamp: f32,
        out: &mut Buffer<f32>,
        rows: usize,
    ) {
        gate.expect("gate", rows, out.width);
        up.expect("up", rows, out.width);
        out.expect("out", rows, out.width);
        self.swiglu_raw(gate, up, clamp, out, rows);
    }

    /// `y[t] += x[t]`, both `[T, D]`.
    pub fn add(&mut self, x: &Buffer<f32>, y: &mut Buffer<f32>, rows: usize) {
        x.expect("x", rows, y.width);
        y.expect("y", rows, y.width);
        self.add_raw(x, y, rows);
    }
}
