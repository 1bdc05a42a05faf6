//! What was typed: every flag of every command, with the help that people read.
//!
//! Only the form is decided here (which flags exist, which exclude each other, what is a number).
//! Whether the values make sense is decided in `meant.rs`, which is all that reads these types.

pub mod agent;
pub mod eval;
pub mod imatrix;
pub mod kv;
pub mod measure;
pub mod pull;
pub mod quantize;
pub mod serve;
pub mod steer;

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

/// Run DeepSeek V4 models on this machine.
#[derive(Debug, Parser)]
#[command(name = "dwarfstar", version, max_term_width = 100, after_help = TOP_HELP)]
#[command(arg_required_else_help = true, subcommand_required = true)]
pub struct Typed {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Run(Run),
    Chat(agent::Chat),
    Agent(agent::Agent),
    Serve(serve::Serve),
    Inspect(Inspect),
    Tokenize(Tokenize),
    Logits(Logits),
    Imatrix(imatrix::Imatrix),
    Quantize(quantize::Quantize),
    Splice(quantize::Splice),
    Bench(Bench),
    Perplexity(measure::Perplexity),
    Score(measure::Score),
    Eval(Box<eval::Eval>),
    Kv(kv::Kv),
    Pull(pull::Pull),
    Synth(Synth),
    Steer(steer::Steering),
}

const TOP_HELP: &str = "\
Examples:
  dwarfstar pull q2-imatrix
  dwarfstar run -m model.gguf -p \"Why is the sky dark at night?\"
  dwarfstar chat -m model.gguf
  dwarfstar agent -m model.gguf
  dwarfstar serve -m model.gguf
  dwarfstar inspect model.gguf
  dwarfstar quantize --hf checkpoint/ --recipe f16 --out model.gguf

`dwarfstar COMMAND --help` explains a command. Exit codes: 0 done, 1 something went wrong and the
message says what, 2 the command line was not understood, 130 interrupted.";

/// Answer a prompt, streaming the text.
#[derive(Debug, Args)]
#[command(after_help = RUN_HELP)]
pub struct Run {
    #[command(flatten)]
    pub model: Model,

    /// What to ask
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    #[arg(conflicts_with = "prompt_file", help_heading = "Prompt")]
    pub prompt: Option<String>,

    /// Ask what this file holds, exactly; `-` reads standard input
    #[arg(long, value_name = "FILE", help_heading = "Prompt")]
    pub prompt_file: Option<PathBuf>,

    /// Instructions before the question
    #[arg(long, value_name = "TEXT", help_heading = "Prompt")]
    pub system: Option<String>,

    /// Continue the text as it is: no chat format, no markers but the one that begins a text
    #[arg(long, help_heading = "Prompt", conflicts_with_all = ["system", "thinking"])]
    pub raw_prompt: bool,

    #[command(flatten)]
    pub thinking: Thinking,

    /// Generate at most N tokens [default: until the answer or the context ends]
    #[arg(short = 'n', long = "tokens", value_name = "N", help_heading = "Generation")]
    pub tokens: Option<usize>,

    /// Reserve room for N tokens, prompt and answer [default: 32768, or the model's own if smaller]
    #[arg(short, long, value_name = "N", help_heading = "Generation")]
    pub ctx: Option<usize>,

    #[command(flatten)]
    pub sampling: Sampling,

    /// Repeat the choices of an earlier run [default: random, and printed at the end]
    #[arg(long, value_name = "N", help_heading = "Sampling")]
    pub seed: Option<u64>,

    #[command(flatten)]
    pub steer: steer::Steer,

    #[command(flatten)]
    pub compute: Compute,

    /// Compute without the roundings that the model was trained with. A diagnostic: answers are
    /// not better for it
    #[arg(long, help_heading = "Generation")]
    pub no_activation_rounding: bool,

    /// Keep states of long conversations in this folder, and go on from those that are there
    #[arg(long, value_name = "DIR", help_heading = "Conversations on disk")]
    pub kv_dir: Option<PathBuf>,

