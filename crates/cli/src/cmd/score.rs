//! `dwarfstar score`: how probable stored continuations are, alone, against a reference, or beside
//! an earlier result; and recorded answers of the official API (`score/vectors.rs`).
//!
//! The reference goes first and leaves its figures only, so two models are never open at once.
//! `score/results.rs` reads what an earlier `--json` has printed.

mod results;
mod table;
mod vectors;

use std::fs::File as Disk;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use anyhow::{Result, bail};
use engine::Flow;
use gguf::File;
use measure::lines::Lines;
use measure::score::{self, Item, Rendering, Score, Side, Tokens, Total};
use measure::stats::Paired;
use serde_json::{Value, json};
use text::{ThinkMode, Tokenizer};

use super::prediction::{self, engine, mean, paired, shown};
use super::prompt;
use crate::exit::{Exit, say};
use crate::human::{exact, plural, safe};
use crate::meant::measure::{self as meant, Items};
use crate::meant::steer::Steer;
use crate::open::{self, Source};
use crate::progress::Progress;
use crate::terminal::Terminal;
use crate::whole::WholeFile;
use crate::{interrupt, json};

/// Scores, and prints the figures.
pub fn score(meant: &meant::Score, terminal: &Terminal) -> Result<Exit> {
    match meant {
        meant::Score::Items(meant) => items(meant, terminal),
        meant::Score::Vectors(meant) => vectors::vectors(meant, terminal),
        meant::Score::Compare { old, new, json } => results::compare(old, new, *json, terminal),
    }
}

/// What a model said of the items, in their order; fewer if Ctrl+C ended it.
struct Run {
    model: String,
    tokenizer: Tokenizer,
    items: Vec<(Item, Score)>,
    complete: bool,
}

fn items(meant: &Items, terminal: &Terminal) -> Result<Exit> {
    meant.model.pulled().iter().for_each(|line| say(line));
    let items = score::read_items(&mut lines(&meant.source)?)?;
    if items.is_empty() {
        bail!("{}: no items, expected a JSON object per line", name(&meant.source));
    }
    let file = open::model(&meant.model)?;
    let reference = meant.against.as_ref().map(open::model).transpose()?;
    interrupt::listen(terminal);
    let table = meant.table.as_ref().map(|path| WholeFile::create(path, "csv")).transpose()?;
    let reference = match reference {
        None => None,
        Some(file) => Some(run(meant, (file, None), items.clone(), "reference", terminal)?),
    };
    if reference.as_ref().is_some_and(|run| !run.complete) {
        say("interrupted while the reference was asked: nothing to compare");
        return Ok(Exit::Interrupted);
    }
    let run = run(meant, (file, meant.steer.as_ref()), items, "scoring", terminal)?;
    if run.items.is_empty() {
        say("interrupted before an item was complete: nothing to show");
        return Ok(Exit::Interrupted);
    }
    let against = reference.map(|reference| compared(&reference, &run)).transpose()?;
    if meant.json {
        json::print_pretty(&run.to_json(against.as_ref()))?;
    } else {
        run.show(&mut io::stdout().lock(), against.as_ref(), terminal)?;
    }
    if !run.complete {
        say("interrupted: what is shown is what was complete");
        return Ok(Exit::Interrupted);
    }
    if let Some(table) = table {
        table::write(table, &run.tokenizer, &run.items)?;
    }
    Ok(Exit::Done)
}

/// The lines of a file or of standard input.
fn lines(source: &Source) -> Result<Lines<Box<dyn BufRead>>> {
    let name = name(source);
    let reader: Box<dyn BufRead> = match source {
        Source::File(path) => {
            let path: &Path = path;
            let failed = |source| measure::Error::Read { path: path.to_owned(), source };
            Box::new(BufReader::new(Disk::open(path).map_err(failed)?))
        }
        Source::Input => Box::new(io::stdin().lock()),
        Source::Given(text) => Box::new(io::Cursor::new(text.clone())),
    };
    Ok(Lines::new(Path::new(&name), reader))
}

/// What messages call it.
fn name(source: &Source) -> String {
    match source {
        Source::File(path) => path.display().to_string(),
        Source::Input => "standard input".to_owned(),
        Source::Given(_) => "the command line".to_owned(),
    }
}

