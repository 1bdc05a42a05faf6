//! The front functions of the fusions: which plain operations each stands for, and what shapes it
//! takes.
//!
//! They check what the plain operations would check, since a backend that overrides a fusion never
//! comes to them. What a fusion means is its body in `mod.rs`.

use super::{Chosen, Fed, Gated, Mixture, NormWeight, Normed, Projected};
use crate::ops::attend::{Beyond, Visible};
use crate::ops::experts::ExpertWeights;
use crate::ops::hyper::{HyperMix, HyperSettings};
use crate::ops::kv::{RowBlock, RowLayout};
use crate::ops::route::Choice;
use crate::{Backend, Buffer, KvPools, Step, Weight};

impl Normed<'_> {
    fn check(&self, rows: usize) {
        self.norm.weight.expect("weight", 1, self.x.width);
        self.x.expect("x", rows, self.x.width);
        self.out.expect("out", rows, self.x.width);
    }
}

fn check_attention(
    q: &Buffer<f32>,
    sinks: &Buffer<f32>,
    visible: &Visible,
    angles: &Buffer<f32>,
    step: &Step,
    kv: &KvPools,
    heads: &Buffer<f32>,
) {
    let Visible { fresh, ring, beyond } = visible;
    let width = fresh.layout.width() * sinks.width;
    q.expect("q", step.rows, width);
    heads.expect("heads", step.rows, width);
    angles.expect("angles", step.rows, angles.width);
    assert_eq!(fresh.layout, ring.layout, "fresh and kept rows have one layout");
    assert!(fresh.rows >= step.rows && fresh.layout.width() >= angles.width);
    assert!(ring.offset + ring.layout.block_bytes(ring.rows) <= kv.slots.page_bytes);
    if let Beyond::Picked(_, picks) = beyond {
        picks.expect("picks", step.rows, picks.width);
    }
}

