//! Rotary position embedding on the *last* channels of a head, in adjacent pairs.
//!
//! `(a, b) → (a cos θ − b sin θ, a sin θ + b cos θ)` with `θ = position · f[i]` for pair `i`.
//! The angle is the product rounded once to `f32` (that rounding is part of the published
//! numerics); its sine and cosine must be correctly reduced, up to angles of a million radians.
//! Source: RoFormer (Su et al., 2021); interleaved pairs as in the published inference code.

mod cases;
pub(crate) mod cpu;
mod cpu_simd;
pub(crate) mod cuda;

pub use cases::cases;

use crate::{Backend, Buffer, Step};

/// Which way to turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// By `+θ`: queries and keys.
    Forward,
    /// By `−θ`: attention outputs, whose values carried the keys' rotation.
    Inverse,
}

/// What a backend implements.
pub trait Rope {
    /// Angles of the step; see [`rope_angles`](trait.Backend.html#method.rope_angles).
    fn rope_angles_raw(&mut self, frequencies: &Buffer<f32>, step: &Step, out: &mut Buffer<f32>);
    /// Rotation in place; see [`rotate`](trait.Backend.html#method.rotate).
    fn rotate_raw(
        &mut self,
        x: &mut Buffer<f32>,
        head_dim: usize,
        angles: &Buffer<f32>,
        direction: Direction,
        rows: usize,
    );
}

impl dyn Backend + '_ {
    /// `out[t] = (cos θ, sin θ)` for each pair, interleaved, at the token's position.
    ///
    /// `frequencies` `[1, pairs]`, `out` `[T, 2·pairs]`. Once per step and kind of frequencies.
    pub fn rope_angles(&mut self, frequencies: &Buffer<f32>, step: &Step, out: &mut Buffer<f32>) {
        out.expect("out", step.rows, 2 * frequencies.width);
        self.rope_angles_raw(frequencies, step, out);
    }

    /// Rotates the last `angles.width` channels of each head of `x`, in place.
    ///
    /// `x` `[T, H·head_dim]`, `angles` `[T, 2·pairs]`.
    pub fn rotate(
        &mut self,
        x: &mut Buffer<f32>,
        head_dim: usize,
        angles: &Buffer<f32>,
        direction: Direction,
        rows: usize,
    ) {
        assert!(x.width.is_multiple_of(head_dim) && head_dim >= angles.width && x.rows >= rows);
        angles.expect("angles", rows, angles.width);
        self.rotate_raw(x, head_dim, angles, direction, rows);
    }
}
