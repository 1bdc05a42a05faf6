//! `dwarfstar inspect`: what a file holds, what running it takes, what is wrong with it.
//!
//! [`Report`] gathers the facts, `text.rs` shows them to people and `--json` to
//! machines. `check.rs` reads every value on request. A file that cannot run is shown like any
//! other, with the reasons; only one that cannot be read is an error.

mod check;
mod report;
mod text;

use std::io;

use anyhow::{Result, bail};

use crate::exit::{Exit, say};
use crate::interrupt;
use crate::json;
use crate::meant::Inspect;
use crate::open;
use crate::terminal::Terminal;
use report::Report;

/// Shows a file.
pub fn inspect(meant: &Inspect, terminal: &Terminal) -> Result<Exit> {
    meant.model.pulled().iter().for_each(|line| say(line));
    let file = open::model(&meant.model)?;
    let shape = model::read_shape(&file);
    if let (Some(context), Ok(shape)) = (meant.context, &shape)
        && context > shape.context_max
    {
        bail!(engine::Error::ContextTooLarge { context, native: shape.context_max });
    }
    let mut report = Report::new(&file, &shape, meant.context);
    if meant.tensors {
        report.list_tensors(&file);
    }
    if meant.check {
        interrupt::listen(terminal);
        let checked = check::check(&file, shape.as_ref().ok(), terminal.messages);
        let Some(checked) = checked else { return Ok(Exit::Interrupted) };
        report.checked = Some(checked);
    }
    if meant.json {
        json::print_pretty(&report)?;
    } else {
        text::show(&mut io::stdout().lock(), &report, terminal)?;
    }
    let damaged = report.checked.is_some_and(|checked| !checked.flaws.is_empty());
    Ok(if damaged { Exit::Problems } else { Exit::Done })
}