/// Asks one model about all items.
fn run(
    meant: &Items,
    (file, steer): (File, Option<&Steer>),
    items: Vec<Item>,
    doing: &'static str,
    terminal: &Terminal,
) -> Result<Run> {
    let name = prediction::name(&file, steer);
    let tokenizer = prompt::tokenizer(&file)?;
    let mode = if meant.think { ThinkMode::Thinking } else { ThinkMode::Chat };
    let rendering = Rendering { mode, checkpoint: prompt::checkpoint(&file) };
    let tokens = items.iter().map(|item| item.tokens(&tokenizer, rendering));
    let tokens: Vec<Tokens> = tokens.collect::<Result<_, _>>()?;
    let fed = |tokens: &Tokens| tokens.all.len() - 1;
    let native = model::read_shape(&file)?.context_max;
    let long = items.iter().zip(&tokens).find(|(_, tokens)| fed(tokens) > native);
    if let Some((Item { id, .. }, tokens)) = long {
        let (count, most) = (exact(tokens.all.len()), exact(native));
        bail!("item {id:?} has {count} tokens, and {name} reads {most} at most: leave it out");
    }
    let context = tokens.iter().map(fed).max().unwrap_or(1);
    let mut engine = engine(file, (meant.compute, steer), context, terminal.messages)?;
    let all = tokens.iter().map(fed).sum();
    let progress = Progress::tokens(doing, all, terminal.messages);
    let mut scored = Vec::new();
    let mut total = Total::default();
    let count = items.len();
    for (item, tokens) in items.into_iter().zip(&tokens) {
        let score = score::score(&mut engine, tokens, &mut |fed| {
            progress.add(fed as u64);
            if interrupt::requested() { Flow::Stop } else { Flow::Continue }
        })?;
        let Some(score) = score else { break };
        total.add(&score);
        progress.tell(format!("{doing}, nll {}", shown(&total.items)));
        scored.push((item, score));
    }
    let complete = scored.len() == count;
    Ok(Run { model: name, tokenizer, items: scored, complete })
}

/// A comparison with another run.
struct Against {
    name: String,
    paired: Paired,
    reference: Vec<Side>,
}

fn compared(reference: &Run, run: &Run) -> Result<Against> {
    let (old, new) = (reference.sides(), run.sides());
    let paired = score::pair(&old, &new)?;
    Ok(Against { name: reference.model.clone(), paired, reference: old })
}

impl Run {
    fn sides(&self) -> Vec<Side> {
        let side = |(item, score): &(Item, Score)| Side {
            id: item.id.clone(),
            tokens: score.tokens.len(),
            mean: score.mean(),
        };
        self.items.iter().map(side).collect()
    }

    fn total(&self) -> Total {
        let mut total = Total::default();
        self.items.iter().for_each(|(_, score)| total.add(score));
        total
    }

    fn show(
        &self,
        out: &mut impl Write,
        against: Option<&Against>,
        terminal: &Terminal,
    ) -> io::Result<()> {
        writeln!(out, "{}", terminal.heading(&safe(&self.model)))?;
        let row = |cells: [&str; 5]| {
            let [tokens, nll, old, own, id] = cells;
            let old = if against.is_some() { format!(" {old:>10}") } else { String::new() };
            format!("  {tokens:>8} {nll:>10}{old} {own:>8}   {id}")
        };
        writeln!(out, "{}", row(["tokens", "nll", "reference", "own", "item"]))?;
        for (place, (item, score)) in self.items.iter().enumerate() {
            let old = against.map(|against| format!("{:.4}", against.reference[place].mean));
            let (tokens, own) = (exact(score.tokens.len()), exact(score.own_prefix()));
            let nll = format!("{:.4}", score.mean());
            let old = old.unwrap_or_default();
            writeln!(out, "{}", row([&tokens, &nll, &old, &own, &safe(&item.id)]))?;
        }
        let total = self.total();
        let count = self.items.len();
        writeln!(out, "  nll    {} over {}", shown(&total.items), plural(count, "item"))?;
        let tokens = plural(total.tokens.count(), "token");
        writeln!(out, "         {} over {tokens}", shown(&total.tokens))?;
        writeln!(out, "  first  {} of {count} items begin as the model would", total.first)?;
        writeln!(out, "  whole  {} of {count}", total.whole)?;
        if let Some(Against { name, paired, .. }) = against {
            writeln!(out, "  against {}, the reference:", safe(name))?;
            results::show_paired(out, paired)?;
        }
        out.flush()
    }

    fn to_json(&self, against: Option<&Against>) -> Value {
        let item = |(item, score): &(Item, Score)| {
            json!({
                "id": item.id,
                "tokens": score.tokens.len(),
                "nll": score.nll(),
                "nll_per_token": score.mean(),
                "first": score.own_prefix() > 0,
                "own_prefix": score.own_prefix(),
            })
        };
        let total = self.total();
        let mut value = json!({
            "model": self.model,
            "items": self.items.iter().map(item).collect::<Vec<_>>(),
            "nll_over_items": mean(&total.items),
            "nll_over_tokens": mean(&total.tokens),
            "tokens": total.tokens.count(),
            "first": total.first,
            "whole": total.whole,
        });
        if let Some(against) = against {
            let side = |side: &Side| json!({ "id": side.id, "nll_per_token": side.mean });
            value["reference"] = json!({
                "model": against.name,
                "items": against.reference.iter().map(side).collect::<Vec<_>>(),
            });
            value["difference"] = paired(&against.paired);
        }
        value["complete"] = self.complete.into();
        value
    }
}
