//! Fast attention: rows are decoded once for a tile of tokens, and each row that is loaded serves
//! four heads.
//!
//! For one token and head the sums have one order: scores by the dot product of `simd`, their
//! exponentials added up lane by lane over the window and then over the rows beyond it, and the
//! output over the same rows one after the other.
//!
//! With many tiles a task is a tile. With few (decoding) each tile is worked on by everybody: first
//! its rows are decoded, then its heads are shared out.

use super::{Attend, Beyond, Visible};
use crate::cpu::Cpu;
use crate::cpu::fast::{CpuSimd, Own, Workers};
use crate::cpu::simd::{Kernel, LANES, Simd, dots, exp, vector, vector_mut};
use crate::cpu::tiles::{self, Tile};
use crate::ops::index::{DAMAGED, NO_PICK};
use crate::ops::kv::cpu_rows;
use crate::{Buffer, KvPools, RowLayout, SegmentRow, Step};

/// Memory of attention, used again and again.
#[derive(Default)]
pub(crate) struct Scratch {
    tiles: Vec<Tile>,
    rows: Rows,
}

/// Decoded rows of one tile.
#[derive(Default)]
pub(crate) struct Rows {
    /// Window rows of all tokens, then the rows beyond it; `[count, stride]`.
    values: Vec<f32>,
    /// Scores of some heads, `[heads, keys]` each padded to whole vectors.
    scores: Vec<f32>,
}

/// Heads that are computed together.
const HEADS: usize = 4;

/// Rows that one task decodes when a tile's rows are shared out.
const ROWS_PER_TASK: usize = 32;

/// Everything that is the same for all tokens of a step.
#[derive(Clone, Copy)]
struct Job<'a> {
    cpu: &'a Cpu,
    visible: &'a Visible<'a>,
    step: &'a Step,
    kv: &'a KvPools,
    segments: &'a [SegmentRow],
}

/// Which rows a tile sees.
#[derive(Clone, Copy)]
struct Seen {
    /// Position of the first window row.
    window_start: usize,
    /// Window rows, of all tokens together.
    window: usize,
    /// Rows beyond the window that are decoded for the tile, or for one token of it.
    beyond: usize,
}