fn check_latents(
    query: &Normed,
    row: &Normed,
    angles: &Buffer<f32>,
    fresh: &RowBlock,
    rows: usize,
) {
    query.check(rows);
    row.check(rows);
    let width = fresh.layout.width();
    assert_eq!(row.x.width, width, "channels of a row");
    angles.expect("angles", rows, angles.width);
    assert!(fresh.rows >= rows && width >= angles.width);
}

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

    /// The latent of queries: [`rms_norm`](trait.Backend.html#method.rms_norm). The key-value row:
    /// the same, then [`rotate`](trait.Backend.html#method.rotate) forward, and
    /// [`store_rows`](trait.Backend.html#method.store_rows) to `fresh`. `angles` `[T, 2·pairs]`.
    pub fn latents(
        &mut self,
        query: Normed,
        row: Normed,
        angles: &Buffer<f32>,
        fresh: &mut RowBlock,
        rows: usize,
    ) {
        check_latents(&query, &row, angles, fresh, rows);
        self.latents_raw(query, row, angles, fresh, rows);
    }

    /// [`latents`](trait.Backend.html#method.latents), and
    /// [`compress`](trait.Backend.html#method.compress) for each of the compressors that are `fed`,
    /// whose rows and frontiers do not overlap: all wait for products of the same activations only.
    #[allow(clippy::too_many_arguments)]
    pub fn keep(
        &mut self,
        query: Normed,
        row: Normed,
        angles: &Buffer<f32>,
        fresh: &mut RowBlock,
        fed: &[Fed],
        step: &Step,
        kv: &mut KvPools,
    ) {
        check_latents(&query, &row, angles, fresh, step.rows);
        for Fed { compressor, values, gates } in fed {
            compressor.check(values, gates, step, kv);
        }
        self.keep_raw(query, row, angles, fresh, fed, step, kv);
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

    /// [`rotate`](trait.Backend.html#method.rotate) forward, then
    /// [`round_queries`](trait.Backend.html#method.round_queries), of each head of `q`
    /// `[T, Hi·dim]`, in place. `angles` `[T, 2·pairs]`.
    pub fn rotate_round(
        &mut self,
        layout: RowLayout,
        q: &mut Buffer<f32>,
        angles: &Buffer<f32>,
        rows: usize,
    ) {
        let width = layout.width();
        assert!(q.width.is_multiple_of(width) && width >= angles.width && q.rows >= rows);
        angles.expect("angles", rows, angles.width);
        self.rotate_round_raw(layout, q, angles, rows);
    }

    /// [`rotate_unit`](trait.Backend.html#method.rotate_unit) of the queries `q`, which are what a
    /// backend may compute in and not said afterwards;
    /// [`attend`](trait.Backend.html#method.attend) to `heads`, then
    /// [`keep_window`](trait.Backend.html#method.keep_window) of the rows of the step, and
    /// [`rotate`](trait.Backend.html#method.rotate) back. `q` and `heads` `[T, H·hd]`, `sinks`
    /// `[1, H]`, `angles` `[T, 2·pairs]`, for both ways.
    #[allow(clippy::too_many_arguments)]
    pub fn attend_keep(
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
        check_attention(q, sinks, visible, angles, step, kv, heads);
        self.attend_keep_raw(q, eps, sinks, visible, angles, step, kv, heads);
    }

    /// [`attend_keep`](trait.Backend.html#method.attend_keep), then
    /// [`linear_grouped`](trait.Backend.html#method.linear_grouped) of the heads, which a backend
    /// that keeps no marks may leave as they were.
    #[allow(clippy::too_many_arguments)]
    pub fn attend_project(
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
        check_attention(q, sinks, visible, angles, step, kv, to.heads);
        let Projected { heads, weight, groups, out } = &to;
        assert!(weight.count == 1 && weight.rows.is_multiple_of(*groups), "{groups} groups");
        assert_eq!(heads.width, weight.cols * groups, "channels of heads and of their product");
        out.expect("out", step.rows, weight.rows);
        self.attend_project_raw(q, eps, sinks, visible, angles, step, kv, to);
    }

    /// [`route`](trait.Backend.html#method.route), and
    /// [`swiglu`](trait.Backend.html#method.swiglu) of the shared expert: both wait for products of
    /// the same activations only.
    #[allow(clippy::too_many_arguments)]
    pub fn route_swiglu(
        &mut self,
        logits: &Buffer<f32>,
        choice: &Choice,
        scale: f32,
        step: &Step,
        picks: &mut Buffer<u32>,
        shares: &mut Buffer<f32>,
        shared: Gated,
    ) {
        choice.check(logits, picks, shares, step.rows);
        let width = shared.out.width;
        shared.gate.expect("gate", step.rows, width);
        shared.up.expect("up", step.rows, width);
        shared.out.expect("out", step.rows, width);
        self.route_swiglu_raw(logits, choice, scale, step, picks, shares, shared);
    }

    /// [`route_swiglu`](trait.Backend.html#method.route_swiglu), then
    /// [`experts`](trait.Backend.html#method.experts) of `x` `[T, D]` to `y` `[T, D]`, and
    /// [`linear_add`](trait.Backend.html#method.linear_add) of the shared expert's activation.
    /// What is in `shared.out` and in `product`, of the shape of `y`, is not said: a backend may
    /// compute in them.
    #[allow(clippy::too_many_arguments)]
    pub fn mixture(
        &mut self,
        mixture: Mixture,
        x: &Buffer<f32>,
        chosen: Chosen,
        shared: Gated,
        product: &mut Buffer<f32>,
        y: &mut Buffer<f32>,
        step: &Step,
    ) {
        let Mixture { experts: ExpertWeights { gate, up, down }, down: last } = mixture;
        let rows = step.rows;
        assert_eq!((gate.count, gate.rows, gate.cols), (up.count, up.rows, up.cols));
        assert_eq!((down.count, down.rows, down.cols), (gate.count, gate.cols, gate.rows));
        assert_eq!((last.count, last.rows), (1, gate.cols), "results of the shared expert");
        chosen.choice.check(chosen.logits, chosen.picks, chosen.shares, rows);
        assert_eq!(chosen.logits.width, gate.count, "experts");
        x.expect("x", rows, gate.cols);
        for (name, buffer) in [("gate", shared.gate), ("up", shared.up)] {
            buffer.expect(name, rows, last.cols);
        }
        shared.out.expect("out", rows, last.cols);
        product.expect("product", rows, last.rows);
        y.expect("y", rows, last.rows);
        if rows > 0 {
            self.mixture_raw(mixture, x, chosen, shared, product, y, step);
        }
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

    /// [`hyper_spread`](trait.Backend.html#method.hyper_spread) of `y` `[T, D]` by the gates that
    /// are there, then [`hyper_mix_norm`](trait.Backend.html#method.hyper_mix_norm) of what the
    /// streams have become, which leaves new gates.
    #[allow(clippy::too_many_arguments)]
    pub fn hyper_turn(
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
        settings.check(mix, streams, gates, x, rows);
        y.expect("y", rows, x.width);
        norm.weight.expect("weight", 1, x.width);
        normed.expect("normed", rows, x.width);
        self.hyper_turn_raw(mix, settings, y, streams, gates, x, norm, normed, rows);
    }
}
