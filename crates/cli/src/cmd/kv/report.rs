//! What `dwarfstar kv` prints: each a value that is shown to people or serialized for machines.
//!
//! Names and texts that come from files are escaped. Times are shown as ages, and as seconds since
//! 1970 in JSON.

use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use kvstore::{Id, Imported, Info, Store, Verified};
use serde::Serialize;

use crate::human::{bytes, exact, plural, safe};
use crate::terminal::Terminal;

/// Digits of an id that are shown in lists.
const ID_DIGITS: usize = 12;

/// All checkpoints.
#[derive(Debug, Serialize)]
pub struct Listing {
    dir: String,
    bytes: u64,
    checkpoints: Vec<Row>,
    remarks: Vec<String>,
}

/// One checkpoint.
#[derive(Debug, Serialize)]
pub struct Row {
    id: String,
    model: String,
    recipe: String,
    reason: String,
    tokens: usize,
    pages: usize,
    page_bytes: usize,
    tail_bytes: usize,
    text_bytes: usize,
    notes_bytes: usize,
    logits: usize,
    bytes: u64,
    own_bytes: u64,
    created: u64,
    used: u64,
    hits: f64,
    broken: Option<String>,
}

impl Listing {
    /// Of a folder, which may not be there yet.
    pub fn new(dir: &Path, store: Option<&Store>) -> Listing {
        let infos = store.map(Store::list).unwrap_or_default();
        Listing {
            dir: dir.display().to_string(),
            bytes: store.map_or(0, Store::bytes),
            checkpoints: infos.iter().map(Row::new).collect(),
            remarks: store.map(|store| store.remarks().to_vec()).unwrap_or_default(),
        }
    }

    /// A table.
    pub fn show(&self, out: &mut impl Write, terminal: &Terminal) -> io::Result<()> {
        let dir = safe(&self.dir);
        if self.checkpoints.is_empty() {
            return writeln!(out, "{dir}: no checkpoints");
        }
        let (count, size) = (plural(self.checkpoints.len(), "checkpoint"), bytes(self.bytes));
        let title = terminal.heading(&format!("{dir}: {count}, {size}"));
        let head = ["id", "tokens", "size", "own", "saved", "used", "reason", "model"];
        writeln!(out, "{title}\n{}", line(head.map(str::to_owned)))?;
        let now = now();
        for row in &self.checkpoints {
            let age = |at| age(now, at);
            let reason = if row.broken.is_some() { "cannot load" } else { &row.reason };
            let cells = [
                row.id[..ID_DIGITS].to_owned(),
                exact(row.tokens),
                bytes(row.bytes),
                bytes(row.own_bytes),
                age(row.created),
                age(row.used),
                reason.to_owned(),
                format!("{} {}", &row.model[..8], safe(&row.recipe)),
            ];
            writeln!(out, "{}", line(cells))?;
        }
        Ok(())
    }
}

fn line([id, tokens, size, own, saved, used, reason, model]: [String; 8]) -> String {
    let numbers = format!("{id:<ID_DIGITS$} {tokens:>9} {size:>8} {own:>8} {saved:>8} {used:>8}");
    format!("  {numbers}  {reason:<11} {model}")
}

impl Row {
    /// The facts of a checkpoint.
    pub fn new(info: &Info) -> Row {
        Row {
            id: info.id.to_string(),
            model: info.model.to_string(),
            recipe: info.recipe.clone(),
            reason: info.reason.to_string(),
            tokens: info.tokens,
            pages: info.pages,
            page_bytes: info.page_bytes,
            tail_bytes: info.tail_bytes,
            text_bytes: info.text_bytes,
            notes_bytes: info.notes_bytes,
            logits: info.logits,
            bytes: info.bytes,
            own_bytes: info.own_bytes,
            created: info.created,
            used: info.used,
            hits: info.hits,
            broken: info.broken.clone(),
        }
    }

    /// A block of lines.
    pub fn show(&self, out: &mut impl Write, terminal: &Terminal) -> io::Result<()> {
        let size = |count: usize| bytes(count as u64);
        writeln!(out, "{}", terminal.heading(&format!("checkpoint {}", self.id)))?;
        let mut line = |what: &str, text: String| writeln!(out, "  {what:<8} {text}");
        if let Some(broken) = &self.broken {
            line("cannot", format!("be loaded: {}", safe(broken)))?;
        }
        line("model", format!("{}, {}", self.model, safe(&self.recipe)))?;
        line("tokens", format!("{}, from {} of text", exact(self.tokens), size(self.text_bytes)))?;
        let pages = plural(self.pages, "page");
        let rest = format!("a tail of {}, {} logits", size(self.tail_bytes), exact(self.logits));
        line("state", format!("{pages} of {}, {rest}", size(self.page_bytes)))?;
        line("notes", size(self.notes_bytes))?;
        let own = bytes(self.own_bytes);
        line("size", format!("{}, of which removing it frees {own}", bytes(self.bytes)))?;
        let (saved, now) = (age(now(), self.created), now());
        line("saved", format!("{saved}, reason: {}", self.reason))?;
        line("used", format!("{}, worth {:.1} hits", age(now, self.used), self.hits))
    }
}

