//! What the model can do besides talk: one small file per tool.
//!
//! A tool says what it is ([`Tool::spec`]), what a call would touch ([`Tool::plan`]), which decides
//! whether somebody is asked first, and does it ([`Tool::run`]). It never prints, never asks, and
//! never decides what is allowed; everything that it gives back is bounded.

use serde_json::{Map, Value};
use text::ToolSpec;

use crate::event::Shown;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Arguments of a call, as the model wrote them.
pub type Arguments = Map<String, Value>;

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
