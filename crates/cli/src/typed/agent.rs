//! The flags of `dwarfstar agent` and `dwarfstar chat`.
//!
//! As in `typed.rs`, only the form is decided here.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::steer::Steer;
use super::{Compute, Model, Sampling, Thinking};

/// Work on the files of a folder: a coding agent with the model in this process.
#[derive(Debug, Args)]
#[command(after_help = AGENT_HELP)]
pub struct Agent {
    #[command(flatten)]
    pub talk: Talk,

    /// Work in this folder [default: the current one]
    #[arg(long, value_name = "DIR", help_heading = "Permissions")]
    pub cd: Option<PathBuf>,

    /// What may be done without asking
    #[arg(long, value_enum, default_value = "ask")]
    #[arg(help_heading = "Permissions")]
    pub mode: Mode,

    /// Run commands without the sandbox
    #[arg(long, help_heading = "Permissions")]
    pub no_sandbox: bool,

    /// Let commands in the sandbox reach the network
    #[arg(long, help_heading = "Permissions")]
    pub allow_net: bool,

    /// Offer the model a tool that fetches pages
    #[arg(long, help_heading = "Permissions")]
    pub allow_fetch: bool,

    /// Offer the model the tools of the MCP servers that this file names
    #[arg(long, value_name = "FILE", help_heading = "Permissions")]
    pub mcp: Option<PathBuf>,
}

/// Talk with the model.
#[derive(Debug, Args)]
#[command(after_help = CHAT_HELP)]
pub struct Chat {
    #[command(flatten)]
    pub talk: Talk,
}

/// What a conversation is held with.
#[derive(Debug, Args)]
pub struct Talk {
    #[command(flatten)]
    pub model: Model,

    /// Ask this, print what comes of it, and end
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    #[arg(conflicts_with = "prompt_file", help_heading = "Prompt")]
    pub prompt: Option<String>,

    /// Ask what this file holds, and end; `-` reads all of standard input
    #[arg(long, value_name = "FILE", help_heading = "Prompt")]
    pub prompt_file: Option<PathBuf>,

    /// More instructions
    #[arg(long, value_name = "TEXT", help_heading = "Prompt")]
    pub system: Option<String>,

    #[command(flatten)]
    pub thinking: Thinking,

    /// Generate at most N tokens in one answer
    #[arg(short = 'n', long = "tokens", value_name = "N", default_value_t = 50_000)]
    #[arg(help_heading = "Generation")]
    pub tokens: usize,

    /// Reserve room for N tokens [default: 100000, or the model's own if smaller]
    #[arg(short, long, value_name = "N", help_heading = "Generation")]
    pub ctx: Option<usize>,

    #[command(flatten)]
    pub sampling: Sampling,

    /// Repeat the choices of an earlier run [default: random]
    #[arg(long, value_name = "N", help_heading = "Sampling")]
    pub seed: Option<u64>,

    /// Go on with the conversation whose ID begins so, or with the last one of this folder
    #[arg(long, value_name = "ID", num_args = 0..=1, default_missing_value = "")]
    #[arg(conflicts_with = "continue_last", help_heading = "Conversations")]
    pub resume: Option<String>,

    /// Go on with the last conversation of this folder
    #[arg(long = "continue", help_heading = "Conversations")]
    pub continue_last: bool,

    /// Keep nothing of the conversation on disk
    #[arg(long, conflicts_with_all = ["resume", "continue_last", "kv_dir"])]
    #[arg(help_heading = "Conversations")]
    pub no_keep: bool,

    /// Keep states of conversations in this folder [default: dwarfstar/kv in your cache folder]
    #[arg(long, value_name = "DIR", help_heading = "Conversations")]
    pub kv_dir: Option<PathBuf>,

    /// Let that folder take N GB at most; what was not used for long goes first
    #[arg(long, value_name = "N", default_value_t = 16, help_heading = "Conversations")]
    pub kv_disk_space: u64,

    #[command(flatten)]
    pub steer: Steer,

    /// Print one JSON object per event
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Print the answer only
    #[arg(short, long, help_heading = "Output", conflicts_with = "json")]
    pub quiet: bool,

    #[command(flatten)]
    pub compute: Compute,
}

/// What may be done without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Reading in the folder; all else is asked
    Ask,
    /// Reading and changing files in the folder
    AutoEdit,
    /// Everything in the folder, and commands
    Full,
}

const AGENT_HELP: &str = "\
In a terminal the agent has the whole screen. With -p, --prompt-file, or without a terminal it
answers one prompt, or each line of standard input, and prints text: the answer to standard output,
what is done on the way to standard error. Lines that begin with a slash are commands; /help lists
them.

Nobody can be asked then, so a call that would need a yes is refused, and the model is told. --mode
says what needs none.

Instructions of the project are read from AGENTS.md, then CLAUDE.md, from the root of the working
tree down to the folder, and before them your own in dwarfstar in your configuration folder.

Conversations are kept in dwarfstar/conversations in your state folder.

With --json each line is an object with the member `event`:
  opened          title, turns                            a conversation is gone on with
  turn_began      prompt, queued
  prefill         done, total                             tokens of the prompt that are read
  reasoning, text           text                          more of what the model says
  reasoning_end
  call_began      call, tool                              a call, counted in its answer
  call_arguments  text                                    more of the JSON text of its arguments
  call_ended, calls_ended
  calls_dropped   first                                   calls from this one on cannot be read
  refused         call, tool, title, reason               it would have needed a yes
  tool_began      call, title
  tool_output     call, text
  tool_ended      call, failed, milliseconds, shown       shown: text; or path, before, after
  turn_ended      end, why, read, cached, written, calls, prefill_milliseconds,
                  decode_milliseconds                     end: done, stopped, length, context_full,
                                                          failed
  answer, notice  text                                    of a command; about the conversation
  status          title, tokens, context, speed, queued, branch, thinking, mode, protection
  queued          queued
  closed

Exit codes: 0 the last turn is done, 1 it failed or was cut, 2 the command line was not understood,
130 interrupted.

Examples:
  dwarfstar agent -m model.gguf
  dwarfstar agent -m model.gguf -p \"Run the tests and fix what fails.\" --mode full
  dwarfstar agent -m model.gguf --continue
  dwarfstar agent -m model.gguf --json -p \"What does this project do?\" --cd project";

const CHAT_HELP: &str = "\
Lines that begin with a slash are commands; /help lists them. With -p, --prompt-file, or without a
terminal, one prompt or each line of standard input is answered. `dwarfstar agent --help` has the
form of --json.

Examples:
  dwarfstar chat -m model.gguf
  dwarfstar chat -m model.gguf --continue
  dwarfstar chat -m model.gguf --nothink -p \"Translate to French: good night\"";
