//! Steering: a direction is taken out of what a layer writes, or more of it is put in; and looking
//! at what a layer writes, which is how directions are found.
//!
//! The projection onto a direction is removed by a scale of 1 (if the direction has length 1),
//! turned around by 2, and doubled by −1.

mod cases;
mod cpu;
mod cpu_simd;
pub(crate) mod cuda;

pub use cases::cases;

use crate::{Backend, Buffer, Step};

/// What a backend implements.
pub trait Steer {
    /// See [`steer`](trait.Backend.html#method.steer).
    fn steer_raw(
        &mut self,
        directions: &Buffer<f32>,
        layer: usize,
        scales: &Buffer<f32>,
        y: &mut Buffer<f32>,
        rows: usize,
    );
    /// See [`tap`](trait.Backend.html#method.tap).
    fn tap_raw(&mut self, y: &Buffer<f32>, step: &Step, layer: usize, out: &mut Buffer<f32>);
}

impl dyn Backend + '_ {
    /// `y[t] −= scales[t] · v · (v · y[t])` for the direction `v = directions[layer]`.
    ///
    /// `directions` `[L, D]`, `scales` `[T, 1]`, `y` `[T, D]`, in place. A row whose scale is 0
    /// keeps its bits, whatever they are.
    pub fn steer(
        &mut self,
        directions: &Buffer<f32>,
        layer: usize,
        scales: &Buffer<f32>,
        y: &mut Buffer<f32>,
        rows: usize,
    ) {
        directions.expect("directions", layer + 1, y.width);
        scales.expect("scales", rows, 1);
        y.expect("y", rows, directions.width);
        self.steer_raw(directions, layer, scales, y, rows);
    }

    /// `out[r][layer] = y[row[r]]` for the rows whose logits are wanted.
    ///
    /// `y` `[T, D]`, `out` `[R, L·D]`.
    pub fn tap(&mut self, y: &Buffer<f32>, step: &Step, layer: usize, out: &mut Buffer<f32>) {
        y.expect("y", step.rows, y.width);
        out.expect("out", step.outputs, out.width);
        let (first, width) = (layer * y.width, out.width);
        assert!(first + y.width <= width, "layer {layer} of {} values in {width}", y.width);
        self.tap_raw(y, step, layer, out);
    }
}
