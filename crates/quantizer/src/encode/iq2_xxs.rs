//! IQ2_XXS: eight values at a time become the best point of a lattice, four of these share a scale.
//!
//! Magnitudes and signs are separate. A row of eight has an even number of minus signs; where it
//! has an odd one, the value that matters least is negated, so that its magnitude is negative. Then
//! 13 scales are tried, each time with every row at its best point for that scale (see
//! `iq2_xxs_near.rs` for the points that come into question), and the scale fitted to the points.
//!
//! The eight groups of a block are searched side by side; points are compared eight at a time.

use std::array::from_fn;

use gguf::blocks::iq2_xxs::{BYTES, Block, Group, VALUES};

use pulp::Simd;

use super::fit::{level, positive, select, side_by_side, sums};
use super::iq2_xxs_near::{NEAR, Near, ODD, Points, SIDE};
use super::{Encoder, half};

/// Groups of a block.
const GROUPS: usize = 8;

/// Rows of a group.
const ROWS: usize = 4;

/// Values by group: value `n` of group `l` at `[n][l]`.
type Side = [[f32; GROUPS]; 32];

/// Eight values that become one point.
struct Row {
    magnitudes: [f32; 8],
    roots: [f32; 8],
}

/// Rows of the lattice by group.
type Chosen = [[u8; GROUPS]; ROWS];

/// The encoder.
pub(super) struct Iq2Xxs;

impl Encoder<VALUES, { BYTES }> for Iq2Xxs {
    #[inline(always)]
    fn encode(
        simd: impl Simd,
        values: &[f32; VALUES],
        importance: Option<&[f32; VALUES]>,
    ) -> [u8; BYTES] {
        let ones = [1.0; VALUES];
        let mut search = Search::new(values, importance.unwrap_or(&ones));
        search.run(simd);
        let largest = search.scale.iter().fold(0.0, |a, &b| if b > a { b } else { a });
        let d: f32 = largest / 31.0;
        if d == 0.0 {
            return [0; BYTES];
        }
        let inverse = 1.0 / d;
        let groups = from_fn(|l| {
            let scale = level(0.5 * (inverse * search.scale[l] - 1.0), 15.0) as u32;
            let rows = from_fn(|k| search.rows[k][l]);
            let signs = (0..ROWS).fold(0, |all, k| all | u32::from(search.signs[k][l]) << (7 * k));
            Group { rows, signs: (signs | scale << 28).to_le_bytes() }
        });
        bytemuck::cast(Block { d: half(d), groups })
    }
}

/// The search for all groups of a block.
struct Search {
    near: &'static Near,
    magnitudes: Side,
    weights: Side,
    /// Row by row, the magnitudes again and the roots of the weights, which weigh distances.
    rows_of: [[Row; ROWS]; GROUPS],
    scale: [f32; GROUPS],
    rows: Chosen,
    /// Sign codes of seven bits, by row and group.
    signs: [[u8; GROUPS]; ROWS],
}

impl Search {
    #[inline(always)]
    fn new(values: &[f32; VALUES], importance: &[f32; VALUES]) -> Search {
        let [squares] = sums::<1>(VALUES, |n, _| values[n] * values[n]);
        let mean = squares / VALUES as f32;
        let x: Side = side_by_side(values);
        let v: Side = side_by_side(importance);
        let weights: Side = from_fn(|n| from_fn(|l| v[n][l] * (mean + x[n][l] * x[n][l]).sqrt()));
        let mut magnitudes = x.map(|x| x.map(f32::abs));
        let mut signs = [[0; GROUPS]; ROWS];
        for (k, signs) in signs.iter_mut().enumerate() {
            for (l, code) in signs.iter_mut().enumerate() {
                let negative = |t: usize| u8::from(x[8 * k + t][l] < 0.0) << t;
                let mut mask = (0..8).fold(0, |mask, t| mask | negative(t));
                if mask.count_ones() % 2 == 1 {
                    let cost = |t: usize| {
                        let x = x[8 * k + t][l];
                        weights[8 * k + t][l] * x * x
                    };
                    let least = (1..8).fold(0, |a, b| if cost(b) < cost(a) { b } else { a });
                    let magnitude = &mut magnitudes[8 * k + least][l];
                    *magnitude = -*magnitude;
                    mask ^= 1 << least;
                }
                *code = mask & 127;
            }
        }
        let roots = weights.map(|weights| weights.map(f32::sqrt));
        let row = |l: usize, k: usize| Row {
            magnitudes: from_fn(|t| magnitudes[8 * k + t][l]),
            roots: from_fn(|t| roots[8 * k + t][l]),
        };
        let rows_of = from_fn(|l| from_fn(|k| row(l, k)));
        let (scale, rows) = ([0.0; GROUPS], [[0; GROUPS]; ROWS]);
        Search { near: &NEAR, magnitudes, weights, rows_of, scale, rows, signs }
    }

