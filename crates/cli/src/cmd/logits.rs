//! `dwarfstar logits`: what the model says about given tokens, as numbers.
//!
//! This is the instrument for comparing implementations, so its default numerics are the reference
//! ones (see `--rows`). Rows go to the file as they are computed; memory does not grow with the
//! number of positions.

use anyhow::{Result, bail};
use engine::{Flow, OpenOptions};

use crate::compute::{self, Computer};
use crate::exit::{Exit, say};
use crate::interrupt;
use crate::meant::Logits;
use crate::npy::NpyFile;
use crate::open;
use crate::progress::Progress;
use crate::steering;
use crate::terminal::Terminal;

/// Writes the logits of the last positions.
pub fn logits(meant: &Logits, terminal: &Terminal) -> Result<Exit> {
    let Logits { model, tokens, last, rows, compute, steer, out } = meant;
    model.pulled().iter().for_each(|line| say(line));
    let file = open::model(model)?;
    let vocab = model::read_shape(&file)?.vocab;
    if let Some(place) = tokens.iter().position(|token| token.0 as usize >= vocab) {
        let (token, largest) = (tokens[place], vocab - 1);
        bail!("entry {place} of the tokens is {token}, this model's tokens are 0 to {largest}");
    }
    let directions = steering::read(steer.as_ref(), &file)?;
    // From here on there is a temporary file, which a killed program would leave behind.
    interrupt::listen(terminal);
    let array = NpyFile::create(out)?;
    let default = OpenOptions::default();
    let Computer { backend, memory_max, .. } = compute::open(*compute, &file)?;
    let options = OpenOptions {
        rows: *rows,
        context: tokens.len(),
        step_tokens: default.step_tokens.min(tokens.len()),
        all_logits: true,
        memory_max,
        ..default
    };
    let mut engine = compute::load(file, backend, options, terminal.messages)?;
    steering::load(&mut engine, directions.as_ref())?;

    let progress = Progress::tokens("computing", tokens.len(), terminal.messages);
    let complete = array.write(*last, vocab, |sink| {
        let mut written = Ok(());
        engine.logits_of_last(*last, tokens, &mut |fed, rows| {
            written = sink(rows);
            progress.set(fed as u64);
            if written.is_err() || interrupt::requested() { Flow::Stop } else { Flow::Continue }
        })?;
        written?;
        Ok(!interrupt::requested())
    })?;
    progress.clear();
    if !complete {
        say("interrupted, nothing was written");
        return Ok(Exit::Interrupted);
    }
    Ok(Exit::Done)
}
