//! What the coding agent works with: its tools, what may be done, and what is kept of files.
//!
//! Commands are confined by this program itself, which is started again as `dwarfstar confine`.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent::gate::{Gate, Keeper};
use agent::instructions::tree_name;
use agent::mcp;
use agent::permit;
use agent::sandbox::{Confinement, Sandbox, secrets};
use agent::tools::{self, Reachable, Tool};
use agent::warden::{Copies, Warden};
use agent::workplace::{Places, Workplace};
use anyhow::{Context, Result, anyhow};

use crate::exit::say;
use crate::folders;
use crate::human;
use crate::meant::agent::{Agent, Mode};

/// What an agent works with.
pub struct Work {
    pub tools: Vec<Box<dyn Tool>>,
    pub gate: Box<dyn Gate>,
    pub keeper: Option<Box<dyn Keeper>>,
}

/// The name of the command that confines itself and becomes another.
pub const CONFINE: &str = "confine";

/// Everything for work in `tree`, with a context of so many tokens.
pub fn work(meant: &Agent, tree: &Path, context_tokens: usize) -> Result<Work> {
    let data = folders::state("projects").map(|folder| folder.join(tree_name(tree)));
    let unknown = || anyhow!("no folder for the agent is known: set HOME or XDG_STATE_HOME");
    let (data, home) = (data.ok_or_else(unknown)?, folders::home());
    let places = Places { tree: tree.to_owned(), data, home, context_tokens };
    let place = Arc::new(Workplace::open(places)?);
    let sandbox = sandbox(meant, &place)?;
    let protection = sandbox.protection().to_string();
    let reachable = meant.fetch.then_some(Reachable { private: false });
    let mut tools = tools::standard(&place, sandbox, reachable);
    if let Some(file) = &meant.mcp {
        let config = mcp::Config::open(file)?;
        let taken: Vec<String> = tools.iter().map(|tool| tool.spec().name).collect();
        let started = mcp::start(&config, &place, &taken)?;
        started.notices.iter().for_each(|line| say(&human::safe(line)));
        tools.extend(started.tools);
    }
    let mode = match meant.mode {
        Mode::Ask => permit::Mode::Ask,
        Mode::AutoEdit => permit::Mode::AutoEdit,
        Mode::Full => permit::Mode::Full,
    };
    let gate = Box::new(Warden::new(place.clone(), mode, protection)?);
    Ok(Work { tools, gate, keeper: Some(Box::new(Copies(place))) })
}

/// Where this program keeps what was said and done in other projects too.
fn own_folders(meant: &Agent) -> Vec<PathBuf> {
    let talk = &meant.talk;
    let checkpoints = talk.disk.as_ref().map(|disk| disk.dir.clone());
    let named = [folders::state(""), talk.folder.clone(), checkpoints, meant.mcp.clone()];
    // Rules are about real paths.
    let real = |path: PathBuf| path.canonicalize().unwrap_or(path);
    named.into_iter().flatten().map(real).collect()
}

fn sandbox(meant: &Agent, place: &Workplace) -> Result<Sandbox> {
    let own = env::current_exe().context("the program's own file, which confines commands")?;
    let program: Vec<OsString> = vec![own.into(), CONFINE.into()];
    if !meant.sandbox {
        return Ok(Sandbox::off(program));
    }
    let writable = vec![place.tree().to_owned(), place.temporary()];
    let mut hidden = folders::home().map_or(Vec::new(), |home| secrets(&home));
    hidden.extend(own_folders(meant));
    let shown = vec![place.outputs()];
    let confinement = Confinement { writable, hidden, shown, network: meant.network };
    Ok(Sandbox::new(program, confinement))
}
