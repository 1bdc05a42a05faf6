//! What the model can do besides talk: one small file per tool.
//!
//! A tool says what it is ([`Tool::spec`]), what a call would touch ([`Tool::plan`]), which decides
//! whether somebody is asked first, and does it ([`Tool::run`]). It never prints, never asks, and
//! never decides what is allowed; everything that it gives back is bounded.

mod arguments;
mod bash;
mod edit;
mod fetch;
mod jobs;
mod list;
mod read;
mod result;
mod search;
mod write;

pub use bash::{Bash, BashStatus, BashStop};
pub use edit::{Edit, replace_once};
pub use fetch::{Fetch, Reachable, to_markdown};
pub use jobs::Jobs;
pub use list::List;
pub use read::Read;
pub(crate) use result::{bounded, done, failed, head};
pub use search::Search;
pub use write::Write;

use serde_json::{Map, Value};
use text::ToolSpec;

use crate::event::Shown;
use crate::sandbox::Sandbox;
use crate::workplace::Workplace;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Arguments of a call, as the model wrote them.
pub type Arguments = Map<String, Value>;

/// The tools for working in a tree; `fetch` is there only if something may be reached.
pub fn standard(
    place: &Arc<Workplace>,
    sandbox: Sandbox,
    reachable: Option<Reachable>,
) -> Vec<Box<dyn Tool>> {
    let jobs = Arc::new(Jobs::new(Arc::clone(place), sandbox));
    let mut tools: Vec<Box<dyn Tool>> = vec![
        Box::new(Read(Arc::clone(place))),
        Box::new(Write(Arc::clone(place))),
        Box::new(Edit::new(Arc::clone(place))),
        Box::new(List(Arc::clone(place))),
        Box::new(Search(Arc::clone(place))),
        Box::new(Bash::new(Arc::clone(&jobs))),
        Box::new(BashStatus(Arc::clone(&jobs))),
        Box::new(BashStop(jobs)),
    ];
    if let Some(reachable) = reachable {
        tools.push(Box::new(Fetch::new(Arc::clone(place), reachable)));
    }
    tools
}

/// Something that the model can do.
pub trait Tool: Send + Sync {
    /// Its name, what it is for, and the schema of its arguments.
    fn spec(&self) -> ToolSpec;

    /// What a call would do; nothing is done yet.
    ///
    /// # Errors
    /// What is wrong with the arguments, as a text that the model can learn from.
    fn plan(&self, arguments: &Arguments) -> Result<Plan, String>;

    /// Looks at a call whose arguments are still being sampled: `arguments` is the beginning of
    /// their JSON text. A text says why the call cannot work, and ends the sampling there.
    fn glance(&self, arguments: &str) -> Option<String> {
        let _ = arguments;
        None
    }

    /// Does what was planned. What it prints meanwhile goes to `print`; `stop` is looked at often
    /// enough that a person who stops it does not wait.
    ///
    /// `plan` is the one that was decided upon. Paths are taken from it and never resolved anew: a
    /// path that has become a link since then would lead to where nobody has said yes to.
    fn run(
        &self,
        arguments: &Arguments,
        plan: &Plan,
        print: &mut dyn FnMut(&str),
        stop: &Stop,
    ) -> Outcome;
}

/// What a call would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In a line, for people: the command, the path.
    pub title: String,
    /// What it touches.
    pub needs: Vec<Need>,
    /// More of it, for whoever is asked.
    pub detail: Shown,
}

/// Something that a call touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Reads a file or a folder, by its real path.
    Read(PathBuf),
    /// Makes or changes a file, by its real path.
    Write(PathBuf),
    /// Runs a command.
    Run(String),
    /// Reaches an address in the network.
    Reach(String),
    /// Calls a tool of a server, by the server's and the tool's name.
    Ask(String, String),
}

/// The path that a plan was made for.
fn planned_path(plan: &Plan) -> Result<&Path, String> {
    match plan.needs.first() {
        Some(Need::Read(path) | Need::Write(path)) => Ok(path),
        _ => Err("this is no plan for a file".to_owned()),
    }
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the model reads.
    pub text: String,
    /// What people see.
    pub shown: Shown,
    /// Whether it did not work.
    pub failed: bool,
}

/// Says that whoever wanted something does not want it any more. Clones are equal.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Stops what is under way.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether to stop.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
