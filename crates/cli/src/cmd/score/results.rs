//! Two results of `dwarfstar score --json`, compared item by item.
//!
//! Only what is compared is read; a result of a later version may say more.

use std::io::{self, Write};

use anyhow::{Context, Result, bail};
use measure::score::{self, Side};
use measure::stats::Paired;
use serde::Deserialize;
use serde_json::json;

use super::{name, paired, shown};
use crate::exit::{Exit, say};
use crate::human::{plural, safe};
use crate::json;
use crate::open::Source;
use crate::terminal::Terminal;

/// A result.
#[derive(Deserialize)]
struct Stored {
    model: String,
    items: Vec<StoredItem>,
}

/// One item of it.
#[derive(Deserialize)]
struct StoredItem {
    id: String,
    tokens: usize,
    nll_per_token: f64,
}

impl Stored {
    fn read(source: &Source) -> Result<Stored> {
        let text = source.read()?;
        let stored: Stored = serde_json::from_str(&text).with_context(|| {
            format!("{}: not what `dwarfstar score --json` prints", name(source))
        })?;
        if let Some(item) = stored.items.iter().find(|item| !item.nll_per_token.is_finite()) {
            bail!("{}: item {:?}: nll_per_token is no number", name(source), item.id);
        }
        Ok(stored)
    }

    fn sides(&self) -> Vec<Side> {
        let side = |item: &StoredItem| Side {
            id: item.id.clone(),
            tokens: item.tokens,
            mean: item.nll_per_token,
        };
        self.items.iter().map(side).collect()
    }
}

/// Compares, and prints the difference.
pub fn compare(old: &Source, new: &Source, json: bool, terminal: &Terminal) -> Result<Exit> {
    let [first, second] = [Stored::read(old)?, Stored::read(new)?];
    let found = score::pair(&first.sides(), &second.sides())?;
    let common = found.difference.count();
    if common == 0 {
        bail!("{} and {} have no item in common", name(old), name(new));
    }
    for (source, stored) in [(old, &first), (new, &second)] {
        let alone = stored.items.len().saturating_sub(common);
        if alone > 0 {
            let items = plural(alone, "item");
            say(&format!("{}: {items} that the other one lacks: left out", name(source)));
        }
    }
    if json {
        json::print_pretty(&json!({
            "old": first.model,
            "new": second.model,
            "items": common,
            "difference": paired(&found),
        }))?;
        return Ok(Exit::Done);
    }
    let mut out = io::stdout().lock();
    let title = format!("{} after {}", safe(&second.model), safe(&first.model));
    writeln!(out, "{}", terminal.heading(&title))?;
    show_paired(&mut out, &found)?;
    out.flush()?;
    Ok(Exit::Done)
}

/// A paired difference for people.
pub fn show_paired(out: &mut impl Write, paired: &Paired) -> io::Result<()> {
    let Paired { difference, smaller, larger } = paired;
    let count = difference.count();
    writeln!(out, "  difference  nll {} over {}", shown(difference), plural(count, "item"))?;
    let equal = count - smaller - larger;
    writeln!(out, "  better      {smaller} items, worse {larger}, equal {equal}")
}
