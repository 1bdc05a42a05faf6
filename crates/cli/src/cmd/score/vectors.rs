//! `dwarfstar score --vectors`: the model beside recorded answers of the official API.
//!
//! Prompts are files that the vectors name by a path of their repository, which may be anywhere
//! above; the nearest one counts.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use engine::Flow;
use measure::lines::Lines;
use measure::score::Tokens;
use measure::stats::Mean;
use measure::vectors::{self, ByBytes, Case, Compared};
use serde_json::{Value, json};

use super::super::prediction::{self, engine};
use super::super::prompt;
use crate::exit::{Exit, say};
use crate::human::safe;
use crate::meant::measure::Vectors;
use crate::meant::{Ask, Chat, Thinking};
use crate::open::{self, Source};
use crate::progress::Progress;
use crate::terminal::Terminal;
use crate::{interrupt, json};

/// Compares, and prints the figures.
pub fn vectors(meant: &Vectors, terminal: &Terminal) -> Result<Exit> {
    let Vectors { path, model, compute, steer, json } = meant;
    model.pulled().iter().for_each(|line| say(line));
    let cases = vectors::read_cases(&mut Lines::open(path)?)?;
    if cases.is_empty() {
        bail!("{}: no cases, expected the test vectors of ds4", path.display());
    }
    let file = open::model(model)?;
    let name = prediction::name(&file, steer.as_ref());
    let tokenizer = prompt::tokenizer(&file)?;
    let ids = ByBytes::new(&tokenizer);
    let tokens = cases.iter().map(|case| {
        let text = Source::File(found(path, &case.prompt_file)?).read()?;
        let chat = Chat { system: None, text, thinking: Thinking::Off };
        let prompt = prompt::prompt(&tokenizer, &Ask::Chat(chat), prompt::checkpoint(&file))?;
        Ok(case.tokens(prompt.tokens, &ids)?)
    });
    let tokens: Vec<Tokens> = tokens.collect::<Result<_>>()?;
    interrupt::listen(terminal);
    let fed = |tokens: &Tokens| tokens.all.len() - 1;
    let context = tokens.iter().map(fed).max().unwrap_or(1);
    let mut engine = engine(file, (*compute, steer.as_ref()), context, terminal.messages)?;
    let all = tokens.iter().map(fed).sum();
    let progress = Progress::tokens("comparing", all, terminal.messages);
    let mut done: Vec<(&Case, Vec<Compared>)> = Vec::new();
    for (case, tokens) in cases.iter().zip(&tokens) {
        let steps = vectors::compare(&mut engine, case, tokens, &ids, &mut |fed| {
            progress.add(fed as u64);
            if interrupt::requested() { Flow::Stop } else { Flow::Continue }
        })?;
        let Some(steps) = steps else { break };
        done.push((case, steps));
    }
    progress.clear();
    if *json {
        json::print_pretty(&to_json(&name, &done, done.len() == cases.len()))?;
    } else {
        show(&name, &done, terminal)?;
    }
    if done.len() < cases.len() {
        say("interrupted: what is shown is what was complete");
        return Ok(Exit::Interrupted);
    }
    Ok(Exit::Done)
}

/// Where a prompt is: beside the vectors, or in a folder above them.
fn found(vectors: &Path, prompt: &str) -> Result<PathBuf> {
    let whole = vectors.canonicalize();
    let whole = whole.with_context(|| format!("{}: could not find it", vectors.display()))?;
    let places = whole.ancestors().skip(1).map(|folder| folder.join(prompt));
    match places.into_iter().find(|place| place.is_file()) {
        Some(path) => Ok(path),
        None => bail!(
            "{}: the prompt {prompt:?} is neither beside it nor in a folder above: keep the \
             vectors in their repository, or the prompts beside them",
            vectors.display()
        ),
    }
}

/// The figures of some steps.
struct Figures {
    same: usize,
    recorded: usize,
    shared: usize,
    nll: f64,
    differences: Mean,
    largest: f64,
}

impl Figures {
    fn of<'a>(steps: impl Iterator<Item = &'a Compared>) -> Figures {
        let mut figures = Figures {
            same: 0,
            recorded: 0,
            shared: 0,
            nll: 0.0,
            differences: Mean::default(),
            largest: 0.0,
        };
        for step in steps {
            figures.same += usize::from(step.top == step.chosen);
            figures.recorded += step.recorded;
            figures.shared += step.shared;
            figures.nll += step.nll;
            step.differences.iter().for_each(|value| figures.differences.add(value.abs()));
            figures.largest = figures.largest.max(step.max_difference());
        }
        figures
    }

    fn json(&self, id: &str) -> Value {
        json!({
            "id": id,
            "same_choice": self.same,
            "recorded": self.recorded,
            "shared": self.shared,
            "nll": self.nll,
            "difference_mean": self.differences.mean(),
            "difference_max": self.largest,
        })
    }
}

fn show(name: &str, done: &[(&Case, Vec<Compared>)], terminal: &Terminal) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", terminal.heading(&safe(name)))?;
    let row = |cells: [&str; 6]| {
        let [same, shared, mean, largest, nll, id] = cells;
        format!("  {same:>11} {shared:>9} {mean:>10} {largest:>10} {nll:>8}   {id}")
    };
    let head = ["same choice", "shared", "difference", "largest", "nll", "case"];
    writeln!(out, "{}", row(head))?;
    let line = |steps: &[&Compared], id: &str| {
        let of = Figures::of(steps.iter().copied());
        let cells = [
            format!("{} of {}", of.same, steps.len()),
            format!("{} of {}", of.shared, of.recorded),
            format!("{:.4}", of.differences.mean()),
            format!("{:.4}", of.largest),
            format!("{:.4}", of.nll),
        ];
        let [same, shared, mean, largest, nll] = cells.each_ref().map(String::as_str);
        row([same, shared, mean, largest, nll, id])
    };
    for (case, steps) in done {
        writeln!(out, "{}", line(&steps.iter().collect::<Vec<_>>(), &safe(&case.id)))?;
    }
    let all: Vec<_> = done.iter().flat_map(|(_, steps)| steps).collect();
    writeln!(out, "{}", line(&all, "all"))?;
    out.flush()?;
    Ok(())
}

fn to_json(name: &str, done: &[(&Case, Vec<Compared>)], complete: bool) -> Value {
    let step = |step: &Compared| {
        json!({
            "chosen": step.chosen.0,
            "top": step.top.0,
            "nll": step.nll,
            "recorded": step.recorded,
            "shared": step.shared,
            "difference_mean": step.mean_difference(),
            "difference_max": step.max_difference(),
        })
    };
    let case = |(case, steps): &(&Case, Vec<Compared>)| {
        let mut value = Figures::of(steps.iter()).json(&case.id);
        value["steps"] = steps.iter().map(step).collect::<Vec<_>>().into();
        value
    };
    json!({
        "model": name,
        "cases": done.iter().map(case).collect::<Vec<_>>(),
        "all": Figures::of(done.iter().flat_map(|(_, steps)| steps)).json("all"),
        "complete": complete,
    })
}