    /// Let that folder take N GB at most; what was not used for long goes first
    #[arg(long, value_name = "N", default_value_t = 16, requires = "kv_dir")]
    #[arg(help_heading = "Conversations on disk")]
    pub kv_disk_space: u64,

    /// Print the reasoning too where it would be left out, between <think> and </think>
    #[arg(long, help_heading = "Output", conflicts_with = "json")]
    pub show_thinking: bool,

    /// Print one JSON object at the end instead of streaming text
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Print the answer only: no reasoning, no progress, no speeds
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
}

const RUN_HELP: &str = "\
What goes where:
  Standard output carries the answer. Reasoning is for whoever watches: it is shown dimmed on the
  terminal, and left out of pipes and files. Progress and speeds go to standard error. Ctrl+C ends
  after the current token; a second one ends at once.

Examples:
  dwarfstar run -m model.gguf -p \"Why is the sky dark at night?\"
  dwarfstar run -m model.gguf --prompt-file question.txt --nothink -n 2000 > answer.txt
  git diff | dwarfstar run -m model.gguf --system \"Review this change.\" --prompt-file -
  dwarfstar run -m model.gguf --raw-prompt -p \"Once upon a time\" -n 64 --temp 0";

/// The model file.
#[derive(Debug, Args)]
pub struct Model {
    /// The model: a GGUF file, any one of its shards, or nano, the small model inside the program
    /// [default: the one that `dwarfstar pull` has fetched, or nano]
    #[arg(short, long = "model", value_name = "FILE")]
    pub model: Option<PathBuf>,
}

/// What computes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Machine")]
pub struct Compute {
    /// What computes: auto (a CUDA device if there is one, else cpu), cuda, cuda:N, cpu, reference
    #[arg(long, default_value = "auto")]
    pub device: Device,

    /// Compute with N threads [default: one per processor that this process may use]
    #[arg(short, long, value_name = "N")]
    pub threads: Option<usize>,
}

/// Devices that have a name here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The first CUDA device, if there is one that works; else the processor.
    Auto,
    /// A CUDA device, by its number.
    Cuda(usize),
    /// The processor, with the best vector instructions that it has.
    Cpu,
    /// The plain loops, in floats throughout, that every other device is tested against: slow.
    Reference,
}

impl std::str::FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Device, String> {
        match text {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "reference" => Ok(Device::Reference),
            "cuda" => Ok(Device::Cuda(0)),
            _ => {
                let ordinal = text.strip_prefix("cuda:").and_then(|n| n.parse().ok());
                let unknown = "expected auto, cuda, cuda:N, cpu or reference";
                ordinal.map(Device::Cuda).ok_or_else(|| unknown.to_owned())
            }
        }
    }
}

/// Whether the model reasons before it answers.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("thinking").multiple(false))]
pub struct Thinking {
    /// Reason before answering (the default)
    #[arg(long, group = "thinking", help_heading = "Prompt")]
    pub think: bool,

    /// Answer at once
    #[arg(long, group = "thinking", help_heading = "Prompt")]
    pub nothink: bool,

    /// Reason as hard as possible; needs a context of 393,216 tokens, otherwise as --think
    #[arg(long, group = "thinking", help_heading = "Prompt")]
    pub think_max: bool,
}

/// How tokens are chosen.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub struct Sampling {
    /// How freely to choose: 0 takes the most probable token, 1 chooses as trained
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    #[arg(default_value_t = engine::Sampling::default().temperature)]
    pub temp: f32,

    /// Choose among the most probable tokens that make up this probability together
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    #[arg(default_value_t = engine::Sampling::default().top_p)]
    pub top_p: f32,

    /// Choose among the K most probable tokens; 0 means all
    #[arg(long, value_name = "K")]
    #[arg(default_value_t = engine::Sampling::default().top_k)]
    pub top_k: usize,

    /// Leave out tokens less probable than this fraction of the most probable one
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    #[arg(default_value_t = engine::Sampling::default().min_p)]
    pub min_p: f32,
}

