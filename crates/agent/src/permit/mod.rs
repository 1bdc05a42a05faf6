//! What may be done without asking.
//!
//! One pure function, [`decide`], from a mode, remembered [`Rules`], a plan and the ground it
//! stands on to a [`Decision`]. It looks at real paths and whole commands, never at what the model
//! says about them. Where commands end and another begins is decided in `command.rs`; rules and
//! their file are in `rules.rs`.
//!
//! It does not ask: that is the loop's, and showing the question is the screen's.

pub mod command;
mod rules;

pub use rules::{Rule, Rules};

use std::path::{Path, PathBuf};

use crate::harmless::shown_in_line;
use crate::tools::{Need, Plan};
use crate::workplace::Workplace;

/// How much is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Reading in the tree.
    #[default]
    Ask,
    /// Changing files in the tree too.
    AutoEdit,
    /// Everything but what lies outside the tree, and git's own files.
    Full,
}

impl Mode {
    /// All of them, as they are written on a command line.
    pub const NAMES: [(&'static str, Mode); 3] =
        [("ask", Mode::Ask), ("auto-edit", Mode::AutoEdit), ("full", Mode::Full)];

    /// How it is written.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Ask => "ask",
            Mode::AutoEdit => "auto-edit",
            Mode::Full => "full",
        }
    }

    /// The mode of this name.
    pub fn named(name: &str) -> Option<Mode> {
        Mode::NAMES.iter().find(|(known, _)| *known == name).map(|(_, mode)| *mode)
    }
}

/// Where paths lead to.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// The working tree, by its real path.
    pub tree: &'a Path,
    /// The agent's own folder, which no tool changes.
    pub data: &'a Path,
    /// Where outputs are kept for the model to read.
    pub outputs: &'a Path,
}

impl Workplace {
    /// Decides on a plan in this tree.
    pub fn decide(&self, mode: Mode, rules: &Rules, plan: &Plan) -> Decision {
        let outputs = self.outputs();
        let ground = Ground { tree: self.tree(), data: self.data(), outputs: &outputs };
        decide(mode, rules, plan, &ground)
    }
}

/// What is to happen with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may be done.
    Allow,
    /// Somebody must say yes.
    Ask {
        /// Why, in a line.
        reason: String,
        /// Rules under which calls like it are free from then on; none if it is asked every time.
        always: Vec<Rule>,
    },
    /// It may not be done, whoever says yes; why, for the model.
    Deny(String),
}

impl Decision {
    /// What [`Verdict::Always`](crate::event::Verdict::Always) would allow, in a line.
    pub fn always_line(&self) -> Option<String> {
        match self {
            Decision::Ask { always, .. } if !always.is_empty() => {
                Some(always.iter().map(Rule::to_string).collect::<Vec<_>>().join(", "))
            }
            _ => None,
        }
    }
}

/// Decides on a plan. Several needs are asked for at once, and one that is denied denies the call.
pub fn decide(mode: Mode, rules: &Rules, plan: &Plan, ground: &Ground<'_>) -> Decision {
    let mut reasons: Vec<String> = Vec::new();
    let mut always = Some(Vec::new());
    for need in &plan.needs {
        let (reason, rule) = match of_need(mode, need, ground) {
            Answer::Allow => continue,
            Answer::Deny(why) => return Decision::Deny(why),
            // What is asked every time is free under no rule.
            Answer::Ask(_, Some(_)) if rules.cover(need) => continue,
            Answer::Ask(reason, rule) => (reason, rule),
        };
        reasons.push(reason);
        match rule {
            Some(rule) => always.iter_mut().for_each(|rules| rules.push(rule.clone())),
            None => always = None,
        }
    }
    if reasons.is_empty() {
        return Decision::Allow;
    }
    Decision::Ask { reason: reasons.join("; "), always: always.unwrap_or_default() }
}

enum Answer {
    Allow,
    /// Why, and what rule would do; none if no rule ever does.
    Ask(String, Option<Rule>),
    Deny(String),
}

fn of_need(mode: Mode, need: &Need, ground: &Ground<'_>) -> Answer {
    match need {
        Need::Read(path) => {
            if path.starts_with(ground.tree) || path.starts_with(ground.outputs) {
                return Answer::Allow;
            }
            let reason = format!("{} is outside the working tree", line(path));
            Answer::Ask(reason, Some(Rule::Read(around(path))))
        }
        Need::Write(path) => of_write(mode, path, ground),
        Need::Run(_) | Need::Reach(_) | Need::Ask(..) if mode == Mode::Full => Answer::Allow,
        Need::Run(script) => Answer::Ask("it runs a command".to_owned(), Rule::of_command(script)),
        Need::Reach(address) => {
            let reason = format!("it reaches {}", shown_in_line(address));
            Answer::Ask(reason, Rule::of_address(address))
        }
        Need::Ask(server, tool) => {
            let reason = format!("it calls a tool of the server {}", shown_in_line(server));
            Answer::Ask(reason, Some(Rule::ServerTool(server.clone(), tool.clone())))
        }
    }
}

fn of_write(mode: Mode, path: &Path, ground: &Ground<'_>) -> Answer {
    if path.starts_with(ground.data) {
        return Answer::Deny(format!(
            "{} belongs to the agent itself, and no tool changes it",
            line(path)
        ));
    }
    let Ok(inner) = path.strip_prefix(ground.tree) else {
        let reason = format!("{} is outside the working tree", line(path));
        return Answer::Ask(reason, Some(Rule::Write(path.to_owned())));
    };
    let is_git = |name: &std::ffi::OsStr| name.eq_ignore_ascii_case(".git");
    if inner.iter().any(is_git) {
        // What stands there may be run by git, outside of any sandbox: it is asked every time.
        return Answer::Ask(format!("{} belongs to git", line(inner)), None);
    }
    match mode {
        Mode::AutoEdit | Mode::Full => Answer::Allow,
        Mode::Ask => {
            let rule = Rule::Write(ground.tree.to_owned());
            Answer::Ask(format!("it changes {}", line(inner)), Some(rule))
        }
    }
}

/// What may be read along with a path: its folder, unless that is one that holds everything.
fn around(path: &Path) -> PathBuf {
    const OWN_DEPTH_MIN: usize = 4; // the root, a folder of homes, a home, something in it
    let folder = path.parent().filter(|folder| folder.iter().count() >= OWN_DEPTH_MIN);
    folder.unwrap_or(path).to_owned()
}

fn line(path: &Path) -> String {
    shown_in_line(&path.to_string_lossy())
}
