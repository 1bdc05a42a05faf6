//! `dwarfstar bench`: how fast the model is here, and how fast it could be.
//!
//! Memory is measured first, before the model takes its share of it; then prompts, then decoding
//! behind contexts. `course.rs` does the timing, `memory.rs` reads plain memory and brings the
//! weights there, `reads.rs` counts the bytes that a token needs. `report.rs` holds what came out,
//! `show.rs` prints it for people, `plot.rs` draws it, and `compare.rs` sets two of them side by
//! side. Only the order and the options of the engine are decided here.

mod compare;
mod course;
mod memory;
mod plot;
mod reads;
mod report;
mod show;

use std::io::{self, Write};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use backend::Backend;
use engine::{Engine, OpenOptions};
use gguf::File;
use quantizer::{Synth, SynthOptions};
use spec::Shape;

use crate::compute::{self, Computer};
use crate::exit::{Exit, say, usage};
use crate::interrupt;
use crate::json;
use crate::machine;
use crate::meant::{Bench, Synthetic};
use crate::open;
use crate::progress::Progress;
use crate::steering;
use crate::terminal::Terminal;
use crate::whole::WholeFile;
pub use compare::compare;
use course::Course;
use memory::Memory;
use report::Report;

/// Measures, and prints the figures.
pub fn bench(meant: &Bench, terminal: &Terminal) -> Result<Exit> {
    let file = match &meant.synthetic {
        Some(synthetic) => made(synthetic)?,
        None => {
            meant.model.pulled().iter().for_each(|line| say(line));
            open::model(&meant.model)?
        }
    };
    let shape = model::read_shape(&file)?;
    let context = context(meant, &shape)?;
    let directions = steering::read(meant.steer.as_ref(), &file)?;
    interrupt::listen(terminal);
    let csv = meant.csv.as_ref().map(|path| WholeFile::create(path, "csv")).transpose()?;
    let drawing = meant.plot.as_ref().map(|path| WholeFile::create(path, "svg")).transpose()?;
    // Opened first: with the device comes the number of threads that measure memory.
    let Computer { mut backend, memory_max, step_tokens } = compute::open(meant.compute, &file)?;
    let memory = match backend.read_speed()? {
        Some(speed) => Memory::of_device(speed),
        None => memory::measure(machine::memory_available()),
    };
    let sessions = meant.sessions.iter().copied().max().unwrap_or(1);
    let step_tokens = step_tokens.max(sessions);
    let options =
        OpenOptions { context, sessions, memory_max, step_tokens, ..OpenOptions::default() };
    let start = Instant::now();
    let mut engine = opened(file, backend, options, terminal.messages)?;
    steering::load(&mut engine, directions.as_ref())?;
    let mut report = Report::new(&engine, memory, meant);
    report.load_seconds = start.elapsed().as_secs_f64();
    // A device that could not hold them would not have been opened.
    report.weights_in_memory = report.memory.is_device() || fit(engine.file());
    report.complete = measure(engine, meant, &mut report, terminal.messages)?;
    if meant.json {
        json::print_pretty(&report)?;
    } else {
        report.show(&mut io::stdout().lock(), terminal)?;
    }
    if !report.complete {
        say("interrupted: what is shown is what was complete");
        return Ok(Exit::Interrupted);
    }
    if let Some(csv) = csv {
        write_whole(csv, &report.to_csv())?;
    }
    if let Some(drawing) = drawing {
        write_whole(drawing, &plot::draw(&report)?)?;
    }
    Ok(Exit::Done)
}

fn write_whole(mut file: WholeFile, text: &str) -> Result<()> {
    let name = file.name();
    let failed = || format!("{name}: could not write it");
    file.file().write_all(text.as_bytes()).with_context(failed)?;
    file.finish().with_context(failed)
}

/// A random model, made piece by piece while it is loaded.
fn made(synthetic: &Synthetic) -> Result<File> {
    let Synthetic { name, shape, recipe } = synthetic.clone();
    let options = SynthOptions { shape, recipe, seed: 0, name: name.clone(), tokenizer: None };
    Ok(Synth::new(options)?.into_file(&name))
}

/// Whether memory can hold all weights. What the system keeps of the file counts as available.
fn fit(file: &File) -> bool {
    let weights = compute::weight_bytes(file);
    machine::memory_available().is_none_or(|available| weights < available)
}

/// Fills the report; `false` if Ctrl+C ended it early.
fn measure(engine: Engine, meant: &Bench, report: &mut Report, shown: bool) -> Result<bool> {
    // What was made or copied to a device is where it belongs.
    let mapped = meant.synthetic.is_none() && !report.memory.is_device();
    if report.weights_in_memory && mapped {
        let weights = compute::weight_bytes(engine.file()) as u64;
        if !memory::touch(engine.file(), &Progress::bytes("loading", weights, shown)) {
            return Ok(false);
        }
    }
    let progress = Progress::tokens("measuring", course::tokens(meant), shown);
    let mut course = Course::new(engine, meant, &progress);
    for &tokens in &meant.prompts {
        let Some(figures) = course.prefill(tokens)? else { return Ok(false) };
        report.prefill.push(figures);
    }
    for &sessions in &meant.sessions {
        for &context in &meant.contexts {
            let Some(figures) = course.decode(context, sessions)? else { return Ok(false) };
            report.add_decode(figures);
        }
    }
    report.reserved = course.reserved();
    if meant.profile {
        let Some(kernels) = course.profile(meant)? else { return Ok(false) };
        report.kernels = kernels;
    }
    Ok(true)
}

/// Room for the longest session.
fn context(meant: &Bench, shape: &Shape) -> Result<usize> {
    let (context, native) = (course::context(meant), shape.context_max);
    if context > native {
        return Err(usage(format!(
            "the longest session has {context} tokens, this model has {native} at most: use a \
             shorter --prompt, or smaller --contexts, --decode or --repeat"
        )));
    }
    Ok(context)
}

fn opened(
    file: File,
    backend: Box<dyn Backend>,
    options: OpenOptions,
    shown: bool,
) -> Result<Engine> {
    compute::load(file, backend, options, shown).map_err(|error| match error {
        engine::Error::Memory { file, needed, available, context, .. } => anyhow!(
            "{file} needs {needed} bytes besides its weights for a session of {context} tokens, \
             and {available} are available: use a shorter --prompt, or smaller --contexts"
        ),
        other => other.into(),
    })
}