/// Show what a GGUF file holds, what it needs, and what it lacks.
#[derive(Debug, Args)]
#[command(after_help = INSPECT_HELP)]
pub struct Inspect {
    /// The GGUF file, any one of its shards, or nano, the small model inside the program [default:
    /// the one that `dwarfstar pull` has fetched, or nano]
    pub file: Option<PathBuf>,

    /// Show the memory for a context of N tokens too
    #[arg(short, long, value_name = "N")]
    pub ctx: Option<usize>,

    /// List every tensor
    #[arg(long)]
    pub tensors: bool,

    /// Read every value of every tensor, looking for NaN, infinities and expert ids out of range
    #[arg(long)]
    pub check: bool,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

const INSPECT_HELP: &str = "\
The memory table is for `dwarfstar run`: weights stay in the mapped file, rows grow with the
conversation up to what is shown.

Exit code 1 means that the file cannot be read, or that --check found damage. A file that can be
read but not run is shown, with the reasons.

Examples:
  dwarfstar inspect model.gguf
  dwarfstar inspect model.gguf --ctx 200000
  dwarfstar inspect model.gguf --check
  dwarfstar inspect model.gguf --json --tensors";

/// Show how text becomes tokens, and tokens text.
#[derive(Debug, Args)]
#[command(after_help = TOKENIZE_HELP)]
#[command(group = ArgGroup::new("input").multiple(false))]
pub struct Tokenize {
    #[command(flatten)]
    pub model: Model,

    /// Use this tokenizer.json instead of the tokenizer of a model file
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    pub tokenizer: Option<PathBuf>,

    /// The text
    #[arg(group = "input")]
    pub text: Option<String>,

    /// Read the text from a file; `-` reads standard input
    #[arg(long, value_name = "FILE", group = "input")]
    pub file: Option<PathBuf>,

    /// Print the text of token ids: a list such as 1,2,3, or @FILE
    #[arg(long, value_name = "IDS", group = "input", conflicts_with_all = ["chat", "count"])]
    pub decode: Option<String>,

    /// Take the text as a user's turn, with all markers around it
    #[arg(long)]
    pub chat: bool,

    /// Instructions before the turn, with --chat
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub system: Option<String>,

    #[command(flatten)]
    pub thinking: Thinking,

    /// Print only how many tokens there are
    #[arg(long)]
    pub count: bool,

    /// Print one JSON object
    #[arg(long, conflicts_with = "count")]
    pub json: bool,
}

const TOKENIZE_HELP: &str = "\
Each line is an id and the text it stands for, in quotes. Bytes that are no whole character are
shown as \\x escapes, control tokens without quotes. Text never becomes a control token, however
it is spelled.

Examples:
  dwarfstar tokenize -m model.gguf \"The night train\"
  dwarfstar tokenize -m model.gguf --chat --nothink \"Hello\"
  dwarfstar tokenize -m model.gguf --file book.txt --count
  dwarfstar tokenize --tokenizer checkpoint/tokenizer.json --decode 671,4676";

/// Write the logits of given tokens as a numpy array.
#[derive(Debug, Args)]
#[command(after_help = LOGITS_HELP)]
pub struct Logits {
    #[command(flatten)]
    pub model: Model,

    /// Token ids: a list such as 1,2,3, or @FILE with ids between commas or white space, or a JSON
    /// list
    #[arg(long, value_name = "IDS")]
    pub tokens: String,

    /// Write the last N positions only, or all if there are fewer [default: all]
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,

    /// How compressed KV rows are kept
    #[arg(long, value_enum, default_value_t = Rows::F32)]
    pub rows: Rows,

    /// Compute without the roundings that the model was trained with
    #[arg(long, conflicts_with = "rows")]
    pub no_activation_rounding: bool,

    /// What computes: reference, cpu, cuda, cuda:N, auto
    #[arg(long, default_value = "reference")]
    pub device: Device,

    /// Compute with N threads [default: one per processor that this process may use]
    #[arg(short, long, value_name = "N")]
    pub threads: Option<usize>,

    /// The .npy file to write: 32-bit floats [positions, vocabulary]
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,

