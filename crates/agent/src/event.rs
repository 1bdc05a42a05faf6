//! What the loop tells, and what it is told: the contract with everything that shows a
//! conversation.
//!
//! Events come in the order in which things happen; a turn is everything between
//! [`Event::TurnBegan`] and [`Event::TurnEnded`], and has one or more answers of the model with
//! the results of their calls between them. Wishes may come at any time: a prompt that comes while
//! a turn runs waits for its end, [`Wish::Stop`] ends the turn and keeps the conversation.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What happens in a conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A prompt's turn has come.
    TurnBegan {
        /// What the person asked.
        prompt: String,
        /// Prompts that wait behind it.
        queued: usize,
    },
    /// A prompt waits, since a turn is running.
    Queued {
        /// How many wait now.
        queued: usize,
    },
    /// Part of what the model is to read was read.
    Prefill {
        /// Tokens read, of `total`; those that needed no work count as read.
        done: usize,
        /// Tokens to read.
        total: usize,
    },
    /// Something was sampled: reasoning, text, or a call and its arguments, as early as they are
    /// certain.
    Said(text::Event),
    /// A call waits until the person has said yes or no ([`Wish::Consent`]).
    Consent(Consent),
    /// A call is being executed.
    ToolBegan {
        /// Which, counted from 0 in this answer.
        call: usize,
        /// In a line, for people: the command, the path.
        title: String,
    },
    /// A running tool has printed something, already harmless for a terminal.
    ToolOutput {
        /// Which call.
        call: usize,
        /// What it printed.
        text: String,
    },
    /// A call was executed, or refused.
    ToolEnded {
        /// Which call.
        call: usize,
        /// What came of it.
        shown: Shown,
        /// Whether the tool says that it failed.
        failed: bool,
        /// How long it took.
        took: Duration,
    },
    /// The turn is over, and the next may begin.
    TurnEnded {
        /// Why.
        end: TurnEnd,
        /// What it took.
        cost: Cost,
    },
    /// Something that the person should know, in a line.
    Notice(String),
    /// How things stand; comes whenever some of it has changed.
    Status(Status),
    /// The answer to a [`Wish::Command`], for people, in Markdown.
    Answer(String),
    /// Another conversation is shown from now on, from its beginning; what was shown goes.
    Opened {
        /// Its name.
        title: String,
        /// Everything so far.
        history: Vec<Past>,
    },
    /// The loop has ended; nothing comes after this.
    Closed,
}

/// A piece of a conversation that is shown again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Past {
    /// What the person asked.
    Prompt(String),
    /// What the model reasoned.
    Reasoning(String),
    /// What the model said.
    Text(String),
    /// A call, and what came of it.
    Call {
        /// The tool.
        name: String,
        /// JSON text of the arguments.
        arguments: String,
        /// What came of it.
        shown: Shown,
        /// Whether the tool says that it failed.
        failed: bool,
    },
    /// A line about the conversation itself, such as that its beginning was summed up.
    Notice(String),
}

/// What people see of a tool's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// Text, already harmless for a terminal.
    Text(String),
    /// A file that was made or changed.
    Change {
        /// Which.
        path: PathBuf,
        /// What it held; `None` if there was none.
        before: Option<String>,
        /// What it holds now.
        after: String,
    },
}

/// A call that needs a yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// Which call.
    pub call: usize,
    /// The tool.
    pub tool: String,
    /// What it would do, in a line.
    pub title: String,
    /// More of it: the whole command, the change.
    pub detail: Shown,
    /// Why it is asked.
    pub reason: String,
    /// What [`Verdict::Always`] would allow from then on, in a line; `None` where it allows
    /// nothing.
    pub always: Option<String>,
}

/// What the person says to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes, this once.
    Once,
    /// Yes, and calls like it in this project from now on.
    Always,
    /// No; what to do instead, if anything was said.
    No(Option<String>),
}

/// What the person wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// An answer to this.
    Prompt(String),
    /// The answer to [`Event::Consent`].
    Consent(usize, Verdict),
    /// To stop the turn; prompts that wait go back to whoever typed them.
    Stop,
    /// A line that begins with a slash.
    Command(String),
    /// To end.
    Quit,
}

/// Why a turn is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnEnd {
    /// The model has said what it had to say.
    Done,
    /// The person wanted it.
    Stopped,
    /// The answer came to the number of tokens that it may have.
    Length,
    /// The context is full.
    ContextFull,
    /// It cannot go on; why, in a line.
    Failed(String),
}

/// What a turn took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Tokens that were read, not counting those that needed no work.
    pub read: usize,
    /// Tokens that needed no work.
    pub cached: usize,
    /// How long reading took.
    pub prefill: Duration,
    /// Tokens that were written.
    pub written: usize,
    /// How long writing took.
    pub decode: Duration,
    /// Calls that were executed.
    pub calls: usize,
}

/// How things stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// The conversation's name.
    pub title: String,
    /// Tokens of it.
    pub tokens: usize,
    /// Tokens that fit.
    pub context: usize,
    /// Tokens per second of the last answer.
    pub speed: f64,
    /// Prompts that wait.
    pub queued: usize,
    /// The branch of the working tree, if it is one of git's.
    pub branch: Option<String>,
    /// Whether the model reasons first, and how hard: `think`, `nothink`, `think-max`.
    pub thinking: String,
    /// What may be done without asking: `ask`, `auto-edit`, `full`.
    pub mode: String,
    /// What keeps commands in: `landlock+seccomp`, or that nothing does.
    pub protection: String,
}
