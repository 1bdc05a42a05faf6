//! The flags of `dwarfstar kv` and its commands.
//!
//! As in `typed.rs`, only the form is decided here.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

/// Look after saved conversations: list, show, verify, remove, export, import.
#[derive(Debug, Args)]
#[command(after_help = HELP, arg_required_else_help = true, subcommand_required = true)]
pub struct Kv {
    #[command(subcommand)]
    pub command: Command,

    /// The folder of the checkpoints [default: dwarfstar/kv in your cache folder]
    #[arg(long, value_name = "DIR", global = true)]
    pub kv_dir: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    List,
    Show(Show),
    Verify,
    Rm(Rm),
    Export(Export),
    Import(Import),
}

const HELP: &str = "\
A checkpoint is a conversation with everything that the model computed for it, so that it goes on
at once, also after a restart. Checkpoints share what they have in common: `size` is everything
that one consists of, `own` is what removing it frees.

An ID may be cut to its first digits. List, show, verify and export may be used while another
dwarfstar writes into the folder; rm and import may not.

Examples:
  dwarfstar kv list
  dwarfstar kv show 8cb4 --text
  dwarfstar kv verify
  dwarfstar kv rm 8cb4 9b98
  dwarfstar kv export 8cb4 --out talk.kvx
  dwarfstar kv import talk.kvx --kv-dir /other/folder";

/// One checkpoint, in detail.
#[derive(Debug, Args)]
pub struct Show {
    /// Which one; its first digits are enough
    pub id: String,

    /// Print its text, as it was given to the model, and nothing else
    #[arg(long, conflicts_with = "json")]
    pub text: bool,
}

/// Remove checkpoints, and what no other one shares with them.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true))]
pub struct Rm {
    /// Which ones; their first digits are enough
    #[arg(group = "which", value_name = "ID")]
    pub ids: Vec<String>,

    /// Those that cannot be loaded, and files that are damaged
    #[arg(long, group = "which")]
    pub damaged: bool,

    /// All of them, of all models
    #[arg(long, conflicts_with_all = ["ids", "damaged"], group = "which")]
    pub all: bool,
}

/// Write a checkpoint to one file.
#[derive(Debug, Args)]
pub struct Export {
    /// Which one; its first digits are enough
    pub id: String,

    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,

    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
}

/// Take in checkpoints from files that `export` wrote.
#[derive(Debug, Args)]
pub struct Import {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}
