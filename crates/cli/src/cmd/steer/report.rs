//! What `dwarfstar steer` prints, for people and for machines.
//!
//! Text of a model may hold anything: what could move a terminal's cursor is escaped.

use std::io::{self, Write};

use engine::{Finish, Point, Steer};
use measure::direction::build::{Built, Quality};
use measure::direction::sweep::{Answer, Row};
use serde::Serialize;
use serde_json::{Value, json};

use crate::human;
use crate::meant::steer::Build;

/// What `build` found.
#[derive(Debug, Serialize)]
pub struct Found {
    file: String,
    pairs: usize,
    at: &'static str,
    last: usize,
    width: usize,
    model_layers: usize,
    layers: Vec<Layer>,
}

#[derive(Debug, Serialize)]
struct Layer {
    layer: usize,
    length: f64,
    separation: Option<f64>,
    held_out: Option<f64>,
}

impl Found {
    /// What was written to `file`.
    pub fn new(file: &str, meant: &Build, built: &Built) -> Found {
        let layer = |quality: &Quality| {
            let Quality { layer, length, separation, held_out } = *quality;
            Layer { layer, length, separation, held_out }
        };
        Found {
            file: human::safe(file),
            pairs: meant.pairs.len(),
            at: match meant.at {
                Point::Ffn => "ffn",
                Point::Attention => "attn",
            },
            last: meant.last,
            width: built.directions.width,
            model_layers: built.directions.layers,
            layers: built.layers.iter().map(layer).collect(),
        }
    }

    /// A table.
    pub fn show(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{:>5}  {:>9}  {:>10}  {:>8}", "layer", "length", "separation", "held out")?;
        for Layer { layer, length, separation, held_out } in &self.layers {
            let separation = separation.map_or("-".to_owned(), |apart| format!("{apart:.2}"));
            let held_out = held_out.map_or("-".to_owned(), |part| format!("{:.0} %", 100.0 * part));
            writeln!(out, "{layer:>5}  {length:>9.3}  {separation:>10}  {held_out:>8}")?;
        }
        let Found { file, width, model_layers, .. } = self;
        let pairs = human::plural(self.pairs, "pair");
        writeln!(out, "{file}: {model_layers} layers x {width}, from {pairs}")
    }
}

/// One answer of `apply`.
#[derive(Debug, Serialize)]
pub struct Answered {
    ffn: f32,
    attn: f32,
    tokens: usize,
    ended: bool,
    text: String,
}

impl Answered {
    /// An answer that was steered so.
    pub fn new(steer: Steer, answer: &Answer) -> Answered {
        Answered {
            ffn: steer.ffn(),
            attn: steer.attention(),
            tokens: answer.tokens.len(),
            ended: matches!(answer.finish, Finish::Stop(_)),
            text: answer.text.clone(),
        }
    }

    /// The answer below its scales.
    pub fn show(&self, out: &mut impl Write, first: bool) -> io::Result<()> {
        let gap = if first { "" } else { "\n" };
        let end = if self.ended { "" } else { ", and more to come" };
        let tokens = human::plural(self.tokens, "token");
        writeln!(out, "{gap}== ffn {}, attn {}: {tokens}{end}", self.ffn, self.attn)?;
        let lines = self.text.lines().map(human::safe);
        lines.into_iter().try_for_each(|line| writeln!(out, "{line}"))
    }
}

/// All answers, for machines.
pub fn answers(all: &[Answered]) -> Value {
    json!({ "answers": all })
}

/// What `sweep` measured.
#[derive(Debug, Serialize)]
pub struct Swept {
    rows: Vec<Measured>,
}

#[derive(Debug, Serialize)]
struct Measured {
    ffn: f32,
    attn: f32,
    answers: usize,
    tokens: f64,
    ended: usize,
    same: usize,
    nll: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<usize>,
}

impl Swept {
    /// One row for each way.
    pub fn new(rows: &[Row]) -> Swept {
        let row = |row: &Row| Measured {
            ffn: row.steer.ffn(),
            attn: row.steer.attention(),
            answers: row.answers,
            tokens: row.tokens,
            ended: row.ended,
            same: row.same,
            nll: row.nll,
            found: row.found,
        };
        Swept { rows: rows.iter().map(row).collect() }
    }

    /// A table.
    pub fn show(&self, out: &mut impl Write) -> io::Result<()> {
        let counts = self.rows.iter().any(|row| row.found.is_some());
        let found = if counts { "  found" } else { "" };
        writeln!(out, "   ffn    attn  tokens  ended   same     nll{found}")?;
        for row in &self.rows {
            let Measured { ffn, attn, answers, tokens, ended, same, .. } = row;
            let of = |part: &usize| format!("{part}/{answers}");
            let (ended, same) = (of(ended), of(same));
            let nll = row.nll.map_or("-".to_owned(), |nll| format!("{nll:.3}"));
            let found = row.found.map_or(String::new(), |found| format!("  {found:>5}"));
            write!(out, "{ffn:>6}  {attn:>6}  {tokens:>6.1}  {ended:>5}  {same:>5}")?;
            writeln!(out, "  {nll:>6}{found}")?;
        }
        Ok(())
    }
}
