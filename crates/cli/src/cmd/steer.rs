//! `dwarfstar steer`: finding directions, trying them, measuring what they do.
//!
//! The work is that of `measure::direction`; here models are opened with the room that the prompts
//! need, and what comes back is shown. `report.rs` has the tables.

mod report;

use std::io::{self, Write};

use anyhow::{Context, Result, bail};
use engine::{Engine, Flow, OpenOptions};
use gguf::File;
use measure::direction::{build, prompts, sweep};
use spec::TokenId;
use text::{Conversation, RenderOptions, Tokenizer};

use crate::cmd::prompt;
use crate::compute::{self, Computer};
use crate::exit::{Exit, say};
use crate::interrupt;
use crate::json;
use crate::meant::steer::{Apply, Build, Steer, Steering, Sweep};
use crate::meant::{Ask, Compute};
use crate::open::{self, Model};
use crate::progress::Progress;
use crate::steering;
use crate::terminal::Terminal;
use crate::whole::WholeFile;
use report::{Answered, Found, Swept};

/// Does what was asked.
pub fn steer(meant: &Steering, terminal: &Terminal) -> Result<Exit> {
    match meant {
        Steering::Build(meant) => build(meant, terminal),
        Steering::Apply(meant) => apply(meant, terminal),
        Steering::Sweep(meant) => sweep(meant, terminal),
    }
}

fn build(meant: &Build, terminal: &Terminal) -> Result<Exit> {
    let Build { pairs, out, overwrite, .. } = meant;
    if out.exists() && !overwrite {
        bail!("{}: exists already: add --force, or name another file", out.display());
    }
    let file = open_model(&meant.model)?;
    let layers = model::read_shape(&file)?.layers;
    let wanted = meant.layers.clone().unwrap_or(0..=layers - 1);
    if *wanted.end() >= layers {
        let (first, last) = wanted.into_inner();
        bail!("--layers {first}-{last}: this model has layers 0 to {}", layers - 1);
    }
    let tokenizer = prompt::tokenizer(&file)?;
    let options = prompt::options(meant.thinking, prompt::checkpoint(&file));
    let tokens = |prompt: &Conversation| prompts::tokens(&tokenizer, prompt, &options);
    let both = |pair: &prompts::Pair| Ok([tokens(&pair.positive)?, tokens(&pair.negative)?]);
    let pairs = pairs.iter().map(both).collect::<Result<Vec<_>>>()?;
    let longest = pairs.iter().flatten().map(Vec::len).max().unwrap_or(1);
    // From here on there is a temporary file, which a killed program would leave behind.
    interrupt::listen(terminal);
    let mut whole = WholeFile::create(out, "steer")?;
    let room = OpenOptions { context: longest, ..OpenOptions::default() };
    let mut engine = open_engine(file, meant.compute, room, terminal)?;
    let bar = Progress::items("looking at prompts", 2 * pairs.len(), terminal.messages);
    let look = build::Look { point: meant.at, last: meant.last };
    let observed = build::observe(&mut engine, &pairs, look, &mut |done| on(&bar, done))?;
    bar.clear();
    let Some(observed) = observed else { return Ok(stopped()) };
    let built = observed.directions(*wanted.start()..wanted.end() + 1);
    let written = whole.file().write_all(&built.directions.to_bytes());
    written.with_context(|| format!("{}: could not write it", whole.name()))?;
    let name = whole.name();
    whole.finish().with_context(|| format!("{name}: could not be put in place"))?;
    let found = Found::new(&name, meant, &built);
    match meant.json {
        true => json::print(&found)?,
        false => found.show(&mut io::stdout().lock())?,
    }
    Ok(Exit::Done)
}

