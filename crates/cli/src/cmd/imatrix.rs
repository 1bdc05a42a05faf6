//! `dwarfstar imatrix`: texts are read, and an importance file is there.
//!
//! `measure` reads and adds up, `quantizer` knows the files. Here both meet: what is measured is
//! kept beside the output while it is measured, and the output appears at the end.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use engine::{Flow, OpenOptions};
use measure::importance::{LayerSums, Rare, Sums, collect};
use measure::texts::Texts;
use quantizer::{ExpertSums, Origin, Unfinished};
use serde_json::{Value, json};
use spec::Shape;

use crate::cmd::prompt;
use crate::compute::{self, Computer};
use crate::exit::{Exit, say};
use crate::human;
use crate::interrupt;
use crate::json;
use crate::meant::imatrix::{Format, Imatrix};
use crate::open;
use crate::progress::Progress;
use crate::terminal::Terminal;

/// Most experts that are named one by one.
const SHOWN_MAX: usize = 12;

/// Measures, keeps, and writes.
pub fn imatrix(meant: &Imatrix, terminal: &Terminal) -> Result<Exit> {
    meant.model.pulled().iter().for_each(|line| say(line));
    let file = open::model(&meant.model)?;
    let (tokenizer, checkpoint) = (prompt::tokenizer(&file)?, prompt::checkpoint(&file));
    let shape = model::read_shape(&file)?;
    let keeping =
        Keeping { meant, shape: shape.clone(), model: engine::fingerprint(&file).to_string() };
    let found = keeping.find()?;
    let texts = Texts::read(&meant.texts, &tokenizer, checkpoint, meant.cut)?;
    let mut sums = match found {
        Some(partial) => keeping.go_on(&partial, &texts)?,
        None => Sums::new(&shape),
    };

    // From here on there are temporary files, which a killed program would leave behind.
    interrupt::listen(terminal);
    let Computer { backend, memory_max, step_tokens } = compute::open(meant.compute, &file)?;
    let longest = texts.longest();
    let options = OpenOptions {
        context: longest + 1,
        step_tokens: step_tokens.min(longest),
        importance: true,
        memory_max,
        ..OpenOptions::default()
    };
    let mut engine = compute::load(file, backend, options, terminal.messages)?;
    let progress = Progress::tokens("measuring", texts.tokens(), terminal.messages);
    progress.set(sums.tokens);
    let mut saved = sums.chunks;
    let flow = || if interrupt::requested() { Flow::Stop } else { Flow::Continue };
    let complete = collect(
        &mut engine,
        &texts,
        &mut sums,
        &mut |fed| {
            progress.add(fed as u64);
            flow()
        },
        &mut |sums: &Sums| -> Result<Flow> {
            if sums.chunks.is_multiple_of(meant.save_every) && sums.chunks < texts.chunks().len() {
                keeping.save(sums, &texts)?;
                saved = sums.chunks;
            }
            Ok(flow())
        },
    )?;
    drop(progress);
    if !complete {
        if sums.chunks > saved {
            keeping.save(&sums, &texts)?;
        }
        say(&keeping.interrupted(&sums));
        return Ok(Exit::Interrupted);
    }
    keeping.finish(&sums)?;
    let rare = sums.rare(meant.few);
    warn(&rare, meant.few);
    if meant.json {
        json::print(&to_json(meant, &sums, &rare))?;
    } else {
        let mut out = io::stdout().lock();
        let (chunks, tokens) = (human::plural(sums.chunks, "chunk"), sums.tokens as usize);
        let (name, tokens) = (meant.out.display(), human::plural(tokens, "token"));
        writeln!(out, "wrote {name}: {tokens} in {chunks}, {} layers", shape.layers)?;
        out.flush()?;
    }
    Ok(Exit::Done)
}

/// What is kept while it is measured, and the output.
struct Keeping<'a> {
    meant: &'a Imatrix,
    shape: Shape,
    /// The model's name for machines.
    model: String,
}

