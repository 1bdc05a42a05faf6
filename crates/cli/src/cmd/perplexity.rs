//! `dwarfstar perplexity`: how well a model predicts a text, alone or against a reference.
//!
//! Two models may be too large to be open at once. The reference is opened first, its logits go to
//! a temporary file that has no name, and it is let go before the other one is opened. What figures
//! mean is told by the command's help; `measure` computes them.

use std::io::{self, Seek, Write};

use anyhow::{Context, Result, anyhow, bail};
use engine::Flow;
use gguf::File;
use measure::divergence::{self, Divergence};
use measure::perplexity::{self as prediction, Chunks};
use serde_json::{Value, json};
use text::{Tokenizer, special};

use super::prediction::{engine, mean, name, paired, shown, with_error};
use super::prompt;
use crate::exit::{Exit, say, usage};
use crate::human::{bytes, exact, plural, safe};
use crate::meant::measure::Perplexity;
use crate::progress::Progress;
use crate::terminal::Terminal;
use crate::{interrupt, json, machine, open};

/// Measures, and prints the figures.
pub fn perplexity(meant: &Perplexity, terminal: &Terminal) -> Result<Exit> {
    meant.model.pulled().iter().for_each(|line| say(line));
    let file = open::model(&meant.model)?;
    let tokenizer = prompt::tokenizer(&file)?;
    let begin = tokenizer.special(special::BOS);
    let lacking = || anyhow!("{}: the vocabulary has no token {}", file.name(), special::BOS);
    let tokens = tokenizer.encode_text(&meant.text);
    let chunks = Chunks::new(begin.ok_or_else(lacking)?, tokens, meant.cut)?;
    let native = model::read_shape(&file)?.context_max;
    if chunks.context() > native {
        let (chunk, most) = (chunks.chunk(), exact(native));
        return Err(usage(format!("--chunk {chunk}: this model reads {most} tokens at most")));
    }
    let text = Text { chunks, tokenizer };
    match &meant.against {
        None => alone(meant, file, &text, terminal),
        Some(reference) => against(meant, file, open::model(reference)?, &text, terminal),
    }
}

/// What is predicted.
struct Text {
    chunks: Chunks,
    tokenizer: Tokenizer,
}

/// Says that nothing came out.
fn nothing() -> Result<Exit> {
    say("interrupted before a token was counted: nothing to show");
    Ok(Exit::Interrupted)
}

fn ended(complete: bool, counted: usize) -> Exit {
    if complete {
        return Exit::Done;
    }
    say(&format!(
        "interrupted: what is shown is of the first {} counted",
        plural(counted, "token")
    ));
    Exit::Interrupted
}

fn flow() -> Flow {
    if interrupt::requested() { Flow::Stop } else { Flow::Continue }
}

/// One model.
fn alone(meant: &Perplexity, file: File, text: &Text, terminal: &Terminal) -> Result<Exit> {
    let name = name(&file, meant.steer.as_ref());
    interrupt::listen(terminal);
    let mut engine = engine(file, meant.how(), text.chunks.context(), terminal.messages)?;
    let progress = Progress::tokens("measuring", text.chunks.fed(), terminal.messages);
    let found = prediction::perplexity(&mut engine, &text.chunks, &mut |found, fed| {
        progress.add(fed as u64);
        progress.tell(running(found));
        flow()
    })?;
    progress.clear();
    if found.nll.count() == 0 {
        return nothing();
    }
    if meant.json {
        json::print_pretty(&alone_json(&name, text, &found))?;
    } else {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", terminal.heading(&safe(&name)))?;
        writeln!(out, "  text           {}", text.shown())?;
        let (nll, bits) = (shown(&found.nll), text.bits_per_byte(&found));
        writeln!(out, "  nll            {nll} nats per token")?;
        let (value, error) = found.perplexity();
        writeln!(out, "  perplexity     {}", with_error(value, error))?;
        writeln!(out, "  bits per byte  {bits:.4}")?;
        out.flush()?;
    }
    Ok(ended(found.complete, found.nll.count()))
}