fn apply(meant: &Apply, terminal: &Terminal) -> Result<Exit> {
    let file = open_model(&meant.model)?;
    let steer = Steer { file: meant.file.clone(), way: engine::Steer::NONE };
    let loaded = steering::read(Some(&steer), &file)?;
    let tokenizer = prompt::tokenizer(&file)?;
    let ask = Ask::Chat(meant.chat.clone());
    let prompt = prompt::prompt(&tokenizer, &ask, prompt::checkpoint(&file))?.tokens;
    interrupt::listen(terminal);
    let context = context(&file, prompt.len(), meant.tokens_max)?;
    let room = OpenOptions { context, ..OpenOptions::default() };
    let mut engine = open_engine(file, meant.compute, room, terminal)?;
    steering::load(&mut engine, loaded.as_ref())?;
    let mut session = engine.open_session()?;
    let mut all = Vec::with_capacity(meant.ways.len());
    for way in &meant.ways {
        let mut go_on = || if interrupt::requested() { Flow::Stop } else { Flow::Continue };
        let (of, most) = (&prompt, meant.tokens_max);
        let answer = sweep::answer(&mut engine, &mut session, of, *way, most, &mut go_on)?;
        if interrupt::requested() {
            return Ok(stopped());
        }
        let answered = Answered::new(*way, &answer);
        if !meant.json {
            answered.show(&mut io::stdout().lock(), all.is_empty())?;
        }
        all.push(answered);
    }
    if meant.json {
        json::print(&report::answers(&all))?;
    }
    Ok(Exit::Done)
}

fn sweep(meant: &Sweep, terminal: &Terminal) -> Result<Exit> {
    let file = open_model(&meant.model)?;
    let steer = Steer { file: meant.file.clone(), way: engine::Steer::NONE };
    let loaded = steering::read(Some(&steer), &file)?;
    let tokenizer = prompt::tokenizer(&file)?;
    let options = prompt::options(meant.thinking, prompt::checkpoint(&file));
    let prompts = tokens(&tokenizer, &meant.prompts, &options)?;
    interrupt::listen(terminal);
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(1);
    let context = context(&file, longest, meant.tokens_max)?;
    let default = OpenOptions::default();
    // Answers are read again by the model as it is, which wants all their logits.
    let (sessions, step_tokens) = (2, STEP_TOKENS);
    let room = OpenOptions { context, sessions, step_tokens, all_logits: true, ..default };
    let mut engine = open_engine(file, meant.compute, room, terminal)?;
    steering::load(&mut engine, loaded.as_ref())?;
    let Sweep { ways, tokens_max, expression, .. } = meant;
    let expression = expression.as_ref();
    let asked = sweep::Sweep { prompts: &prompts, ways, tokens_max: *tokens_max, expression };
    let bar = Progress::items("answering", prompts.len() * ways.len(), terminal.messages);
    let rows = sweep::sweep(&mut engine, &asked, &mut |done| on(&bar, done))?;
    bar.clear();
    let Some(rows) = rows else { return Ok(stopped()) };
    let swept = Swept::new(&rows);
    match meant.json {
        true => json::print(&swept)?,
        false => swept.show(&mut io::stdout().lock())?,
    }
    Ok(Exit::Done)
}

/// Tokens per step where all logits are wanted: of the largest vocabulary these are 66 MB.
const STEP_TOKENS: usize = 128;

fn tokens(
    tokenizer: &Tokenizer,
    prompts: &[Conversation],
    options: &RenderOptions,
) -> Result<Vec<Vec<TokenId>>> {
    let tokens = |prompt| Ok(prompts::tokens(tokenizer, prompt, options)?);
    prompts.iter().map(tokens).collect()
}

fn open_model(model: &Model) -> Result<File> {
    model.pulled().iter().for_each(|line| say(line));
    open::model(model)
}

/// Room for a prompt and its answer, or as much as the model has.
fn context(file: &File, prompt: usize, tokens_max: usize) -> Result<usize> {
    let native = model::read_shape(file)?.context_max;
    Ok(prompt.saturating_add(tokens_max).saturating_add(1).min(native))
}

fn open_engine(
    file: File,
    compute: Compute,
    room: OpenOptions,
    terminal: &Terminal,
) -> Result<Engine> {
    let Computer { backend, memory_max, .. } = compute::open(compute, &file)?;
    let options = OpenOptions { memory_max, ..room };
    Ok(compute::load(file, backend, options, terminal.messages)?)
}

/// Shows how far it is, and whether to go on.
fn on(bar: &Progress, done: usize) -> Flow {
    bar.set(done as u64);
    if interrupt::requested() { Flow::Stop } else { Flow::Continue }
}

fn stopped() -> Exit {
    say("interrupted");
    Exit::Interrupted
}
