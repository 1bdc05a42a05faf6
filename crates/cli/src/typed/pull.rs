//! The flags of `dwarfstar pull`.
//!
//! As in `typed.rs`, only the form is decided here.

use std::path::PathBuf;

use clap::Args;

/// Fetch a published model file, and make it the default.
#[derive(Debug, Args)]
#[command(after_help = HELP, arg_required_else_help = true)]
pub struct Pull {
    /// What to fetch: a name from the table below, or any file of the repository
    #[arg(value_name = "NAME", required_unless_present = "list")]
    pub name: Option<String>,

    /// Show what there is, with sizes, and fetch nothing
    #[arg(long, conflicts_with_all = ["name", "dir", "force", "no_default"])]
    pub list: bool,

    /// The folder to put it in [default: dwarfstar/models in your data folder]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// Replace a file of that name
    #[arg(long)]
    pub force: bool,

    /// Leave the default model as it is
    #[arg(long)]
    pub no_default: bool,

    /// The repository, an owner and a name
    #[arg(long, value_name = "REPO", default_value = crate::meant::pull::REPOSITORY)]
    #[arg(help_heading = "Hub")]
    pub repo: String,

    /// The hub, or a mirror of it [default: HF_ENDPOINT, or huggingface.co]
    #[arg(long, value_name = "URL", help_heading = "Hub")]
    pub endpoint: Option<String>,

    /// Fetch over N connections at the same time
    #[arg(long, value_name = "N", default_value_t = 8, help_heading = "Hub")]
    pub connections: usize,

    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
}

const HELP: &str = "\
DeepSeek V4 Flash, by the format of its routed experts:
  q2-imatrix    IQ2_XXS and Q2_K, 87 GB: for 96 GB of memory and more
  q2-q4         the same, its last six layers in Q4_K, 98 GB
  q4-imatrix    Q4_K, 165 GB
  mxfp4         as published by DeepSeek, without any loss, 156 GB

Files that are no models by themselves:
  dspark        the drafter of these files, 6 GB
  mtp           the drafter of the first release of the weights, 4 GB

The same command goes on where an earlier one ended, however that ended. A file appears when its
size and SHA-256 are those that the hub has published, and not before. A model becomes the
default: every command uses it when no other one is named, until another one is pulled. `-m nano`
is the small model inside the program.

A token is needed only for repositories that are not open to all. HF_TOKEN is sent to the hub or
the mirror that is asked, the token that `hf auth login` has saved to https://huggingface.co only;
neither goes to other hosts, nor anywhere without encryption. Connections are encrypted, except to
this machine and to an `--endpoint http://...`. HTTPS_PROXY and NO_PROXY are respected.

Examples:
  dwarfstar pull q2-imatrix
  dwarfstar pull mxfp4 --dir /models --no-default
  dwarfstar pull --list
  dwarfstar pull model.gguf --repo owner/name --endpoint https://mirror.example";
