//! What `dwarfstar perplexity` and `dwarfstar score` were meant to do: the text is read, the cut
//! makes sense, the input of `score` is one of three.
//!
//! Models and items are opened by the commands.

use std::path::PathBuf;

use anyhow::{Result, bail};
use measure::perplexity::Cut;

use super::steer::{Steer, steer};
use super::{Compute, at_least_one, compute, model};
use crate::exit::usage;
use crate::open::{Model, Source};
use crate::typed::{self, measure as typed_measure};

/// Measure how well a text is predicted.
#[derive(Debug)]
pub struct Perplexity {
    pub text: String,
    pub model: Model,
    /// The reference.
    pub against: Option<Model>,
    pub cut: Cut,
    /// Where the reference's logits are kept.
    pub scratch: PathBuf,
    pub compute: Compute,
    /// How the model is steered, and not the reference.
    pub steer: Option<Steer>,
    pub json: bool,
}

/// Measure how probable stored answers are.
#[derive(Debug)]
pub enum Score {
    /// Of items.
    Items(Items),
    /// Of recorded answers.
    Vectors(Vectors),
    /// Two results.
    Compare { old: Source, new: Source, json: bool },
}

/// Stored continuations.
#[derive(Debug)]
pub struct Items {
    pub source: Source,
    pub model: Model,
    /// The reference.
    pub against: Option<Model>,
    /// Whether turns begin with reasoning.
    pub think: bool,
    pub table: Option<PathBuf>,
    pub compute: Compute,
    /// How the model is steered, and not the reference.
    pub steer: Option<Steer>,
    pub json: bool,
}

/// Answers of the official API.
#[derive(Debug)]
pub struct Vectors {
    pub path: PathBuf,
    pub model: Model,
    pub compute: Compute,
    /// How the model is steered.
    pub steer: Option<Steer>,
    pub json: bool,
}

impl Perplexity {
    /// How the model is run.
    pub fn how(&self) -> (Compute, Option<&Steer>) {
        (self.compute, self.steer.as_ref())
    }
}

/// `dwarfstar perplexity`.
pub fn perplexity(typed: typed_measure::Perplexity) -> Result<Perplexity> {
    let typed_measure::Perplexity { file, chunk, skip, max_tokens, scratch, json, .. } = typed;
    if chunk < 2 {
        return Err(usage(format!("--chunk {chunk}: expected at least 2")));
    }
    if let Some(skip) = skip.filter(|skip| *skip >= chunk - 1) {
        let most = chunk - 2;
        return Err(usage(format!(
            "--skip {skip}: of a chunk of {chunk} tokens, the first of which begins it, at most \
             {most} can be left out, or none would be counted"
        )));
    }
    let tokens_max = at_least_one("--max-tokens", max_tokens)?;
    let name = file.display().to_string();
    let text = Source::path(file).read()?;
    if text.is_empty() {
        bail!("{name}: empty, expected a text");
    }
    Ok(Perplexity {
        model: model(typed.model),
        against: typed.against.map(named),
        cut: Cut { chunk, skip, tokens_max },
        scratch: scratch.unwrap_or_else(std::env::temp_dir),
        compute: compute(typed.compute.device, typed.compute.threads)?,
        steer: steer(typed.steer)?,
        json,
        text,
    })
}

/// `dwarfstar score`.
pub fn score(typed: typed_measure::Score) -> Result<Score> {
    let typed_measure::Score { file, vectors, compare, against, think, table, json, .. } = typed;
    let compute = compute(typed.compute.device, typed.compute.threads)?;
    if let Some(files) = compare {
        let mut files = files.into_iter().map(Source::path);
        let (Some(old), Some(new)) = (files.next(), files.next()) else {
            return Err(usage("--compare: expected two results"));
        };
        return Ok(Score::Compare { old, new, json });
    }
    let (model, steer) = (model(typed.model), steer(typed.steer)?);
    if let Some(path) = vectors {
        return Ok(Score::Vectors(Vectors { path, model, compute, steer, json }));
    }
    let Some(source) = file.map(Source::path) else {
        return Err(usage("which continuations? name a file, or say --vectors or --compare"));
    };
    let against = against.map(named);
    Ok(Score::Items(Items { source, model, against, think, table, compute, steer, json }))
}

fn named(path: PathBuf) -> Model {
    model(typed::Model { model: Some(path) })
}
