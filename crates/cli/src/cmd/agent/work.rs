//! What the coding agent works with: its tools, what may be done, and what is kept of files.

use std::path::Path;

use agent::gate::{Gate, Keeper, Shut};
use agent::tools::Tool;
use anyhow::Result;

use crate::meant::agent::Agent;

/// What an agent works with.
pub struct Work {
    pub tools: Vec<Box<dyn Tool>>,
    pub gate: Box<dyn Gate>,
    pub keeper: Option<Box<dyn Keeper>>,
}

/// Everything for work in `tree`, with a context of so many tokens.
pub fn work(_: &Agent, _: &Path, _: usize) -> Result<Work> {
    Ok(Work { tools: Vec::new(), gate: Box::new(Shut), keeper: None })
}