fn running(found: &prediction::Perplexity) -> String {
    match found.nll.count() {
        0 => "measuring".to_owned(),
        _ => {
            let (value, error) = found.perplexity();
            format!("perplexity {}", with_error(value, error))
        }
    }
}

impl Text {
    /// One line about the text and its chunks.
    fn shown(&self) -> String {
        let chunks = &self.chunks;
        format!(
            "{} counted, in {} of {} tokens whose first {} are read only",
            plural(chunks.counted(), "token"),
            plural(chunks.len(), "chunk"),
            exact(chunks.chunk()),
            exact(1 + chunks.skip()),
        )
    }

    /// Bits over the bytes of what was counted.
    fn bits_per_byte(&self, found: &prediction::Perplexity) -> f64 {
        let count = found.nll.count();
        let counted = self.chunks.targets().take(count);
        let bytes: usize = counted.map(|token| self.tokenizer.token_bytes(token).len()).sum();
        found.nll.mean() * count as f64 / std::f64::consts::LN_2 / bytes.max(1) as f64
    }

    /// How it was cut, for machines.
    fn json(&self, counted: usize) -> Value {
        let chunks = &self.chunks;
        json!({
            "tokens": chunks.text_tokens(),
            "counted": counted,
            "chunks": chunks.len(),
            "chunk": chunks.chunk(),
            "skip": chunks.skip(),
        })
    }
}

fn side(text: &Text, found: &prediction::Perplexity) -> Value {
    let (value, error) = found.perplexity();
    json!({
        "nll": mean(&found.nll),
        "perplexity": { "value": value, "standard_error": error },
        "bits_per_byte": text.bits_per_byte(found),
    })
}

fn alone_json(name: &str, text: &Text, found: &prediction::Perplexity) -> Value {
    let mut value = json!({ "model": name, "text": text.json(found.nll.count()) });
    append(&mut value, side(text, found));
    value["complete"] = found.complete.into();
    value
}

fn append(value: &mut Value, more: Value) {
    if let (Value::Object(fields), Value::Object(more)) = (value, more) {
        fields.extend(more);
    }
}

/// A model and its reference, one after the other.
fn against(
    meant: &Perplexity,
    file: File,
    reference: File,
    text: &Text,
    terminal: &Terminal,
) -> Result<Exit> {
    let names = [name(&file, meant.steer.as_ref()), reference.name().to_owned()];
    let other = prompt::tokenizer(&reference)?;
    divergence::same_vocabulary((&names[0], &text.tokenizer), (&names[1], &other))?;
    let (chunks, context) = (&text.chunks, text.chunks.context());
    let mut kept = scratch(meant, divergence::kept_bytes(chunks, other.len()))?;
    interrupt::listen(terminal);

    let mut model = engine(reference, (meant.compute, None), context, terminal.messages)?;
    let progress = Progress::tokens("reference", chunks.fed(), terminal.messages);
    let first = divergence::keep(&mut model, chunks, &mut kept, &mut |found, fed| {
        progress.add(fed as u64);
        progress.tell(format!("reference, {}", running(found)));
        flow()
    })?;
    progress.clear();
    drop(model);
    if !first.complete {
        return nothing();
    }
    kept.rewind().context("the temporary file could not be read from its beginning")?;

    let mut model = engine(file, meant.how(), context, terminal.messages)?;
    let progress = Progress::tokens("comparing", chunks.fed(), terminal.messages);
    let found = divergence::compare(&mut model, chunks, &mut kept, &mut |found, fed| {
        progress.add(fed as u64);
        if !found.each.is_empty() {
            progress.tell(format!("divergence {}", shown(&found.kl)));
        }
        flow()
    })?;
    progress.clear();
    if found.each.is_empty() {
        return nothing();
    }
    if meant.json {
        json::print_pretty(&against_json(&names, text, &found))?;
    } else {
        show(&names, text, &found, terminal)?;
    }
    Ok(ended(found.model.complete, found.each.len()))
}

