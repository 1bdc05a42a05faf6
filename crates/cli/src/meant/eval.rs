//! `dwarfstar eval`: which questions, how they are asked, or what else is to be done.
//!
//! The set is read here, so that a file that is wrong is told before a model is opened.

use std::path::PathBuf;

use anyhow::Result;
use measure::eval::{self, Budget, Item, Thinking};

use super::steer::{Steer, steer};
use super::{Compute, SESSIONS_MAX, at_least_one, compute, model, thinking};
use crate::exit::usage;
use crate::open::Model;
use crate::typed;

/// Tokens of a reply if nothing is said, and of Nano's, which reasons in a line.
const TOKENS: usize = 16 << 10;
const TOKENS_OF_NANO: usize = 512;

/// Most times that a question is asked.
const REPEATS_MAX: usize = 1000;

/// What is to be done.
#[derive(Debug)]
pub enum Eval {
    /// Ask a model.
    Ask(Box<Ask>),
    /// Show the questions.
    List { set: Set, json: bool },
    /// Say how many there are.
    Validate { set: Set, json: bool },
    /// Judge stored answers again.
    Regrade { report: PathBuf, set: Set, json: bool },
    /// Compare two reports.
    Compare { reports: [PathBuf; 2], json: bool },
    /// Check the judges.
    SelfTest { json: bool },
}

/// Questions, at least one.
#[derive(Debug)]
pub struct Set {
    pub name: String,
    pub items: Vec<Item>,
    /// Questions of the file that nothing here can judge.
    pub left_out: usize,
}

/// Questions for a model.
#[derive(Debug)]
pub struct Ask {
    pub model: Model,
    pub set: Set,
    pub thinking: Thinking,
    pub budget: Budget,
    pub sampling: engine::Sampling,
    pub seed: u64,
    pub repeat: usize,
    pub sessions: usize,
    pub compute: Compute,
    /// How the model is steered.
    pub steer: Option<Steer>,
    pub out: Option<PathBuf>,
    pub resume: bool,
    pub json: bool,
    pub quiet: bool,
}

/// `dwarfstar eval`.
pub fn eval(typed: typed::eval::Eval) -> Result<Eval> {
    let json = typed.json;
    if typed.self_test {
        return Ok(Eval::SelfTest { json });
    }
    if let Some(reports) = typed.compare {
        let reports = reports.try_into().map_err(|_| usage("--compare: expected two reports"))?;
        return Ok(Eval::Compare { reports, json });
    }
    let set = set(&typed)?;
    if typed.list {
        return Ok(Eval::List { set, json });
    }
    if typed.validate {
        return Ok(Eval::Validate { set, json });
    }
    if let Some(report) = typed.regrade {
        return Ok(Eval::Regrade { report, set, json });
    }
    ask(typed, set).map(|ask| Eval::Ask(Box::new(ask)))
}

fn set(typed: &typed::eval::Eval) -> Result<Set> {
    let limit = at_least_one("--limit", typed.limit)?;
    let (name, read) = match &typed.set {
        Some(path) => (path.display().to_string(), eval::open(path, typed.format, typed.seed)?),
        None => (eval::OWN.to_owned(), eval::Read { items: eval::own(), left_out: 0 }),
    };
    let items = eval::choose(read.items, &typed.only, limit);
    if items.is_empty() {
        return Err(usage(format!(
            "--only {}: no item of {name} has such an id, domain or source; --list shows them",
            typed.only.join(" --only ")
        )));
    }
    Ok(Set { name, items, left_out: read.left_out })
}

fn ask(typed: typed::eval::Eval, set: Set) -> Result<Ask> {
    let model = model(typed.model);
    let default = match model {
        Model::BuiltIn | Model::Default(None) => TOKENS_OF_NANO,
        _ => TOKENS,
    };
    let tokens_max = at_least_one("--max-tokens", typed.max_tokens)?.unwrap_or(default);
    let budget = budget(tokens_max, typed.soft_close, typed.hard_close)?;
    for (flag, value, most) in
        [("--repeat", typed.repeat, REPEATS_MAX), ("--sessions", typed.sessions, SESSIONS_MAX)]
    {
        if !(1..=most).contains(&value) {
            return Err(usage(format!("{flag} {value}: expected 1 to {most}")));
        }
    }
    let thinking = match thinking(&typed.thinking) {
        super::Thinking::Off => Thinking::Off,
        super::Thinking::On => Thinking::On,
        super::Thinking::Max => Thinking::Max,
    };
    let typed::eval::Eval { temp, top_p, top_k, min_p, .. } = typed;
    Ok(Ask {
        model,
        set,
        thinking,
        budget,
        sampling: super::sampling(&typed::Sampling { temp, top_p, top_k, min_p })?,
        seed: typed.seed,
        repeat: typed.repeat,
        sessions: typed.sessions,
        compute: compute(typed.compute.device, typed.compute.threads)?,
        steer: steer(typed.steer)?,
        out: typed.out,
        resume: typed.resume,
        json: typed.json,
        quiet: typed.quiet,
    })
}

/// Reasoning has to end while there is something left for the answer.
fn budget(tokens_max: usize, soft: Option<usize>, hard: Option<usize>) -> Result<Budget> {
    let default = Budget::new(tokens_max);
    let hard = hard.unwrap_or(default.hard);
    let soft = soft.unwrap_or(default.soft.max(hard));
    for (flag, tokens) in [("--hard-close", hard), ("--soft-close", soft)] {
        if tokens >= tokens_max {
            return Err(usage(format!(
                "{flag} {tokens}: a reply has {tokens_max} tokens, so there would be no reasoning; \
                 for that say --nothink"
            )));
        }
    }
    Ok(Budget { tokens_max, soft, hard })
}