    #[command(flatten)]
    pub steer: steer::Steer,
}

/// Row formats that have a name here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rows {
    /// 32-bit floats, rounded where the model was trained with rounding: the reference numerics
    F32,
    /// What `dwarfstar run` uses: the same, in 583 bytes per row, rotary channels in BF16
    Packed,
}

const LOGITS_HELP: &str = "\
Three ways of computing, to compare with other implementations:
  --rows f32                 as trained: KV and indexer rows pass through FP8 and FP4 (the default)
  --rows packed              as `dwarfstar run` keeps rows: also, rotary channels pass through BF16
  --no-activation-rounding   no rounding of rows at all

The reference device multiplies weights with 32-bit activations. With `--device cpu`, as in
`dwarfstar run`, activations are rounded to 8 bits where the weights are quantized.

The output appears whole or not at all. An existing file is replaced.

Examples:
  dwarfstar logits -m model.gguf --tokens 0,295,469,398 --out logits.npy
  dwarfstar logits -m model.gguf --tokens @ids.json --last 16 --out logits.npy
  python -c \"import numpy; print(numpy.load('logits.npy').argmax(-1))\"";

/// Measure speed, and how much of what the memory allows is reached.
#[derive(Debug, Args)]
#[command(after_help = BENCH_HELP)]
pub struct Bench {
    #[command(flatten)]
    pub model: Model,

    /// Measure a random model that is nowhere stored, of a shape and a recipe: flash-q2, pro-q4
    #[arg(long, value_name = "SHAPE-RECIPE", conflicts_with = "model")]
    pub synthetic: Option<String>,

    /// Only the first N layers of it
    #[arg(long, value_name = "N", requires = "synthetic")]
    pub layers: Option<usize>,

    /// Time every kernel where it runs, too (CUDA)
    #[arg(long)]
    pub profile: bool,

    /// Measure reading prompts of so many tokens: a number, or a list such as 128,512; 0 for none
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "512")]
    pub prompt: Vec<usize>,

    /// Measure writing so many tokens, one after the other; 0 for none
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub decode: usize,

    /// Write them after so many tokens of context: a number, or a list such as 0,2048,8192
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0")]
    pub contexts: Vec<usize>,

    /// Write in so many sessions together, each behind its own context: a number, or a list
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1")]
    pub sessions: Vec<usize>,

    /// Measure everything N times, after one time that does not count
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub repeat: usize,

    /// Draw other tokens
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    /// Write a table too, one row per figure
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,

    /// Draw the figures too, as an SVG
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,

    /// Compare two results of --json, the older one and the newer one; nothing is measured
    #[arg(long, value_names = ["OLD", "NEW"], num_args = 2, conflicts_with_all = MEASURING)]
    pub compare: Option<Vec<PathBuf>>,

    /// End with exit code 1 if a figure is slower by more than this, and noise does not explain it
    #[arg(long, value_name = "PERCENT", requires = "compare", allow_negative_numbers = true)]
    pub fail_slower: Option<f64>,

    #[command(flatten)]
    pub steer: steer::Steer,

    #[command(flatten)]
    pub compute: Compute,
}

/// Flags that are about a measurement.
const MEASURING: [&str; 15] = [
    "model",
    "synthetic",
    "layers",
    "profile",
    "prompt",
    "decode",
    "contexts",
    "sessions",
    "repeat",
    "seed",
    "csv",
    "plot",
    "device",
    "threads",
    "steer",
];

const BENCH_HELP: &str = "\
Figures are medians, with the smallest and the largest beside them. The tokens are random ones
without special meaning, always the same for a seed; what the model would like to say is never
looked at, so every run does the same work.

  prefill   tokens per second of reading a prompt into an empty session, and the time to the first
            token: from the start to the logits after the prompt
  decode    tokens per second of feeding token after token behind a context, of all sessions
            together; the repeats follow each other, so the last one begins a little later.
            p99 ms: 99 of 100 steps took less

  memory    how fast as many threads read plain memory here and now
  bound     what decoding could reach at most if reading weights were all there is to do: the memory
            over the bytes of weights that a token needs (all matrices once, of the experts those
            that are used, one row of the embedding). KV rows come on top of that
  kernel    how long after it could begin the next one could, so that gaps count; and how fast it
            read weights

