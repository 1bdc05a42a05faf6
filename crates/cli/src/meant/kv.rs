//! What `dwarfstar kv` was meant to do: the folder is known, commands are a plain enum.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use crate::folders;
use crate::typed::kv as typed;

/// Look after the checkpoints in a folder.
#[derive(Debug)]
pub struct Kv {
    pub dir: PathBuf,
    pub command: Command,
    pub json: bool,
}

/// What to do with them.
#[derive(Debug)]
pub enum Command {
    List,
    Show { id: String, text: bool },
    Verify,
    Remove(Which),
    Export { id: String, out: PathBuf, overwrite: bool },
    Import(Vec<PathBuf>),
}

/// What to remove.
#[derive(Debug)]
pub enum Which {
    All,
    /// Those that begin with these digits, and if asked for those that are damaged.
    Some {
        ids: Vec<String>,
        damaged: bool,
    },
}

/// `dwarfstar kv`.
pub fn kv(typed: typed::Kv) -> Result<Kv> {
    let command = match typed.command {
        typed::Command::List => Command::List,
        typed::Command::Show(show) => Command::Show { id: show.id, text: show.text },
        typed::Command::Verify => Command::Verify,
        typed::Command::Rm(rm) if rm.all => Command::Remove(Which::All),
        typed::Command::Rm(rm) => Command::Remove(Which::Some { ids: rm.ids, damaged: rm.damaged }),
        typed::Command::Export(export) => {
            let typed::Export { id, out, force } = export;
            Command::Export { id, out, overwrite: force }
        }
        typed::Command::Import(import) => Command::Import(import.files),
    };
    Ok(Kv { dir: folder(typed.kv_dir)?, command, json: typed.json })
}

/// Where checkpoints are, if nobody says so.
pub fn folder(said: Option<PathBuf>) -> Result<PathBuf> {
    let folder = said.or_else(|| folders::cache("kv"));
    folder.ok_or_else(|| anyhow!("no folder for checkpoints is known: name one with --kv-dir"))
}
