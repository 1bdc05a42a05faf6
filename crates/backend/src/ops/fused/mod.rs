//! Fusions: sequences of other families' operations that the model asks for as one, since a device
//! may do them in fewer passes.
//!
//! Each has a body made of the plain operations, which is its meaning; a backend overrides those
//! that pay. A fusion leaves every buffer as its plain operations would, but for those that its
//! front function names. The front functions, which state shapes, are in `front.rs`.

mod cases;
pub(crate) mod cuda;
mod front;
mod kept_cases;

pub use cases::cases;

use crate::ops::attend::{Attend, Visible};
use crate::ops::compress::{Compress, Compressor};
use crate::ops::experts::{ExpertWeights, Experts};
use crate::ops::hyper::{Hyper, HyperMix, HyperSettings};
use crate::ops::index::Index;
use crate::ops::kv::{Kv, RowBlock, RowLayout};
use crate::ops::linear::Linear;
use crate::ops::norm::Norm;
use crate::ops::rope::{Direction, Rope};
use crate::ops::route::{Choice, Route};
use crate::{Buffer, Cpu, CpuSimd, KvPools, Step, Weight};

/// A norm's learned part.
#[derive(Clone, Copy, Debug)]
pub struct NormWeight<'a> {
    /// `[1, D]`.
    pub weight: &'a Buffer<f32>,
    /// The `eps` inside `rms`.
    pub eps: f32,
}

/// What goes through a norm: a product, and where the result is wanted.
#[derive(Debug)]
pub struct Normed<'a> {
    /// `[T, D]`.
    pub x: &'a Buffer<f32>,
    /// The norm.
    pub norm: NormWeight<'a>,
    /// `[T, D]`.
    pub out: &'a mut Buffer<f32>,
}

/// A compressor, and what the step's tokens bring it.
#[derive(Clone, Copy, Debug)]
pub struct Fed<'a> {
    /// The compressor.
    pub compressor: Compressor<'a>,
    /// `[T, width]`.
    pub values: &'a Buffer<f32>,
    /// `[T, width]`, without `ape`.
    pub gates: &'a Buffer<f32>,
}

/// The shared expert's products, and where its activation is wanted, all `[T, F]`.
#[derive(Debug)]
pub struct Gated<'a> {
    /// The gate.
    pub gate: &'a Buffer<f32>,
    /// What it is multiplied with.
    pub up: &'a Buffer<f32>,
    /// The largest value of both.
    pub clamp: f32,
    /// The result.
    pub out: &'a mut Buffer<f32>,
}

/// The router's product, how a layer chooses by it, and where the choice is wanted.
#[derive(Debug)]
pub struct Chosen<'a> {
    /// `[T, E]`.
    pub logits: &'a Buffer<f32>,
    /// The way of choosing.
    pub choice: &'a Choice<'a>,
    /// What the shares of a token add up to.
    pub scale: f32,
    /// `[T, K]`.
    pub picks: &'a mut Buffer<u32>,
    /// `[T, K]`.
    pub shares: &'a mut Buffer<f32>,
}

/// The matrices of a layer's experts that come after the router's, and after the first two of the
/// shared one.
#[derive(Clone, Copy, Debug)]
pub struct Mixture<'a> {
    /// The chosen experts.
    pub experts: &'a ExpertWeights,
    /// The last of the shared expert, `[D, F]`.
    pub down: &'a Weight,
}

/// What heads go through after attention: a block-diagonal product.
#[derive(Debug)]
pub struct Projected<'a> {
    /// `[T, H·hd]`.
    pub heads: &'a mut Buffer<f32>,
    /// `[G·R, H·hd/G]`.
    pub weight: &'a Weight,
    /// How many blocks it has.
    pub groups: usize,
    /// `[T, G·R]`.
    pub out: &'a mut Buffer<f32>,
}

