//! What the loop asks others about calls: whether one may be executed, and what changes files keep.
//!
//! The rules themselves are not here. The loop hands a [`Gate`] the plan of a call and does what it
//! decides; before a turn it tells a [`Keeper`], which keeps what the turn's tools overwrite. Both
//! are values that whoever starts the agent brings, so that tests bring small ones.

use crate::tools::Plan;

/// What is to become of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is executed.
    Allow,
    /// The person is asked.
    Ask {
        /// Why, in a line.
        reason: String,
        /// What a lasting yes would allow, in a line; `None` where it allows nothing.
        always: Option<String>,
    },
    /// It is not executed; why, as a text that the model can learn from.
    Deny(String),
}

/// Decides what may be done.
pub trait Gate: Send {
    /// What is to become of a call of `tool`.
    fn decide(&self, tool: &str, plan: &Plan) -> Decision;

    /// The person has said yes to calls like this one, from now on.
    ///
    /// # Errors
    /// Why that could not be kept; this call is executed all the same.
    fn always(&mut self, tool: &str, plan: &Plan) -> Result<(), String>;

    /// The mode: `ask`, `auto-edit`, `full`.
    fn mode(&self) -> String;

    /// Changes the mode.
    ///
    /// # Errors
    /// There is no such mode; which ones there are.
    fn set_mode(&mut self, mode: &str) -> Result<(), String>;

    /// What keeps commands in, or that nothing does.
    fn protection(&self) -> String;

    /// The context has room for so many tokens from now on, which bounds what a result may hold.
    fn set_context(&mut self, _tokens: usize) {}
}

/// Keeps what tools change, so that a turn can be taken back, also after a restart.
pub trait Keeper: Send {
    /// A turn of this name begins: what its tools change belongs to it.
    fn turn_begins(&mut self, turn: &str);

    /// Puts back what the tools of a turn changed, and forgets that turn. A line for each file.
    /// What somebody else has changed since is written over only with `force`.
    ///
    /// # Errors
    /// Why nothing was changed, in a line.
    fn undo_turn(&mut self, turn: &str, force: bool) -> Result<Vec<String>, String>;
}

/// The gate of a conversation without tools: it is never asked, and would allow nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shut;

impl Gate for Shut {
    fn decide(&self, _: &str, _: &Plan) -> Decision {
        Decision::Deny("this conversation has no tools".to_owned())
    }

    fn always(&mut self, _: &str, _: &Plan) -> Result<(), String> {
        Err("this conversation has no tools".to_owned())
    }

    fn mode(&self) -> String {
        String::new()
    }

    fn set_mode(&mut self, _: &str) -> Result<(), String> {
        Err("this conversation has no tools, so there is nothing to allow".to_owned())
    }

    fn protection(&self) -> String {
        String::new()
    }
}