impl Job<'_> {
    fn layout(&self) -> RowLayout {
        self.visible.fresh.layout
    }

    /// Floats between two decoded rows.
    fn stride(&self) -> usize {
        self.layout().width().next_multiple_of(LANES)
    }

    /// The rows of a tile; with picked rows, of its single token.
    fn seen(&self, tile: Tile) -> Seen {
        let last = tile.position + tile.tokens - 1;
        let window_start = (tile.position + 1).saturating_sub(self.visible.ring.rows);
        let beyond = match &self.visible.beyond {
            Beyond::Nothing => 0,
            Beyond::All(paged) => (last + 1) / paged.ratio,
            Beyond::Picked(..) => self.picks(tile.row).len(),
        };
        Seen { window_start, window: last + 1 - window_start, beyond }
    }

    /// The picked rows of a token.
    fn picks(&self, row: usize) -> &[u32] {
        let Beyond::Picked(_, picks) = &self.visible.beyond else { return &[] };
        let picks = &self.cpu.data(picks)[row * picks.width..][..picks.width];
        let count = picks.iter().position(|&pick| pick == NO_PICK).unwrap_or(picks.len());
        &picks[..count]
    }

    /// Decodes rows `first..` of what a tile sees, as many as `out` holds.
    #[inline(always)]
    fn decode<S: Simd>(&self, tile: Tile, seen: Seen, first: usize, out: &mut [f32]) {
        let Visible { fresh, ring, beyond } = self.visible;
        let (layout, stride) = (self.layout(), self.stride());
        let width = layout.width();
        let segment = self.segments[tile.segment];
        let (start, first_row) = (segment.start as usize, segment.first_row as usize);
        let fresh_block = self.cpu.data(&fresh.bytes);
        let ring_block = &self.cpu.page(&self.kv.slots, segment.slot)[ring.offset..];
        let table = self.cpu.page_table(self.step, tile.segment);
        let picks = self.picks(tile.row);
        for (i, out) in out.chunks_exact_mut(stride).enumerate() {
            let (out, rest) = out.split_at_mut(width);
            rest.fill(0.0);
            let at = first + i;
            if at < seen.window {
                let position = seen.window_start + at;
                match position.checked_sub(start) {
                    Some(new) => {
                        let row = first_row + new;
                        cpu_rows::load::<S>(layout, fresh_block, fresh.rows, row, out);
                    }
                    None => {
                        let row = position % ring.rows;
                        cpu_rows::load::<S>(layout, ring_block, ring.rows, row, out);
                    }
                }
                continue;
            }
            let at = at - seen.window;
            let (paged, row) = match beyond {
                Beyond::Nothing => unreachable!("a layer without compression has its window only"),
                Beyond::All(paged) => (paged, at as u32),
                Beyond::Picked(paged, _) => (paged, picks[at]),
            };
            if row == DAMAGED {
                out.fill(f32::NAN);
                continue;
            }
            let (entry, index) = paged.place(row as usize);
            let block = &self.cpu.page(&self.kv.pages, table[entry])[paged.offset..];
            cpu_rows::load::<S>(layout, block, paged.rows_per_page(), index, out);
        }
    }

    /// Decoded rows that token `t` of a tile sees: its window, and what is beyond it.
    fn of_token<'r>(&self, tile: Tile, seen: Seen, t: usize, rows: &'r [f32]) -> [&'r [f32]; 2] {
        let stride = self.stride();
        let position = tile.position + t;
        let start = (position + 1).saturating_sub(self.visible.ring.rows) - seen.window_start;
        let end = position + 1 - seen.window_start;
        let beyond = match &self.visible.beyond {
            Beyond::All(paged) => (position + 1) / paged.ratio,
            _ => seen.beyond,
        };
        let (window, rest) = rows.split_at(seen.window * stride);
        [&window[start * stride..end * stride], &rest[..beyond * stride]]
    }
}

/// Decodes some of a tile's rows.
struct Decode<'a> {
    job: Job<'a>,
    tile: Tile,
    seen: Seen,
    first: usize,
    out: &'a mut [f32],
}

impl Kernel for Decode<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        self.job.decode::<S>(self.tile, self.seen, self.first, self.out);
    }
}

/// Some heads of one token over decoded rows.
struct Heads<'a> {
    /// `[heads, hd]`.
    q: &'a [f32],
    /// One per head.
    sinks: &'a [f32],
    /// Window and beyond, each `[count, stride]`.
    rows: [&'a [f32]; 2],
    stride: usize,
    hd: usize,
    scores: &'a mut Vec<f32>,
    /// `[heads, hd]`.
    out: &'a mut [f32],
}

impl Kernel for Heads<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Heads { q, sinks, rows, stride, hd, scores, out } = self;
        let keys = (rows[0].len() + rows[1].len()) / stride;
        let padded = keys.next_multiple_of(LANES);
        scores.resize(HEADS * padded, 0.0);
        let mut h = 0;
        while h < sinks.len() {
            let together = HEADS.min(sinks.len() - h);
            let (q, out) = (&q[h * hd..], &mut out[h * hd..][..together * hd]);
            if together == HEADS {
                some::<S, HEADS>(q, &sinks[h..], rows, stride, hd, scores, out);
                h += HEADS;
            } else {
                some::<S, 1>(q, &sinks[h..], rows, stride, hd, scores, &mut out[..hd]);
                h += 1;
            }
        }
    }
}

