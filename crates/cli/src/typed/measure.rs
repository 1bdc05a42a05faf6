//! `dwarfstar perplexity` and `dwarfstar score` as they are typed: how well a model predicts.
//!
//! Whether files hold what they should is seen where they are read.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::steer::Steer;
use super::{Compute, Model};

/// Measure how well a model predicts a text, alone or against another model.
#[derive(Debug, Args)]
#[command(after_help = PERPLEXITY_HELP)]
pub struct Perplexity {
    /// The text, UTF-8; `-` reads standard input
    pub file: PathBuf,

    #[command(flatten)]
    pub model: Model,

    /// Compare with this model, the reference: how far -m is from what it says
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,

    /// Cut the text into chunks of N tokens, each of which is read from nothing
    #[arg(long, value_name = "N", default_value_t = 2048)]
    pub chunk: usize,

    /// Read the first N tokens of the text in each chunk and do not count them [default: half of a
    /// chunk]
    #[arg(long, value_name = "N")]
    pub skip: Option<usize>,

    /// Use the first N tokens of the text only
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<usize>,

    /// Keep the reference's logits in this folder meanwhile [default: the system's for temporary
    /// files]
    #[arg(long, value_name = "DIR", requires = "against")]
    pub scratch: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub steer: Steer,

    #[command(flatten)]
    pub compute: Compute,
}

const PERPLEXITY_HELP: &str = "\
The text becomes tokens, of which nothing is special. A chunk is the token that begins a text and
the next --chunk less one tokens; chunks follow each other and do not overlap, and what is left at
the end is a chunk too. The first --skip tokens of each are read only: with too little before it
no model predicts well. Figures are comparable where text, --chunk and --skip are the same, and
perplexities where the vocabulary is.

  nll            mean negative log-likelihood of the counted tokens, in nats, with its standard
                 error over tokens. Neighbours are not independent: take it as the least
  perplexity     e to the nll; its standard error is that of the nll times the perplexity
  bits per byte  the same in bits, over the bytes of the counted tokens

With --against the same tokens go to both models, whose vocabularies must be equal, and differences
are those of -m minus the reference:

  difference     of the nll, token by token, with the standard error of the pairs
  divergence     Kullback-Leibler, D(reference || model), per token in nats: what is lost by taking
                 -m for the reference. Mean, standard error, percentiles
  same choice    how often both find the same token most probable, with its 95 % interval (Wilson)
  probability    root mean square of the difference of the probability of what followed

The two models are never open at once: the reference goes first, its logits are kept in a temporary
file of 4 bytes for each token of the vocabulary and each counted token (517 kB per token for
Flash), then -m is opened and compared. Whether the disk has room is checked before. A model against
itself has a divergence of 0 on a CPU. --steer steers -m, never the reference: against itself, that
measures what steering does to what a model says.

Ctrl+C ends after the current step and shows what is complete.

Examples:
  dwarfstar perplexity book.txt -m model.gguf
  dwarfstar perplexity book.txt -m q2.gguf --against q4.gguf --max-tokens 20000
  git log -p | dwarfstar perplexity - -m model.gguf --chunk 8192 --skip 1024 --json";

/// Measure how probable stored answers are, token by token.
#[derive(Debug, Args)]
#[command(after_help = SCORE_HELP)]
#[command(group = ArgGroup::new("what").multiple(false).required(true))]
pub struct Score {
    /// Continuations, JSON Lines; `-` reads standard input
    #[arg(group = "what")]
    pub file: Option<PathBuf>,

    /// Answers of the official API with their log-probabilities: the test vectors of ds4
    #[arg(long, value_name = "FILE", group = "what")]
    pub vectors: Option<PathBuf>,

    /// Compare two results of --json: the older one, then the newer one; no model runs
    #[arg(long, value_names = ["OLD", "NEW"], num_args = 2, group = "what")]
    #[arg(conflicts_with_all = ["model", "against", "table", "think", "steer"])]
    pub compare: Option<Vec<PathBuf>>,

    #[command(flatten)]
    pub model: Model,

    /// Compare with this model, the reference, item by item
    #[arg(long, value_name = "FILE", conflicts_with = "vectors")]
    pub against: Option<PathBuf>,

    /// Let turns of the model begin with reasoning, which the continuations then hold too
    #[arg(long, conflicts_with = "vectors")]
    pub think: bool,

    /// Write a table too, CSV, one row per token
    #[arg(long, value_name = "FILE", conflicts_with = "vectors")]
    pub table: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub steer: Steer,

    #[command(flatten)]
    pub compute: Compute,
}

const SCORE_HELP: &str = "\
Each line of FILE is a JSON object, an item; other fields are left alone:

  prompt         a text that is continued, behind the token that begins a text; or
  messages       a conversation: a list of {role, content} with system, user and assistant
  continuation   what followed
  ends           true if the turn ended there: the end is then predicted too
  id             a name [default: the line]

Prompt and continuation become tokens apart. The model reads both and is asked before each token of
the continuation how probable it was.

  nll            negative log-likelihood in nats, per token. The mean over items counts each item
                 alike, the mean over tokens each token
  first          items whose first token the model would have chosen itself
  whole          items that it would have written just so, always choosing the most probable token

With --against, and with --compare, differences are of the nll per token, item by item: those of -m
minus the reference, of NEW minus OLD. Below 0 is better. An item must have the same number of
tokens in both. The reference goes first; the two models are never open at once.

The table has the columns item, position (from 0), token, text, nll, rank (1 is the most probable),
top, top_text. In texts, control characters, backslashes and bytes that are no character are shown
as escapes.

--vectors reads what the ds4 project keeps under tests/test-vectors (official.vec). Each case is a
prompt and a greedy answer with the 20 most probable tokens of each step. Prompts are looked for
beside the file, then in the folders above it. Per case: steps at which the most probable token is
the same, recorded tokens that are among as many most probable ones here, and the absolute
differences of their log-probabilities.

Examples:
  dwarfstar score answers.jsonl -m model.gguf --table tokens.csv
  dwarfstar score answers.jsonl -m q2.gguf --against q4.gguf
  dwarfstar score answers.jsonl -m model.gguf --json > new.json
  dwarfstar score --compare old.json new.json
  dwarfstar score --vectors ds4/tests/test-vectors/official.vec -m model.gguf";
