//! IQ2_XXS in plain loops: one value after the other, straight from the definition of the search.
//!
//! The oracle of the fast encoder, for inputs that no golden data has, and the measure of its
//! speed. It is itself held against the golden bytes. It shares nothing with the crate but the
//! table of the lattice.

use std::sync::OnceLock;

use gguf::blocks::iq2_xxs;

const VALUES: usize = 256;

/// Encodes one block.
pub fn encode(values: &[f32], importance: &[f32]) -> Vec<u8> {
    assert_eq!((values.len(), importance.len()), (VALUES, VALUES));
    let mean = values.iter().fold(0.0, |sum, x| sum + x * x) / 256.0;
    let groups: Vec<(f32, u32, u32)> =
        (0..8).map(|g| group(&values[32 * g..][..32], &importance[32 * g..][..32], mean)).collect();
    let d: f32 = groups.iter().map(|group| group.0).fold(0.0, f32::max) / 31.0;
    if d == 0.0 {
        return vec![0; 66];
    }
    let mut out = half::f16::from_f32(d).to_le_bytes().to_vec();
    for (scale, rows, signs) in groups {
        let level = (0.5 * (1.0 / d * scale - 1.0)).round_ties_even().clamp(0.0, 15.0) as u32;
        out.extend(rows.to_le_bytes());
        out.extend((signs | level << 28).to_le_bytes());
    }
    out
}

/// Scale, rows and signs of 32 values.
fn group(x: &[f32], importance: &[f32], mean: f32) -> (f32, u32, u32) {
    let w: Vec<f32> = x.iter().zip(importance).map(|(x, v)| v * (mean + x * x).sqrt()).collect();
    let roots: Vec<f32> = w.iter().map(|w| w.sqrt()).collect();
    let mut magnitudes: Vec<f32> = x.iter().map(|x| x.abs()).collect();
    let mut signs = 0;
    for k in 0..4 {
        let mut mask = (0..8).fold(0u32, |mask, t| mask | u32::from(x[8 * k + t] < 0.0) << t);
        if mask.count_ones() % 2 == 1 {
            let cost = |t: usize| w[8 * k + t] * x[8 * k + t] * x[8 * k + t];
            let mut least = 0;
            for t in 1..8 {
                if cost(t) < cost(least) {
                    least = t;
                }
            }
            magnitudes[8 * k + least] = -magnitudes[8 * k + least];
            mask ^= 1 << least;
        }
        signs |= (mask & 127) << (7 * k);
    }
    if magnitudes.iter().copied().fold(f32::MIN, f32::max) < 1e-15 {
        return (0.0, 0, 0);
    }
    let mut scale = positive(&magnitudes, &w, 4);
    let top = scale * 3.0;
    if top <= 0.0 {
        return (0.0, 0, 0);
    }
    let (mut best, mut rows) = (0.0, [0; 4]);
    let snapped = |inverse: f32, scale: f32| {
        [0, 1, 2, 3].map(|k| snap(&magnitudes[8 * k..][..8], &roots[8 * k..][..8], inverse, scale))
    };
    for i in -6..=6 {
        let inverse = (5.0 + i as f32 * 0.1) / top;
        let tried = snapped(inverse, 1.0 / inverse);
        let (xq, qq) = products(&magnitudes, &w, &tried);
        if qq > 0.0 && xq * xq > best * qq {
            (scale, rows) = (xq / qq, tried);
            best = scale * xq;
        }
    }
    if scale > 0.0 {
        rows = snapped(1.0 / scale, scale);
        let (xq, qq) = products(&magnitudes, &w, &rows);
        if qq > 0.0 {
            scale = xq / qq;
        }
    }
    if scale < 0.0 {
        (scale, signs) = (-scale, !signs & 0x0fff_ffff);
    }
    (scale, (0..4).fold(0, |all, k| all | (rows[k] as u32) << (8 * k)), signs)
}

fn products(x: &[f32], w: &[f32], rows: &[usize; 4]) -> (f32, f32) {
    let (mut xq, mut qq) = (0.0, 0.0);
    for n in 0..32 {
        let q = odd(iq2_xxs::codes()[rows[n / 8]], n % 8);
        xq += w[n] * x[n] * q;
        qq += w[n] * q * q;
    }
    (xq, qq)
}

