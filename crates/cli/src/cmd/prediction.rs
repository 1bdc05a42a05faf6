//! What `perplexity` and `score` share: an engine that tells the logits of every position, and how
//! figures with their errors are shown.
//!
//! What is measured is decided by the commands.

use anyhow::Result;
use engine::{Engine, OpenOptions};
use gguf::File;
use measure::stats::{Mean, Paired};
use serde_json::{Value, json};

use crate::compute::{self, Computer};
use crate::meant::Compute;
use crate::meant::steer::Steer;
use crate::steering;

/// Most tokens of a step: the logits of all of them are held at once, a gigabyte for Flash.
const STEP_TOKENS_MAX: usize = 2048;

/// Opens a model for prompts of at most `context` tokens, computing and steered as by `dwarfstar
/// run`.
///
/// # Errors
/// The device or the memory does not suffice; directions for another model.
pub fn engine(
    file: File,
    (compute, steer): (Compute, Option<&Steer>),
    context: usize,
    shown: bool,
) -> Result<Engine> {
    let directions = steering::read(steer, &file)?;
    let Computer { backend, memory_max, step_tokens } = compute::open(compute, &file)?;
    let options = OpenOptions {
        context,
        step_tokens: step_tokens.min(STEP_TOKENS_MAX).min(context),
        all_logits: true,
        memory_max,
        ..OpenOptions::default()
    };
    let mut engine = compute::load(file, backend, options, shown)?;
    steering::load(&mut engine, directions.as_ref())?;
    Ok(engine)
}

/// What figures of a model are shown under.
pub fn name(file: &File, steer: Option<&Steer>) -> String {
    let name = file.name();
    match steer.map(|steer| steer.way) {
        None => name.to_owned(),
        Some(way) => format!("{name}, steered by ffn {}, attn {}", way.ffn(), way.attention()),
    }
}

/// A mean for machines.
pub fn mean(mean: &Mean) -> Value {
    json!({ "mean": mean.mean(), "standard_error": mean.standard_error() })
}

/// A comparison for machines; `smaller` and `larger` count the pairs.
pub fn paired(paired: &Paired) -> Value {
    let equal = paired.difference.count() - paired.smaller - paired.larger;
    json!({
        "mean": paired.difference.mean(),
        "standard_error": paired.difference.standard_error(),
        "smaller": paired.smaller,
        "larger": paired.larger,
        "equal": equal,
    })
}

/// `2.3456 ± 0.0123`: as many digits as the error has two of, at least two and at most nine.
pub fn with_error(value: f64, error: Option<f64>) -> String {
    let Some(error) = error.filter(|error| error.is_finite()) else { return format!("{value:.4}") };
    let digits = match error > 0.0 {
        true => (1.0 - error.log10().floor()).clamp(2.0, 9.0) as usize,
        false => 4,
    };
    format!("{value:.digits$} \u{b1} {error:.digits$}")
}

/// The same of a mean.
pub fn shown(mean: &Mean) -> String {
    with_error(mean.mean(), mean.standard_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_follow_the_error() {
        let cases = [
            (2.345_678, Some(0.012_345), "2.346 ± 0.012"),
            (2.345_678, Some(12.3), "2.35 ± 12.30"),
            (2.345_678, Some(0.0), "2.3457 ± 0.0000"),
            (2.345_678, Some(1e-30), "2.345678000 ± 0.000000000"),
            (2.345_678, None, "2.3457"),
        ];
        for (value, error, expected) in cases {
            assert_eq!(with_error(value, error), expected);
        }
    }
}