The number at the end of a line is a hash of the last logits (64-bit FNV-1a of their bytes). It is
equal in two runs if they computed exactly the same.

Before anything is measured, all weights are brought to memory, if it can hold them. Other work on
the machine shows in the figures.

--compare sets figures of the same tokens, context and sessions side by side. A verdict is given if
the repeats of one run are so far above those of the other that chance alone would do it once in a
hundred times (the rank test of Mann, Whitney and Wilcoxon), which takes at least 5 repeats in both.
Noise between runs, such as a warmer machine, is not among repeats: measure both in turn. What
differs otherwise (model, device, threads, seed, speed of memory) is told.

Examples:
  dwarfstar bench
  dwarfstar bench -m model.gguf --prompt 128,512 --decode 32 --contexts 0,2048,8192
  dwarfstar bench -m model.gguf --threads 8 --repeat 9 --json > new.json
  dwarfstar bench --compare old.json new.json --fail-slower 5
  dwarfstar synth --shape flash --layers 4 --recipe q2 --out flash4.gguf
  dwarfstar bench -m flash4.gguf --csv flash4.csv
  dwarfstar bench --synthetic flash-q2 --contexts 2048,8192,32768 --sessions 1,16 --plot speed.svg";

/// Write a random model of a given shape, to measure and test with.
#[derive(Debug, Args)]
#[command(after_help = SYNTH_HELP)]
#[command(group = ArgGroup::new("origin").multiple(false).required(true))]
pub struct Synth {
    /// The shape of this model
    #[arg(long, value_enum, group = "origin")]
    pub shape: Option<ShapeName>,

    /// The shape of this GGUF file, and its tokenizer if it has one
    #[arg(long, value_name = "FILE", group = "origin")]
    pub like: Option<PathBuf>,

    /// Only the first N layers of it; they keep their kinds [default: all]
    #[arg(long, value_name = "N")]
    pub layers: Option<usize>,

    /// How to store matrices: q2, q4, mxfp4 or q8
    #[arg(long, value_name = "RECIPE")]
    pub recipe: String,

    /// Another seed gives other weights, the same one the same bytes
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// The GGUF file to write
    #[arg(short, long, value_name = "FILE", required_unless_present = "dry_run")]
    pub out: Option<PathBuf>,

    /// Show what would be written, but write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Replace the output if it exists
    #[arg(long)]
    pub force: bool,

    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
}

/// Shapes that have a name here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ShapeName {
    /// DeepSeek V4 Flash: 43 layers of width 4096, 256 experts
    Flash,
    /// DeepSeek V4 Pro: 61 layers of width 7168, 384 experts
    Pro,
    /// Nano, the small model inside the program, with its tokenizer
    Nano,
}

const SYNTH_HELP: &str = "\
The file is as valid and as large as a real one of the recipe, and says nothing: its weights are
random, scaled so that activations stay near one. Speed depends on shape and formats only, so it
measures like the real one. With a few layers only it fits where the real one does not: four layers
of Flash in q2 have 9.5 GB.

Recipes, by the format of the routed experts; the rest is as in the published files (attention,
shared experts and head Q8_0, the other matrices F16, vectors F32):
  q2       gate and up IQ2_XXS, down Q2_K: the published file of 81 GB
  q4       Q4_K
  mxfp4    MXFP4
  q8       Q8_0

Flash and Pro come without a tokenizer: such files understand token ids only, which is enough for
`dwarfstar logits` and `dwarfstar bench`.

The output appears whole or not at all. The same flags give the same bytes on every machine.

Examples:
  dwarfstar synth --shape flash --layers 4 --recipe q2 --out flash4.gguf
  dwarfstar synth --shape flash --recipe q2 --dry-run
  dwarfstar synth --like model.gguf --recipe mxfp4 --seed 7 --out other.gguf";
