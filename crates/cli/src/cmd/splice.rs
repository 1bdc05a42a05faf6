//! `dwarfstar splice`: the expert layers of one file go into another.
//!
//! The work is the quantizer's; here two files are opened and the result is shown.

use std::io::{self, Write};

use anyhow::Result;
use quantizer::Splice as Plan;
use serde_json::{Value, json};

use crate::cmd::formats::Formats;
use crate::cmd::quantize::{outcome, watched};
use crate::exit::Exit;
use crate::human;
use crate::interrupt;
use crate::json;
use crate::meant::quantize::Splice;
use crate::open::{self, Model};
use crate::terminal::Terminal;

/// Makes the file, or only the plan of it.
pub fn splice(meant: &Splice, terminal: &Terminal) -> Result<Exit> {
    let base = open::model(&Model::File(meant.base.clone()))?;
    let experts = open::model(&Model::File(meant.experts.clone()))?;
    let plan = Plan::new(base, experts, &meant.layers)?;
    if let Some(out) = &meant.out {
        let wrote = watched(plan.byte_count(), terminal, |report| {
            plan.run(out, meant.overwrite, report, interrupt::flag())
        });
        if let Some(exit) = wrote? {
            return Ok(exit);
        }
    }
    if meant.json {
        json::print(&to_json(&plan, meant))?;
    } else {
        show(&plan, meant)?;
    }
    Ok(Exit::Done)
}

fn by_format(plan: &Plan) -> Formats {
    plan.tensors().map(|(tensor, _)| (tensor.format, tensor.byte_count as u64)).collect()
}

fn show(plan: &Plan, meant: &Splice) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let done = outcome(meant.out.as_deref());
    let size = human::bytes(plan.byte_count());
    let tensors = human::plural(plan.tensors().count(), "tensor");
    let layers = human::plural(meant.layers.len(), "layer");
    let from = meant.experts.display();
    writeln!(out, "{done}: {tensors}, {size}, the experts of {layers} from {from}")?;
    by_format(plan).show(&mut out)?;
    out.flush()
}

fn to_json(plan: &Plan, meant: &Splice) -> Value {
    json!({
        "out": meant.out.as_ref().map(|path| path.display().to_string()),
        "layers": meant.layers,
        "tensors": plan.tensors().count(),
        "copied_tensors": plan.tensors().filter(|(_, donated)| *donated).count(),
        "bytes": plan.byte_count(),
        "formats": by_format(plan).to_json(),
    })
}