/// What a backend may override.
pub trait Fused:
    Attend + Compress + Experts + Hyper + Index + Kv + Linear + Norm + Rope + Route
{
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

    /// The latent of queries, and the key-value row: normed, rotated, stored.
    fn latents_raw(
        &mut self,
        query: Normed,
        row: Normed,
        angles: &Buffer<f32>,
        fresh: &mut RowBlock,
        rows: usize,
    ) {
        self.rms_norm_raw(query.x, query.norm.weight, query.norm.eps, query.out, rows);
        self.rms_norm_raw(row.x, row.norm.weight, row.norm.eps, row.out, rows);
        self.rotate_raw(row.out, row.x.width, angles, Direction::Forward, rows);
        self.store_rows_raw(row.out, fresh, rows);
    }

    /// The latents, and the step's tokens fed to compressors, which have places of their own.
    #[allow(clippy::too_many_arguments)]
    fn keep_raw(
        &mut self,
        query: Normed,
        row: Normed,
        angles: &Buffer<f32>,
        fresh: &mut RowBlock,
        fed: &[Fed],
        step: &Step,
        kv: &mut KvPools,
    ) {
        self.latents_raw(query, row, angles, fresh, step.rows);
        for Fed { compressor, values, gates } in fed {
            self.compress_raw(compressor, values, gates, step, kv);
        }
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

    /// Rotation and rounding of the indexer's queries.
    fn rotate_round_raw(
        &mut self,
        layout: RowLayout,
        q: &mut Buffer<f32>,
        angles: &Buffer<f32>,
        rows: usize,
    ) {
        self.rotate_raw(q, layout.width(), angles, Direction::Forward, rows);
        self.round_queries_raw(layout, q, rows);
    }

    /// Norm and rotation of queries, attention, the rows of the step kept, and the heads rotated
    /// back.
    #[allow(clippy::too_many_arguments)]
    fn attend_keep_raw(
        &mut self,
        q: &mut Buffer<f32>,
        eps: f32,
        sinks: &Buffer<f32>,
        visible: &Visible,
        angles: &Buffer<f32>,
        step: &Step,
        kv: &mut KvPools,
        heads: &mut Buffer<f32>,
    ) {
        let width = visible.fresh.layout.width();
        self.rotate_unit_raw(q, width, eps, angles, step.rows);
        self.attend_raw(q, sinks, visible, step, kv, heads);
        self.keep_window_raw(visible.fresh, visible.ring, step, kv);
        self.rotate_raw(heads, width, angles, Direction::Inverse, step.rows);
    }

    /// The same, and the product of the heads.
    #[allow(clippy::too_many_arguments)]
    fn attend_project_raw(
        &mut self,
        q: &mut Buffer<f32>,
        eps: f32,
        sinks: &Buffer<f32>,
        visible: &Visible,
        angles: &Buffer<f32>,
        step: &Step,
        kv: &mut KvPools,
        to: Projected,
    ) {
        self.attend_keep_raw(q, eps, sinks, visible, angles, step, kv, to.heads);
        self.linear_raw(to.weight, to.groups, to.heads, to.out, step.rows);
    }

    /// The choice of experts, and the activation of the one that is always used.
    #[allow(clippy::too_many_arguments)]
    fn route_swiglu_raw(
        &mut self,
        logits: &Buffer<f32>,
        choice: &Choice,
        scale: f32,
        step: &Step,
        picks: &mut Buffer<u32>,
        shares: &mut Buffer<f32>,
        shared: Gated,
    ) {
        self.route_raw(logits, choice, scale, step, picks, shares);
        self.swiglu_raw(shared.gate, shared.up, shared.clamp, shared.out, step.rows);
    }

    /// The choice of experts, and the sum of the chosen ones and of the one that is always used.
    #[allow(clippy::too_many_arguments)]
    fn mixture_raw(
        &mut self,
        mixture: Mixture,
        x: &Buffer<f32>,
        chosen: Chosen,
        shared: Gated,
        product: &mut Buffer<f32>,
        y: &mut Buffer<f32>,
        step: &Step,
    ) {
        let Chosen { logits, choice, scale, picks, shares } = chosen;
        let Gated { gate, up, clamp, out } = shared;
        let activation = Gated { gate, up, clamp, out: &mut *out };
        self.route_swiglu_raw(logits, choice, scale, step, picks, shares, activation);
        self.experts_raw(mixture.experts, clamp, x, picks, shares, y, step.rows);
        self.linear_add_raw(mixture.down, out, product, y, step.rows);
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

    /// The write of the streams that ends one half layer, and the read that begins the next.
    #[allow(clippy::too_many_arguments)]
    fn hyper_turn_raw(
        &mut self,
        mix: &HyperMix,
        settings: HyperSettings,
        y: &Buffer<f32>,
        streams: &mut Buffer<f32>,
        gates: &mut Buffer<f32>,
        x: &mut Buffer<f32>,
        norm: NormWeight,
        normed: &mut Buffer<f32>,
        rows: usize,
    ) {
        self.hyper_spread_raw(gates, y, streams, rows);
        self.hyper_mix_norm_raw(mix, settings, streams, gates, x, norm, normed, rows);
    }
}

impl Fused for Cpu {}
impl Fused for CpuSimd {}