fn odd(code: u16, t: usize) -> f32 {
    f32::from(2 * (code >> (2 * t) & 3) + 1)
}

/// A row of the lattice for eight magnitudes.
fn snap(magnitudes: &[f32], roots: &[f32], inverse: f32, scale: f32) -> usize {
    let mut code = 0u16;
    for (t, magnitude) in magnitudes.iter().enumerate() {
        let level = (0.5 * (inverse * magnitude - 1.0)).round_ties_even().clamp(0.0, 2.0);
        code |= (level as u16) << (2 * t);
    }
    let near = &lists()[usize::from(code)];
    if let [only] = near[..] {
        return only;
    }
    let (mut best, mut found) = (f32::INFINITY, near[0]);
    for &row in near {
        let mut distance = 0.0;
        for t in 0..8 {
            let difference = scale * odd(iq2_xxs::codes()[row], t) - magnitudes[t];
            distance += roots[t] * difference * difference;
        }
        if distance < best {
            (best, found) = (distance, row);
        }
    }
    found
}

/// For every code the rows that are nearest and second nearest; for one of the lattice, itself.
fn lists() -> &'static [Vec<usize>] {
    static LISTS: OnceLock<Vec<Vec<usize>>> = OnceLock::new();
    LISTS.get_or_init(|| (0..=u16::MAX).map(near).collect())
}

fn near(code: u16) -> Vec<usize> {
    if (0..8).any(|t| code >> (2 * t) & 3 == 3) {
        return Vec::new();
    }
    if let Some(row) = iq2_xxs::codes().iter().position(|&point| point == code) {
        return vec![row];
    }
    let distance = |row: usize| -> f32 {
        (0..8).map(|t| (odd(iq2_xxs::codes()[row], t) - odd(code, t)).powi(2)).sum()
    };
    let mut distances: Vec<f32> = (0..256).map(distance).collect();
    let mut rows: Vec<usize> = (0..256).collect();
    rows.sort_by(|&a, &b| distances[a].total_cmp(&distances[b]));
    let of = distances.clone();
    distances.sort_by(f32::total_cmp);
    distances.dedup();
    rows.retain(|&row| of[row] <= distances[1]);
    rows
}

/// A scale for levels up to `most`.
fn positive(x: &[f32], w: &[f32], most: i32) -> f32 {
    let largest = x.iter().copied().fold(0.0, f32::max);
    let near = |value: f32| value.round_ties_even() as i32;
    let error = |inverse: f32, level: &dyn Fn(f32) -> i32| {
        let scale = 1.0 / inverse;
        let mut sum = 0.0;
        for (x, w) in x.iter().zip(w) {
            let difference = x - scale * level(inverse * x) as f32;
            sum += w * difference * difference;
        }
        sum
    };
    let mut inverse = most as f32 / largest;
    let mut best = error(inverse, &|value| i32::from(near(value) as u8));
    for i in [-4, -3, -2, -1, 1, 2, 3, 4] {
        let tried = (0.1 * i as f32 + most as f32) / largest;
        let error = error(tried, &|value| near(value).min(most));
        if error < best {
            (best, inverse) = (error, tried);
        }
    }
    let (mut xq, mut qq) = (0.0, 0.0);
    let mut levels = Vec::new();
    for (x, w) in x.iter().zip(w) {
        let level = near(inverse * x).min(most);
        xq += w * x * level as f32;
        qq += w * level as f32 * level as f32;
        levels.push(level as u8);
    }
    for _ in 0..5 {
        let mut moved = false;
        for (n, level) in levels.iter_mut().enumerate() {
            let old = f32::from(*level);
            let (a, b) = (xq - w[n] * x[n] * old, qq - w[n] * old * old);
            if a > 0.0 && b > 0.0 {
                let new = near(x[n] * b / a).min(most);
                let (a, b) = (a + w[n] * x[n] * new as f32, b + w[n] * new as f32 * new as f32);
                if new != i32::from(*level) && a * a * qq > xq * xq * b {
                    (*level, xq, qq, moved) = (new as u8, a, b, true);
                }
            }
        }
        if !moved {
            break;
        }
    }
    if qq > 0.0 { xq / qq } else { 0.0 }
}
