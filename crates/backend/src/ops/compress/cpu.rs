//! Reference for the compressors: one window after the other, one channel after the other.
//!
//! Entries come from two places, the step's own tokens and the session's frontier; [`Entries`]
//! hides which. Rows are all computed before the frontier is overwritten.

use super::{Compress, Compressor, CompressorPlace};
use crate::ops::norm::cpu::rms_scale;
use crate::ops::rope::{Direction, cpu as rope};
use crate::{Buffer, Cpu, KvPools, SegmentRow, Step};

/// `v` and `z` of the tokens a compressor may need: those of the step and those in the frontier.
struct Entries<'a> {
    start: usize,
    /// `[len, 2, width]`, z with ape.
    fresh: &'a [f32],
    /// `[ring, 2, width]`.
    frontier: &'a [f32],
    ring: usize,
    width: usize,
}

impl<'a> Entries<'a> {
    /// `(v, z)` of the token at `position`.
    fn at(&self, position: usize) -> (&'a [f32], &'a [f32]) {
        let (source, row) = match position.checked_sub(self.start) {
            Some(i) => (self.fresh, i),
            None => (self.frontier, position % self.ring),
        };
        source[row * 2 * self.width..][..2 * self.width].split_at(self.width)
    }
}

/// The pooled row of window `window`, before norm and rotation.
fn pool(entries: &Entries, place: &CompressorPlace, window: usize) -> Vec<f32> {
    let (ratio, c) = (place.rows.ratio, place.rows.layout.width());
    // Token positions with the column where their half starts.
    let mut tokens = Vec::with_capacity(place.ring());
    if place.overlap == 2 && window > 0 {
        tokens.extend(((window - 1) * ratio..window * ratio).map(|p| (p, 0)));
    }
    let own_half = (place.overlap - 1) * c;
    tokens.extend((window * ratio..(window + 1) * ratio).map(|p| (p, own_half)));

    let entries: Vec<_> = tokens.iter().map(|&(p, half)| (entries.at(p), half)).collect();
    let mut row = vec![0.0; c];
    for (j, out) in row.iter_mut().enumerate() {
        let z = |((_, z), half): &((&[f32], &[f32]), usize)| z[half + j];
        let max = entries.iter().map(z).fold(f32::NEG_INFINITY, f32::max);
        let (mut total, mut weighted) = (0.0, 0.0);
        for entry in &entries {
            let weight = (z(entry) - max).exp();
            let ((v, _), half) = entry;
            total += weight;
            weighted += weight * v[half + j];
        }
        *out = weighted / total;
    }
    row
}

/// Interleaves `v` and `z = gate + ape` of one segment: `[len, 2, width]`.
fn fresh_entries(
    ape: &[f32],
    values: &[f32],
    gates: &[f32],
    start: usize,
    width: usize,
) -> Vec<f32> {
    let ratio = ape.len() / width;
    let mut fresh = Vec::with_capacity(2 * values.len());
    for (i, (v, gate)) in values.chunks_exact(width).zip(gates.chunks_exact(width)).enumerate() {
        let ape = &ape[(start + i) % ratio * width..][..width];
        fresh.extend_from_slice(v);
        fresh.extend(gate.iter().zip(ape).map(|(g, a)| g + a));
    }
    fresh
}

impl Compress for Cpu {
    fn compress_raw(
        &mut self,
        compressor: &Compressor,
        values: &Buffer<f32>,
        gates: &Buffer<f32>,
        step: &Step,
        kv: &mut KvPools,
    ) {
        let place = compressor.place;
        let (width, ring, ratio) = (place.width(), place.ring(), place.rows.ratio);
        for (s, SegmentRow { slot, start, first_row, len }) in
            self.segments(step).to_vec().into_iter().enumerate()
        {
            let (start, first, len) = (start as usize, first_row as usize, len as usize);
            let range = first * width..(first + len) * width;
            let (v, g) = (&self.data(values)[range.clone()], &self.data(gates)[range]);
            let fresh = fresh_entries(self.data(compressor.ape), v, g, start, width);
            let frontier = &self.page(&kv.slots, slot)[place.frontier..][..place.frontier_bytes()];
            let frontier = bytemuck::cast_slice(frontier);
            let entries = Entries { start, fresh: &fresh, frontier, ring, width };
            let rows: Vec<_> = (start / ratio..(start + len) / ratio)
                .map(|window| {
                    (window, self.finish(compressor, pool(&entries, &place, window), window))
                })
                .collect();
            for (window, mut row) in rows {
                let (entry, index) = place.rows.place(window);
                let page = self.page_table(step, s)[entry];
                let block = &mut self.page_mut(&mut kv.pages, page)[place.rows.offset..];
                place.rows.layout.store(block, place.rows.rows_per_page(), index, &mut row);
            }
            let frontier = &mut self.page_mut(&mut kv.slots, slot)[place.frontier..];
            let frontier: &mut [f32] =
                bytemuck::cast_slice_mut(&mut frontier[..place.frontier_bytes()]);
            for i in len.saturating_sub(ring)..len {
                let to = (start + i) % ring * 2 * width;
                frontier[to..][..2 * width].copy_from_slice(&fresh[i * 2 * width..][..2 * width]);
            }
        }
    }
}

impl Cpu {
    /// Norm and rotation of a pooled row, at its window's first position.
    fn finish(&self, compressor: &Compressor, mut row: Vec<f32>, window: usize) -> Vec<f32> {
        let scale = rms_scale(&row, compressor.rms_eps);
        let norm = self.data(compressor.norm);
        row.iter_mut().zip(norm).for_each(|(v, norm)| *v *= scale * norm);
        let frequencies = self.data(compressor.frequencies);
        let mut angles = vec![0.0; 2 * frequencies.len()];
        rope::angles(window * compressor.place.rows.ratio, frequencies, &mut angles);
        rope::rotate(&mut row, &angles, Direction::Forward);
        row
    }
}
