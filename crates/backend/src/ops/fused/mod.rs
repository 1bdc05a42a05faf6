//! Fusions: sequences of other families' operations that the model asks for as one, since a device
//! may do them in fewer passes.
//!
//! Each has a body made of the plain operations, which is its meaning; a backend overrides those
//! that pay. A fusion leaves every buffer as its plain operations would.

mod cases;
pub(crate) mod cuda;

pub use cases::cases;

use crate::ops::experts::Experts;
use crate::ops::hyper::{Hyper, HyperMix, HyperSettings};
use crate::ops::kv::{Kv, RowBlock};
use crate::ops::linear::Linear;
use crate::ops::norm::Norm;
use crate::ops::rope::{Direction, Rope};
use crate::{Backend, Buffer, Cpu, CpuSimd, Weight};

/// A norm's learned part.
#[derive(Clone, Copy, Debug)]
pub struct NormWeight<'a> {
    /// `[1, D]`.
    pub weight: &'a Buffer<f32>,
    /// The `eps` inside `rms`.
    pub eps: f32,
}

/// What a backend may override.
pub trait Fused: Experts + Hyper + Kv + Linear + Norm + Rope {
    /// Several products of the same activations.
    fn linear_each_raw(
        &mut self,
        x: &Buffer<f32>,
        products: &mut [(&Weight, &mut Buffer<f32>)],
        rows: usize,
    ) {
        for (weight, out) in products {
            self.linear_raw(weight, 1, x, out, rows);
        }
    }

    /// A product that is added to `y`.
    fn linear_add_raw(
        &mut self,
        weight: &Weight,
        x: &Buffer<f32>,
        product: &mut Buffer<f32>,
        y: &mut Buffer<f32>,
        rows: usize,
    ) {
        self.linear_raw(weight, 1, x, product, rows);
        self.add_raw(product, y, rows);
    }

    /// Norm and rotation of heads.
    fn rotate_unit_raw(
        &mut self,
        x: &mut Buffer<f32>,
        head_dim: usize,
        eps: f32,
        angles: &Buffer<f32>,
        rows: usize,
    ) {
        self.unit_norm_raw(x, head_dim, eps, rows);
        self.rotate_raw(x, head_dim, angles, Direction::Forward, rows);
    }

    /// From a key-value product to a stored row.
    fn store_normed_raw(
        &mut self,
        x: &Buffer<f32>,
        norm: NormWeight,
        angles: &Buffer<f32>,
        normed: &mut Buffer<f32>,
        fresh: &mut RowBlock,
        rows: usize,
    ) {
        self.rms_norm_raw(x, norm.weight, norm.eps, normed, rows);
        self.rotate_raw(normed, x.width, angles, Direction::Forward, rows);
        self.store_rows_raw(normed, fresh, rows);
    }

    /// The read of the streams and the norm of what was read.
    #[allow(clippy::too_many_arguments)]
    fn hyper_mix_norm_raw(
        &mut self,
        mix: &HyperMix,
        settings: HyperSettings,
        streams: &Buffer<f32>,
        gates: &mut Buffer<f32>,
        x: &mut Buffer<f32>,
        norm: NormWeight,
        normed: &mut Buffer<f32>,
        rows: usize,
    ) {
        self.hyper_mix_raw(mix, settings, streams, gates, x, rows);
        self.rms_norm_raw(x, norm.weight, norm.eps, normed, rows);
    }
}

impl Fused for Cpu {}
impl Fused for CpuSimd {}

impl dyn Backend + '_ {
    /// `out[t] = W x[t]` for each weight and its `out`: products that wait for nothing but `x`.
    ///
    /// Weights `[out, in]`, `x` `[T, in]`, each `out` `[T, out]`.
    pub fn linear_each(
        &mut self,
        x: &Buffer<f32>,
        products: &mut [(&Weight, &mut Buffer<f32>)],
        rows: usize,
    ) {
        for (weight, out) in products.iter() {
            assert_eq!(weight.count, 1, "matrices of a product");
            x.expect("x", rows, weight.cols);
            out.expect("out", rows, weight.rows);
        }
        if rows > 0 {
            self.linear_each_raw(x, products, rows);
        }
    }

    /// `y[t] += W x[t]`. `weight` `[out, in]`, `x` `[T, in]`, `y` `[T, out]`; `product`, of the
    /// shape of `y`, is what a backend may compute in.
    pub fn linear_add(
        &mut self,
        weight: &Weight,
        x: &Buffer<f32>,
        product: &mut Buffer<f32>,
        y: &mut Buffer<f32>,
        rows: usize,
    ) {
        assert_eq!(weight.count, 1, "matrices of a product");
        x.expect("x", rows, weight.cols);
        product.expect("product", rows, weight.rows);
        y.expect("y", rows, weight.rows);
        if rows > 0 {
            self.linear_add_raw(weight, x, product, y, rows);
        }
    }

    /// [`unit_norm`](trait.Backend.html#method.unit_norm), then
    /// [`rotate`](trait.Backend.html#method.rotate) forward, of each head of `x` `[T, H·head_dim]`,
    /// in place. `angles` `[T, 2·pairs]`.
    pub fn rotate_unit(
        &mut self,
        x: &mut Buffer<f32>,
        head_dim: usize,
        eps: f32,
        angles: &Buffer<f32>,
        rows: usize,
    ) {
        assert!(x.width.is_multiple_of(head_dim) && head_dim >= angles.width && x.rows >= rows);
        angles.expect("angles", rows, angles.width);
        self.rotate_unit_raw(x, head_dim, eps, angles, rows);
    }

    /// `normed[t] = rotate(rms(x[t]) · weight)`, stored in `fresh` as
    /// [`store_rows`](trait.Backend.html#method.store_rows) does. `x` and `normed` `[T, hd]`.
    pub fn store_normed(
        &mut self,
        x: &Buffer<f32>,
        norm: NormWeight,
        angles: &Buffer<f32>,
        normed: &mut Buffer<f32>,
        fresh: &mut RowBlock,
        rows: usize,
    ) {
        let width = fresh.layout.width();
        norm.weight.expect("weight", 1, width);
        x.expect("x", rows, width);
        normed.expect("normed", rows, width);
        angles.expect("angles", rows, angles.width);
        assert!(fresh.rows >= rows && width >= angles.width);
        self.store_normed_raw(x, norm, angles, normed, fresh, rows);
    }

    /// [`hyper_mix`](trait.Backend.html#method.hyper_mix) to `x`, then
    /// [`rms_norm`](trait.Backend.html#method.rms_norm) of it to `normed`, both `[T, D]`.
    #[allow(clippy::too_many_arguments)]
    pub fn hyper_mix_norm(
        &mut self,
        mix: &HyperMix,
        settings: HyperSettings,
        streams: &Buffer<f32>,
        gates: &mut Buffer<f32>,
        x: &mut Buffer<f32>,
        norm: NormWeight,
        normed: &mut Buffer<f32>,
        rows: usize,
    ) {
        settings.check(mix, streams, gates, x, rows);
        norm.weight.expect("weight", 1, x.width);
        normed.expect("normed", rows, x.width);
        self.hyper_mix_norm_raw(mix, settings, streams, gates, x, norm, normed, rows);
    }
}
