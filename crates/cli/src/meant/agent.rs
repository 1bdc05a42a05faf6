//! What `dwarfstar agent` and `dwarfstar chat` were told, as values that make sense.
//!
//! Folders are found here, since only this crate reads the environment; none of them is made here.

use std::env;
use std::path::{Path, PathBuf};

use agent::{Open, Thinking};
use anyhow::{Context, Result, anyhow, bail};
use engine::{DiskOptions, Sampling};

use super::steer::{Steer, steer};
use super::{Compute, at_least_one, compute, disk, model, random_seed, sampling};
use crate::exit::usage;
use crate::folders;
use crate::open::{Model, Source};
use crate::typed::agent as typed;
pub use crate::typed::agent::Mode;

/// A conversation.
#[derive(Debug)]
pub struct Talk {
    pub model: Model,
    /// What is asked; without it lines are read.
    pub prompt: Option<String>,
    pub system: Option<String>,
    pub thinking: Thinking,
    pub tokens_max: usize,
    /// Tokens of the context, if it was said.
    pub context: Option<usize>,
    pub sampling: Sampling,
    pub seed: u64,
    pub open: Open,
    /// Where conversations are kept, if they are.
    pub folder: Option<PathBuf>,
    /// Where states are kept, if they are.
    pub disk: Option<DiskOptions>,
    /// Whether that folder was named: then it has to work.
    pub disk_named: bool,
    pub steer: Option<Steer>,
    pub json: bool,
    pub quiet: bool,
    pub compute: Compute,
}

/// A coding agent.
#[derive(Debug)]
pub struct Agent {
    pub talk: Talk,
    /// The real path of the folder to work in.
    pub folder: PathBuf,
    pub mode: Mode,
    pub sandbox: bool,
    pub network: bool,
    pub fetch: bool,
    pub mcp: Option<PathBuf>,
}

/// `dwarfstar agent`.
pub fn agent(typed: typed::Agent) -> Result<Agent> {
    let typed::Agent { talk: typed, cd, mode, no_sandbox, allow_net, allow_fetch, mcp } = typed;
    let folder = working_folder(cd.as_deref())?;
    let sandbox = !no_sandbox;
    let talk = talk(typed)?;
    Ok(Agent { talk, folder, mode, sandbox, network: allow_net, fetch: allow_fetch, mcp })
}

/// `dwarfstar chat`.
pub fn chat(typed: typed::Chat) -> Result<(Talk, PathBuf)> {
    Ok((talk(typed.talk)?, working_folder(None)?))
}

fn talk(typed: typed::Talk) -> Result<Talk> {
    let source = match (typed.prompt, typed.prompt_file) {
        (Some(text), _) => Some(Source::Given(text)),
        (None, path) => path.map(Source::path),
    };
    let prompt = source.map(|source| source.read()).transpose()?;
    if prompt.as_ref().is_some_and(|prompt| prompt.trim().is_empty()) {
        return Err(usage("the prompt is empty"));
    }
    let open = match typed.resume {
        Some(id) if id.is_empty() => Open::Last,
        Some(id) => Open::Id(id),
        None if typed.continue_last => Open::Last,
        None => Open::New,
    };
    let folder = (!typed.no_keep).then(|| folders::state("conversations")).flatten();
    if folder.is_none() && open != Open::New {
        bail!("no folder for conversations is known: set HOME or XDG_STATE_HOME");
    }
    let disk_named = typed.kv_dir.is_some();
    let kv_dir = typed.kv_dir.or_else(|| folders::cache("kv")).filter(|_| !typed.no_keep);
    let thinking = match super::thinking(&typed.thinking) {
        super::Thinking::Off => Thinking::Off,
        super::Thinking::On => Thinking::On,
        super::Thinking::Max => Thinking::Max,
    };
    Ok(Talk {
        model: model(typed.model),
        prompt,
        system: typed.system,
        thinking,
        tokens_max: at_least_one("-n", Some(typed.tokens))?.unwrap_or(typed.tokens),
        context: at_least_one("--ctx", typed.ctx)?,
        sampling: sampling(&typed.sampling)?,
        seed: typed.seed.unwrap_or_else(random_seed),
        open,
        folder,
        disk: kv_dir.map(|dir| disk(dir, typed.kv_disk_space)).transpose()?,
        disk_named,
        steer: steer(typed.steer)?,
        json: typed.json,
        quiet: typed.quiet,
        compute: compute(typed.compute.device, typed.compute.threads)?,
    })
}

fn working_folder(said: Option<&Path>) -> Result<PathBuf> {
    let folder = match said {
        Some(folder) => folder.to_owned(),
        None => env::current_dir().context("the current folder is not known: name it with --cd")?,
    };
    let name = folder.display();
    let real = folder.canonicalize().with_context(|| format!("{name}: no folder to work in"))?;
    match real.is_dir() {
        true => Ok(real),
        false => Err(anyhow!("{name}: not a folder, expected one to work in")),
    }
}
