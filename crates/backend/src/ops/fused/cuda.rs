//! Fusions on CUDA: those that spare a decoding step launches.
//!
//! Kernels are in the files of the families whose operations they join. Many tokens fill the device
//! with each plain operation, so most fusions are for few of them.

use gguf::Format;

use super::{Chosen, Fed, Fused, Gated, Mixture, NormWeight, Normed, Projected};
use crate::cuda::driver::Address;
use crate::cuda::{Cuda, values, words};
use crate::ops::attend::Visible;
use crate::ops::attend::many::{Around, Written};
use crate::ops::compress::Compress;
use crate::ops::experts::Experts;
use crate::ops::hyper::{HyperMix, HyperSettings};
use crate::ops::kv::cuda::{KV, layout_values};
use crate::ops::kv::{Kv, RowBlock, RowFormat, RowLayout};
use crate::ops::linear::Linear;
use crate::ops::linear::cuda::{FEW_TOKENS, MATRICES_MAX};
use crate::ops::linear::rounded::{Activations, is_float};
use crate::ops::norm::cuda::{NORM, fours, threads};
use crate::ops::rope::{Direction, Rope};
use crate::ops::route::Choice;
use crate::{Buffer, KvPools, Step, Weight};

impl Fused for Cuda {
    /// For a few tokens one launch, or one per format; more of them fill the device with each
    /// product.
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
        let mut own: Vec<(Format, Vec<(&Weight, Address)>)> = Vec::new();
        for &out in &outs {
            let format = self.stored(out.0).format;
            match own.iter_mut().find(|(of, _)| *of == format) {
                Some((_, outs)) => outs.push(out),
                None => own.push((format, vec![out])),
            }
        }
        // Weights of float precision go with those of a quantized format.
        own.sort_by_key(|(format, _)| is_float(*format));
        if let [(format, quantized), (other, floats)] = own.as_slice()
            && !is_float(*format)
            && is_float(*other)
            && outs.len() <= MATRICES_MAX
        {
            let x = self.activations(x, rows, x.width, *format);
            return self.multiply_pair([quantized, floats], x, rows);
        }
        for (format, outs) in own {
            let x = self.activations(x, rows, x.width, format);
            for some in outs.chunks(MATRICES_MAX) {
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

    fn latents_raw(
        &mut self,
        query: Normed,
        row: Normed,
        angles: &Buffer<f32>,
        fresh: &mut RowBlock,
        rows: usize,
    ) {
        let unit = (&KV, layout_values(fresh.layout), "latents");
        let (x, weight, eps) = (self.at(row.x), self.at(row.norm.weight), row.norm.eps);
        let (out, pairs) = (self.edit(row.out), angles.width / 2);
        let (bytes, capacity) = (self.edit(&mut fresh.bytes), fresh.rows);
        let fours = fours(query.x.width);
        let (qx, qweight, qeps) = (self.at(query.x), self.at(query.norm.weight), query.norm.eps);
        let Activations { codes, steps, halves, floats, .. } = self.edit_rounded(query.out, rows);
        let angles = self.at(angles);
        let args = words![
            x, weight, out, eps, angles, bytes, capacity, pairs, qx, qweight, floats, qeps, codes,
            steps, halves, fours
        ];
        self.record(unit, [rows, 2, 1], 256, args);
    }

    fn keep_raw(
        &mut self,
        mut query: Normed,
        mut row: Normed,
        angles: &Buffer<f32>,
        fresh: &mut RowBlock,
        fed: &[Fed],
        step: &Step,
        kv: &mut KvPools,
    ) {
        if self.keep(&mut query, &mut row, angles, fresh, fed, step, kv) {
            return;
        }
        self.latents_raw(query, row, angles, fresh, step.rows);
        for Fed { compressor, values, gates } in fed {
            self.compress_raw(compressor, values, gates, step, kv);
        }
    }

    fn rotate_round_raw(
        &mut self,
        layout: RowLayout,
        q: &mut Buffer<f32>,
        angles: &Buffer<f32>,
        rows: usize,
    ) {
        if layout.format == RowFormat::ExactF32 {
            return self.rotate_raw(q, layout.width(), angles, Direction::Forward, rows);
        }
        self.round_heads(layout, q, Some(angles), rows);
    }

    /// For few tokens one launch, or, where there are no clusters, three: as long as keys are in
    /// parts, what joins them does what is after attention.
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
        assert!(angles.width.is_multiple_of(4), "{} rotated channels", angles.width);
        if self.attend_by_cluster((q, eps), sinks, visible, angles, step, kv, heads) {
            return;
        }
        let layout = visible.fresh.layout;
        if angles.width == 64 && self.attends_many(layout, step.rows, sinks.width) {
            let around = Around { angles: self.at(angles), eps };
            let to = Written { floats: self.edit(heads), bf16: 0 };
            self.attend_many(q, sinks, visible, step, kv, around, to);
            return self.keep_window_raw(visible.fresh, visible.ring, step, kv);
        }
        let width = layout.width();
        self.rotate_unit_raw(q, width, eps, angles, step.rows);
        let after = self.after(angles, kv);
        if self.attend_then(q, sinks, visible, step, kv, heads, Some(after)) {
            return;
        }
        self.keep_window_raw(visible.fresh, visible.ring, step, kv);
        self.rotate_raw(heads, width, angles, Direction::Inverse, step.rows);
    }

    /// Heads of many tokens are written as the product takes them, and no other way.
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
        let (layout, rows) = (visible.fresh.layout, step.rows);
        let Projected { heads, weight, groups, out } = to;
        if angles.width == 64
            && self.attends_many(layout, rows, sinks.width)
            && self.in_tiles(weight, groups, rows)
        {
            let around = Around { angles: self.at(angles), eps };
            let bf16 = self.edit_bf16(heads, rows * heads.width);
            let to = Written { floats: 0, bf16 };
            self.attend_many(q, sinks, visible, step, kv, around, to);
            self.keep_window_raw(visible.fresh, visible.ring, step, kv);
        } else {
            self.attend_keep_raw(q, eps, sinks, visible, angles, step, kv, heads);
        }
        self.linear_raw(weight, groups, heads, out, rows);
    }

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
        self.route_beside(logits, choice, scale, step, picks, shares, Some(shared));
    }

    /// For a few tokens the shared expert goes with the choice, and the others are added to it.
    fn mixture_raw(
        &mut self,
        mixture: Mixture,
        x: &Buffer<f32>,
        mut chosen: Chosen,
        shared: Gated,
        product: &mut Buffer<f32>,
        y: &mut Buffer<f32>,
        step: &Step,
    ) {
        let Mixture { experts, down } = mixture;
        if self.joins_always(down, step.rows) {
            self.route_always(&mut chosen, &shared, down, y, step);
            let (picks, shares) = (&*chosen.picks, &*chosen.shares);
            return self.experts_onto(experts, shared.clamp, x, picks, shares, y, step.rows);
        }
        let Chosen { logits, choice, scale, picks, shares } = chosen;
        let Gated { gate, up, clamp, out } = shared;
        let activation = Gated { gate, up, clamp, out: &mut *out };
        self.route_swiglu_raw(logits, choice, scale, step, picks, shares, activation);
        self.experts_raw(experts, clamp, x, picks, shares, y, step.rows);
        self.linear_add_raw(down, out, product, y, step.rows);
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
        let h = self.at(streams);
        self.turn_streams(mix, settings, None, h, gates, x, Some((norm, normed)), rows);
    }

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
        let h = self.edit(streams);
        self.turn_streams(mix, settings, Some(y), h, gates, x, Some((norm, normed)), rows);
    }
}
