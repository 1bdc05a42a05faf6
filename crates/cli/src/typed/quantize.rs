//! `dwarfstar quantize` and `dwarfstar splice` as they are typed: files out of files.
//!
//! Recipes and rules are parsed in `meant/quantize.rs`; their names belong to the quantizer.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

/// Make a GGUF file from a checkpoint folder, or from another GGUF file.
#[derive(Debug, Args)]
#[command(after_help = QUANTIZE_HELP)]
#[command(group = ArgGroup::new("input").multiple(false).required(true))]
pub struct Quantize {
    /// The folder of the checkpoint: config.json and safetensors files, as published
    #[arg(long, value_name = "DIR", group = "input")]
    pub hf: Option<PathBuf>,

    /// The GGUF file to convert; its keys and tokenizer are kept
    #[arg(long, value_name = "FILE", group = "input")]
    pub from: Option<PathBuf>,

    /// How to store matrices: f32, f16, as-is, q8, q4, q2 or mxfp4
    #[arg(long, value_name = "RECIPE", required_unless_present = "template")]
    pub recipe: Option<String>,

    /// Make a checkpoint's file look like this GGUF file: its keys and tokenizer, the order of its
    /// tensors and, without --recipe, their formats; no weights are taken from it
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub template: Option<PathBuf>,

    /// An exception: matrices of these names in this format; may be repeated, the last one holds
    #[arg(long = "rule", value_name = "PATTERN=FORMAT")]
    pub rules: Vec<String>,

    /// How much columns matter, measured on text: an importance file, legacy or GGUF
    #[arg(long, value_name = "FILE")]
    pub imatrix: Option<PathBuf>,

    /// Refuse an importance file that leaves out a matrix which needs it
    #[arg(long, requires = "imatrix")]
    pub imatrix_strict: bool,

    /// The GGUF file to write
    #[arg(short, long, value_name = "FILE", required_unless_present = "dry_run")]
    pub out: Option<PathBuf>,

    /// Put this tokenizer.json into the file; a checkpoint's file understands only ids without one
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,

    /// The model's name as shown to people [default: the name of the folder, or in the file]
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,

    /// Compare what was written with this file, bit by bit, and count what differs
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub compare: Option<PathBuf>,

    /// Check everything and show what would be written, but write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Go on with an output that was begun and interrupted
    #[arg(long, conflicts_with = "dry_run")]
    pub resume: bool,

    /// Replace the output if it exists; without --resume, begin an interrupted one again
    #[arg(long)]
    pub force: bool,

    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
}

const QUANTIZE_HELP: &str = "\
Recipes:
  f32      every matrix in single precision: exact, and the largest
  f16      every matrix in half precision
  as-is    each matrix in the smallest format that holds its values exactly (FP4 experts stay FP4)
  q8       experts, attention, shared experts and head Q8_0, other matrices F16
  q4       as q8, experts Q4_K
  q2       as q8, experts IQ2_XXS (gate and up) and Q2_K (down): wants an importance file
  mxfp4    as q8, experts MXFP4: exact where the checkpoint has FP4, else rounded

Vectors are F32 in all of them. Rows that are not whole blocks of a format get Q8_0, or F16.

With --template and --imatrix a release is made in the layout of an earlier published file; keys
about how that file was made are left out, and every weight is made again. Both must be of one
model: all its numbers are compared.

Rules name tensors as `dwarfstar inspect` does; `*` stands for any characters, {a,b} for one of
several. Formats: F32, F16, BF16, Q8_0, Q2_K, Q4_K, IQ2_XXS, MXFP4.

The output appears whole or not at all. Until then it is OUT.partial, and OUT.partial.journal counts
what of that is complete and on the disk. After Ctrl+C, a full disk or a crash the same command with
--resume writes only what is missing; the file is the same, bit by bit.

Examples:
  dwarfstar quantize --hf checkpoint/ --recipe q2 --dry-run
  dwarfstar quantize --hf checkpoint/ --recipe as-is \\
      --tokenizer checkpoint/tokenizer.json --out model.gguf
  dwarfstar quantize --hf checkpoint/ --template published-q2.gguf \
      --imatrix model.imatrix.gguf --out model.gguf
  dwarfstar quantize --from model.gguf --recipe q2 --imatrix model.imatrix.dat \\
      --rule 'blk.{40,41,42}.ffn_*_exps.weight=q4_k' --out small.gguf";

/// Put expert layers of one GGUF file into another.
#[derive(Debug, Args)]
#[command(after_help = SPLICE_HELP)]
pub struct Splice {
    /// The file that gives everything else
    #[arg(long, value_name = "FILE")]
    pub base: PathBuf,

    /// The file that gives the experts of these layers
    #[arg(long, value_name = "FILE")]
    pub experts: PathBuf,

    /// The layers, from 0: numbers and ranges, such as 3,37-42
    #[arg(long, value_name = "LIST")]
    pub layers: String,

    /// The GGUF file to write
    #[arg(short, long, value_name = "FILE", required_unless_present = "dry_run")]
    pub out: Option<PathBuf>,

    /// Check everything and show what would be written, but write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Replace the output if it exists
    #[arg(long)]
    pub force: bool,

    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
}

const SPLICE_HELP: &str = "\
Both files must be of one shape. Nothing is converted: the routed experts of the named layers are
copied from one file, everything else, keys and tokenizer included, from the other.

The output appears whole or not at all.

Examples:
  dwarfstar splice --base q2.gguf --experts q4.gguf --layers 37-42 --out mixed.gguf";
