//! Which columns of the expert matrices matter: what they are multiplied with while a model reads
//! texts, squared and added up.
//!
//! The engine notes sums of 32-bit floats on its device. After each chunk they are taken from there
//! and added here, so that a device adds up few thousand tokens at most. Here a sum is the double
//! precision number that two floats can hold: with its 48 bits it does not lose a token among
//! billions, and a file of floats can keep it exactly. So whoever keeps the sums after a chunk and
//! goes on from there has, in the end, the bits of one who was never interrupted.
//!
//! A prompt is read and nothing is written; no chunk sees another one.

use engine::{Engine, Flow, Session};
use rayon::prelude::*;
use spec::Shape;

use crate::Error;
use crate::texts::Texts;

/// What the experts of all layers were given so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Sums {
    /// Layer by layer.
    pub layers: Vec<LayerSums>,
    /// Chunks that are in the sums, from the first on.
    pub chunks: usize,
    /// Tokens of these.
    pub tokens: u64,
}

/// What the experts of one layer were given.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSums {
    /// Sums of squares of the inputs of gate and up, `[E, D]`.
    pub inputs: Vec<f64>,
    /// Sums of squares of the inputs of down, `[E, F]`.
    pub inner: Vec<f64>,
    /// Tokens that chose each expert, `[E]`.
    pub counts: Vec<f64>,
}

/// An expert that few tokens chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rare {
    /// Its layer.
    pub layer: usize,
    /// Its number.
    pub expert: usize,
    /// Tokens that chose it.
    pub count: u64,
}

impl Sums {
    /// Of nothing yet.
    pub fn new(shape: &Shape) -> Sums {
        let layer = LayerSums {
            inputs: vec![0.0; shape.experts * shape.hidden],
            inner: vec![0.0; shape.experts * shape.expert_inner],
            counts: vec![0.0; shape.experts],
        };
        Sums { layers: vec![layer; shape.layers], chunks: 0, tokens: 0 }
    }

    /// Experts that fewer than `tokens` tokens chose: what is known of their columns is little.
    pub fn rare(&self, tokens: u64) -> Vec<Rare> {
        let layers = self.layers.iter().enumerate();
        let experts = layers.flat_map(|(layer, sums)| {
            let counts = sums.counts.iter().enumerate();
            counts.map(move |(expert, count)| Rare { layer, expert, count: *count as u64 })
        });
        experts.filter(|rare| rare.count < tokens).collect()
    }

    /// Adds what a chunk of so many tokens gave.
    fn add(&mut self, taken: &[engine::LayerSums], tokens: usize) -> Result<(), Error> {
        assert_eq!(taken.len(), self.layers.len(), "layers");
        for (layer, taken) in taken.iter().enumerate() {
            let values = taken.inputs.iter().chain(&taken.inner);
            if values.into_iter().any(|value| !value.is_finite()) {
                return Err(Error::NotFinite { layer, chunk: self.chunks });
            }
        }
        // A model of the published size has a hundred million sums.
        self.layers.par_iter_mut().zip(taken).for_each(|(sums, taken)| {
            add(&mut sums.inputs, &taken.inputs);
            add(&mut sums.inner, &taken.inner);
            add(&mut sums.counts, &taken.counts);
        });
        self.chunks += 1;
        self.tokens += tokens as u64;
        Ok(())
    }
}

fn add<T: Copy + Into<f64>>(sums: &mut [f64], taken: &[T]) {
    let pairs = sums.iter_mut().zip(taken);
    pairs.for_each(|(sum, taken)| *sum = two_floats(*sum + (*taken).into()));
}

/// The nearest number that is the sum of two floats.
fn two_floats(value: f64) -> f64 {
    let first = value as f32;
    f64::from(first) + f64::from((value - f64::from(first)) as f32)
}

/// Reads the chunks that are not in the sums yet. `fed` is told of tokens that were read, `kept`
/// sees the sums after each chunk; either may stop it. A chunk that is stopped in its middle is not
/// in the sums. Says whether all chunks are.
///
/// The engine must have been opened to note the importance, and for the longest chunk and a token.
///
/// # Errors
/// Of the engine, of `kept`; inputs that are not numbers.
pub fn collect<E: From<Error>>(
    engine: &mut Engine,
    texts: &Texts,
    sums: &mut Sums,
    fed: &mut dyn FnMut(usize) -> Flow,
    kept: &mut dyn FnMut(&Sums) -> Result<Flow, E>,
) -> Result<bool, E> {
    // Whatever the engine has read before is no part of this.
    engine.take_importance();
    for chunk in texts.chunks().iter().skip(sums.chunks) {
        let mut session: Session = engine.open_session().map_err(Error::from)?;
        let mut before = 0;
        let read = engine.sync(&mut session, chunk, &mut |progress| {
            let more = progress.done - std::mem::replace(&mut before, progress.done);
            fed(more)
        });
        let read = read.map_err(Error::from)?;
        if !read.complete {
            return Ok(false);
        }
        assert_eq!(read.fed, chunk.len(), "a chunk is read whole, nothing of it is known before");
        let taken = engine.take_importance();
        sums.add(&taken, chunk.len())?;
        if kept(sums)? == Flow::Stop {
            return Ok(sums.chunks == texts.chunks().len());
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two floats hold 48 bits: what is added to a sum counts until it is that much smaller.
    #[test]
    fn sums_keep_what_two_floats_can_hold() {
        let mut sum = 0.0;
        for value in 1..=100_000u32 {
            sum = two_floats(sum + f64::from(value) + 0.25);
        }
        assert_eq!(sum, 5_000_050_000.0 + 25_000.0);
        let large = 2f64.powi(40);
        assert_eq!(two_floats(large + 0.5) - large, 0.5);
        for value in [0.0, 1.0, 0.1, 1e-30, 3.7e20, 2f64.powi(40) + 0.3] {
            let kept = two_floats(value);
            let (first, rest) = (kept as f32, (kept - f64::from(kept as f32)) as f32);
            assert_eq!(f64::from(first) + f64::from(rest), kept, "{value}");
            assert!((kept - value).abs() <= value * 2f64.powi(-47), "{value}: {kept}");
        }
    }
}
