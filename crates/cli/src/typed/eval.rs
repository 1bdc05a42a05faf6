//! The flags of `dwarfstar eval`.
//!
//! As everywhere in `typed`, only their form is decided here. One of the works besides asking
//! (`--list`, `--compare` and so on) excludes the others.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use measure::eval::Layout;

use super::steer::Steer;
use super::{Compute, Model, Thinking};

/// Ask a set of questions, judge the answers, count the right ones.
#[derive(Debug, Args)]
#[command(after_help = EVAL_HELP)]
#[command(group = ArgGroup::new("work").multiple(false))]
pub struct Eval {
    #[command(flatten)]
    pub model: Model,

    /// Ask the questions of this file [default: the program's own, 74 of them]
    #[arg(long, value_name = "FILE", help_heading = "Questions")]
    pub set: Option<PathBuf>,

    /// What kind of file it is: items (ours), gpqa-csv, supergpqa, mmlu-csv, mmlu-pro, arc, gsm8k,
    /// math
    #[arg(long, value_name = "NAME", default_value = "items", requires = "set")]
    #[arg(help_heading = "Questions", hide_default_value = true)]
    pub format: Layout,

    /// Ask only questions of this id, domain or source; can be given several times
    #[arg(long, value_name = "NAME", help_heading = "Questions")]
    pub only: Vec<String>,

    /// Ask only the first N of them
    #[arg(long, value_name = "N", help_heading = "Questions")]
    pub limit: Option<usize>,

    #[command(flatten)]
    pub thinking: Thinking,

    /// Let a reply have at most N tokens, reasoning included [default: 16384; 512 of Nano]
    #[arg(short = 'n', long, value_name = "N", help_heading = "Replies")]
    pub max_tokens: Option<usize>,

    /// With N tokens left, end reasoning where it is about to end; 0 never does [default: 1024, or
    /// a quarter of a small --max-tokens]
    #[arg(long, value_name = "N", help_heading = "Replies")]
    pub soft_close: Option<usize>,

    /// With N tokens left, end reasoning; 0 never does [default: 512, or an eighth]
    #[arg(long, value_name = "N", help_heading = "Replies")]
    pub hard_close: Option<usize>,

    /// Ask everything N times, which makes sense with --temp
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Replies")]
    pub repeat: usize,

    /// Answer N questions at once
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Replies")]
    pub sessions: usize,

    /// How freely to choose: 0 takes the most probable token, 1 chooses as trained
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true)]
    #[arg(help_heading = "Sampling")]
    pub temp: f32,

    /// Choose among the most probable tokens that make up this probability together
    #[arg(long, value_name = "P", default_value_t = engine::Sampling::default().top_p)]
    #[arg(allow_negative_numbers = true, help_heading = "Sampling")]
    pub top_p: f32,

    /// Choose among the K most probable tokens; 0 means all
    #[arg(long, value_name = "K", default_value_t = engine::Sampling::default().top_k)]
    #[arg(help_heading = "Sampling")]
    pub top_k: usize,

    /// Leave out tokens less probable than this fraction of the most probable one
    #[arg(long, value_name = "P", default_value_t = engine::Sampling::default().min_p)]
    #[arg(allow_negative_numbers = true, help_heading = "Sampling")]
    pub min_p: f32,

    /// Where chance comes from: of choices of tokens, and of the order in which the choices of
    /// questions are shown whose file has the right one first
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Sampling")]
    pub seed: u64,

    #[command(flatten)]
    pub steer: Steer,

    #[command(flatten)]
    pub compute: Compute,

    /// Keep all answers in this file, each as soon as it is complete
    #[arg(short, long, value_name = "FILE", help_heading = "Report")]
    pub out: Option<PathBuf>,

    /// Go on with that file where it ends, if it is there
    #[arg(long, requires = "out", help_heading = "Report")]
    pub resume: bool,

    /// Print one JSON object at the end
    #[arg(long, help_heading = "Report")]
    pub json: bool,

    /// Print the table only, nothing while questions are asked
    #[arg(short, long, help_heading = "Report")]
    pub quiet: bool,

    /// Only list the questions
    #[arg(long, group = "work", help_heading = "Without a model")]
    pub list: bool,

    /// Only check the file of questions
    #[arg(long, group = "work", requires = "set", help_heading = "Without a model")]
    pub validate: bool,

    /// Judge the answers of a report again, by the set that it was made with
    #[arg(long, value_name = "REPORT", group = "work", help_heading = "Without a model")]
    pub regrade: Option<PathBuf>,

    /// Compare two reports on the same questions
    #[arg(long, value_names = ["A", "B"], num_args = 2, group = "work")]
    #[arg(help_heading = "Without a model")]
    pub compare: Option<Vec<PathBuf>>,

    /// Check the judges by their own table of replies
    #[arg(long, group = "work", help_heading = "Without a model")]
    pub self_test: bool,
}

const EVAL_HELP: &str = "\
A share of right answers comes with its 95 % interval (Wilson): another set of as many questions of
the kind would likely give a share in it. Two models are best compared on the same questions, with
--compare, which looks only at those that they answer differently.

What was only thought is no answer. Reasoning that would use up all tokens is ended in time, so that
an answer can follow (--soft-close, --hard-close); how often that was needed is shown.

With --out, every answer is on the disk before the next question is asked. After Ctrl+C, or whatever
else ended the program, the same command with --resume goes on. docs/eval.md in the sources
describes the format of questions, how answers are judged, and which public sets can be read.

Examples:
  dwarfstar eval
  dwarfstar eval -m model.gguf --out model.jsonl
  dwarfstar eval -m model.gguf --out model.jsonl --resume
  dwarfstar eval -m model.gguf --set gpqa_diamond.csv --format gpqa-csv --out gpqa.jsonl
  dwarfstar eval -m model.gguf --only tools --nothink --temp 1 --repeat 5
  dwarfstar eval --compare q2.jsonl q4.jsonl";