    #[inline(always)]
    fn run(&mut self, simd: impl Simd) {
        let (start, _) = positive(&self.magnitudes, &self.weights, 4.0);
        let top = start.map(|scale| scale * 3.0);
        let alive: [bool; GROUPS] = from_fn(|l| top[l] > 0.0);
        self.scale = start;
        let mut best = [0.0; GROUPS];
        for step in -6i8..=6 {
            let inverse: [f32; GROUPS] = from_fn(|l| (5.0 + f32::from(step) * 0.1) / top[l]);
            let rows = self.snap(simd, &inverse, &inverse.map(|inverse| 1.0 / inverse), &alive);
            let (xq, qq) = self.products(&rows);
            let better = from_fn(|l| alive[l] & (qq[l] > 0.0) & (xq[l] * xq[l] > best[l] * qq[l]));
            let scale = from_fn(|l| xq[l] / qq[l]);
            let new = from_fn(|l| scale[l] * xq[l]);
            self.take(&better, &scale, &rows);
            best = select(&better, &new, &best);
        }
        let positive = from_fn(|l| alive[l] & (self.scale[l] > 0.0));
        let rows = self.snap(simd, &self.scale.map(|scale| 1.0 / scale), &self.scale, &positive);
        let (xq, qq) = self.products(&rows);
        let fitted = from_fn(|l| if qq[l] > 0.0 { xq[l] / qq[l] } else { self.scale[l] });
        self.take(&positive, &fitted, &rows);
        for l in 0..GROUPS {
            if !alive[l] {
                self.scale[l] = 0.0;
                self.signs.iter_mut().for_each(|signs| signs[l] = 0);
            } else if self.scale[l] < 0.0 {
                self.scale[l] = -self.scale[l];
                self.signs.iter_mut().for_each(|signs| signs[l] = !signs[l] & 127);
            }
        }
    }

    /// Takes scale and rows over for some groups.
    #[inline(always)]
    fn take(&mut self, which: &[bool; GROUPS], scale: &[f32; GROUPS], rows: &Chosen) {
        self.scale = select(which, scale, &self.scale);
        for (old, new) in self.rows.iter_mut().zip(rows) {
            *old = from_fn(|l| if which[l] { new[l] } else { old[l] });
        }
    }

    /// The best point for every row of the groups in question, at these scales.
    #[inline(always)]
    fn snap(
        &self,
        simd: impl Simd,
        inverse: &[f32; GROUPS],
        scale: &[f32; GROUPS],
        which: &[bool; GROUPS],
    ) -> Chosen {
        let mut chosen = [[0; GROUPS]; ROWS];
        for (k, chosen) in chosen.iter_mut().enumerate() {
            let mut codes = [0u32; GROUPS];
            for (t, magnitudes) in self.magnitudes[8 * k..][..8].iter().enumerate() {
                for (l, code) in codes.iter_mut().enumerate() {
                    let level = level(0.5 * (inverse[l] * magnitudes[l] - 1.0), 2.0);
                    *code |= (level as i32 as u32) << (2 * t);
                }
            }
            for l in (0..GROUPS).filter(|&l| which[l]) {
                chosen[l] = match self.near.of(codes[l] as u16) {
                    Err(row) => row,
                    Ok(points) => nearest(simd, points, &self.rows_of[l][k], scale[l]),
                };
            }
        }
        chosen
    }

    /// `sum w x q` and `sum w q q`, where `q` are the odd levels of the rows.
    #[inline(always)]
    fn products(&self, rows: &Chosen) -> ([f32; GROUPS], [f32; GROUPS]) {
        let (mut xq, mut qq) = ([0.0; GROUPS], [0.0; GROUPS]);
        for (k, rows) in rows.iter().enumerate() {
            let odd = rows.map(|row| &ODD[usize::from(row)]);
            let values = self.magnitudes[8 * k..][..8].iter().zip(&self.weights[8 * k..]);
            for (t, (x, w)) in values.enumerate() {
                let q: [f32; GROUPS] = from_fn(|l| f32::from(odd[l][t]));
                xq = from_fn(|l| xq[l] + w[l] * x[l] * q[l]);
                qq = from_fn(|l| qq[l] + w[l] * q[l] * q[l]);
            }
        }
        (xq, qq)
    }
}

/// The places of points that are compared together.
const PLACES: [f32; SIDE] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];

/// The point with the least weighted distance, the first of equal ones.
#[inline(always)]
fn nearest<S: Simd>(simd: S, points: &[Points], row: &Row, scale: f32) -> u8 {
    let (scales, infinity) = (simd.splat_f32s(scale), simd.splat_f32s(f32::INFINITY));
    let (mut least, mut first) = (f32::INFINITY, f32::INFINITY);
    // One vector of eight, or several narrower ones.
    for (part, &places) in S::as_simd_f32s(&PLACES).0.iter().enumerate() {
        let (mut best, mut place, mut here) = (infinity, places, places);
        for points in points {
            let mut distance = simd.splat_f32s(0.0);
            for (t, odd) in points.odd.iter().enumerate() {
                let odd = S::as_simd_f32s(odd).0[part];
                let (magnitude, root) = (row.magnitudes[t], row.roots[t]);
                let scaled = simd.mul_f32s(scales, odd);
                let difference = simd.sub_f32s(scaled, simd.splat_f32s(magnitude));
                let weighed = simd.mul_f32s(simd.splat_f32s(root), difference);
                distance = simd.add_f32s(distance, simd.mul_f32s(weighed, difference));
            }
            let better = simd.less_than_f32s(distance, best);
            best = simd.select_f32s(better, distance, best);
            place = simd.select_f32s(better, here, place);
            here = simd.add_f32s(here, simd.splat_f32s(SIDE as f32));
        }
        let lowest = simd.reduce_min_f32s(best);
        let among = simd.less_than_or_equal_f32s(best, simd.splat_f32s(lowest));
        let earliest = simd.reduce_min_f32s(simd.select_f32s(among, place, infinity));
        if lowest < least || (lowest == least && earliest < first) {
            (least, first) = (lowest, earliest);
        }
    }
    let first = first as usize;
    points[first / SIDE].rows[first % SIDE]
}