/// A file without a name, which is gone when the program is, however that ends.
fn scratch(meant: &Perplexity, needed: u64) -> Result<std::fs::File> {
    let folder = &meant.scratch;
    let name = folder.display();
    has_room(&name.to_string(), needed, machine::disk_available(&folder.join("logits")))?;
    let file = tempfile::tempfile_in(folder);
    file.with_context(|| format!("{name}: could not make a temporary file, see --scratch DIR"))
}

fn has_room(folder: &str, needed: u64, available: Option<u64>) -> Result<()> {
    match available.filter(|available| *available < needed) {
        None => Ok(()),
        Some(available) => bail!(
            "the logits of the reference take {} while both models are read, and {folder} has {} \
             free: count fewer tokens with --max-tokens, or name another folder with --scratch DIR",
            bytes(needed),
            bytes(available)
        ),
    }
}

fn show(names: &[String; 2], text: &Text, found: &Divergence, terminal: &Terminal) -> Result<()> {
    let mut out = io::stdout().lock();
    let [model, reference] = names.each_ref().map(|name| safe(name));
    writeln!(out, "{}", terminal.heading(&format!("{model} against {reference}")))?;
    writeln!(out, "  text           {}", text.shown())?;
    for (what, side) in [("model", &found.model), ("reference", &found.reference)] {
        let (value, error) = side.perplexity();
        let (value, nll) = (with_error(value, error), shown(&side.nll));
        writeln!(out, "  {what:<13}  perplexity {value}, nll {nll} nats per token")?;
    }
    let difference = shown(&found.nll.difference);
    writeln!(out, "  difference     nll {difference}, model minus reference")?;
    writeln!(out, "  divergence     {} nats, D(reference || model)", shown(&found.kl))?;
    if let Some(of) = found.distribution() {
        writeln!(
            out,
            "                 median {:.6}, 90 % {:.6}, 99 % {:.6}, 99.9 % {:.6}, largest {:.6}",
            of.median, of.p90, of.p99, of.p999, of.max
        )?;
    }
    let (share, (low, high)) = found.agreement();
    let [share, low, high] = [share, low, high].map(|share| 100.0 * share);
    writeln!(out, "  same choice    {share:.2} % ({low:.2} to {high:.2})")?;
    writeln!(out, "  probability    differs by {:.3} %", 100.0 * found.probability_rms())?;
    out.flush()?;
    Ok(())
}

fn against_json(names: &[String; 2], text: &Text, found: &Divergence) -> Value {
    let mut model = json!({ "model": names[0], "text": text.json(found.each.len()) });
    append(&mut model, side(text, &found.model));
    let mut reference = json!({ "model": names[1] });
    append(&mut reference, side(text, &found.reference));
    model["reference"] = reference;
    model["difference"] = paired(&found.nll);
    let mut divergence = mean(&found.kl);
    if let Some(of) = found.distribution() {
        append(
            &mut divergence,
            json!({
                "median": of.median,
                "p90": of.p90,
                "p99": of.p99,
                "p999": of.p999,
                "max": of.max,
            }),
        );
    }
    model["divergence"] = divergence;
    let (share, (low, high)) = found.agreement();
    model["same_choice"] = json!({ "share": share, "low": low, "high": high });
    model["probability_rms"] = found.probability_rms().into();
    model["complete"] = found.model.complete.into();
    model
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_small_a_disk_is_told_before() {
        assert!(has_room("/tmp", 5, Some(5)).is_ok() && has_room("/tmp", u64::MAX, None).is_ok());
        let error = has_room("/tmp", 5_200_000_000, Some(1_000_000)).unwrap_err().to_string();
        for piece in ["take 5.20 GB", "/tmp has 1.00 MB free", "--max-tokens", "--scratch DIR"] {
            assert!(error.contains(piece), "{error}");
        }
    }
}
