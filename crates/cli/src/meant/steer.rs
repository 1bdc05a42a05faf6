//! What was meant by the flags of steering, and by `dwarfstar steer`.
//!
//! Scales are checked and files of prompts are read here; the file of directions is read when the
//! model's size is known, by `steering.rs`.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use anyhow::Result;
use engine::{Point, STEER_MAX};
use measure::direction::prompts;
use regex::Regex;

use super::{Chat, Compute, Thinking, at_least_one, compute, model, thinking};
use crate::exit::usage;
use crate::open::Model;
use crate::typed::steer as typed;

/// Ways to steer that are tried at most.
const WAYS_MAX: usize = 256;

/// How answers are steered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steer {
    pub file: PathBuf,
    pub way: engine::Steer,
}

/// `dwarfstar steer`.
#[derive(Debug)]
pub enum Steering {
    Build(Build),
    Apply(Apply),
    Sweep(Sweep),
}

/// Find directions.
#[derive(Debug)]
pub struct Build {
    pub model: Model,
    /// Not empty.
    pub pairs: Vec<prompts::Pair>,
    pub at: Point,
    pub last: usize,
    /// First and last, if not all.
    pub layers: Option<RangeInclusive<usize>>,
    pub thinking: Thinking,
    pub out: PathBuf,
    pub overwrite: bool,
    pub json: bool,
    pub compute: Compute,
}

/// Show answers beside each other.
#[derive(Debug)]
pub struct Apply {
    pub model: Model,
    pub file: PathBuf,
    /// The first is without steering.
    pub ways: Vec<engine::Steer>,
    pub chat: Chat,
    pub tokens_max: usize,
    pub json: bool,
    pub compute: Compute,
}

/// Measure answers.
#[derive(Debug)]
pub struct Sweep {
    pub model: Model,
    pub file: PathBuf,
    /// The first is without steering.
    pub ways: Vec<engine::Steer>,
    /// Not empty.
    pub prompts: Vec<text::Conversation>,
    pub expression: Option<Regex>,
    pub thinking: Thinking,
    pub tokens_max: usize,
    pub json: bool,
    pub compute: Compute,
}

/// The flags that many commands have.
pub fn steer(typed: typed::Steer) -> Result<Option<Steer>> {
    let typed::Steer { steer, steer_ffn, steer_attn } = typed;
    let Some(file) = steer else { return Ok(None) };
    let ffn = scale("--steer-ffn", steer_ffn.unwrap_or(1.0))?;
    let attention = scale("--steer-attn", steer_attn.unwrap_or(0.0))?;
    Ok(Some(Steer { file, way: engine::Steer::new(ffn, attention)? }))
}

/// `dwarfstar steer`.
pub fn steering(typed: typed::Steering) -> Result<Steering> {
    Ok(match typed.command {
        typed::Command::Build(typed) => Steering::Build(build(typed)?),
        typed::Command::Apply(typed) => Steering::Apply(apply(typed)?),
        typed::Command::Sweep(typed) => Steering::Sweep(sweep(typed)?),
    })
}

fn build(typed: typed::Build) -> Result<Build> {
    let last = needed("--last", typed.last)?;
    let layers = typed.layers.as_deref().map(layers).transpose()?;
    Ok(Build {
        model: model(typed.model),
        pairs: prompts::pairs(&typed.pairs)?,
        at: match typed.at {
            typed::Point::Ffn => Point::Ffn,
            typed::Point::Attn => Point::Attention,
        },
        last,
        layers,
        thinking: thinking(&typed.thinking),
        out: typed.out,
        overwrite: typed.force,
        json: typed.json,
        compute: compute(typed.compute.device, typed.compute.threads)?,
    })
}

fn apply(typed: typed::Apply) -> Result<Apply> {
    if typed.prompt.is_empty() {
        return Err(usage("the prompt is empty"));
    }
    let thinking = thinking(&typed.thinking);
    Ok(Apply {
        model: model(typed.model),
        file: typed.steer,
        ways: ways(&typed.scales)?,
        chat: Chat { system: None, text: typed.prompt, thinking },
        tokens_max: needed("-n", typed.tokens)?,
        json: typed.json,
        compute: compute(typed.compute.device, typed.compute.threads)?,
    })
}

