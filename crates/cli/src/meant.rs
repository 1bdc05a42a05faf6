//! What was meant: flags become values that make sense, or a sentence about why they do not.
//!
//! Defaults that need no file are resolved here, named texts are read, contradictions are refused
//! with exit code 2. After this room nobody looks at flags again. It does not open models.

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

use anyhow::{Result, bail};
use backend::RowFormat;
use clap::ValueEnum;
use engine::{DiskOptions, Sampling};
use kvstore::Policy;
use quantizer::SynthRecipe;
use spec::{Shape, TokenId};

use crate::default;
use crate::exit::usage;
use crate::open::{self, Model, Source};
use crate::typed::{self, Device, Rows, ShapeName};

/// Most threads that make sense on one machine.
const THREADS_MAX: usize = 4096;

/// Most times that one figure is measured.
const REPEATS_MAX: usize = 10_000;

/// Most sessions that are measured together.
const SESSIONS_MAX: usize = 1024;

/// Answer a prompt.
#[derive(Debug)]
pub struct Run {
    pub model: Model,
    pub ask: Ask,
    pub sampling: Sampling,
    pub seed: u64,
    /// Tokens to generate at most.
    pub tokens_max: usize,
    /// Tokens of the context, if it was said.
    pub context: Option<usize>,
    pub rows: RowFormat,
    /// How the answer is steered, if it is.
    pub steer: Option<steer::Steer>,
    pub compute: Compute,
    /// Where conversations are kept, if they are.
    pub disk: Option<DiskOptions>,
    pub show_thinking: bool,
    pub json: bool,
    pub quiet: bool,
}

/// What the model is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To continue a text.
    Raw(String),
    /// To answer.
    Chat(Chat),
}

/// One user turn, perhaps with instructions before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chat {
    pub system: Option<String>,
    pub text: String,
    pub thinking: Thinking,
}

/// How much the model is to reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    Off,
    On,
    Max,
}

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compute {
    pub device: Device,
    /// Threads, at least 1; `None` if it was not said.
    pub threads: Option<usize>,
}

/// Show what a file holds.
#[derive(Debug)]
pub struct Inspect {
    pub model: Model,
    /// Another context to show the memory for.
    pub context: Option<usize>,
    pub tensors: bool,
    pub check: bool,
    pub json: bool,
}

/// Text to tokens or back.
#[derive(Debug)]
pub struct Tokenize {
    pub vocabulary: Vocabulary,
    pub input: Input,
    pub count: bool,
    pub json: bool,
}

/// Where the tokenizer is.
#[derive(Debug)]
pub enum Vocabulary {
    /// In a model file.
    Model(Model),
    /// In a tokenizer.json.
    Json(PathBuf),
}

/// What to tokenize.
#[derive(Debug)]
pub enum Input {
    /// Text, as it is.
    Text(String),
    /// A turn with its markers.
    Chat(Chat),
    /// Ids, to be decoded.
    Ids(Vec<TokenId>),
}

/// Write logits.
#[derive(Debug)]
pub struct Logits {
    pub model: Model,
    /// At least one.
    pub tokens: Vec<TokenId>,
    /// Positions to write, counted from the end; 1 to `tokens.len()`.
    pub last: usize,
    pub rows: RowFormat,
    pub compute: Compute,
    /// How the model is steered.
    pub steer: Option<steer::Steer>,
    pub out: PathBuf,
}

/// Measure speed.
#[derive(Debug)]
pub struct Bench {
    pub model: Model,
    /// A random model instead.
    pub synthetic: Option<Synthetic>,
    /// Whether kernels are timed.
    pub profile: bool,
    /// Prompt lengths, ascending, none of them 0.
    pub prompts: Vec<usize>,
    /// Contexts to decode after, ascending; none if nothing is to be decoded.
    pub contexts: Vec<usize>,
    /// Tokens to decode each time.
    pub decode: usize,
    /// Sessions to decode in together, ascending, at least one.
    pub sessions: Vec<usize>,
    /// Measured times of each figure, at least one.
    pub repeat: usize,
    pub seed: u64,
    pub compute: Compute,
    /// How the model is steered.
    pub steer: Option<steer::Steer>,
    pub csv: Option<PathBuf>,
    pub plot: Option<PathBuf>,
    pub json: bool,
}

/// Compare two recorded measurements.
#[derive(Debug)]
pub struct Comparison {
    pub old: Source,
    pub new: Source,
    /// By how many percent a figure may be slower, if that is limited.
    pub fail_slower: Option<f64>,
    pub json: bool,
}

/// A random model that is nowhere stored.
#[derive(Clone, Debug)]
pub struct Synthetic {
    /// As it was typed.
    pub name: String,
    pub shape: Shape,
    pub recipe: SynthRecipe,
}