/// `H` heads: scores, softmax, weighted sum.
#[inline(always)]
fn some<S: Simd, const H: usize>(
    q: &[f32],
    sinks: &[f32],
    rows: [&[f32]; 2],
    stride: usize,
    hd: usize,
    scores: &mut [f32],
    out: &mut [f32],
) {
    let keys = (rows[0].len() + rows[1].len()) / stride;
    let padded = keys.next_multiple_of(LANES);
    let mut heads: [&[f32]; H] = [&[]; H];
    for (h, head) in heads.iter_mut().enumerate() {
        *head = &q[h * hd..][..hd];
    }
    let scale = 1.0 / (hd as f32).sqrt();
    let mut key = 0;
    for rows in rows {
        let count = rows.len() / stride;
        let mut at = 0;
        while at + 4 <= count {
            let row = |i: usize| &rows[(at + i) * stride..][..hd];
            let products = dots::<S, H, 4>(heads, [row(0), row(1), row(2), row(3)]);
            for (h, products) in products.into_iter().enumerate() {
                for (i, product) in products.into_iter().enumerate() {
                    scores[h * padded + key + i] = product * scale;
                }
            }
            (at, key) = (at + 4, key + 4);
        }
        while at < count {
            let products = dots::<S, H, 1>(heads, [&rows[at * stride..][..hd]]);
            for (h, [product]) in products.into_iter().enumerate() {
                scores[h * padded + key] = product * scale;
            }
            (at, key) = (at + 1, key + 1);
        }
    }
    let mut shares = [0.0; H];
    for h in 0..H {
        shares[h] = weigh::<S>(&mut scores[h * padded..][..padded], keys, sinks[h]);
    }
    let vectors_max = (S::SUMS / H).clamp(1, 4);
    for channel in (0..stride).step_by(vectors_max * LANES) {
        let vectors = (stride - channel).div_ceil(LANES).min(vectors_max);
        match vectors {
            4 => gather::<S, H, 4>(rows, stride, channel, scores, padded, shares, hd, out),
            3 => gather::<S, H, 3>(rows, stride, channel, scores, padded, shares, hd, out),
            2 => gather::<S, H, 2>(rows, stride, channel, scores, padded, shares, hd, out),
            _ => gather::<S, H, 1>(rows, stride, channel, scores, padded, shares, hd, out),
        }
    }
}

/// Turns scores into weights `exp(score − max)`; returns one over their sum, the sink's included.
#[inline(always)]
fn weigh<S: Simd>(scores: &mut [f32], keys: usize, sink: f32) -> f32 {
    let max = scores[..keys].iter().fold(sink, |max, score| max.max(*score));
    // The last vector is filled up with what weighs nothing.
    scores[keys..].fill(f32::NEG_INFINITY);
    let (shift, mut total) = (S::splat(max), S::splat(0.0));
    for scores in scores.as_chunks_mut::<LANES>().0 {
        let weight = exp::<S>(S::sub(S::load(scores), shift));
        total = S::add(total, weight);
        S::store(weight, scores);
    }
    let mut sinks = [0.0; LANES];
    S::store(exp::<S>(S::splat(sink - max)), &mut sinks);
    1.0 / (S::sum(total) + sinks[0])
}

/// `V` vectors of channels of the weighted sum, for `H` heads.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn gather<S: Simd, const H: usize, const V: usize>(
    rows: [&[f32]; 2],
    stride: usize,
    channel: usize,
    weights: &[f32],
    padded: usize,
    shares: [f32; H],
    hd: usize,
    out: &mut [f32],
) {
    let mut sums = [[S::splat(0.0); V]; H];
    let mut key = 0;
    for rows in rows {
        for row in rows.chunks_exact(stride) {
            let mut values = [S::splat(0.0); V];
            for (v, value) in values.iter_mut().enumerate() {
                *value = S::load(vector(row, channel + v * LANES));
            }
            for (h, sums) in sums.iter_mut().enumerate() {
                let weight = S::splat(weights[h * padded + key]);
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = S::fma(weight, value, *sum);
                }
            }
            key += 1;
        }
    }
    for h in 0..H {
        let share = S::splat(shares[h]);
        for (v, sum) in sums[h].into_iter().enumerate() {
            let (value, at) = (S::mul(sum, share), channel + v * LANES);
            if at + LANES <= hd {
                S::store(value, vector_mut(out, h * hd + at));
            } else {
                let mut last = [0.0; LANES];
                S::store(value, &mut last);
                out[h * hd + at..(h + 1) * hd].copy_from_slice(&last[..hd - at]);
            }
        }
    }
}

