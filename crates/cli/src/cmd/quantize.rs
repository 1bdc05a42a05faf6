//! `dwarfstar quantize`: a checkpoint folder, or another GGUF file, becomes a GGUF file.
//!
//! The work is the quantizer's. Here the input and the tokenizer are named, the plan is shown, and
//! Ctrl+C leaves what is complete to be gone on with.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Result, anyhow};
use quantizer::{
    Checkpoint, Difference, DifferenceKind, Error, Importance, Input, Options, Plan, Recipe,
    Template, compare,
};
use serde_json::{Value, json};

use crate::cmd::formats::Formats;
use crate::exit::{Exit, say};
use crate::human;
use crate::interrupt;
use crate::json;
use crate::meant::quantize::{Input as Named, Quantize};
use crate::open::{self, Model};
use crate::progress::Progress;
use crate::terminal::Terminal;

/// Most tensors that are named one by one.
const SHOWN_MAX: usize = 20;

/// Makes the file, or only the plan of it.
pub fn quantize(meant: &Quantize, terminal: &Terminal) -> Result<Exit> {
    let input = input(&meant.input)?;
    let vocabulary = match &meant.tokenizer {
        Some(path) => Some(quantizer::read_vocabulary(path)?),
        None => None,
    };
    let template = template(meant)?;
    let has_tokens = |template: &Template| template.file.metadata().get(TOKENS).is_some();
    let has_tokens = vocabulary.is_some() || template.as_ref().is_some_and(has_tokens);
    if let (Named::Checkpoint(folder), false) = (&meant.input, has_tokens) {
        let path = folder.join("tokenizer.json");
        if path.is_file() {
            say(&format!(
                "note: the file will understand token ids only; --tokenizer {} puts the \
                 tokenizer in",
                path.display()
            ));
        }
    }
    let importance = meant.importance.as_deref().map(Importance::open).transpose()?;
    let plan = Plan::new(
        input,
        Options {
            vocabulary,
            name: meant.name.clone(),
            rules: meant.rules.clone(),
            importance,
            strict: meant.strict,
            template,
            ..Options::new(meant.recipe.unwrap_or(Recipe::AsIs))
        },
    )?;
    if plan.unweighted().count() > 0 {
        let count = human::plural(plan.unweighted().count(), "tensor");
        say(&format!(
            "note: the importance file leaves out {count} that would gain by one: {}",
            plan.unweighted()
        ));
    }
    // A file that is not there should be told of before hours of work.
    let other = meant.compare.clone().map(|path| open::model(&Model::File(path))).transpose()?;
    if let Some(out) = &meant.out {
        let byte_count = plan.byte_count();
        let wrote = watched(byte_count, terminal, |report| {
            plan.run(out, (meant.overwrite, meant.start), report, interrupt::flag()).map(|_| ())
        });
        if let Some(exit) = wrote? {
            return Ok(exit);
        }
    }
    let differences = match (&other, &meant.out) {
        (Some(other), Some(out)) => Some(compare(&gguf::File::open(out)?, other)),
        _ => None,
    };
    if meant.json {
        json::print(&to_json(&plan, differences.as_deref(), meant))?;
    } else {
        show(&plan, meant)?;
        if let Some(differences) = differences {
            show_differences(&differences, plan.tensors().len())?;
        }
    }
    Ok(Exit::Done)
}

/// The key under which a file has a vocabulary.
const TOKENS: &str = "tokenizer.ggml.tokens";

/// What decided about formats.
fn recipe(meant: &Quantize) -> &'static str {
    meant.recipe.map_or("template", Recipe::name)
}

fn template(meant: &Quantize) -> Result<Option<Template>> {
    let Some(path) = &meant.template else { return Ok(None) };
    let file = open::model(&Model::File(path.clone()))?;
    let shape = model::read_shape(&file)?;
    Ok(Some(Template { file, shape, formats: meant.recipe.is_none() }))
}

fn input(named: &Named) -> Result<Input> {
    match named {
        Named::Checkpoint(folder) => Ok(Checkpoint::open(open::checkpoint(folder)?)?.into()),
        Named::File(path) => {
            let file = open::model(&Model::File(path.clone()))?;
            let shape = model::read_shape(&file)?;
            Ok(Input::Model(file, shape))
        }
    }
}