/// Write a random model.
#[derive(Debug)]
pub struct Synth {
    pub origin: Origin,
    /// How many of its layers, if not all.
    pub layers: Option<usize>,
    pub recipe: SynthRecipe,
    pub seed: u64,
    /// `None` in a dry run.
    pub out: Option<PathBuf>,
    pub overwrite: bool,
    pub json: bool,
}

/// Where a shape comes from.
#[derive(Debug)]
pub enum Origin {
    /// A published shape, and its name.
    Shape(&'static str, Box<Shape>),
    /// A model's shape and tokenizer.
    Model(Model),
}

/// `dwarfstar run`.
pub fn run(typed: typed::Run) -> Result<Run> {
    let model = model(typed.model);
    let sampling = sampling(&typed.sampling)?;
    let tokens_max = at_least_one("-n", typed.tokens)?.unwrap_or(usize::MAX);
    let context = at_least_one("--ctx", typed.ctx)?;
    let source = match (typed.prompt, typed.prompt_file) {
        (Some(text), _) => Source::Given(text),
        (None, Some(path)) => Source::path(path),
        (None, None) => {
            return Err(usage("what is the question? say -p TEXT, or --prompt-file FILE"));
        }
    };
    let text = source.read()?;
    let thinking = thinking(&typed.thinking);
    let ask = match typed.raw_prompt {
        true => Ask::Raw(text),
        false => Ask::Chat(chat(&source, typed.system, text, thinking)?),
    };
    Ok(Run {
        model,
        ask,
        sampling,
        seed: typed.seed.unwrap_or_else(random_seed),
        tokens_max,
        context,
        rows: rows(Rows::Packed, typed.no_activation_rounding),
        steer: steer::steer(typed.steer)?,
        compute: compute(typed.compute.device, typed.compute.threads)?,
        disk: typed.kv_dir.map(|dir| disk(dir, typed.kv_disk_space)).transpose()?,
        show_thinking: typed.show_thinking,
        json: typed.json,
        quiet: typed.quiet,
    })
}

fn disk(dir: PathBuf, gigabytes: u64) -> Result<DiskOptions> {
    let bytes_max = gigabytes.checked_mul(1_000_000_000).filter(|bytes| *bytes > 0);
    let wrong = || usage("--kv-disk-space: expected a number of GB, at least 1");
    Ok(DiskOptions { dir, bytes_max: bytes_max.ok_or_else(wrong)?, policy: Policy::default() })
}

/// `dwarfstar inspect`.
pub fn inspect(typed: typed::Inspect) -> Result<Inspect> {
    let typed::Inspect { file, ctx, tensors, check, json } = typed;
    let model = model(typed::Model { model: file });
    let context = at_least_one("--ctx", ctx)?;
    Ok(Inspect { model, context, tensors, check, json })
}

/// `dwarfstar tokenize`.
pub fn tokenize(typed: typed::Tokenize) -> Result<Tokenize> {
    let vocabulary = match typed.tokenizer {
        Some(path) => Vocabulary::Json(path),
        None => Vocabulary::Model(model(typed.model)),
    };
    let source = match (typed.text, typed.file) {
        (Some(text), _) => Some(Source::Given(text)),
        (None, path) => path.map(Source::path),
    };
    let said = &typed.thinking;
    if !typed.chat && (said.think || said.nothink || said.think_max) {
        return Err(usage("--think, --nothink and --think-max are about turns: add --chat"));
    }
    let thinking = thinking(said);
    let input = match (source, typed.decode) {
        (Some(source), _) if typed.chat => {
            let text = source.read()?;
            Input::Chat(chat(&source, typed.system, text, thinking)?)
        }
        (Some(source), _) => Input::Text(source.read()?),
        (None, Some(ids)) => Input::Ids(token_list("--decode", &ids)?),
        (None, None) => {
            return Err(usage("which text? name it, or a --file FILE, or --decode IDS"));
        }
    };
    Ok(Tokenize { vocabulary, input, count: typed.count, json: typed.json })
}

/// `dwarfstar logits`.
pub fn logits(typed: typed::Logits) -> Result<Logits> {
    let model = model(typed.model);
    let tokens = token_list("--tokens", &typed.tokens)?;
    if tokens.is_empty() {
        return Err(usage("--tokens: the list is empty, expected at least one token id"));
    }
    let last = at_least_one("--last", typed.last)?.unwrap_or(tokens.len()).min(tokens.len());
    let rows = rows(typed.rows, typed.no_activation_rounding);
    let compute = compute(typed.device, typed.threads)?;
    let steer = steer::steer(typed.steer)?;
    Ok(Logits { model, tokens, last, rows, compute, steer, out: typed.out })
}

/// `dwarfstar bench`.
pub fn bench(typed: typed::Bench) -> Result<Bench> {
    let model = model(typed.model);
    let compute = compute(typed.compute.device, typed.compute.threads)?;
    let synthetic = typed.synthetic.map(|name| synthetic(name, typed.layers)).transpose()?;
    let typed::Bench { mut prompt, mut contexts, mut sessions, decode, repeat, .. } = typed;
    let typed::Bench { seed, csv, plot, json, profile, steer, .. } = typed;
    let steer = steer::steer(steer)?;
    if !(1..=REPEATS_MAX).contains(&repeat) {
        return Err(usage(format!("--repeat {repeat}: expected 1 to {REPEATS_MAX}")));
    }
    prompt.retain(|&tokens| tokens > 0);
    contexts.retain(|_| decode > 0);
    if let Some(wrong) = sessions.iter().find(|n| !(1..=SESSIONS_MAX).contains(*n)) {
        return Err(usage(format!("--sessions {wrong}: expected 1 to {SESSIONS_MAX}")));
    }
    for list in [&mut prompt, &mut contexts, &mut sessions] {
        list.sort_unstable();
        list.dedup();
    }
    if prompt.is_empty() && contexts.is_empty() {
        return Err(usage("nothing to measure: allow --prompt or --decode more than 0"));
    }
    let prompts = prompt;
    Ok(Bench {
        model,
        synthetic,
        profile,
        prompts,
        contexts,
        decode,
        sessions,
        repeat,
        seed,
        compute,
        steer,
        csv,
        plot,
        json,
    })
}

/// `dwarfstar bench --compare`, if that was typed.
pub fn comparison(typed: &typed::Bench) -> Result<Option<Comparison>> {
    let Some(files) = &typed.compare else { return Ok(None) };
    let [old, new] = files.as_slice() else {
        return Err(usage("--compare: expected two results"));
    };
    let [old, new] = [old, new].map(|path| Source::path(path.clone()));
    let (fail_slower, json) = (typed.fail_slower, typed.json);
    if let Some(percent) = fail_slower.filter(|percent| !(0.0..=100.0).contains(percent)) {
        return Err(usage(format!("--fail-slower {percent}: expected 0 to 100 percent")));
    }
    Ok(Some(Comparison { old, new, fail_slower, json }))
}

/// A shape and a recipe in one word, such as flash-q2.
fn synthetic(name: String, layers: Option<usize>) -> Result<Synthetic> {
    let expected = || usage(format!("--synthetic {name}: expected a shape and a recipe: flash-q2"));
    let (shape, recipe) = name.split_once('-').ok_or_else(expected)?;
    let shape = ShapeName::from_str(shape, false).ok().and_then(published);
    let (_, shape) = shape.ok_or_else(expected)?;
    let recipe = recipe.parse().map_err(|problem| usage(format!("--synthetic: {problem}")))?;
    let shape = first_layers(shape, at_least_one("--layers", layers)?, &name)?;
    Ok(Synthetic { name, shape, recipe })
}

/// A published shape and its name; Nano's is that of a file.
fn published(name: ShapeName) -> Option<(&'static str, Shape)> {
    match name {
        ShapeName::Flash => Some(("Flash", Shape::flash())),
        ShapeName::Pro => Some(("Pro", Shape::pro())),
        ShapeName::Nano => None,
    }
}

/// The first `layers` layers of a shape, or all of them.
///
/// # Errors
/// It has fewer.
pub fn first_layers(shape: Shape, layers: Option<usize>, name: &str) -> Result<Shape> {
    match layers {
        Some(layers) if layers > shape.layers => {
            Err(usage(format!("--layers {layers}: {name} has {}", shape.layers)))
        }
        Some(layers) => Ok(shape.first_layers(layers)),
        None => Ok(shape),
    }
}

/// `dwarfstar synth`.
pub fn synth(typed: typed::Synth) -> Result<Synth> {
    let recipe = typed.recipe.parse().map_err(|problem| usage(format!("--recipe: {problem}")))?;
    let layers = at_least_one("--layers", typed.layers)?;
    let out = typed.out.filter(|_| !typed.dry_run);
    let origin = match (typed.like, typed.shape) {
        (Some(path), _) => Origin::Model(Model::File(path)),
        (None, Some(name)) => match published(name) {
            Some((name, shape)) => Origin::Shape(name, shape.into()),
            None => Origin::Model(Model::BuiltIn),
        },
        (None, None) => return Err(usage("which shape? say --shape flash, or --like FILE")),
    };
    let typed::Synth { seed, force: overwrite, json, .. } = typed;
    Ok(Synth { origin, layers, recipe, seed, out, overwrite, json })
}

/// The named model, or the default.
fn model(typed: typed::Model) -> Model {
    match typed.model {
        Some(name) if name.as_os_str() == "nano" => Model::BuiltIn,
        Some(path) => Model::File(path),
        None => Model::Default(default::find()),
    }
}

fn chat(source: &Source, system: Option<String>, text: String, thinking: Thinking) -> Result<Chat> {
    match source {
        _ if !text.is_empty() => Ok(Chat { system, text, thinking }),
        Source::Given(_) => Err(usage("the prompt is empty")),
        Source::File(path) => bail!("{}: empty, expected a prompt", path.display()),
        Source::Input => bail!("standard input: empty, expected a prompt"),
    }
}

fn thinking(typed: &typed::Thinking) -> Thinking {
    match typed {
        typed::Thinking { nothink: true, .. } => Thinking::Off,
        typed::Thinking { think_max: true, .. } => Thinking::Max,
        _ => Thinking::On,
    }
}

fn rows(rows: Rows, no_activation_rounding: bool) -> RowFormat {
    match rows {
        _ if no_activation_rounding => RowFormat::ExactF32,
        Rows::F32 => RowFormat::RoundedF32,
        Rows::Packed => RowFormat::Packed,
    }
}

fn compute(device: Device, threads: Option<usize>) -> Result<Compute> {
    let threads = at_least_one("--threads", threads)?;
    if let Some(found) = threads.filter(|n| *n > THREADS_MAX) {
        return Err(usage(format!("--threads {found}: expected at most {THREADS_MAX}")));
    }
    Ok(Compute { device, threads })
}

fn sampling(typed: &typed::Sampling) -> Result<Sampling> {
    let typed::Sampling { temp, top_p, top_k, min_p, .. } = *typed;
    let refuse = |flag: &str, found: f32, expected: &str| {
        Err(usage(format!("{flag} {found}: expected {expected}")))
    };
    if !(0.0..=100.0).contains(&temp) {
        return refuse("--temp", temp, "a number from 0 (no choice) to 100");
    }
    if !(top_p > 0.0 && top_p <= 1.0) {
        return refuse("--top-p", top_p, "a probability above 0, up to 1");
    }
    if !(0.0..=1.0).contains(&min_p) {
        return refuse("--min-p", min_p, "a fraction from 0 to 1");
    }
    Ok(Sampling { temperature: temp, top_p, top_k, min_p })
}

fn at_least_one(flag: &str, value: Option<usize>) -> Result<Option<usize>> {
    match value {
        Some(0) => Err(usage(format!("{flag} 0: expected at least 1"))),
        _ => Ok(value),
    }
}

/// `1,2,3`, or `@FILE`.
fn token_list(flag: &str, typed: &str) -> Result<Vec<TokenId>> {
    match typed.strip_prefix('@') {
        Some(path) => open::token_ids(path, &Source::path(path.into()).read()?),
        None => open::token_ids(flag, typed).map_err(|error| usage(error.to_string())),
    }
}

/// Random enough to differ from run to run, short enough to be typed again.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id()) >> 32
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::typed::{Command, Typed};

