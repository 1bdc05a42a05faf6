//! What `dwarfstar quantize` and `dwarfstar splice` were meant to do: recipes, rules and layers are
//! values, the output is absent in a dry run.
//!
//! Nothing is opened here.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;
use quantizer::{Recipe, Rule, Start};

use crate::exit::usage;
use crate::typed::quantize as typed;

/// More layers than any model has.
const LAYERS_MAX: usize = 1024;

/// Make a file from weights.
#[derive(Debug)]
pub struct Quantize {
    pub input: Input,
    /// `None`: the formats of the template, which then is there.
    pub recipe: Option<Recipe>,
    pub template: Option<PathBuf>,
    pub rules: Vec<Rule>,
    pub importance: Option<PathBuf>,
    pub strict: bool,
    /// `None` in a dry run.
    pub out: Option<PathBuf>,
    pub tokenizer: Option<PathBuf>,
    pub name: Option<String>,
    pub compare: Option<PathBuf>,
    /// What to do with an output that was begun.
    pub start: Start,
    pub overwrite: bool,
    pub json: bool,
}

/// Where the weights are.
#[derive(Debug)]
pub enum Input {
    Checkpoint(PathBuf),
    File(PathBuf),
}

/// Make a file from two.
#[derive(Debug)]
pub struct Splice {
    pub base: PathBuf,
    pub experts: PathBuf,
    pub layers: BTreeSet<usize>,
    /// `None` in a dry run.
    pub out: Option<PathBuf>,
    pub overwrite: bool,
    pub json: bool,
}

/// `dwarfstar quantize`.
pub fn quantize(typed: typed::Quantize) -> Result<Quantize> {
    let recipe = typed.recipe.map(|name| name.parse()).transpose();
    let recipe = recipe.map_err(|problem: String| usage(format!("--recipe: {problem}")))?;
    let rules = typed.rules.iter().map(|rule| rule.parse());
    let rules = rules.collect::<Result<Vec<Rule>, String>>();
    let rules = rules.map_err(|problem| usage(format!("--rule: {problem}")))?;
    let input = match (typed.hf, typed.from) {
        (Some(folder), _) => Input::Checkpoint(folder),
        (None, Some(file)) => Input::File(file),
        (None, None) => return Err(usage("expected --hf DIR or --from FILE")),
    };
    Ok(Quantize {
        input,
        recipe,
        template: typed.template,
        rules,
        importance: typed.imatrix,
        strict: typed.imatrix_strict,
        out: typed.out.filter(|_| !typed.dry_run),
        tokenizer: typed.tokenizer,
        name: typed.name,
        compare: typed.compare,
        start: match (typed.resume, typed.force) {
            (true, _) => Start::GoOn,
            (false, true) => Start::Over,
            (false, false) => Start::New,
        },
        overwrite: typed.force,
        json: typed.json,
    })
}

/// `dwarfstar splice`.
pub fn splice(typed: typed::Splice) -> Result<Splice> {
    let layers = layers(&typed.layers).ok_or_else(|| {
        let typed = &typed.layers;
        usage(format!(
            "--layers {typed}: expected numbers and ranges below {LAYERS_MAX}, such as 3,37-42"
        ))
    })?;
    let out = typed.out.filter(|_| !typed.dry_run);
    let typed::Splice { base, experts, force: overwrite, json, .. } = typed;
    Ok(Splice { base, experts, layers, out, overwrite, json })
}

/// The layers of a list, if it is one.
fn layers(list: &str) -> Option<BTreeSet<usize>> {
    let mut layers = BTreeSet::new();
    for item in list.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= LAYERS_MAX {
            return None;
        }
        layers.extend(first..=last);
    }
    Some(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_layers() {
        let list = |text| layers(text).map(|layers| layers.into_iter().collect::<Vec<_>>());
        assert_eq!(list("37-39"), Some(vec![37, 38, 39]));
        assert_eq!(list("7, 3,5-5,3"), Some(vec![3, 5, 7]));
        for wrong in ["", "-", "3-", "-3", "5-4", "1,,2", "x", "0-1024", "1-2-3"] {
            assert_eq!(list(wrong), None, "{wrong}");
        }
    }
}
