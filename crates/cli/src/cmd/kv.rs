//! `dwarfstar kv`: looking after saved conversations.
//!
//! The work is `kvstore`'s. What only reads opens the folder without its lock, so that it can be
//! used beside a running server. `report.rs` has what is printed, for people and for machines.

mod report;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use kvstore::{Id, Store, Verified};

use crate::exit::{Exit, say};
use crate::interrupt;
use crate::json;
use crate::meant::kv::{Command, Kv, Which};
use crate::progress::Progress;
use crate::terminal::Terminal;
use crate::whole::WholeFile;
use report::{Exported, Listing, Removed, Row, Taken, Verification};

/// Does what was asked.
pub fn kv(meant: &Kv, terminal: &Terminal) -> Result<Exit> {
    let Kv { dir, command, json } = meant;
    match command {
        Command::List => list(dir, *json, terminal),
        Command::Show { id, text } => show(dir, id, *text, *json, terminal),
        Command::Verify => verify(dir, *json, terminal),
        Command::Remove(which) => remove(dir, which, *json, terminal),
        Command::Export { id, out, overwrite } => export(dir, id, out, *overwrite, *json),
        Command::Import(files) => import(dir, files, *json),
    }
}

fn expect_folder(dir: &Path) -> Result<()> {
    if !dir.is_dir() {
        bail!("{}: no such folder; name another with --kv-dir", dir.display());
    }
    Ok(())
}

/// The folder, for reading.
fn look(dir: &Path) -> Result<Store> {
    expect_folder(dir)?;
    Ok(Store::look(dir)?)
}

fn choose(store: &Store, digits: &str) -> Result<Id> {
    Ok(Id::choose(digits, store.list().iter().map(|info| info.id))?)
}

fn list(dir: &Path, json: bool, terminal: &Terminal) -> Result<Exit> {
    // Before the first conversation is saved there is no folder, and nothing wrong.
    let store = if dir.exists() { Some(look(dir)?) } else { None };
    let listing = Listing::new(dir, store.as_ref());
    if json {
        json::print_pretty(&listing)?;
    } else {
        listing.show(&mut io::stdout().lock(), terminal)?;
        remark(store.as_ref());
    }
    Ok(Exit::Done)
}

/// Tells what the store has to say about files that it leaves alone.
fn remark(store: Option<&Store>) {
    for remark in store.map(Store::remarks).unwrap_or_default() {
        say(&crate::human::safe(remark));
    }
}

fn show(dir: &Path, digits: &str, text: bool, json: bool, terminal: &Terminal) -> Result<Exit> {
    let store = look(dir)?;
    let id = choose(&store, digits)?;
    if text {
        let text = store.text(id)?;
        io::stdout().lock().write_all(&text)?;
        return Ok(Exit::Done);
    }
    let info = store.list().into_iter().find(|info| info.id == id);
    let row = Row::new(&info.context("it was listed a moment ago")?);
    if json {
        json::print_pretty(&row)?;
    } else {
        row.show(&mut io::stdout().lock(), terminal)?;
    }
    Ok(Exit::Done)
}

fn verify(dir: &Path, json: bool, terminal: &Terminal) -> Result<Exit> {
    let Some(verified) = read_all(&look(dir)?, terminal) else { return Ok(Exit::Interrupted) };
    let verification = Verification::new(&verified);
    if json {
        json::print_pretty(&verification)?;
    } else {
        verification.show(&mut io::stdout().lock())?;
    }
    Ok(if verified.flaws.is_empty() { Exit::Done } else { Exit::Problems })
}

/// Reads everything. `None`: Ctrl+C.
fn read_all(store: &Store, terminal: &Terminal) -> Option<Verified> {
    interrupt::listen(terminal);
    let progress = Progress::bytes("verifying", store.bytes(), terminal.messages);
    let verified = store.verify(|done, _| {
        progress.set(done);
        !interrupt::requested()
    });
    progress.clear();
    (!verified.stopped).then_some(verified)
}

fn remove(dir: &Path, which: &Which, json: bool, terminal: &Terminal) -> Result<Exit> {
    expect_folder(dir)?;
    let store = Store::manage(dir)?;
    let before = store.bytes();
    let damaged = matches!(which, Which::Some { damaged: true, .. });
    if damaged && read_all(&store, terminal).is_none() {
        return Ok(Exit::Interrupted);
    }
    let infos = store.list();
    let mut files = Vec::new();
    let mut ids: Vec<Id> = match which {
        Which::All => infos.iter().map(|info| info.id).collect(),
        // All ids are understood before anything is removed.
        Which::Some { ids, .. } => {
            ids.iter().map(|digits| choose(&store, digits)).collect::<Result<_>>()?
        }
    };
    if damaged {
        let broken = infos.iter().filter(|info| info.broken.is_some());
        ids.extend(broken.map(|info| info.id));
        files = store.remove_damaged()?;
    }
    ids.sort_unstable();
    ids.dedup();
    for id in &ids {
        store.remove(*id)?;
    }
    let removed = Removed::new(&ids, files, before.saturating_sub(store.bytes()));
    if json {
        json::print(&removed)?;
    } else {
        removed.show(&mut io::stdout().lock())?;
    }
    Ok(Exit::Done)
}

fn export(dir: &Path, digits: &str, out: &Path, overwrite: bool, json: bool) -> Result<Exit> {
    let store = look(dir)?;
    let id = choose(&store, digits)?;
    if out.exists() && !overwrite {
        bail!("{}: exists already: add --force, or name another file", out.display());
    }
    let mut file = WholeFile::create(out, "kv")?;
    let mut buffered = io::BufWriter::with_capacity(1 << 20, file.file());
    let bytes = store.export(id, out, &mut buffered)?;
    drop(buffered);
    file.finish().with_context(|| format!("{}: could not be put in place", out.display()))?;
    let exported = Exported::new(id, out, bytes);
    if json {
        json::print(&exported)?;
    } else {
        exported.show(&mut io::stdout().lock())?;
    }
    Ok(Exit::Done)
}

fn import(dir: &Path, files: &[PathBuf], json: bool) -> Result<Exit> {
    fs::create_dir_all(dir).with_context(|| format!("{}: could not be made", dir.display()))?;
    let store = Store::manage(dir)?;
    let mut taken = Vec::new();
    for file in files {
        taken.push(Taken::new(file, &store.import(file)?));
        if !json {
            taken[taken.len() - 1].show(&mut io::stdout().lock())?;
        }
    }
    if json {
        json::print(&serde_json::json!({ "imported": taken }))?;
    }
    Ok(Exit::Done)
}
