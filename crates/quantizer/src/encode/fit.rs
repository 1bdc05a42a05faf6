//! The two searches for scales: least weighted error for `x = s q - m`, and for `x = s q`.
//!
//! `L` groups of `N` values side by side; `[n][l]` is value `n` of group `l`. Levels `q` are whole
//! numbers in floats. A group whose values need no search (all equal, all zero) goes through the
//! arithmetic with the others and has its result replaced, so there are no branches between lanes.
//!
//! Comparisons are written out instead of `max` and `min`: one instruction each, and a number that
//! is none, which only absurd weights can give, turns into a bound.

use std::array::from_fn;

/// Added and subtracted again it leaves the nearest whole number, ties to even, of numbers below
/// 2^22; while it is there, the lowest bits are that number's.
const ROUNDER: f32 = 12_582_912.0;

/// Beyond this nobody rounds.
const ROUNDED_MAX: f32 = 4_000_000.0;

#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
pub(super) fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// To the nearest whole number from 0 to `most`.
#[inline(always)]
pub(super) fn level(value: f32, most: f32) -> f32 {
    smaller(larger(value, 0.0), most) + ROUNDER - ROUNDER
}

/// To the nearest whole number up to `most`, which may be negative.
#[inline(always)]
fn signed_level(value: f32, most: f32) -> f32 {
    smaller(larger(value, -ROUNDED_MAX), most) + ROUNDER - ROUNDER
}

/// A whole number as a byte that wraps, as ggml keeps levels.
#[inline(always)]
pub(super) fn wrapped(level: f32) -> f32 {
    let bits = (smaller(larger(level, -ROUNDED_MAX), ROUNDED_MAX) + ROUNDER).to_bits();
    (bits & 0xff) as i32 as f32
}

/// Sums over the values of each group, in their order.
#[inline(always)]
pub(super) fn sums<const L: usize>(count: usize, term: impl Fn(usize, usize) -> f32) -> [f32; L] {
    let mut sum = [0.0; L];
    for n in 0..count {
        for (l, sum) in sum.iter_mut().enumerate() {
            *sum += term(n, l);
        }
    }
    sum
}

/// Groups side by side: `count` groups of `N` that follow each other in `values`.
#[inline(always)]
pub(super) fn side_by_side<const N: usize, const L: usize>(values: &[f32]) -> [[f32; L]; N] {
    from_fn(|n| from_fn(|l| values[l * N + n]))
}

/// What [`Affine::fit`] finds: `x` is about `scale * levels - minus`.
pub(super) struct Fit<const N: usize, const L: usize> {
    pub scale: [f32; L],
    pub minus: [f32; L],
    pub levels: [[f32; L]; N],
}

/// The search for a scale and a minimum.
#[derive(Clone, Copy)]
pub(super) struct Affine {
    /// The highest level.
    pub most: f32,
    /// Tries change the number of levels that the span of the values is divided into: from
    /// `most + low` in so many steps.
    pub low: f32,
    pub step: f32,
    pub steps: u16,
    /// The error is the sum of magnitudes instead of squares.
    pub absolute: bool,
}

impl Affine {
    #[inline(always)]
    pub(super) fn fit<const N: usize, const L: usize>(
        self,
        x: &[[f32; L]; N],
        w: &[[f32; L]; N],
    ) -> Fit<N, L> {
        let mut low = [0.0; L];
        let mut high = [f32::NEG_INFINITY; L];
        for x in x {
            low = from_fn(|l| smaller(x[l], low[l]));
            high = from_fn(|l| larger(x[l], high[l]));
        }
        let flat: [bool; L] = from_fn(|l| high[l] <= low[l]);
        let flat_minus: [f32; L] = from_fn(|l| -low[l]);
        let total = sums::<L>(N, |n, l| w[n][l]);
        let total_x = sums::<L>(N, |n, l| w[n][l] * x[n][l]);

        let inverse: [f32; L] = from_fn(|l| self.most / (high[l] - low[l]));
        let mut scale: [f32; L] = from_fn(|l| 1.0 / inverse[l]);
        let mut levels = self.levels(x, &inverse, &low);
        let mut best = self.errors(x, w, &scale, &low, &levels);
        for step in 0..=self.steps {
            let span = self.low + self.step * f32::from(step) + self.most;
            let inverse: [f32; L] = from_fn(|l| span / (high[l] - low[l]));
            let tried = self.levels(x, &inverse, &low);
            let q = sums::<L>(N, |n, l| w[n][l] * tried[n][l]);
            let qq = sums::<L>(N, |n, l| w[n][l] * tried[n][l] * tried[n][l]);
            let qx = sums::<L>(N, |n, l| w[n][l] * tried[n][l] * x[n][l]);
            let det: [f32; L] = from_fn(|l| total[l] * qq[l] - q[l] * q[l]);
            let own: [f32; L] = from_fn(|l| (qq[l] * total_x[l] - q[l] * qx[l]) / det[l]);
            let slope = |l: usize| (total[l] * qx[l] - total_x[l] * q[l]) / det[l];
            let new_scale = from_fn(|l| if own[l] > 0.0 { qx[l] / qq[l] } else { slope(l) });
            let new_low = from_fn(|l| if own[l] > 0.0 { 0.0 } else { own[l] });
            let error = self.errors(x, w, &new_scale, &new_low, &tried);
            let better: [bool; L] = from_fn(|l| (det[l] > 0.0) & (error[l] < best[l]));
            if better.iter().any(|better| *better) {
                best = select(&better, &error, &best);
                scale = select(&better, &new_scale, &scale);
                low = select(&better, &new_low, &low);
                for (levels, tried) in levels.iter_mut().zip(&tried) {
                    *levels = select(&better, tried, levels);
                }
            }
        }
        Fit {
            scale: select(&flat, &[0.0; L], &scale),
            minus: from_fn(|l| if flat[l] { flat_minus[l] } else { -low[l] }),
            levels: levels.map(|levels| select(&flat, &[0.0; L], &levels)),
        }
    }

