//! What is noted of a layer's experts while texts are read: which columns their matrices are
//! multiplied with, squared and added up.
//!
//! It is there only if the model was loaded with [`Options::importance`](crate::Options), and
//! changes nothing of what is computed. `gate` and `up` are given the same rows, the normalized
//! input of the half layer; `down` is given the inner row of each chosen expert, with its share.

use backend::ops::experts::ExpertWeights;
use backend::{Backend, Buffer, Device, Error};
use spec::Shape;

use crate::forward::Model;

/// Buffers of the experts that what is noted depends on.
pub(crate) struct Seen<'a> {
    pub weights: &'a ExpertWeights,
    pub clamp: f32,
    pub x: &'a Buffer<f32>,      // [T, D]
    pub picks: &'a Buffer<u32>,  // [T, K]
    pub shares: &'a Buffer<f32>, // [T, K]
}

/// What all layers have noted, on the device.
#[derive(Debug)]
pub(crate) struct ImportanceScratch {
    inner: Buffer<f32>, // [T, K·F]
    layers: Vec<LayerScratch>,
}

#[derive(Debug)]
struct LayerScratch {
    inputs: Buffer<f32>, // [E, D]
    inner: Buffer<f32>,  // [E, F]
    counts: Buffer<u32>, // [E, 1]
}

/// What the experts of one layer were given.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSums {
    /// Sums of squares of the inputs of `gate` and `up`, `[E, D]`.
    pub inputs: Vec<f32>,
    /// Sums of squares of the inputs of `down`, `[E, F]`.
    pub inner: Vec<f32>,
    /// Tokens that chose each expert, `[E]`.
    pub counts: Vec<u32>,
}

impl ImportanceScratch {
    /// Reserves everything for steps of `t` tokens.
    pub fn reserve(
        device: &mut dyn Device,
        shape: &Shape,
        t: usize,
    ) -> Result<ImportanceScratch, Error> {
        let Shape { experts, hidden, expert_inner, .. } = *shape;
        let mut layer = || {
            Ok(LayerScratch {
                inputs: device.reserve(experts, hidden)?,
                inner: device.reserve(experts, expert_inner)?,
                counts: device.reserve(experts, 1)?,
            })
        };
        let layers = (0..shape.layers).map(|_| layer()).collect::<Result<_, Error>>()?;
        Ok(ImportanceScratch {
            inner: device.reserve(t, shape.experts_used * expert_inner)?,
            layers,
        })
    }

    /// Notes what the experts of a layer are given.
    pub fn note(&mut self, b: &mut dyn Backend, layer: usize, seen: &Seen, t: usize) {
        let &Seen { weights, clamp, x, picks, shares } = seen;
        let sums = &mut self.layers[layer];
        b.expert_inner(weights, clamp, x, picks, shares, &mut self.inner, t);
        b.add_squares(x, picks, &mut sums.inputs, t);
        b.add_squares(&self.inner, picks, &mut sums.inner, t);
        b.count_picks(picks, &mut sums.counts, t);
    }
}

impl Model {
    /// What was noted since the last call, layer by layer, or since the model was loaded; nothing
    /// if nothing is noted. Sums are 32-bit floats: to be taken every few thousand tokens.
    pub fn take_importance(&mut self, device: &mut dyn Device) -> Option<Vec<LayerSums>> {
        let sums = self.importance_scratch()?;
        let take = |layer: &mut LayerScratch| {
            let LayerScratch { inputs, inner, counts } = layer;
            let taken = LayerSums {
                inputs: device.download(inputs, 0, inputs.rows),
                inner: device.download(inner, 0, inner.rows),
                counts: device.download(counts, 0, counts.rows),
            };
            device.upload(inputs, 0, &vec![0.0; taken.inputs.len()]);
            device.upload(inner, 0, &vec![0.0; taken.inner.len()]);
            device.upload(counts, 0, &vec![0; taken.counts.len()]);
            taken
        };
        Some(sums.layers.iter_mut().map(take).collect())
    }
}
