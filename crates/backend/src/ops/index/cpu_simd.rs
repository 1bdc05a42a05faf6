//! Fast indexer: rows are decoded once for a tile of tokens, scores are selected without sorting.
//!
//! The score of a token and a row is the sum over heads, in order, of `weight · scale · relu(q ·
//! row)` with the dot product of `simd`: it depends on nothing else in the step. The order of
//! scores as whole numbers, with the row's number behind, makes a selection in linear time exact:
//! equal scores differ by their row.
//!
//! With many tiles a task is a tile; with few (decoding), rows are shared out for each token.

use super::{DAMAGED, Index, NO_PICK};
use crate::cpu::Cpu;
use crate::cpu::fast::{CpuSimd, Own, Workers};
use crate::cpu::simd::{Kernel, Simd, dots};
use crate::cpu::tiles::{self, Tile};
use crate::ops::kv::{PagedRows, cpu_rows};
use crate::{Buffer, KvPools, RowLayout, Step};

/// Memory of the indexer, used again and again.
#[derive(Default)]
pub(crate) struct Scratch {
    tiles: Vec<Tile>,
    scores: Scores,
}

/// Scores of one tile, and what selecting among them needs.
#[derive(Default)]
pub(crate) struct Scores {
    /// Decoded rows, `[ROWS_TOGETHER, dim]`.
    rows: Vec<f32>,
    /// `[tokens, rows]`.
    values: Vec<f32>,
    /// Score and row as one number, the best first.
    order: Vec<u64>,
}

/// Rows that are decoded together, and that a task scores when a token's rows are shared out.
const ROWS_TOGETHER: usize = 64;

/// Everything that is the same for all tokens of a step.
#[derive(Clone, Copy)]
struct Job<'a> {
    cpu: &'a Cpu,
    paged: PagedRows,
    step: &'a Step,
    kv: &'a KvPools,
    /// `[T, Hi·dim]`.
    q: &'a [f32],
    /// `[T, Hi]`.
    weights: &'a [f32],
    heads: usize,
    top_k: usize,
}

impl Job<'_> {
    fn dim(&self) -> usize {
        self.paged.layout.width()
    }

    /// Rows that the query at `position` can see.
    fn visible(&self, position: usize) -> usize {
        (position + 1) / self.paged.ratio
    }

    /// Decodes rows `first..` of a tile's session, as many as `out` holds.
    #[inline(always)]
    fn decode<S: Simd>(&self, tile: Tile, first: usize, out: &mut [f32]) {
        let table = self.cpu.page_table(self.step, tile.segment);
        for (i, out) in out.chunks_exact_mut(self.dim()).enumerate() {
            let (entry, index) = self.paged.place(first + i);
            let block = &self.cpu.page(&self.kv.pages, table[entry])[self.paged.offset..];
            let rows = self.paged.rows_per_page();
            cpu_rows::load::<S>(self.paged.layout, block, rows, index, out);
        }
    }

    /// Scores of the token of step row `row` for decoded rows.
    #[inline(always)]
    fn score<S: Simd>(&self, row: usize, rows: &[f32], out: &mut [f32]) {
        let (dim, heads) = (self.dim(), self.heads);
        let q = &self.q[row * heads * dim..][..heads * dim];
        let weights = &self.weights[row * heads..][..heads];
        let mut at = 0;
        while at + 4 <= out.len() {
            let row = |i: usize| &rows[(at + i) * dim..][..dim];
            let scores = self.score_some::<S, 4>(q, weights, [row(0), row(1), row(2), row(3)]);
            out[at..at + 4].copy_from_slice(&scores);
            at += 4;
        }
        for at in at..out.len() {
            [out[at]] = self.score_some::<S, 1>(q, weights, [&rows[at * dim..][..dim]]);
        }
    }

    #[inline(always)]
    fn score_some<S: Simd, const R: usize>(
        &self,
        q: &[f32],
        weights: &[f32],
        rows: [&[f32]; R],
    ) -> [f32; R] {
        let (dim, heads) = (self.dim(), self.heads);
        let scale = 1.0 / ((heads * dim) as f32).sqrt();
        let mut sums = [0.0; R];
        let mut h = 0;
        while h < heads {
            let head = |i: usize| &q[(h + i) * dim..][..dim];
            let mut products = [[0.0; R]; 4];
            let together = if h + 4 <= heads { 4 } else { 1 };
            if together == 4 {
                products = dots::<S, 4, R>([head(0), head(1), head(2), head(3)], rows);
            } else {
                [products[0]] = dots::<S, 1, R>([head(0)], rows);
            }
            for (products, weight) in products.iter().zip(&weights[h..h + together]) {
                for (sum, product) in sums.iter_mut().zip(products) {
                    // NaN is not below zero and stays.
                    let positive = if *product < 0.0 { 0.0 } else { *product };
                    *sum += weight * scale * positive;
                }
            }
            h += together;
        }
        sums
    }
}

/// Scores rows `first..` for every token of a tile.
struct Score<'a> {
    job: Job<'a>,
    tile: Tile,
    first: usize,
    /// Scratch for decoded rows, `[count, dim]`.
    rows: &'a mut [f32],
    /// `[tokens, stride]`, of which each token's first `count` are written.
    out: &'a mut [f32],
    stride: usize,
}

impl Kernel for Score<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Score { job, tile, first, rows, out, stride } = self;
        job.decode::<S>(tile, first, rows);
        let count = rows.len() / job.dim();
        for t in 0..tile.tokens {
            job.score::<S>(tile.row + t, rows, &mut out[t * stride..][..count]);
        }
    }
}

