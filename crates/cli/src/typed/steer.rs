//! The flags of steering: those that many commands have, and the commands of `dwarfstar steer`.
//!
//! As in `typed.rs`, only the form is decided here.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Compute, Model, Thinking};

/// How answers are steered.
#[derive(Debug, Args)]
#[command(next_help_heading = "Steering")]
pub struct Steer {
    /// Steer along the directions in this file; `dwarfstar steer --help` explains it
    #[arg(long, value_name = "FILE")]
    pub steer: Option<PathBuf>,

    /// Take S times their direction out of what experts write, from -100 to 100; less than 0 adds
    /// [default: 1 with --steer]
    #[arg(long, value_name = "S", requires = "steer", allow_negative_numbers = true)]
    pub steer_ffn: Option<f32>,

    /// The same for what attention writes [default: 0]
    #[arg(long, value_name = "S", requires = "steer", allow_negative_numbers = true)]
    pub steer_attn: Option<f32>,
}

/// Push answers in a direction: find one, try it, measure what it does.
#[derive(Debug, Args)]
#[command(after_help = HELP, arg_required_else_help = true, subcommand_required = true)]
pub struct Steering {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Build(Build),
    Apply(Apply),
    Sweep(Sweep),
}

const HELP: &str = "\
A direction is a vector per layer, along which what the layer writes differs between prompts that
have something and prompts that have it not. A scale of 1 takes out what lies along it, 2 mirrors
it, and a scale below 0 adds more of it. What that does to answers is to be measured: too much of
either makes them worse.

  1. Write pairs of prompts that differ in one respect only, some hundred if you can, one pair per
     line: {\"positive\": \"Explain tides at length.\", \"negative\": \"Explain tides briefly.\"}
     A prompt is a text, or a list of messages with `role` and `content`.
  2. `build` finds the directions, and says for each layer how well they tell such prompts apart.
  3. `sweep` answers other prompts under one scale after the other, and `apply` shows one answer
     beside the one without steering. Layers that do nothing but harm can be left out: --layers.
  4. `run`, `chat`, `agent` and `serve` take --steer FILE with --steer-ffn and --steer-attn. A
     request to the server may say {\"steer\": {\"ffn\": 1, \"attn\": 0}}, in every dialect.

The file holds 32-bit floats, little end first, layers x width of them, and nothing else. Lengths
count; `build` makes them 1. A row of zeros leaves its layer alone.

Examples:
  dwarfstar steer build -m model.gguf --pairs length.jsonl --out length.f32
  dwarfstar steer sweep -m model.gguf --steer length.f32 --prompts questions.jsonl --ffn 2,1,-1,-2
  dwarfstar steer apply -m model.gguf --steer length.f32 --ffn 1.5 -p \"Explain rainbows.\"
  dwarfstar run -m model.gguf --steer length.f32 --steer-ffn 1.5 -p \"Explain rainbows.\"";

/// Find directions from pairs of prompts.
#[derive(Debug, Args)]
#[command(after_help = BUILD_HELP)]
pub struct Build {
    #[command(flatten)]
    pub model: Model,

    /// Pairs, one JSON object per line: {"positive": ..., "negative": ...}
    #[arg(long, value_name = "FILE")]
    pub pairs: PathBuf,

    /// Look at what experts write, or attention
    #[arg(long, value_enum, default_value = "ffn")]
    pub at: Point,

    /// Take the mean over the last N tokens of a prompt
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub last: usize,

    /// Directions for these layers only, such as 10-30; the others stay zero [default: all]
    #[arg(long, value_name = "FIRST-LAST")]
    pub layers: Option<String>,

    #[command(flatten)]
    pub thinking: Thinking,

    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,

    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub compute: Compute,
}

const BUILD_HELP: &str = "\
What is printed for each layer:
  length       of the difference between the means of both kinds, before it is made 1
  separation   how far apart the means lie along it, in deviations within a kind. It flatters: with
               few pairs it is large in any direction
  held out     the part of the pairs that are told apart by the direction which all other pairs
               give: 100 % is what you want, 50 % is a coin";

/// Where a layer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Point {
    /// What the experts give, the shared one included
    Ffn,
    /// What attention gives
    Attn,
}

/// Scales to try.
#[derive(Debug, Args)]
pub struct Scales {
    /// Scales of what experts write, from -100 to 100: a number, or a list such as 2,1,-1
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1")]
    #[arg(allow_negative_numbers = true, allow_hyphen_values = true)]
    pub ffn: Vec<f32>,

    /// Scales of what attention writes, each together with each of the others
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0")]
    #[arg(allow_negative_numbers = true, allow_hyphen_values = true)]
    pub attn: Vec<f32>,
}

/// Answer a prompt without steering, and with it.
#[derive(Debug, Args)]
pub struct Apply {
    #[command(flatten)]
    pub model: Model,

    /// The directions
    #[arg(long, value_name = "FILE")]
    pub steer: PathBuf,

    #[command(flatten)]
    pub scales: Scales,

    /// What to ask
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: String,

    #[command(flatten)]
    pub thinking: Thinking,

    /// Generate at most N tokens in one answer; the most probable ones
    #[arg(short = 'n', long = "tokens", value_name = "N", default_value_t = 256)]
    pub tokens: usize,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub compute: Compute,
}

/// Answer many prompts under one scale after the other, and measure the answers.
#[derive(Debug, Args)]
#[command(after_help = SWEEP_HELP)]
pub struct Sweep {
    #[command(flatten)]
    pub model: Model,

    /// The directions
    #[arg(long, value_name = "FILE")]
    pub steer: PathBuf,

    #[command(flatten)]
    pub scales: Scales,

    /// Prompts, one JSON object per line: {"prompt": ...}
    #[arg(long, value_name = "FILE")]
    pub prompts: PathBuf,

    /// Count what this regular expression finds in answers
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true)]
    pub count: Option<String>,

    #[command(flatten)]
    pub thinking: Thinking,

    /// Generate at most N tokens in one answer; the most probable ones
    #[arg(short = 'n', long = "tokens", value_name = "N", default_value_t = 128)]
    pub tokens: usize,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub compute: Compute,
}

const SWEEP_HELP: &str = "\
The first row is without steering. What is printed for each row:
  tokens    of an answer, in the mean
  ended     answers that ended of themselves, and not because of -n
  same      answers that are those of the first row, token by token
  nll       how improbable the answers are for the model without steering, in nats per token: far
            above the first row, steering has left what the model would ever say
  found     how often --count was found, in all answers together";
