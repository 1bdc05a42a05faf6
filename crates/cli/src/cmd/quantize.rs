//! `dwarfstar quantize`: a checkpoint folder becomes a GGUF file.
//!
//! The work is the quantizer's. Here the folder and the tokenizer are named, the plan is shown, and
//! Ctrl+C leaves nothing behind.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Result, anyhow};
use quantizer::{Checkpoint, Error, Options, Plan};
use serde_json::{Value, json};

use crate::cmd::formats::Formats;
use crate::exit::{Exit, say};
use crate::human;
use crate::interrupt;
use crate::json;
use crate::meant::Quantize;
use crate::open;
use crate::progress::Progress;
use crate::terminal::Terminal;

/// Makes the file, or only the plan of it.
pub fn quantize(meant: &Quantize, terminal: &Terminal) -> Result<Exit> {
    let checkpoint = Checkpoint::open(open::checkpoint(&meant.checkpoint)?)?;
    let vocabulary = match &meant.tokenizer {
        Some(path) => Some(quantizer::read_vocabulary(path)?),
        None => None,
    };
    if vocabulary.is_none() && meant.checkpoint.join("tokenizer.json").is_file() {
        let path = meant.checkpoint.join("tokenizer.json");
        say(&format!(
            "note: the file will understand token ids only; --tokenizer {} puts the tokenizer in",
            path.display()
        ));
    }
    let options = Options { recipe: meant.recipe, vocabulary, name: meant.name.clone() };
    let plan = Plan::new(checkpoint, options)?;
    if let Some(out) = &meant.out {
        match write(&plan, out, meant.overwrite, terminal) {
            Err(Error::Cancelled) => {
                say(&Error::Cancelled.to_string());
                return Ok(Exit::Interrupted);
            }
            Err(error @ Error::Exists { .. }) => {
                return Err(anyhow!("{error}: add --force, or name another file"));
            }
            result => result?,
        }
    }
    if meant.json {
        json::print(&to_json(&plan, meant))?;
    } else {
        show(&plan, meant)?;
    }
    Ok(Exit::Done)
}

fn write(plan: &Plan, out: &Path, overwrite: bool, terminal: &Terminal) -> Result<(), Error> {
    interrupt::listen(terminal);
    let progress = Progress::bytes("writing", plan.byte_count(), terminal.messages);
    let mut report = |at: quantizer::Progress<'_>| progress.set(at.bytes_done);
    plan.run(out, overwrite, &mut report, interrupt::flag()).map(|_| ())
}

/// Tensors and bytes by format.
fn by_format(plan: &Plan) -> Formats {
    plan.tensors().iter().map(|tensor| (tensor.format, tensor.byte_count)).collect()
}

fn show(plan: &Plan, meant: &Quantize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (done, name) = match &meant.out {
        Some(path) => ("wrote", path.display().to_string()),
        None => ("would write", "a file".to_owned()),
    };
    let size = human::bytes(plan.byte_count());
    let tensors = human::plural(plan.tensors().len(), "tensor");
    writeln!(out, "{done} {name}: {tensors}, {size}, recipe {}", meant.recipe)?;
    by_format(plan).show(&mut out)?;
    let skipped = plan.skipped();
    if skipped.draft_count > 0 {
        writeln!(
            out,
            "left out: {} of draft layers",
            human::plural(skipped.draft_count, "tensor")
        )?;
    }
    if skipped.unknown.count() > 0 {
        writeln!(out, "left out, unknown: {}", skipped.unknown)?;
    }
    out.flush()
}

fn to_json(plan: &Plan, meant: &Quantize) -> Value {
    json!({
        "out": meant.out.as_ref().map(|path| path.display().to_string()),
        "recipe": meant.recipe.name(),
        "tensors": plan.tensors().len(),
        "bytes": plan.byte_count(),
        "formats": by_format(plan).to_json(),
        "skipped_draft_tensors": plan.skipped().draft_count,
        "skipped_unknown_tensors": plan.skipped().unknown.shown(),
    })
}