/// Writes with progress and Ctrl+C. `Some` if that is how it ended.
pub fn watched(
    byte_count: u64,
    terminal: &Terminal,
    write: impl FnOnce(&mut dyn FnMut(quantizer::Progress<'_>)) -> Result<(), Error>,
) -> Result<Option<Exit>> {
    interrupt::listen(terminal);
    let progress = Progress::bytes("writing", byte_count, terminal.messages);
    let written = write(&mut |at| progress.set(at.bytes_done));
    drop(progress);
    match written {
        Err(Error::Cancelled) => {
            say(&Error::Cancelled.to_string());
            Ok(Some(Exit::Interrupted))
        }
        Err(Error::Kept { file, bytes, byte_count }) => {
            let (bytes, all) = (human::bytes(bytes), human::bytes(byte_count));
            say(&format!(
                "interrupted: {bytes} of {all} are kept in {file}; the same command with --resume \
                 goes on from there"
            ));
            Ok(Some(Exit::Interrupted))
        }
        Err(error @ Error::Exists { .. }) => {
            Err(anyhow!("{error}: add --force, or name another file"))
        }
        Err(error @ Error::Unfinished { .. }) => {
            Err(anyhow!("{error}: go on with it with --resume, or begin again with --force"))
        }
        Err(error @ Error::Partial { .. }) => {
            Err(anyhow!("{error}; begin again with --force instead of --resume"))
        }
        Err(error @ Error::DiskFull { kept: true, .. }) => {
            Err(anyhow!("{error}; make room, then the same command with --resume goes on"))
        }
        result => Ok(result.map(|()| None)?),
    }
}

/// What was done, or would be, to which file.
pub fn outcome(out: Option<&Path>) -> String {
    match out {
        Some(path) => format!("wrote {}", path.display()),
        None => "would write a file".to_owned(),
    }
}

/// Tensors and bytes by format.
fn by_format(plan: &Plan) -> Formats {
    plan.tensors().iter().map(|tensor| (tensor.format, tensor.byte_count)).collect()
}

fn show(plan: &Plan, meant: &Quantize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let done = outcome(meant.out.as_deref());
    let size = human::bytes(plan.byte_count());
    let tensors = human::plural(plan.tensors().len(), "tensor");
    writeln!(out, "{done}: {tensors}, {size}, recipe {}", recipe(meant))?;
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

fn show_differences(differences: &[Difference], tensor_count: usize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if differences.is_empty() {
        writeln!(out, "compared: all {tensor_count} tensors are the same, bit by bit")?;
        return out.flush();
    }
    writeln!(out, "compared: {} differ", human::plural(differences.len(), "tensor"))?;
    for Difference { tensor, kind } in differences.iter().take(SHOWN_MAX) {
        let how = match kind {
            DifferenceKind::OnlyFirst => "only in what was written".to_owned(),
            DifferenceKind::OnlySecond => "only in the other file".to_owned(),
            DifferenceKind::Dims => "other dimensions".to_owned(),
            DifferenceKind::Format { first, second } => format!("{first}, there {second}"),
            DifferenceKind::Bytes { blocks, block_count, bits } => {
                format!("{blocks} of {block_count} blocks, {bits} bits")
            }
        };
        writeln!(out, "  {}: {how}", tensor.escape_debug())?;
    }
    if differences.len() > SHOWN_MAX {
        writeln!(out, "  and {} more; --json lists them all", differences.len() - SHOWN_MAX)?;
    }
    out.flush()
}

fn to_json(plan: &Plan, differences: Option<&[Difference]>, meant: &Quantize) -> Value {
    json!({
        "out": meant.out.as_ref().map(|path| path.display().to_string()),
        "recipe": recipe(meant),
        "tensors": plan.tensors().len(),
        "bytes": plan.byte_count(),
        "formats": by_format(plan).to_json(),
        "skipped_draft_tensors": plan.skipped().draft_count,
        "skipped_unknown_tensors": plan.skipped().unknown.shown(),
        "without_importance": plan.unweighted().count(),
        "differences": differences.map(|all| all.iter().map(difference_json).collect::<Vec<_>>()),
    })
}

fn difference_json(difference: &Difference) -> Value {
    let tensor = &difference.tensor;
    match difference.kind {
        DifferenceKind::OnlyFirst => json!({"tensor": tensor, "only": "written"}),
        DifferenceKind::OnlySecond => json!({"tensor": tensor, "only": "other"}),
        DifferenceKind::Dims => json!({"tensor": tensor, "dims": true}),
        DifferenceKind::Format { first, second } => {
            json!({"tensor": tensor, "formats": [first.name(), second.name()]})
        }
        DifferenceKind::Bytes { blocks, block_count, bits } => {
            json!({"tensor": tensor, "blocks": blocks, "block_count": block_count, "bits": bits})
        }
    }
}