    fn meant(args: &[&str]) -> Result<Run> {
        let args = ["dwarfstar", "run", "-m", "a.gguf"].iter().chain(args);
        let Command::Run(typed) = Typed::try_parse_from(args)?.command else {
            panic!("run was typed")
        };
        run(typed)
    }

    #[test]
    fn thinking_is_on_unless_it_is_refused() {
        let cases: [(&[&str], Thinking); 4] = [
            (&[], Thinking::On),
            (&["--think"], Thinking::On),
            (&["--nothink"], Thinking::Off),
            (&["--think-max"], Thinking::Max),
        ];
        for (flags, expected) in cases {
            let run = meant(&[&["-p", "x"], flags].concat()).unwrap();
            let Ask::Chat(chat) = run.ask else { panic!("{flags:?}: not a chat") };
            assert_eq!(chat.thinking, expected, "{flags:?}");
        }
        assert!(meant(&["-p", "x", "--think", "--nothink"]).is_err());
    }

    #[test]
    fn a_seed_is_kept_and_a_missing_one_is_new_every_time() {
        assert_eq!(meant(&["-p", "x", "--seed", "18446744073709551615"]).unwrap().seed, u64::MAX);
        let seed = || meant(&["-p", "x"]).unwrap().seed;
        // Of four equal draws out of 2^32 something is wrong with the source.
        assert!((0..4).map(|_| seed()).any(|other| other != seed()));
    }

    #[test]
    fn numerics_by_flag() {
        assert_eq!(meant(&["-p", "x"]).unwrap().rows, RowFormat::Packed);
        let exact = meant(&["-p", "x", "--no-activation-rounding"]).unwrap();
        assert_eq!(exact.rows, RowFormat::ExactF32);
    }

    #[test]
    fn prompts_may_begin_with_a_dash() {
        let run = meant(&["-p", "- one\n- two", "--raw-prompt"]).unwrap();
        assert_eq!(run.ask, Ask::Raw("- one\n- two".to_owned()));
    }
}
