//! `dwarfstar bench --compare`: two recorded runs side by side, and what their noise lets us tell.
//!
//! A figure is compared where both runs have it: the same tokens, context and sessions. The verdict
//! is that of [`measure::stats::compare`] over the repeats. Runs of before repeats were recorded
//! one by one have their smallest and largest only; then a verdict needs ranges that do not
//! overlap, which is the same rule with what is known.

use std::io::{self, Write};

use anyhow::{Context, Result, bail};
use measure::stats::{self, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::report::Spread;
use crate::exit::{Exit, say};
use crate::human::{exact, safe};
use crate::json;
use crate::meant::Comparison;
use crate::open::Source;
use crate::terminal::Terminal;

/// What is read of a recorded run.
#[derive(Debug, Deserialize)]
struct Run {
    model: String,
    device: String,
    threads: usize,
    seed: u64,
    repeat: usize,
    #[serde(default)]
    steered: Option<String>,
    weights_in_memory: bool,
    memory: Memory,
    prefill: Vec<Figure>,
    decode: Vec<Figure>,
    complete: bool,
}

#[derive(Debug, Deserialize)]
struct Memory {
    bytes_per_second: Spread,
}

/// A figure of either kind.
#[derive(Clone, Debug, Deserialize)]
struct Figure {
    #[serde(default = "one")]
    sessions: usize,
    #[serde(default)]
    context: usize,
    tokens: usize,
    tokens_per_second: Spread,
    #[serde(default)]
    tokens_per_second_each: Vec<f64>,
    logits_hash: String,
}

fn one() -> usize {
    1
}

/// A figure of both runs.
#[derive(Debug, Serialize)]
struct Row {
    figure: &'static str,
    sessions: usize,
    context: usize,
    tokens: usize,
    old: f64,
    new: f64,
    /// `new / old`: above 1 is faster.
    ratio: f64,
    verdict: &'static str,
    same_logits: bool,
    /// In percent, where it was told; else 0.
    #[serde(skip)]
    slower_by: f64,
}

/// Compares, and prints the figures.
pub fn compare(meant: &Comparison, terminal: &Terminal) -> Result<Exit> {
    let Comparison { old, new, fail_slower, json } = meant;
    let [first, second] = [read(old)?, read(new)?];
    let rows = rows(&first, &second);
    if rows.is_empty() {
        bail!(
            "the runs have no figure in common: measure the same --prompt, --decode, --contexts \
             and --sessions in both"
        );
    }
    let warnings = warnings(&first, &second, rows.len());
    warnings.iter().for_each(|warning| say(warning));
    if *json {
        let (old, new) = (&first.model, &second.model);
        json::print_pretty(&json!({ "old": old, "new": new, "rows": rows, "warnings": warnings }))?;
    } else {
        show(&first, &second, &rows, terminal)?;
    }
    let too_slow = |row: &&Row| fail_slower.is_some_and(|percent| row.slower_by > percent);
    match rows.iter().filter(too_slow).count() {
        0 => Ok(Exit::Done),
        count => {
            let percent = fail_slower.unwrap_or_default();
            say(&format!("{count} of {} figures are slower by more than {percent} %", rows.len()));
            Ok(Exit::Problems)
        }
    }
}

fn read(source: &Source) -> Result<Run> {
    let name = match source {
        Source::File(path) => path.display().to_string(),
        Source::Input | Source::Given(_) => "standard input".to_owned(),
    };
    let run: Run = serde_json::from_str(&source.read()?)
        .with_context(|| format!("{name}: not what `dwarfstar bench --json` prints"))?;
    for figure in run.prefill.iter().chain(&run.decode) {
        let Spread { median, min, max } = figure.tokens_per_second;
        let each = figure.tokens_per_second_each.iter().copied();
        if !each.chain([median, min, max]).all(|rate| rate.is_finite() && rate > 0.0) {
            bail!("{name}: tokens_per_second of {} tokens: expected speeds", figure.tokens);
        }
    }
    Ok(run)
}

fn rows(old: &Run, new: &Run) -> Vec<Row> {
    let mut rows = Vec::new();
    let lists = [("prefill", &old.prefill, &new.prefill), ("decode", &old.decode, &new.decode)];
    for (figure, before, after) in lists {
        for now in after {
            let key = |of: &Figure| (of.sessions, of.context, of.tokens);
            let Some(then) = before.iter().find(|then| key(then) == key(now)) else { continue };
            let verdict = verdict((then, old.repeat), (now, new.repeat));
            let ratio = now.tokens_per_second.median / then.tokens_per_second.median;
            rows.push(Row {
                figure,
                sessions: now.sessions,
                context: now.context,
                tokens: now.tokens,
                old: then.tokens_per_second.median,
                new: now.tokens_per_second.median,
                ratio,
                verdict: word(verdict),
                same_logits: then.logits_hash == now.logits_hash,
                slower_by: if verdict == Verdict::Smaller { 100.0 * (1.0 - ratio) } else { 0.0 },
            });
        }
    }
    rows
}

/// Each with its number of repeats.
fn verdict((old, before): (&Figure, usize), (new, after): (&Figure, usize)) -> Verdict {
    if !old.tokens_per_second_each.is_empty() && !new.tokens_per_second_each.is_empty() {
        return stats::compare(&old.tokens_per_second_each, &new.tokens_per_second_each);
    }
    // More repeats than any rule asks for need no list of them.
    let [before, after] = [before, after].map(|repeats| repeats.min(100));
    let (then, now) = (old.tokens_per_second, new.tokens_per_second);
    let apart = then.max < now.min || now.max < then.min;
    let alike = if apart { now.median } else { then.median };
    stats::compare(&vec![then.median; before], &vec![alike; after])
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Larger => "faster",
        Verdict::Smaller => "slower",
        Verdict::Unclear => "not told apart",
        Verdict::TooFew => "too few repeats",
    }
}

