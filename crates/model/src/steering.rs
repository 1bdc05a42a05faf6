//! Steering: what layers write, changed along directions; and a look at it before.
//!
//! A direction per layer is loaded once, for attention and experts alike. How strongly it is taken
//! out is a matter of each session ([`Steer`]), and so of each row of a step. As long as no row is
//! steered, or no directions are loaded, nothing is recorded.

use backend::{Backend, Buffer, Device};
use spec::Shape;

use crate::Error;
use crate::layer::Pass;

/// How strongly a session's layers are steered: times the projection onto the direction, which is
/// taken away. 0 and 0 is not at all; negative numbers add.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Steer {
    ffn: f32,
    attention: f32,
}

// Scales are numbers, and zeros have no sign.
impl Eq for Steer {}

/// The largest scale, of either sign.
pub const STEER_MAX: f32 = 100.0;

impl Steer {
    /// Not at all.
    pub const NONE: Steer = Steer { ffn: 0.0, attention: 0.0 };

    /// Scales of what experts and attention write.
    ///
    /// # Errors
    /// One that is no number, or beyond ±[`STEER_MAX`].
    pub fn new(ffn: f32, attention: f32) -> Result<Steer, Error> {
        for scale in [ffn, attention] {
            if !(-STEER_MAX..=STEER_MAX).contains(&scale) {
                return Err(Error::Steer { scale });
            }
        }
        // -0.0 + 0.0 is 0.0.
        Ok(Steer { ffn: ffn + 0.0, attention: attention + 0.0 })
    }

    /// The scale of what experts write.
    pub fn ffn(&self) -> f32 {
        self.ffn
    }

    /// The scale of what attention writes.
    pub fn attention(&self) -> f32 {
        self.attention
    }

    /// Whether nothing is steered.
    pub fn is_none(&self) -> bool {
        *self == Steer::NONE
    }

    fn at(&self, point: Point) -> f32 {
        match point {
            Point::Attention => self.attention,
            Point::Ffn => self.ffn,
        }
    }
}

/// Where a layer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// What attention gives.
    Attention,
    /// What the experts give, the shared one included.
    Ffn,
}

/// What is loaded for steering and for looking; nothing of it unless somebody asks.
#[derive(Debug, Default)]
pub(crate) struct Steering {
    directions: Option<Directions>,
    tap: Option<Tap>,
}

#[derive(Debug)]
struct Directions {
    directions: Buffer<f32>, // [L, D]
    attention: Scales,
    ffn: Scales,
}

/// A scale for each row of the step.
#[derive(Debug)]
struct Scales {
    rows: Buffer<f32>, // [T, 1]
    wanted: Vec<f32>,
    /// Whether any row of the step is steered.
    needed: bool,
    /// What the buffer begins with. Steps of decoding repeat it, and it is not sent again.
    sent: Vec<f32>,
}

#[derive(Debug)]
struct Tap {
    /// Where; nowhere for now.
    point: Option<Point>,
    out: Buffer<f32>, // [R, L·D]
}

impl Steering {
    /// Loads directions, `[L, D]`, for steps of up to `step_tokens` tokens.
    pub fn load(
        &mut self,
        device: &mut dyn Device,
        shape: &Shape,
        step_tokens: usize,
        directions: &[f32],
    ) -> Result<(), Error> {
        let (layers, width) = (shape.layers, shape.hidden);
        if directions.len() != layers * width {
            return Err(Error::Directions { layers, width, found: directions.len() });
        }
        if let Some(at) = directions.iter().position(|v| !v.is_finite()) {
            let (layer, value) = (at / width, directions[at]);
            return Err(Error::Direction { layer, at: at % width, value });
        }
        if let Some(loaded) = &mut self.directions {
            device.upload(&mut loaded.directions, 0, directions);
            return Ok(());
        }
        let mut scales = || {
            let rows = device.reserve(step_tokens, 1).map_err(Error::doing("steering"))?;
            let numbers = || Vec::with_capacity(step_tokens);
            Ok(Scales { rows, wanted: numbers(), needed: false, sent: numbers() })
        };
        let (attention, ffn) = (scales()?, scales()?);
        let mut buffer = device.reserve(layers, width).map_err(Error::doing("directions"))?;
        device.upload(&mut buffer, 0, directions);
        self.directions = Some(Directions { directions: buffer, attention, ffn });
        Ok(())
    }

