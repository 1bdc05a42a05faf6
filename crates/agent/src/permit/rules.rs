//! What a person has allowed in a project, and the file that remembers it.
//!
//! The file is JSON that a person may read and edit: `{"version": 1, "allow": [...]}`, one object
//! per rule with one key. It lies in the agent's own folder, which commands cannot write. Rules
//! that are not understood are an error, not skipped: somebody meant something by them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::command;
use crate::files;
use crate::harmless::shown_in_line;
use crate::tools::Need;

const VERSION: u32 = 1;
const FILE_BYTES_MAX: u64 = 1 << 20;
const RULES_MAX: usize = 1000;

/// Calls that are free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Rule {
    /// Reading in a folder.
    Read(PathBuf),
    /// Changing files in a folder.
    Write(PathBuf),
    /// Plain commands that begin with these words.
    CommandPrefix(Vec<String>),
    /// This very command.
    Command(String),
    /// Pages of this host.
    Reach(String),
    /// This tool of this server.
    ServerTool(String, String),
}

impl Rule {
    /// The widest rule for a command that does not allow others along with it.
    pub fn of_command(script: &str) -> Option<Rule> {
        Some(match command::prefix(script) {
            Some(words) => Rule::CommandPrefix(words),
            None => Rule::Command(script.to_owned()),
        })
    }

    /// The rule for the host of an address.
    pub fn of_address(address: &str) -> Option<Rule> {
        host(address).map(Rule::Reach)
    }

    /// Whether the rule makes this free.
    pub fn covers(&self, need: &Need) -> bool {
        match (self, need) {
            (Rule::Read(folder), Need::Read(path)) => path.starts_with(folder),
            (Rule::Write(folder), Need::Write(path)) => path.starts_with(folder),
            (Rule::CommandPrefix(prefix), Need::Run(script)) => {
                command::begins_with(script, prefix)
            }
            (Rule::Command(known), Need::Run(script)) => known == script,
            (Rule::Reach(known), Need::Reach(address)) => host(address).as_ref() == Some(known),
            (Rule::ServerTool(server, tool), Need::Ask(of, called)) => {
                server == of && tool == called
            }
            _ => false,
        }
    }
}

/// Scheme, host and port of an address, without what `fetch` would refuse anyway.
fn host(address: &str) -> Option<String> {
    let (scheme, rest) = address.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-.:[]".contains(c);
    let plain = !host.is_empty() && host.chars().all(is_plain);
    plain.then(|| format!("{scheme}://{host}").to_ascii_lowercase())
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Read(folder) => {
                write!(f, "reading in {}", shown_in_line(&folder.to_string_lossy()))
            }
            Rule::Write(folder) => {
                write!(f, "changing files in {}", shown_in_line(&folder.to_string_lossy()))
            }
            Rule::CommandPrefix(words) => {
                write!(f, "commands that begin with `{}`", words.join(" "))
            }
            Rule::Command(script) => write!(f, "the command `{}`", shown_in_line(script)),
            Rule::Reach(host) => write!(f, "pages of {host}"),
            Rule::ServerTool(server, tool) => {
                write!(f, "the tool {} of {}", shown_in_line(tool), shown_in_line(server))
            }
        }
    }
}

/// All that was allowed in a project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
    /// Where they are remembered; nowhere if there is no file.
    file: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    allow: Vec<Rule>,
}

impl Rules {
    /// Rules for as long as the program runs.
    pub fn new(rules: Vec<Rule>) -> Rules {
        Rules { rules, file: None }
    }

    /// Reads the rules of a project; there are none if there is no file.
    ///
    /// # Errors
    /// The file cannot be read or understood; it names the file.
    pub fn open(file: PathBuf) -> io::Result<Rules> {
        let wrong = |what: String| {
            let what = format!("{}: {what}; correct or remove it", file.display());
            io::Error::new(io::ErrorKind::InvalidData, what)
        };
        let rules = match files::read(&file, FILE_BYTES_MAX).map_err(|e| wrong(e.to_string()))? {
            None => Vec::new(),
            Some(content) => {
                let stored: Stored =
                    serde_json::from_slice(&content.bytes).map_err(|e| wrong(e.to_string()))?;
                if stored.version != VERSION || stored.allow.len() > RULES_MAX {
                    let (version, count) = (stored.version, stored.allow.len());
                    return Err(wrong(format!("version {version} with {count} rules")));
                }
                stored.allow
            }
        };
        Ok(Rules { rules, file: Some(file) })
    }

    /// Adds rules, and remembers them.
    ///
    /// # Errors
    /// They hold from now on, but the file cannot be written; it names the file.
    pub fn allow(&mut self, rules: &[Rule]) -> io::Result<()> {
        for rule in rules {
            if !self.rules.contains(rule) {
                self.rules.push(rule.clone());
            }
        }
        let surplus = self.rules.len().saturating_sub(RULES_MAX);
        self.rules.drain(..surplus);
        let Some(file) = &self.file else {
            return Ok(());
        };
        let stored = Stored { version: VERSION, allow: self.rules.clone() };
        let mut text = serde_json::to_vec_pretty(&stored)?;
        text.push(b'\n');
        files::replace(file, &text, Some(0o600)).map_err(|error| named(file, &error))?;
        Ok(())
    }

    /// Whether one of them makes this free.
    pub fn cover(&self, need: &Need) -> bool {
        self.rules.iter().any(|rule| rule.covers(need))
    }

    /// What was allowed.
    pub fn list(&self) -> &[Rule] {
        &self.rules
    }
}

fn named(file: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", file.display()))
}
