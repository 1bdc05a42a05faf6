//! Answers the loop's questions in a working tree: by the mode, the rules of the project, and the
//! copies that are kept of files.
//!
//! The decisions are `permit`'s and the copies `undo`'s; here they get the state that they need
//! (which mode it is, which rules were said) and lines for people.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::gate::{Decision, Gate, Keeper};
use crate::permit::{self, Mode, Rules};
use crate::tools::{Need, Plan};
use crate::undo::{Changed, Undone};
use crate::workplace::Workplace;

/// Decides what may be done in a working tree.
#[derive(Debug)]
pub struct Warden {
    place: Arc<Workplace>,
    mode: Mode,
    rules: Rules,
    protection: String,
}

impl Warden {
    /// Begins with a mode and the rules of the project. `protection` says what keeps commands in.
    ///
    /// # Errors
    /// The rules cannot be read.
    pub fn new(place: Arc<Workplace>, mode: Mode, protection: String) -> io::Result<Warden> {
        let rules = place.rules().map_or_else(|| Ok(Rules::default()), Rules::open)?;
        Ok(Warden { place, mode, rules, protection })
    }
}

/// What a protection that does not protect is called; why follows.
const NONE: &str = "none";

impl Gate for Warden {
    fn decide(&self, _: &str, plan: &Plan) -> Decision {
        let decision = self.place.decide(self.mode, &self.rules, plan);
        let always = decision.always_line();
        match decision {
            permit::Decision::Allow => Decision::Allow,
            permit::Decision::Deny(why) => Decision::Deny(why),
            permit::Decision::Ask { mut reason, .. } => {
                let runs = plan.needs.iter().any(|need| matches!(need, Need::Run(_)));
                if let Some(why) = self.protection.strip_prefix(NONE).filter(|_| runs) {
                    reason += &format!("; nothing keeps it from other files and the network{why}");
                }
                Decision::Ask { reason, always }
            }
        }
    }

    fn always(&mut self, _: &str, plan: &Plan) -> Result<(), String> {
        let decided = self.place.decide(self.mode, &self.rules, plan);
        let permit::Decision::Ask { always, .. } = decided else { return Ok(()) };
        if always.is_empty() {
            return Err("calls like this are asked about every time".to_owned());
        }
        self.rules.allow(&always).map_err(|error| format!("not remembered: {error}"))
    }

    fn mode(&self) -> String {
        self.mode.name().to_owned()
    }

    fn set_mode(&mut self, mode: &str) -> Result<(), String> {
        let names = || Mode::NAMES.map(|(name, _)| name).join(", ");
        let unknown = || format!("there is no mode {mode:?}; the modes are: {}", names());
        self.mode = Mode::named(mode).ok_or_else(unknown)?;
        Ok(())
    }

    fn protection(&self) -> String {
        self.protection.clone()
    }

    fn set_context(&mut self, tokens: usize) {
        self.place.set_context(tokens);
    }
}

/// Keeps copies of what tools change in a working tree.
#[derive(Debug)]
pub struct Copies(pub Arc<Workplace>);

/// Files that one line names.
const NAMED_MAX: usize = 10;

impl Keeper for Copies {
    fn turn_begins(&mut self, turn: &str) {
        self.0.undo.begin_turn(turn);
    }

    fn undo_turn(&mut self, turn: &str, force: bool) -> Result<Vec<String>, String> {
        let name = |path: &Path| self.0.name(path);
        let undone = self.0.undo.undo_turn(turn, force).map_err(|Changed(paths)| {
            let named: Vec<String> = paths.iter().take(NAMED_MAX).map(|path| name(path)).collect();
            let more = if paths.len() > NAMED_MAX { ", ..." } else { "" };
            format!(
                "not taken back, since these were changed by others since: {}{more}; /undo force \
                 writes over them",
                named.join(", ")
            )
        })?;
        let Undone { restored, removed, uncovered, failed } = undone;
        let restored = restored.iter().map(|path| format!("restored {}", name(path)));
        let removed = removed.iter().map(|path| format!("removed {}", name(path)));
        let uncovered = uncovered.into_iter().map(|what| format!("not covered: {what}"));
        let failed = failed.into_iter().map(|what| format!("failed: {what}"));
        Ok(restored.chain(removed).chain(uncovered).chain(failed).collect())
    }
}
