//! `dwarfstar synth`: a random model of a given shape.
//!
//! The work is the quantizer's. Here the shape is found, the disk is asked whether it has room, and
//! Ctrl+C leaves nothing behind.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use gguf::Metadata;
use quantizer::{Error, Synth as Plan, SynthOptions};
use serde_json::{Value, json};
use spec::Shape;

use crate::cmd::formats::Formats;
use crate::exit::{Exit, say};
use crate::human;
use crate::interrupt;
use crate::json;
use crate::machine;
use crate::meant::{Origin, Synth, first_layers};
use crate::open;
use crate::progress::Progress;
use crate::terminal::Terminal;

/// Bytes that stay free on the disk, for whoever else writes to it.
const DISK_RESERVE_BYTES: u64 = 64 << 20;

/// Makes the file, or only the plan of it.
pub fn synth(meant: &Synth, terminal: &Terminal) -> Result<Exit> {
    let Model { shape, mut name, tokenizer } = model(&meant.origin)?;
    let all = shape.layers;
    let shape = first_layers(shape, meant.layers, &name)?;
    let layers = shape.layers;
    if layers < all {
        name = format!("{name}, {layers} of {all} layers");
    }
    let (recipe, seed) = (meant.recipe, meant.seed);
    let name = format!("{name} (random weights)");
    let plan = Plan::new(SynthOptions { shape, recipe, seed, name, tokenizer })?;
    if let Some(out) = &meant.out {
        match write(&plan, out, meant.overwrite, terminal) {
            Ok(()) => {}
            Err(error) => match error.downcast_ref() {
                Some(Error::Cancelled) => {
                    say(&error.to_string());
                    return Ok(Exit::Interrupted);
                }
                Some(Error::Exists { .. }) => {
                    return Err(anyhow!("{error}: add --force, or name another file"));
                }
                _ => return Err(error),
            },
        }
    }
    if meant.json {
        json::print(&to_json(&plan, layers, meant))?;
    } else {
        show(&plan, layers, meant)?;
    }
    Ok(Exit::Done)
}

/// What is to be imitated.
struct Model {
    shape: Shape,
    name: String,
    tokenizer: Option<Metadata>,
}

fn model(origin: &Origin) -> Result<Model> {
    match origin {
        Origin::Shape(name, shape) => {
            Ok(Model { shape: Shape::clone(shape), name: (*name).to_owned(), tokenizer: None })
        }
        Origin::Model(model) => {
            let file = open::model(model)?;
            let shape = model::read_shape(&file)?;
            // A tokenizer that does not work would make a file that cannot be opened.
            let tokenizer = engine::read_tokenizer(&file, shape.vocab)?;
            let tokenizer = tokenizer.map(|_| file.metadata().clone());
            let name = file.metadata().get("general.name").and_then(|name| name.as_str());
            let name = name.unwrap_or(file.name()).to_owned();
            Ok(Model { shape, name, tokenizer })
        }
    }
}

fn write(plan: &Plan, out: &Path, overwrite: bool, terminal: &Terminal) -> Result<()> {
    check_room(out, plan.file_bytes(), machine::disk_available(out))?;
    interrupt::listen(terminal);
    let progress = Progress::bytes("writing", plan.byte_count(), terminal.messages);
    let mut report = |at: quantizer::Progress<'_>| progress.set(at.bytes_done);
    Ok(plan.run(out, overwrite, &mut report, interrupt::flag())?)
}

/// Says so before the work if the disk has no room for the file. A file that will be replaced does
/// not count as room: it stays until the new one is complete.
fn check_room(out: &Path, needed: u64, available: Option<u64>) -> Result<()> {
    let Some(available) = available else { return Ok(()) };
    if needed.saturating_add(DISK_RESERVE_BYTES) <= available {
        return Ok(());
    }
    let (out, needed, available) = (out.display(), human::bytes(needed), human::bytes(available));
    bail!(
        "{out}: the file has {needed}, its disk has room for {available}; choose another disk, or \
         fewer --layers"
    )
}

fn by_format(plan: &Plan) -> Formats {
    plan.tensors().iter().map(|tensor| (tensor.format, tensor.byte_count)).collect()
}

fn show(plan: &Plan, layers: usize, meant: &Synth) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (done, name) = match &meant.out {
        Some(path) => ("wrote", path.display().to_string()),
        None => ("would write", "a file".to_owned()),
    };
    let (size, layers) = (human::bytes(plan.file_bytes()), human::plural(layers, "layer"));
    let tensors = human::plural(plan.tensors().len(), "tensor");
    let (recipe, seed) = (meant.recipe, meant.seed);
    writeln!(out, "{done} {name}: {size}, {layers}, {tensors}, recipe {recipe}, seed {seed}")?;
    by_format(plan).show(&mut out)?;
    out.flush()
}

fn to_json(plan: &Plan, layers: usize, meant: &Synth) -> Value {
    json!({
        "out": meant.out.as_ref().map(|path| path.display().to_string()),
        "recipe": meant.recipe.name(),
        "seed": meant.seed,
        "layers": layers,
        "tensors": plan.tensors().len(),
        "tensor_bytes": plan.byte_count(),
        "file_bytes": plan.file_bytes(),
        "formats": by_format(plan).to_json(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_is_told_with_both_numbers() {
        let out = Path::new("m.gguf");
        let gigabyte = 1_000_000_000;
        assert!(check_room(out, gigabyte, Some(2 * gigabyte)).is_ok());
        assert!(check_room(out, gigabyte, None).is_ok(), "nobody knows, so it is tried");
        for available in [0, gigabyte - 1, gigabyte] {
            let message = check_room(out, gigabyte, Some(available)).unwrap_err().to_string();
            assert!(message.contains("the file has 1.00 GB, its disk has room for"), "{message}");
        }
        assert!(check_room(out, u64::MAX, Some(u64::MAX - 1)).is_err());
    }
}
