//! Public question sets, in the files that they are published as.
//!
//! Such files are other people's: fields that we do not know are theirs, and a question whose
//! answer no grader here decides is counted and left out. Which fields are read is listed in
//! `docs/eval.md`. `table.rs` reads comma-separated files, `lines.rs` JSON Lines.

mod lines;
mod table;

use std::io::BufRead;
use std::path::Path;
use std::str::FromStr;

use super::item::{Item, Kind, Turn};
use super::read::{Growing, choice, name};
use super::set::Read;
use crate::Error;

/// What a file of questions looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Our own: `docs/eval.md`.
    Items,
    /// GPQA, `gpqa_diamond.csv` and its like.
    Gpqa,
    /// SuperGPQA, JSON Lines.
    SuperGpqa,
    /// MMLU, one file without a head per subject.
    Mmlu,
    /// MMLU-Pro, JSON Lines.
    MmluPro,
    /// ARC, JSON Lines, in both published forms.
    Arc,
    /// GSM8K, JSON Lines.
    Gsm8k,
    /// Problems whose answer is a number: AIME, MATH and their like, JSON Lines.
    Math,
}

const NAMES: [(&str, Layout); 8] = [
    ("items", Layout::Items),
    ("gpqa-csv", Layout::Gpqa),
    ("supergpqa", Layout::SuperGpqa),
    ("mmlu-csv", Layout::Mmlu),
    ("mmlu-pro", Layout::MmluPro),
    ("arc", Layout::Arc),
    ("gsm8k", Layout::Gsm8k),
    ("math", Layout::Math),
];

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Layout, String> {
        let found = NAMES.iter().find(|(name, _)| *name == text);
        let names = NAMES.map(|(name, _)| name).join(", ");
        found.map(|(_, layout)| *layout).ok_or_else(|| format!("expected one of {names}"))
    }
}

/// A question on its way to being an item.
struct Asked {
    /// The set's own name for it, if it has one.
    id: Option<String>,
    domain: Option<String>,
    question: String,
    /// `None`: nothing here decides whether an answer is right.
    kind: Option<Kind>,
}

/// Items that are being imported.
struct Import {
    source: &'static str,
    set: Growing,
    count: usize,
    left_out: usize,
}

/// Reads a file of one of the public sets.
///
/// # Errors
/// The place of a question that is not as published; a file with none that can be judged.
pub fn read(path: &Path, reader: impl BufRead, layout: Layout, seed: u64) -> Result<Read, Error> {
    let source = match layout {
        Layout::Items => "items",
        Layout::Gpqa => "gpqa",
        Layout::SuperGpqa => "supergpqa",
        Layout::Mmlu => "mmlu",
        Layout::MmluPro => "mmlu-pro",
        Layout::Arc => "arc",
        Layout::Gsm8k => "gsm8k",
        Layout::Math => "math",
    };
    let mut import = Import { source, set: Growing::default(), count: 0, left_out: 0 };
    match layout {
        Layout::Gpqa => table::gpqa(path, reader, seed, &mut import)?,
        Layout::Mmlu => table::mmlu(path, reader, &mut import)?,
        layout => lines::read(path, reader, layout, &mut import)?,
    }
    let left_out = import.left_out;
    match import.set.finish(path) {
        Err(Error::NoItems { path }) if left_out > 0 => Err(Error::Undecided { path, left_out }),
        items => Ok(Read { items: items?, left_out }),
    }
}

impl Import {
    /// Takes a question that was written in so many bytes.
    fn add(&mut self, asked: Asked, bytes: usize) -> Result<(), String> {
        self.count += 1;
        let Some(kind) = asked.kind else {
            self.left_out += 1;
            return Ok(());
        };
        if asked.question.trim().is_empty() {
            return Err("the question is empty".to_owned());
        }
        let own = asked.id.map(|id| visible(&id)).filter(|id| !id.is_empty());
        let id = match own {
            Some(id) => format!("{}-{id}", self.source),
            None => format!("{}-{}", self.source, self.count),
        };
        let domain = asked.domain.map(|domain| domain.trim().to_owned());
        let domain = domain.filter(|domain| !domain.is_empty());
        let item = Item {
            id: name("the id", id)?,
            domain: name("the domain", domain.unwrap_or_else(|| self.source.to_owned()))?,
            source: self.source.to_owned(),
            points: 1,
            system: None,
            turns: vec![Turn::User(asked.question)],
            tools: Vec::new(),
            kind,
        };
        self.set.add(item, bytes)
    }
}

/// A name without what ids do not have.
fn visible(name: &str) -> String {
    let shown = |c: char| if c.is_ascii_graphic() { c } else { '-' };
    name.trim().chars().map(shown).collect()
}

/// Choices of which the first is right, in an order that only `seed` and `key` decide.
fn shuffled(choices: Vec<String>, seed: u64, key: &str) -> Result<Kind, String> {
    let mut order: Vec<usize> = (0..choices.len()).collect();
    order.sort_by_cached_key(|place| {
        *blake3::hash(format!("{seed} {place} {key}").as_bytes()).as_bytes()
    });
    let right = order.iter().position(|place| *place == 0).unwrap_or(0);
    let letter = super::item::letter(right).to_string();
    choice(order.into_iter().map(|place| choices[place].clone()).collect(), &letter)
}

#[cfg(test)]
mod tests;