/// What makes a comparison one of different things.
fn warnings(old: &Run, new: &Run, rows: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut differ = |what: &str, old: &dyn ToString, new: &dyn ToString| {
        let (old, new) = (safe(&old.to_string()), safe(&new.to_string()));
        if old != new {
            warnings.push(format!("the {what} differs: {old}, then {new}"));
        }
    };
    differ("model", &old.model, &new.model);
    differ("device", &old.device, &new.device);
    differ("number of threads", &old.threads, &new.threads);
    differ("seed", &old.seed, &new.seed);
    differ("number of repeats", &old.repeat, &new.repeat);
    let [then, now] = [old, new].map(|run| run.steered.as_deref().unwrap_or("none"));
    differ("steering", &then, &now);
    for (when, run) in [("older", old), ("newer", new)] {
        if !run.complete {
            warnings.push(format!("the {when} run was interrupted"));
        }
        if !run.weights_in_memory {
            warnings.push(format!("the {when} run read weights from the disk"));
        }
        let left = (run.prefill.len() + run.decode.len()).saturating_sub(rows);
        if left > 0 {
            warnings.push(format!("the {when} run has {left} figures that the other one lacks"));
        }
    }
    let [then, now] = [old, new].map(|run| run.memory.bytes_per_second);
    if then.max < now.min || now.max < then.min {
        let [then, now] = [then, now].map(|speed| crate::human::bytes(speed.median as u64));
        warnings.push(format!(
            "memory itself was read at {then}/s, then at {now}/s: another machine, or other work \
             on it"
        ));
    }
    warnings
}

fn show(old: &Run, new: &Run, rows: &[Row], terminal: &Terminal) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let title = format!("{} after {}", safe(&new.model), safe(&old.model));
    writeln!(out, "{}", terminal.heading(&title))?;
    let line = |cells: [&str; 9]| {
        let [figure, sessions, context, tokens, old, new, ratio, verdict, logits] = cells;
        format!(
            "  {figure:<7} {sessions:>8} {context:>9} {tokens:>8} {old:>9} {new:>9} {ratio:>6}   \
             {verdict:<15} {logits}"
        )
    };
    let head =
        ["", "sessions", "context", "tokens", "old t/s", "new t/s", "ratio", "verdict", "logits"];
    writeln!(out, "{}", line(head))?;
    for row in rows {
        let [sessions, context, tokens] = [row.sessions, row.context, row.tokens].map(exact);
        let [old, new] = [row.old, row.new].map(super::show::rate);
        let ratio = format!("{:.3}", row.ratio);
        let logits = if row.same_logits { "same" } else { "other" };
        let cells = [&sessions, &context, &tokens, &old, &new, &ratio].map(String::as_str);
        let [sessions, context, tokens, old, new, ratio] = cells;
        let cells = [row.figure, sessions, context, tokens, old, new, ratio, row.verdict, logits];
        writeln!(out, "{}", line(cells))?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(rates: &[f64], each: bool) -> Figure {
        Figure {
            sessions: 1,
            context: 0,
            tokens: 512,
            tokens_per_second: Spread::of(rates.iter().copied()),
            tokens_per_second_each: if each { rates.to_vec() } else { Vec::new() },
            logits_hash: "ab".into(),
        }
    }

    #[test]
    fn ranges_tell_what_repeats_would_have() {
        let slow = [10.0, 10.5, 9.5, 10.2, 9.9];
        let fast = slow.map(|rate| 2.0 * rate);
        let near = slow.map(|rate| 1.01 * rate);
        let cases = [(fast, Verdict::Larger), (near, Verdict::Unclear), (slow, Verdict::Unclear)];
        for (new, expected) in cases {
            for each in [true, false] {
                let (old, new) = (figure(&slow, each), figure(&new, each));
                assert_eq!(verdict((&old, 5), (&new, 5)), expected, "{new:?}");
            }
        }
        let once = (&figure(&[10.0], false), &figure(&[20.0], false));
        assert_eq!(verdict((once.0, 1), (once.1, 1)), Verdict::TooFew);
        assert_eq!(verdict((once.0, 0), (once.1, usize::MAX)), Verdict::TooFew);
    }
}