/// A tile by one worker.
fn tile_alone(job: Job, own: &mut Own, tile: Tile, q: &[f32], sinks: &[f32], out: &mut [f32]) {
    let (hd, stride, width) = (job.layout().width(), job.stride(), q.len() / tile.tokens);
    let picked = matches!(job.visible.beyond, Beyond::Picked(..));
    let mut seen = job.seen(tile);
    let Own { level, rows: Rows { values, scores }, .. } = own;
    // Picked rows differ from token to token: they are decoded behind the tile's window.
    if picked {
        seen.beyond = 0;
    }
    values.resize((seen.window + seen.beyond) * stride, 0.0);
    level.run(Decode { job, tile, seen, first: 0, out: values });
    for (t, (q, out)) in q.chunks_exact(width).zip(out.chunks_exact_mut(width)).enumerate() {
        if picked {
            let one = Tile { row: tile.row + t, ..tile };
            seen.beyond = job.picks(one.row).len();
            values.resize((seen.window + seen.beyond) * stride, 0.0);
            let out = &mut values[seen.window * stride..];
            level.run(Decode { job, tile: one, seen, first: seen.window, out });
        }
        let rows = job.of_token(tile, seen, t, values);
        level.run(Heads { q, sinks, rows, stride, hd, scores, out });
    }
}

/// One token by everybody: its rows first, then its heads.
fn token_together(
    job: Job,
    workers: &mut Workers,
    rows: &mut Rows,
    tile: Tile,
    q: &[f32],
    sinks: &[f32],
    out: &mut [f32],
) {
    let (hd, stride, seen) = (job.layout().width(), job.stride(), job.seen(tile));
    rows.values.resize((seen.window + seen.beyond) * stride, 0.0);
    workers.chunks(&mut rows.values, ROWS_PER_TASK * stride, &|own, task, out| {
        let first = task * ROWS_PER_TASK;
        own.level.run(Decode { job, tile, seen, first, out });
    });
    let rows = job.of_token(tile, seen, 0, &rows.values);
    workers.chunks(out, HEADS * hd, &|own, task, out| {
        let heads = task * HEADS..(task * HEADS + out.len() / hd);
        let q = &q[heads.start * hd..heads.end * hd];
        let Own { level, rows: Rows { scores, .. }, .. } = own;
        level.run(Heads { q, sinks: &sinks[heads], rows, stride, hd, scores, out });
    });
}

impl Attend for CpuSimd {
    fn attend_raw(
        &mut self,
        q: &Buffer<f32>,
        sinks: &Buffer<f32>,
        visible: &Visible,
        step: &Step,
        kv: &KvPools,
        out: &mut Buffer<f32>,
    ) {
        let width = q.width;
        self.edit(out, |cpu, workers, scratch, out| {
            let (q, sinks, segments) = (cpu.data(q), cpu.data(sinks), cpu.segments(step));
            let job = Job { cpu, visible, step, kv, segments };
            let Scratch { tiles, rows } = &mut scratch.attend;
            tiles::cut(segments, tiles);
            if tiles.len() >= 2 * workers.count() {
                let range = |i: usize| tiles[i].row * width..tiles[i].rows().end * width;
                workers.pieces(out, tiles.len(), &range, &|own, i, out| {
                    tile_alone(job, own, tiles[i], &q[range(i)], sinks, out);
                });
                return;
            }
            for tile in tiles.iter() {
                for t in 0..tile.tokens {
                    let (row, position) = (tile.row + t, tile.position + t);
                    let one = Tile { row, position, tokens: 1, ..*tile };
                    let range = row * width..(row + 1) * width;
                    let (q, out) = (&q[range.clone()], &mut out[range]);
                    token_together(job, workers, rows, one, q, sinks, out);
                }
            }
        });
    }
}