impl Keeping<'_> {
    fn partial(&self) -> PathBuf {
        let mut name = self.meant.out.clone().into_os_string();
        name.push(".partial");
        name.into()
    }

    /// What is to be gone on from, if anything. Refuses what cannot be right before any work.
    fn find(&self) -> Result<Option<PathBuf>> {
        let Imatrix { out, resume, overwrite, .. } = self.meant;
        if out.is_dir() {
            bail!("{}: is a folder, expected the name of a file to write", out.display());
        }
        if !overwrite && out.symlink_metadata().is_ok() {
            bail!("{}: exists already: add --force, or name another file", out.display());
        }
        let partial = self.partial();
        let (name, is_there) = (partial.display(), partial.symlink_metadata().is_ok());
        match (is_there, resume) {
            (true, true) => Ok(Some(partial)),
            (true, false) if !overwrite => bail!(
                "{name}: a measurement that was interrupted: go on with it with --resume, or begin \
                 again with --force"
            ),
            (false, true) => {
                say(&format!("note: there is no {name} to go on from: starting with the first"));
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// The sums that were kept, if they are of this model and of these texts.
    fn go_on(&self, partial: &Path, texts: &Texts) -> Result<Sums> {
        let (origin, unfinished) = quantizer::read_unfinished_origin(partial)?;
        let name = partial.display();
        let start_over = "begin again with --force instead of --resume, or name another --out";
        let Origin { chunk_count, chunk_tokens, .. } = origin;
        let Unfinished { model, texts: hash, tokens } = unfinished;
        if model != self.model {
            bail!("{name}: was measured on another model; {start_over}");
        }
        let chunk = self.meant.cut.chunk_tokens;
        if chunk_tokens as usize != chunk {
            bail!("{name}: was measured with --chunk {chunk_tokens}, not {chunk}; {start_over}");
        }
        let chunks = chunk_count as usize;
        if chunks > texts.chunks().len() || texts.hash(chunks) != hash {
            bail!("{name}: was measured on other texts, or on more of them; {start_over}");
        }
        let layers = quantizer::read_unfinished_importance(partial, &self.shape)?;
        let layers = layers.into_iter().map(|layer| LayerSums {
            inputs: layer.inputs.into_owned(),
            inner: layer.inner.into_owned(),
            counts: layer.counts.into_owned(),
        });
        Ok(Sums { layers: layers.collect(), chunks, tokens })
    }

    /// Keeps what is measured.
    fn save(&self, sums: &Sums, texts: &Texts) -> Result<()> {
        let (model, texts) = (self.model.clone(), texts.hash(sums.chunks));
        let unfinished = Some(Unfinished { model, texts, tokens: sums.tokens });
        let origin = Origin { unfinished, ..self.origin(sums) };
        let (partial, experts) = (self.partial(), expert_sums(sums));
        Ok(quantizer::write_importance(&partial, &self.shape, &experts, &origin)?)
    }

    /// Writes the output; what was kept is not needed then.
    fn finish(&self, sums: &Sums) -> Result<()> {
        let write = match self.meant.format {
            Format::Gguf => quantizer::write_importance,
            Format::Legacy => quantizer::write_legacy_importance,
        };
        write(&self.meant.out, &self.shape, &expert_sums(sums), &self.origin(sums))?;
        let partial = self.partial();
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{}: could not remove it", partial.display()))
            }
            _ => Ok(()),
        }
    }

    fn origin(&self, sums: &Sums) -> Origin {
        let name = |path: &PathBuf| {
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        Origin {
            datasets: self.meant.texts.iter().map(name).collect(),
            chunk_count: u32::try_from(sums.chunks).unwrap_or(u32::MAX),
            chunk_tokens: self.meant.cut.chunk_tokens as u32,
            unfinished: None,
        }
    }

    fn interrupted(&self, sums: &Sums) -> String {
        if sums.chunks == 0 {
            return "interrupted before the first chunk was complete: nothing was kept".to_owned();
        }
        let chunks = human::plural(sums.chunks, "chunk");
        let partial = self.partial();
        let partial = partial.display();
        format!(
            "interrupted: {chunks} kept in {partial}; the same command with --resume goes on from \
             there"
        )
    }
}

fn expert_sums(sums: &Sums) -> Vec<ExpertSums<'_>> {
    let layers = sums.layers.iter().map(|LayerSums { inputs, inner, counts }| ExpertSums {
        inputs: inputs.into(),
        inner: inner.into(),
        counts: counts.into(),
    });
    layers.collect()
}

/// Names experts that are not known well.
fn warn(rare: &[Rare], few: u64) {
    if rare.is_empty() {
        return;
    }
    let named = |rare: &&Rare| format!("{}.{} ({})", rare.layer, rare.expert, rare.count);
    let shown: Vec<String> = rare.iter().take(SHOWN_MAX).map(|rare| named(&rare)).collect();
    let more = match rare.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more, see --json"),
    };
    let never = rare.iter().filter(|rare| rare.count == 0).count();
    say(&format!(
        "note: {} (layer.expert) were chosen by fewer than {few} tokens, {never} of them by none: \
         {}{more}; more text would tell more",
        human::plural(rare.len(), "expert"),
        shown.join(", ")
    ));
}

fn to_json(meant: &Imatrix, sums: &Sums, rare: &[Rare]) -> Value {
    let rare = rare.iter().map(
        |&Rare { layer, expert, count }| json!({"layer": layer, "expert": expert, "tokens": count}),
    );
    json!({
        "out": meant.out.display().to_string(),
        "tokens": sums.tokens,
        "chunks": sums.chunks,
        "layers": sums.layers.len(),
        "rare_experts": rare.collect::<Vec<_>>(),
    })
}
