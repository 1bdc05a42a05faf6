//! Finding directions: the difference between what layers write for prompts that have something,
//! and for those that have it not.
//!
//! For each layer the direction is the mean of what is written for positive prompts minus the mean
//! for negative ones, at length 1. How good it is can be seen without steering anything: how far
//! apart both kinds lie along it, and how many pairs are told apart by the direction that the
//! *other* pairs give. The first flatters, since there are more numbers in a direction than pairs;
//! the second does not.

use std::ops::Range;

use engine::{Engine, Flow, Point};
use spec::TokenId;

use super::Directions;
use crate::Error;

/// Where and how to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Where a layer writes.
    pub point: Point,
    /// The mean over so many of the last tokens of a prompt.
    pub last: usize,
}

/// What layers write for pairs of prompts.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Layers of the model.
    pub layers: usize,
    /// Its hidden width.
    pub width: usize,
    /// For each pair, of the positive and the negative prompt, `[layers, width]`.
    pub pairs: Vec<[Vec<f32>; 2]>,
}

/// Directions, and how good they are.
#[derive(Clone, Debug)]
pub struct Built {
    /// A row of zeros where none was wanted.
    pub directions: Directions,
    /// Of the layers that were wanted.
    pub layers: Vec<Quality>,
}

/// How good the direction of a layer is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Which layer.
    pub layer: usize,
    /// Length of the difference of the means, before it was made 1.
    pub length: f64,
    /// Distance of the means of both kinds along the direction, over the deviation within a kind;
    /// `None` if there is none, as with one pair.
    pub separation: Option<f64>,
    /// The part of the pairs whose positive prompt lies further along the direction that all other
    /// pairs give; `None` for one pair.
    pub held_out: Option<f64>,
}

/// Reads all prompts, of each pair the positive one first. `progress` is told how many are done;
/// `None` if it stopped.
///
/// # Errors
/// A prompt that does not fit into the context, or the engine's own errors.
pub fn observe(
    engine: &mut Engine,
    pairs: &[[Vec<TokenId>; 2]],
    look: Look,
    progress: &mut dyn FnMut(usize) -> Flow,
) -> Result<Option<Observed>, Error> {
    let (layers, width) = (engine.shape().layers, engine.shape().hidden);
    let mut seen = Vec::with_capacity(2 * pairs.len());
    for prompt in pairs.iter().flatten() {
        if progress(seen.len()) == Flow::Stop {
            return Ok(None);
        }
        seen.push(engine.activations(prompt, look.last, look.point)?);
    }
    let mut seen = seen.into_iter();
    let pairs = std::iter::from_fn(|| Some([seen.next()?, seen.next()?])).collect();
    Ok(Some(Observed { layers, width, pairs }))
}

impl Observed {
    /// The directions of some layers.
    ///
    /// # Panics
    /// If there are no pairs, or no such layers.
    pub fn directions(&self, wanted: Range<usize>) -> Built {
        let Observed { layers, width, .. } = *self;
        assert!(!self.pairs.is_empty() && wanted.end <= layers, "{wanted:?} of {layers} layers");
        let mut values = vec![0.0; layers * width];
        let quality = |layer: usize| {
            let (row, quality) = self.direction(layer);
            values[layer * width..][..width].copy_from_slice(&row);
            quality
        };
        let found = wanted.map(quality).collect();
        Built { directions: Directions { layers, width, values }, layers: found }
    }