/// What a check of everything found.
#[derive(Debug, Serialize)]
pub struct Verification {
    checkpoints: usize,
    packs: usize,
    blocks: usize,
    bytes: u64,
    flaws: Vec<Flaw>,
}

#[derive(Debug, Serialize)]
struct Flaw {
    problem: String,
    checkpoints: Vec<String>,
}

impl Verification {
    /// The facts of a check.
    pub fn new(verified: &Verified) -> Verification {
        let flaw = |flaw: &kvstore::Flaw| Flaw {
            problem: flaw.problem.clone(),
            checkpoints: flaw.checkpoints.iter().map(Id::to_string).collect(),
        };
        Verification {
            checkpoints: verified.checkpoints,
            packs: verified.packs,
            blocks: verified.blocks,
            bytes: verified.bytes,
            flaws: verified.flaws.iter().map(flaw).collect(),
        }
    }

    /// A line for each flaw, and one for the whole.
    pub fn show(&self, out: &mut impl Write) -> io::Result<()> {
        for flaw in &self.flaws {
            writeln!(out, "{}", safe(&flaw.problem))?;
            for id in &flaw.checkpoints {
                writeln!(out, "  checkpoint {} cannot be loaded", &id[..ID_DIGITS])?;
            }
        }
        let read = format!(
            "read {} of {} in {}, {}",
            plural(self.blocks, "block"),
            plural(self.checkpoints, "checkpoint"),
            plural(self.packs, "pack"),
            bytes(self.bytes)
        );
        match self.flaws.len() {
            0 => writeln!(out, "{read}: all is well"),
            count => {
                let flaws = plural(count, "flaw");
                writeln!(out, "{read}: {flaws}; `dwarfstar kv rm --damaged` removes what is lost")
            }
        }
    }
}

/// What was removed.
#[derive(Debug, Serialize)]
pub struct Removed {
    removed: Vec<String>,
    files: Vec<String>,
    freed_bytes: u64,
}

impl Removed {
    /// The facts of a removal.
    pub fn new(ids: &[Id], files: Vec<String>, freed_bytes: u64) -> Removed {
        Removed { removed: ids.iter().map(Id::to_string).collect(), files, freed_bytes }
    }

    /// A line.
    pub fn show(&self, out: &mut impl Write) -> io::Result<()> {
        let (removed, freed) = (plural(self.removed.len(), "checkpoint"), bytes(self.freed_bytes));
        let files = match self.files.len() {
            0 => String::new(),
            count => format!(" and {}", plural(count, "damaged file")),
        };
        writeln!(out, "removed {removed}{files}, freed {freed}")
    }
}

/// A checkpoint that became a file.
#[derive(Debug, Serialize)]
pub struct Exported {
    id: String,
    file: String,
    bytes: u64,
}

impl Exported {
    /// The facts of an export.
    pub fn new(id: Id, file: &Path, bytes: u64) -> Exported {
        Exported { id: id.to_string(), file: file.display().to_string(), bytes }
    }

    /// A line.
    pub fn show(&self, out: &mut impl Write) -> io::Result<()> {
        let (id, file, size) = (&self.id[..ID_DIGITS], safe(&self.file), bytes(self.bytes));
        writeln!(out, "wrote checkpoint {id} to {file}, {size}")
    }
}

/// A file that became a checkpoint.
#[derive(Debug, Serialize)]
pub struct Taken {
    file: String,
    id: String,
    tokens: usize,
    bytes_written: u64,
}

impl Taken {
    /// The facts of an import.
    pub fn new(file: &Path, imported: &Imported) -> Taken {
        Taken {
            file: file.display().to_string(),
            id: imported.id.to_string(),
            tokens: imported.tokens,
            bytes_written: imported.bytes_written,
        }
    }

    /// A line.
    pub fn show(&self, out: &mut impl Write) -> io::Result<()> {
        let (id, file, tokens) = (&self.id[..ID_DIGITS], safe(&self.file), exact(self.tokens));
        let written = match self.bytes_written {
            0 => "was there already".to_owned(),
            written => format!("{} written", bytes(written)),
        };
        writeln!(out, "{file}: checkpoint {id}, {tokens} tokens, {written}")
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs())
}

/// How long ago something was, in the largest unit of which there is one.
fn age(now: u64, at: u64) -> String {
    let passed = now.saturating_sub(at);
    let units = [(86_400, "d"), (3600, "h"), (60, "min")];
    let unit = units.into_iter().find(|(seconds, _)| passed >= *seconds);
    unit.map_or("now".to_owned(), |(seconds, unit)| format!("{} {unit} ago", passed / seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_in_the_largest_unit() {
        let cases = [
            (0, "now"),
            (59, "now"),
            (60, "1 min ago"),
            (7199, "1 h ago"),
            (86_400 * 3, "3 d ago"),
        ];
        for (passed, expected) in cases {
            assert_eq!(age(1_000_000 + passed, 1_000_000), expected);
        }
        assert_eq!(age(0, 100), "now", "a clock that was set back");
    }
}