/// All rows, where there are no more than may be picked.
fn all(visible: usize, picks: &mut [u32]) {
    picks.fill(NO_PICK);
    picks.iter_mut().zip(0..visible).for_each(|(pick, row)| *pick = row as u32);
}

/// The rows with the largest scores, ascending; [`DAMAGED`] if a score is not a number.
fn select(scores: &[f32], order: &mut Vec<u64>, picks: &mut [u32]) {
    picks.fill(NO_PICK);
    order.clear();
    for (row, &score) in scores.iter().enumerate() {
        if score.is_nan() {
            picks[0] = DAMAGED;
            return;
        }
        order.push(u64::from(!ascending(score)) << 32 | row as u64);
    }
    let count = picks.len();
    order.select_nth_unstable(count - 1);
    for (pick, key) in picks.iter_mut().zip(&order[..count]) {
        *pick = *key as u32;
    }
    picks.sort_unstable();
}

/// A whole number that grows with `x`; the two zeros are equal.
fn ascending(x: f32) -> u32 {
    let bits = (x + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// A tile by one worker.
fn tile_alone(job: Job, own: &mut Own, tile: Tile, picks: &mut [u32]) {
    let last = job.visible(tile.position + tile.tokens - 1);
    let Own { level, scores: Scores { rows, values, order }, .. } = own;
    if last > job.top_k {
        values.resize(tile.tokens * last, 0.0);
        for first in (0..last).step_by(ROWS_TOGETHER) {
            let count = ROWS_TOGETHER.min(last - first);
            rows.resize(count * job.dim(), 0.0);
            let out = &mut values[first..];
            level.run(Score { job, tile, first, rows, out, stride: last });
        }
    }
    for (t, picks) in picks.chunks_exact_mut(job.top_k).enumerate() {
        match job.visible(tile.position + t) {
            visible if visible <= job.top_k => all(visible, picks),
            visible => select(&values[t * last..][..visible], order, picks),
        }
    }
}

/// One token by everybody.
fn token_together(
    job: Job,
    workers: &mut Workers,
    scores: &mut Scores,
    tile: Tile,
    picks: &mut [u32],
) {
    let visible = job.visible(tile.position);
    if visible <= job.top_k {
        return all(visible, picks);
    }
    let Scores { values, order, .. } = scores;
    values.resize(visible, 0.0);
    workers.chunks(values, ROWS_TOGETHER, &|own, task, out| {
        let Own { level, scores: Scores { rows, .. }, .. } = own;
        let (count, first) = (out.len(), task * ROWS_TOGETHER);
        rows.resize(count * job.dim(), 0.0);
        level.run(Score { job, tile, first, rows, out, stride: count });
    });
    select(values, order, picks);
}

impl Index for CpuSimd {
    fn round_queries_raw(&mut self, layout: RowLayout, q: &mut Buffer<f32>, rows: usize) {
        let width = q.width;
        self.edit(q, |_, workers, _, q| {
            workers.chunks(&mut q[..rows * width], width, &|_, _, q| {
                q.chunks_exact_mut(layout.width()).for_each(|head| layout.round(head));
            });
        });
    }

    fn index_pick_raw(
        &mut self,
        paged: PagedRows,
        q: &Buffer<f32>,
        weights: &Buffer<f32>,
        step: &Step,
        kv: &KvPools,
        picks: &mut Buffer<u32>,
    ) {
        let (heads, top_k) = (weights.width, picks.width);
        self.edit(picks, |cpu, workers, scratch, picks| {
            let (q, weights) = (cpu.data(q), cpu.data(weights));
            let job = Job { cpu, paged, step, kv, q, weights, heads, top_k };
            let Scratch { tiles, scores } = &mut scratch.index;
            tiles::cut(cpu.segments(step), tiles);
            if tiles.len() >= 2 * workers.count() {
                let range = |i: usize| tiles[i].row * top_k..tiles[i].rows().end * top_k;
                workers.pieces(picks, tiles.len(), &range, &|own, i, picks| {
                    tile_alone(job, own, tiles[i], picks);
                });
                return;
            }
            for tile in tiles.iter() {
                for t in 0..tile.tokens {
                    let (row, position) = (tile.row + t, tile.position + t);
                    let one = Tile { row, position, tokens: 1, ..*tile };
                    let picks = &mut picks[row * top_k..(row + 1) * top_k];
                    token_together(job, workers, scores, one, picks);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::select::largest;

    proptest! {
        /// Scores that are often equal, zeros of both signs: the choice of the reference.
        #[test]
        fn selects_what_the_reference_selects(
            scores in proptest::collection::vec(-6i8..6, 9..200),
            count in 1usize..9,
        ) {
            let score = |s: i8| if s == -6 { -0.0 } else { f32::from(s) * 0.5 };
            let scores: Vec<f32> = scores.into_iter().map(score).collect();
            let mut want = largest(&scores, count);
            want.sort_unstable();
            let mut picks = vec![0; count];
            select(&scores, &mut Vec::new(), &mut picks);
            prop_assert_eq!(picks, want);
        }
    }

    #[test]
    fn a_score_that_is_no_number_is_told() {
        let mut picks = [0; 2];
        select(&[1.0, f32::NAN, 3.0], &mut Vec::new(), &mut picks);
        assert_eq!(picks, [DAMAGED, NO_PICK]);
    }
}