    fn direction(&self, layer: usize) -> (Vec<f32>, Quality) {
        let count = self.pairs.len() as f64;
        let row = |seen: &'_ [f32]| seen[layer * self.width..][..self.width].to_vec();
        let rows: Vec<[Vec<f32>; 2]> = self.pairs.iter().map(|[a, b]| [row(a), row(b)]).collect();
        let difference = |[a, b]: &[Vec<f32>; 2]| -> Vec<f64> {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)).collect()
        };
        let mut sum = vec![0.0; self.width];
        for pair in &rows {
            sum.iter_mut().zip(difference(pair)).for_each(|(sum, d)| *sum += d);
        }
        let length = dot(&sum, &sum).sqrt();
        let unit: Vec<f64> =
            sum.iter().map(|v| if length > 0.0 { v / length } else { 0.0 }).collect();
        // The others' direction is the sum without this pair's own part.
        let apart = |pair: &[Vec<f32>; 2]| {
            let own = difference(pair);
            dot(&own, &sum) > dot(&own, &own)
        };
        let apart = rows.iter().filter(|pair| apart(pair)).count();
        let along = |kind: usize| {
            let along = |pair: &[Vec<f32>; 2]| {
                pair[kind].iter().zip(&unit).map(|(y, v)| f64::from(*y) * v).sum::<f64>()
            };
            mean_and_variance(&rows.iter().map(along).collect::<Vec<f64>>())
        };
        let ((positive, spread), (negative, other)) = (along(0), along(1));
        let deviation = ((spread + other) / 2.0).sqrt();
        let quality = Quality {
            layer,
            length: length / count,
            separation: (deviation > 0.0).then(|| (positive - negative) / deviation),
            held_out: (rows.len() > 1).then(|| apart as f64 / count),
        };
        (unit.into_iter().map(|v| v as f32).collect(), quality)
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The variance is that of a sample; of one number it is no number, which no comparison is true of.
fn mean_and_variance(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>();
    (mean, squares / (count - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise from a fixed rule, near normal: a sum of twelve even numbers.
    struct Noise(u64);

    impl Noise {
        fn next(&mut self) -> f64 {
            let even = |state: &mut u64| {
                *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (*state >> 11) as f64 / (1u64 << 53) as f64
            };
            (0..12).map(|_| even(&mut self.0)).sum::<f64>() - 6.0
        }
    }

    const WIDTH: usize = 64;

    /// The direction that is planted in layer `layer`.
    fn planted(layer: usize) -> Vec<f64> {
        let row: Vec<f64> = (0..WIDTH).map(|i| ((layer * 5 + i * 7) % 11) as f64 - 5.0).collect();
        let length = dot(&row, &row).sqrt();
        row.into_iter().map(|v| v / length).collect()
    }

    /// Noise of deviation 1 around means that lie `distance[layer]` apart along what is planted.
    fn observed(pairs: usize, distance: &[f64]) -> Observed {
        let mut noise = Noise(7);
        let layers = distance.len();
        let mut seen = |sign: f64| -> Vec<f32> {
            let row = |layer: usize| {
                planted(layer).into_iter().map(move |v| sign * v * distance[layer] / 2.0)
            };
            let clean: Vec<f64> = (0..layers).flat_map(row).collect();
            clean.into_iter().map(|v| (v + 0.3 + noise.next()) as f32).collect()
        };
        let pairs = (0..pairs).map(|_| [seen(1.0), seen(-1.0)]).collect();
        Observed { layers, width: WIDTH, pairs }
    }

    #[test]
    fn a_planted_direction_is_found() {
        let built = observed(400, &[4.0, 0.0, 2.0]).directions(0..3);
        let found = |layer: usize| -> Vec<f64> {
            let row = &built.directions.values[layer * WIDTH..][..WIDTH];
            row.iter().map(|v| f64::from(*v)).collect()
        };
        // Of a mean over n pairs, each channel is off by sqrt(2/n): all together sqrt(2·64/400),
        // 0.57 beside a distance of 4, so the cosine should be near 1/sqrt(1 + 0.02).
        let cosine = |layer: usize| dot(&found(layer), &planted(layer));
        assert!(cosine(0) > 0.98 && cosine(2) > 0.94, "{} {}", cosine(0), cosine(2));
        let [first, nothing, last] = built.layers[..] else { panic!("three layers") };
        assert!((first.length - 4.0).abs() < 0.2, "{first:?}");
        let apart = |quality: Quality| quality.separation.expect("many pairs");
        assert!((apart(first) - 4.0).abs() < 0.3 && (apart(last) - 2.0).abs() < 0.4);
        // Two normal numbers of deviation 1 and means 4 apart are in order in 99.8 % of cases.
        assert!(first.held_out.expect("many pairs") > 0.98, "{first:?}");
        // Where there is nothing, the flattering figure is not zero; the honest one is a coin.
        assert!(apart(nothing) > 0.3, "{nothing:?}");
        assert!((nothing.held_out.expect("many pairs") - 0.5).abs() < 0.1, "{nothing:?}");
        for layer in 0..3 {
            assert!((dot(&found(layer), &found(layer)) - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn layers_that_are_not_wanted_stay_zero() {
        let built = observed(10, &[4.0, 4.0, 4.0]).directions(1..2);
        assert_eq!(built.directions.steered(), 1);
        assert!(built.directions.values[WIDTH..2 * WIDTH].iter().any(|v| *v != 0.0));
        assert_eq!(built.layers.iter().map(|quality| quality.layer).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn one_pair_says_nothing_about_itself_and_equal_prompts_nothing_at_all() {
        let built = observed(1, &[4.0]).directions(0..1);
        assert_eq!((built.layers[0].separation, built.layers[0].held_out), (None, None));
        let same = vec![0.5; WIDTH];
        let pairs = vec![[same.clone(), same.clone()], [same.clone(), same]];
        let built = Observed { layers: 1, width: WIDTH, pairs }.directions(0..1);
        let Quality { length, separation, held_out, .. } = built.layers[0];
        assert_eq!((length, separation, held_out), (0.0, None, Some(0.0)));
        assert_eq!(built.directions.steered(), 0);
    }
}