fn sweep(typed: typed::Sweep) -> Result<Sweep> {
    let expression = |expression: String| {
        Regex::new(&expression).map_err(|error| usage(format!("--count {expression}: {error}")))
    };
    Ok(Sweep {
        model: model(typed.model),
        file: typed.steer,
        ways: ways(&typed.scales)?,
        expression: typed.count.map(expression).transpose()?,
        thinking: thinking(&typed.thinking),
        tokens_max: needed("-n", typed.tokens)?,
        prompts: prompts::prompts(&typed.prompts)?,
        json: typed.json,
        compute: compute(typed.compute.device, typed.compute.threads)?,
    })
}

/// Without steering, and then each scale of one kind with each of the other.
fn ways(typed: &typed::Scales) -> Result<Vec<engine::Steer>> {
    let mut ways = vec![engine::Steer::NONE];
    for attention in &typed.attn {
        for ffn in &typed.ffn {
            let way = engine::Steer::new(scale("--ffn", *ffn)?, scale("--attn", *attention)?)?;
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
    }
    match ways.len() {
        1 => Err(usage("nothing to try: say a scale that is not 0 with --ffn or --attn")),
        2..=WAYS_MAX => Ok(ways),
        many => Err(usage(format!("--ffn and --attn: {many} ways, {WAYS_MAX} at most are tried"))),
    }
}

fn scale(flag: &str, scale: f32) -> Result<f32> {
    match (-STEER_MAX..=STEER_MAX).contains(&scale) {
        true => Ok(scale),
        false => Err(usage(format!("{flag} {scale}: expected a number from -100 to 100"))),
    }
}

/// `10-30`, or one layer.
fn layers(typed: &str) -> Result<RangeInclusive<usize>> {
    let (first, last) = typed.split_once('-').unwrap_or((typed, typed));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok(first..=last),
        _ => Err(usage(format!("--layers {typed}: expected the first and the last: 10-30"))),
    }
}

fn needed(flag: &str, value: usize) -> Result<usize> {
    Ok(at_least_one(flag, Some(value))?.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_begin_without_steering_and_are_each_tried_once() {
        let tried = |ffn: &[f32], attn: &[f32]| {
            let ways = ways(&typed::Scales { ffn: ffn.to_vec(), attn: attn.to_vec() });
            ways.map(|ways| ways.iter().map(|way| (way.ffn(), way.attention())).collect::<Vec<_>>())
        };
        assert_eq!(tried(&[1.0], &[0.0]).unwrap(), [(0.0, 0.0), (1.0, 0.0)]);
        let four = [(0.0, 0.0), (2.0, 0.0), (0.0, -1.0), (2.0, -1.0)];
        assert_eq!(tried(&[0.0, 2.0, 2.0], &[-0.0, -1.0]).unwrap(), four);
        for (ffn, attn, said) in [
            (&[0.0][..], &[0.0][..], "nothing to try"),
            (&[100.5], &[0.0], "--ffn 100.5: expected a number from -100 to 100"),
            (&[1.0], &[f32::NAN], "--attn NaN"),
        ] {
            let error = tried(ffn, attn).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let many: Vec<f32> = (0..20).map(|i| i as f32).collect();
        let error = tried(&many, &many).unwrap_err().to_string();
        assert!(error.contains("400 ways, 256 at most"), "{error}");
    }

    #[test]
    fn layers_are_a_first_and_a_last() {
        assert_eq!(layers("3").unwrap(), 3..=3);
        assert_eq!(layers("10-30").unwrap(), 10..=30);
        for wrong in ["", "-", "5-", "-5", "9-8", "1-2-3", "x"] {
            assert!(layers(wrong).is_err(), "{wrong}");
        }
    }
}
