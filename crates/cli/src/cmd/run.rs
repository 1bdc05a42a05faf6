//! `dwarfstar run`: the main job, from flags to streamed text, on one page.
//!
//! The file is opened, the question becomes tokens, the engine generates, and every token goes
//! through a [`Reply`] to the screen. Ctrl+C and closed pipes stop between two
//! tokens. What the pieces do is told where they are: `prompt.rs`, `screen.rs`, crate `engine`.

mod reply;

use std::io;
use std::time::Duration;

use anyhow::Result;
use engine::{Event, Finish, Flow, Generation, OpenOptions, Sampler, Summary};
use text::special;

use crate::cmd::prompt::{self, THINK_MAX_CONTEXT};
use crate::compute::{self, Computer};
use crate::exit::{Exit, say};
use crate::human;
use crate::interrupt;
use crate::json;
use crate::meant::{Ask, Run, Thinking};
use crate::open;
use crate::progress::Progress;
use crate::screen::{Layout, Screen};
use crate::steering;
use crate::terminal::Terminal;
use reply::{Outcome, Reply};

/// Room for prompt and answer if nothing is said. Memory for it is taken only as it is used.
const CONTEXT_TOKENS: usize = 32 << 10;

/// Answers a prompt.
pub fn run(mut run: Run, terminal: &Terminal) -> Result<Exit> {
    let file = open::model(&run.model)?;
    let native = model::read_shape(&file)?.context_max;
    let context = run.context.unwrap_or(CONTEXT_TOKENS.min(native));
    lower_thinking(&mut run, context);
    run.model.introduction().iter().filter(|_| !run.quiet).for_each(|line| say(line));
    let checkpoint = prompt::checkpoint(&file);
    let steering = steering::read(run.steer.as_ref(), &file)?;
    let Computer { backend, memory_max, step_tokens } = compute::open(run.compute, &file)?;
    let (rows, default) = (run.rows, OpenOptions::default());
    let options = OpenOptions { rows, context, memory_max, step_tokens, ..default };
    let watched = terminal.messages && !run.quiet;
    let mut engine = compute::load(file, backend, options, watched)?;
    steering::load(&mut engine, steering.as_ref())?;
    if let Some(disk) = run.disk.take() {
        engine.keep_on_disk(disk)?.iter().filter(|_| !run.quiet).for_each(|remark| say(remark));
    }
    let tokenizer = engine.tokenizer()?;
    let prompt = prompt::prompt(&tokenizer, &run.ask, checkpoint)?;
    let mut session = engine.open_session()?;
    let mut sampler = Sampler::new(run.sampling, run.seed)?;
    let stop: Vec<_> = tokenizer.special(special::EOS).into_iter().collect();
    let generation = Generation { prompt: &prompt.tokens, tokens_max: run.tokens_max, stop: &stop };

    let reading = Progress::tokens("reading", prompt.tokens.len(), watched);
    let writing = Progress::endless("writing", watched && (run.json || !terminal.output));
    let screen = Screen::new(io::stdout(), layout(&run, terminal));
    let mut reply = Reply::new(tokenizer.clone(), &prompt, screen);
    let mut written = Ok(());
    interrupt::listen(terminal);
    let summary = engine.generate(&mut session, &generation, &mut sampler, &mut |event| {
        match event {
            Event::Prefill(at) if at.done == at.total => reading.clear(),
            Event::Prefill(at) => reading.set(at.done as u64),
            Event::Token(token) => {
                writing.add(1);
                written = reply.push(token);
            }
        }
        if written.is_err() || interrupt::requested() { Flow::Stop } else { Flow::Continue }
    });
    reading.clear();
    writing.clear();
    let outcome = reply.finish(summary.as_ref().ok().map(|summary| summary.finish))?;
    written?;
    let summary = summary?;

    if run.json {
        json::print(&outcome.to_json(&prompt, &summary, run.seed))?;
    }
    // The answer is there all the same.
    engine.flush_checkpoints();
    engine.notices().iter().for_each(|notice| say(&human::safe(&notice.to_string())));
    if !run.quiet {
        say(&closing(&run, &outcome, &summary, context));
    }
    Ok(if summary.finish == Finish::Cancelled { Exit::Interrupted } else { Exit::Done })
}

/// Reasoning as hard as possible needs room; without it the model reasons as usual.
fn lower_thinking(run: &mut Run, context: usize) {
    let Ask::Chat(chat) = &mut run.ask else { return };
    if chat.thinking != Thinking::Max || context >= THINK_MAX_CONTEXT {
        return;
    }
    chat.thinking = Thinking::On;
    if !run.quiet {
        say(&format!(
            "note: --think-max needs --ctx {THINK_MAX_CONTEXT} or more, this run has {context}: \
             reasoning as usual"
        ));
    }
}

/// What is shown where.
fn layout(run: &Run, terminal: &Terminal) -> Layout {
    Layout {
        answer: !run.json,
        reasoning: run.show_thinking || (terminal.output && !run.quiet && !run.json),
        terminal: terminal.output,
        styles: terminal.output && terminal.styles,
    }
}

/// The line at the end: speeds, the seed, and why the answer is no longer than it is.
fn closing(run: &Run, outcome: &Outcome, summary: &Summary, context: usize) -> String {
    let speed = |tokens: usize, time: Duration| {
        let rate = tokens as f64 / time.as_secs_f64().max(1e-9);
        format!("{tokens} tokens, {rate:.1} t/s")
    };
    let prefill = speed(summary.prompt_fed, summary.prefill);
    let decode = speed(summary.generated, summary.decode);
    let mut line = format!("prefill {prefill}; decode {decode}; seed {}", run.seed);
    match summary.finish {
        Finish::Stop(_) => {}
        Finish::Length => line += &format!("; ended by -n {}", run.tokens_max),
        Finish::Context => line += &format!("; the context is full, --ctx {context} was all"),
        Finish::Cancelled => line += "; interrupted",
    }
    line += match summary.finish {
        _ if !outcome.is_all_reasoning() => "",
        Finish::Stop(_) => "; there is no answer, the model ended inside its reasoning",
        Finish::Length | Finish::Context => {
            "; the answer had not begun: allow more tokens, or use --nothink"
        }
        Finish::Cancelled => "",
    };
    line
}
