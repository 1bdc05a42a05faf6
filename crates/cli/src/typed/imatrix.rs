//! `dwarfstar imatrix` as it is typed: how much the columns of expert matrices matter.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Compute, Model};

/// Measure which columns of the expert matrices matter, for `dwarfstar quantize --imatrix`.
#[derive(Debug, Args)]
#[command(after_help = IMATRIX_HELP)]
pub struct Imatrix {
    #[command(flatten)]
    pub model: Model,

    /// Texts to read: plain text, or JSON Lines (*.jsonl)
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub text: Vec<PathBuf>,

    /// The importance file to write
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,

    /// The layout of that file
    #[arg(long, value_enum, default_value_t = Format::Gguf)]
    pub format: Format,

    /// Cut texts into chunks of N tokens at most, each of which is read from nothing
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub chunk: usize,

    /// Read the first N tokens only
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<usize>,

    /// Go on with a measurement that was interrupted
    #[arg(long)]
    pub resume: bool,

    /// Replace the output if it exists; without --resume, begin an interrupted measurement again
    #[arg(long)]
    pub force: bool,

    /// Keep what is measured after every N chunks
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub save_every: usize,

    /// Name the experts that fewer than N tokens chose
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub few: u64,

    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub compute: Compute,
}

/// Layouts that have a name here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Sums and counts, as llama.cpp writes them today
    Gguf,
    /// Means, as ds4 reads them (.dat)
    Legacy,
}

const IMATRIX_HELP: &str = "\
The model reads the texts and writes nothing. For each expert the squares of what its matrices are
multiplied with are added up, column by column: of the inputs of gate and up, and of those of down,
which have the expert's share in them. With such a file `dwarfstar quantize` puts small errors where
they matter; use texts like those that the model is for, and others than those that you measure the
result with. The measurement is best made of the best file that there is, not of the one in q2.

Files whose name ends in .jsonl have one object per line: {\"prompt\": \"...\"} or {\"messages\":
[{\"role\": \"user\", \"content\": \"...\"}, ...]}, which are read in the chat format, or
{\"text\": \"...\"}. All other files are plain text. A chunk begins a text, or a line, or goes on
where the one before it was full.

What is measured is kept in OUT.partial meanwhile, whole after each --save-every chunks and when
Ctrl+C is pressed; --resume goes on from there and needs the same model and the same texts, to
which more may have been added at the end, or a larger --max-tokens. The result is the same, bit by
bit. It is an importance file in the GGUF layout that `dwarfstar quantize` takes as it is.

An expert that few tokens chose is not known well, one that nobody chose not at all: more text, or
other text, helps.

Examples:
  dwarfstar imatrix -m model.gguf --text book.txt code.txt --out model.imatrix.gguf
  dwarfstar imatrix -m model.gguf --text chats.jsonl --max-tokens 2000000 --out model.imatrix.gguf
  dwarfstar imatrix -m model.gguf --text chats.jsonl --out model.imatrix.gguf --resume
  dwarfstar quantize --from model.gguf --recipe q2 --imatrix model.imatrix.gguf --out small.gguf";