    /// Whether there are directions.
    pub fn has_directions(&self) -> bool {
        self.directions.is_some()
    }

    /// Looks at `point` from now on, or nowhere.
    pub fn tap(
        &mut self,
        device: &mut dyn Device,
        shape: &Shape,
        step_outputs: usize,
        point: Option<Point>,
    ) -> Result<(), Error> {
        let out = match self.tap.take() {
            Some(tap) => tap.out,
            None => device
                .reserve(step_outputs, shape.layers * shape.hidden)
                .map_err(Error::doing("activations"))?,
        };
        self.tap = Some(Tap { point, out });
        Ok(())
    }

    /// What was seen in the last step, `[R, L·D]`; empty if nobody looks.
    pub fn seen(&self, device: &mut dyn Device, outputs: usize) -> Vec<f32> {
        self.tap.as_ref().map_or(Vec::new(), |tap| device.download(&tap.out, 0, outputs))
    }

    /// Says how the rows of the next step are steered: so many rows of each.
    pub fn describe(
        &mut self,
        device: &mut dyn Device,
        steers: impl Iterator<Item = (Steer, usize)> + Clone,
    ) {
        let Some(Directions { attention, ffn, .. }) = &mut self.directions else {
            assert!(
                steers.map(|(steer, _)| steer).all(|s| s.is_none()),
                "no directions are loaded"
            );
            return;
        };
        for (point, scales) in [(Point::Attention, attention), (Point::Ffn, ffn)] {
            scales.wanted.clear();
            for (steer, rows) in steers.clone() {
                scales.wanted.extend(std::iter::repeat_n(steer.at(point), rows));
            }
            scales.needed = scales.wanted.iter().any(|scale| *scale != 0.0);
            if scales.needed && !scales.sent.starts_with(&scales.wanted) {
                device.upload(&mut scales.rows, 0, &scales.wanted);
                scales.sent.clone_from(&scales.wanted);
            }
        }
    }

    /// Looks at `y` `[T, D]`, what a layer has written at `point`, and steers it.
    pub fn apply(&mut self, b: &mut dyn Backend, point: Point, y: &mut Buffer<f32>, pass: Pass) {
        if let Some(tap) = self.tap.as_mut().filter(|tap| tap.point == Some(point)) {
            b.tap(y, pass.step, pass.layer, &mut tap.out);
        }
        let Some(Directions { directions, attention, ffn }) = &self.directions else { return };
        let scales = match point {
            Point::Attention => attention,
            Point::Ffn => ffn,
        };
        if scales.needed {
            b.steer(directions, pass.layer, &scales.rows, y, pass.step.rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_numbers_within_bounds() {
        for (ffn, attention) in [(0.0, 0.0), (100.0, -100.0), (-0.5, 1e-30)] {
            let steer = Steer::new(ffn, attention).expect("scales");
            assert_eq!((steer.ffn(), steer.attention()), (ffn, attention));
        }
        assert!(Steer::new(-0.0, -0.0).expect("zeros").ffn.is_sign_positive());
        for wrong in [100.1, -101.0, f32::NAN, f32::INFINITY] {
            let error = Steer::new(0.0, wrong).expect_err("a wrong scale").to_string();
            assert!(error.contains(&wrong.to_string()) && error.contains("-100 to 100"), "{error}");
            assert!(Steer::new(wrong, 0.0).is_err());
        }
    }
}
