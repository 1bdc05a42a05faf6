//! Fusions on CUDA: those that spare a decoding step launches.
//!
//! Kernels are in the files of the families whose operations they join. Many tokens fill the device
//! with each plain operation, so most fusions are for few of them.

use super::{Fused, NormWeight};
use crate::cuda::{Cuda, values, words};
use crate::ops::experts::Experts;
use crate::ops::hyper::{HyperMix, HyperSettings};
use crate::ops::kv::RowBlock;
use crate::ops::kv::cuda::{KV, layout_values};
use crate::ops::linear::Linear;
use crate::ops::linear::cuda::{FEW_TOKENS, MATRICES_MAX};
use crate::ops::norm::cuda::{NORM, fours, threads};
use crate::{Buffer, Weight};

impl Fused for Cuda {
    /// For a few tokens one launch per format; more of them fill the device with each product.
    fn linear_each_raw(
        &mut self,
        x: &Buffer<f32>,
        products: &mut [(&Weight, &mut Buffer<f32>)],
        rows: usize,
    ) {
        if rows > FEW_TOKENS {
            for (weight, out) in products {
                self.linear_raw(weight, 1, x, out, rows);
            }
            return;
        }
        let outs: Vec<_> =
            products.iter_mut().map(|(weight, out)| (*weight, self.edit(out))).collect();
        let format = |this: &Cuda, i: usize| this.stored(outs[i].0).format;
        for first in 0..outs.len() {
            let own = format(self, first);
            if (0..first).any(|i| format(self, i) == own) {
                continue;
            }
            let same = |product: &&(&Weight, u64)| self.stored(product.0).format == own;
            let same: Vec<_> = outs[first..].iter().filter(same).copied().collect();
            let x = self.activations(x, rows, x.width, own);
            for some in same.chunks(MATRICES_MAX) {
                self.multiply_each(some, 1, x, rows, false);
            }
        }
    }

    fn linear_add_raw(
        &mut self,
        weight: &Weight,
        x: &Buffer<f32>,
        product: &mut Buffer<f32>,
        y: &mut Buffer<f32>,
        rows: usize,
    ) {
        if rows > FEW_TOKENS {
            self.linear_raw(weight, 1, x, product, rows);
            return self.add_raw(product, y, rows);
        }
        let x = self.activations(x, rows, weight.cols, self.stored(weight).format);
        let y = self.edit(y);
        self.multiply_each(&[(weight, y)], 1, x, rows, true);
    }

    fn rotate_unit_raw(
        &mut self,
        x: &mut Buffer<f32>,
        head_dim: usize,
        eps: f32,
        angles: &Buffer<f32>,
        rows: usize,
    ) {
        let (heads, pairs) = (x.width / head_dim, angles.width / 2);
        assert!(pairs.is_multiple_of(2), "{pairs} pairs of channels");
        let angles = self.at(angles);
        let args = words![self.edit(x), angles, fours(head_dim), heads, pairs, eps];
        let unit = (&NORM, values(&[]), "rotate_unit");
        self.record(unit, [rows * heads, 1, 1], threads(head_dim), args);
    }

    fn store_normed_raw(
        &mut self,
        x: &Buffer<f32>,
        norm: NormWeight,
        angles: &Buffer<f32>,
        normed: &mut Buffer<f32>,
        fresh: &mut RowBlock,
        rows: usize,
    ) {
        let unit = (&KV, layout_values(fresh.layout), "store_normed");
        let (x, weight, pairs) = (self.at(x), self.at(norm.weight), angles.width / 2);
        let (angles, normed) = (self.at(angles), self.edit(normed));
        let (bytes, capacity) = (self.edit(&mut fresh.bytes), fresh.rows);
        let args = words![x, weight, angles, normed, bytes, capacity, pairs, norm.eps];
        self.record(unit, [rows, 1, 1], 128, args);
    }

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
        self.mix_streams(mix, settings, streams, gates, x, Some((norm, normed)), rows);
    }
}