    #[inline(always)]
    fn levels<const N: usize, const L: usize>(
        self,
        x: &[[f32; L]; N],
        inverse: &[f32; L],
        low: &[f32; L],
    ) -> [[f32; L]; N] {
        from_fn(|n| from_fn(|l| level(inverse[l] * (x[n][l] - low[l]), self.most)))
    }

    #[inline(always)]
    fn errors<const N: usize, const L: usize>(
        self,
        x: &[[f32; L]; N],
        w: &[[f32; L]; N],
        scale: &[f32; L],
        low: &[f32; L],
        levels: &[[f32; L]; N],
    ) -> [f32; L] {
        sums(N, |n, l| {
            let difference = scale[l] * levels[n][l] + low[l] - x[n][l];
            w[n][l] * if self.absolute { difference.abs() } else { difference * difference }
        })
    }
}

/// The search for a scale alone: `x` is about `scale * levels`. Levels are bytes that wrap, as ggml
/// has them: a negative one, which few inputs can cause, is a large one in the next comparison.
#[inline(always)]
pub(super) fn positive<const N: usize, const L: usize>(
    x: &[[f32; L]; N],
    w: &[[f32; L]; N],
    most: f32,
) -> ([f32; L], [[f32; L]; N]) {
    let mut high = [0.0; L];
    for x in x {
        high = from_fn(|l| larger(x[l], high[l]));
    }
    let nothing: [bool; L] = from_fn(|l| high[l] < 1e-15);
    let error = |n: usize, l: usize, scale: &[f32; L], q: f32| {
        let difference = x[n][l] - scale[l] * q;
        w[n][l] * difference * difference
    };
    let mut inverse: [f32; L] = from_fn(|l| most / high[l]);
    let scale: [f32; L] = from_fn(|l| 1.0 / inverse[l]);
    let mut best = sums::<L>(N, |n, l| error(n, l, &scale, wrapped(inverse[l] * x[n][l])));
    for step in [-4i8, -3, -2, -1, 1, 2, 3, 4] {
        let tried: [f32; L] = from_fn(|l| (0.1 * f32::from(step) + most) / high[l]);
        let scale: [f32; L] = from_fn(|l| 1.0 / tried[l]);
        let errors =
            sums::<L>(N, |n, l| error(n, l, &scale, signed_level(tried[l] * x[n][l], most)));
        let better: [bool; L] = from_fn(|l| errors[l] < best[l]);
        best = select(&better, &errors, &best);
        inverse = select(&better, &tried, &inverse);
    }
    let signed: [[f32; L]; N] = from_fn(|n| from_fn(|l| signed_level(inverse[l] * x[n][l], most)));
    let mut xq = sums::<L>(N, |n, l| w[n][l] * x[n][l] * signed[n][l]);
    let mut qq = sums::<L>(N, |n, l| w[n][l] * signed[n][l] * signed[n][l]);
    let mut levels = signed.map(|signed| signed.map(wrapped));
    // A group that a sweep did not change is not changed by the next.
    for _ in 0..5 {
        if !sweep(x, w, most, &mut levels, &mut xq, &mut qq) {
            break;
        }
    }
    let scale = from_fn(|l| if qq[l] > 0.0 && !nothing[l] { xq[l] / qq[l] } else { 0.0 });
    (scale, levels.map(|levels| select(&nothing, &[0.0; L], &levels)))
}

/// Gives each value in turn the level that is best while the others stay; says whether any moved.
#[inline(always)]
fn sweep<const N: usize, const L: usize>(
    x: &[[f32; L]; N],
    w: &[[f32; L]; N],
    most: f32,
    levels: &mut [[f32; L]; N],
    xq: &mut [f32; L],
    qq: &mut [f32; L],
) -> bool {
    let mut moved = false;
    for ((x, w), levels) in x.iter().zip(w).zip(levels) {
        let wx: [f32; L] = from_fn(|l| w[l] * x[l]);
        let a: [f32; L] = from_fn(|l| xq[l] - wx[l] * levels[l]);
        let b: [f32; L] = from_fn(|l| qq[l] - w[l] * levels[l] * levels[l]);
        let new: [f32; L] = from_fn(|l| signed_level(x[l] * b[l] / a[l], most));
        let new_xq: [f32; L] = from_fn(|l| a[l] + wx[l] * new[l]);
        let new_qq: [f32; L] = from_fn(|l| b[l] + w[l] * new[l] * new[l]);
        let better: [bool; L] = from_fn(|l| {
            (a[l] > 0.0)
                & (b[l] > 0.0)
                & (new[l] != levels[l])
                & (new_xq[l] * new_xq[l] * qq[l] > xq[l] * xq[l] * new_qq[l])
        });
        if better.iter().any(|better| *better) {
            moved = true;
            *levels = select(&better, &new.map(wrapped), levels);
            *xq = select(&better, &new_xq, xq);
            *qq = select(&better, &new_qq, qq);
        }
    }
    moved
}

#[inline(always)]
pub(super) fn select<const L: usize>(which: &[bool; L], yes: &[f32; L], no: &[f32; L]) -> [f32; L] {
    from_fn(|l| if which[l] { yes[l] } else { no[l] })
}
